// SPDX-License-Identifier: GPL-2.0
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "cgstat.h"

/* User space sets the root of the subtree. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct cgstat);
} stats SEC(".maps");

/* A cgroup out of the subtree has no entry: that is no error here. */
#define count(id, member, n) \
	((void)bpf_cgroup_stats_add(&stats, id, \
				    bpf_cgroup_stats_index(struct cgstat, member), n, 0))

/*
 * memcg's own accounting, which is where pgfault of memory.stat comes from: the
 * same events, counted for the same cgroup. The name of the function depends on
 * the kernel, user space sets it.
 *
 * Without the memory controller a cgroup's faults are the memcg's of an ancestor.
 * If that is what current has, as it nearly always is (other than for access to
 * another process' memory), count for current's cgroup. The totals of the memcg's
 * are the same.
 */
SEC("fentry")
int BPF_PROG(pgfault, struct mem_cgroup *memcg, enum vm_event_item idx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 id = 0;

	if (idx != bpf_core_enum_value(enum vm_event_item, PGFAULT))
		return 0;
	if (task->cgroups->subsys[bpf_core_enum_value(enum cgroup_subsys_id,
						      memory_cgrp_id)] != &memcg->css)
		id = memcg->css.cgroup->kn->id;
	count(id, pgfault, 1);
	return 0;
}

/* write() and pwrite() */
SEC("fexit/vfs_write")
int BPF_PROG(written, struct file *file, const char *buf, size_t size, loff_t *pos,
	     ssize_t ret)
{
	if (ret > 0)
		count(0, written, ret);
	return 0;
}

/* Processes and threads, for the parent's cgroup */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(forks)
{
	count(0, forks, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
