// SPDX-License-Identifier: GPL-2.0
/* What kernels without a cgroup stats map do not call. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

#define COUNT(function, calls)				\
__u64 calls;						\
							\
SEC("fentry/" #function)				\
int on_##calls(void *ctx)				\
{							\
	__sync_fetch_and_add(&calls, 1);		\
	return 0;					\
}

COUNT(bpf_rstat_flush, visits)
COUNT(__bpf_cgroup_stats_drain, drains)
COUNT(__bpf_cgroup_stats_fold, folds)
COUNT(__bpf_cgroup_stats_inherit, inherits)
