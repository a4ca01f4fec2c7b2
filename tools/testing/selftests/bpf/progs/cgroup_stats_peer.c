// SPDX-License-Identifier: GPL-2.0
/*
 * What a collector does without the map: it calls cgroup_rstat_updated(). Here it does so
 * from a tracepoint within the very lock that this takes.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

extern void cgroup_rstat_updated(struct cgroup *cgrp, int cpu) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, __u64);
} stats SEC(".maps");

__u64 added;

SEC("?tp_btf/cgroup_rstat_cpu_locked")
int BPF_PROG(kfunc, struct cgroup *cgrp, int cpu, bool contended)
{
	cgroup_rstat_updated(cgrp, cpu);
	return 0;
}

SEC("?tp_btf/cgroup_rstat_cpu_locked")
int BPF_PROG(map, struct cgroup *cgrp, int cpu, bool contended)
{
	if (!bpf_cgroup_stats_add(&stats, cgrp->kn->id, 0, 1, 0))
		__sync_fetch_and_add(&added, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
