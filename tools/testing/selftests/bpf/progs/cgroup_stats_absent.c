// SPDX-License-Identifier: GPL-2.0
/* What kernels without a cgroup stats map do not call. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

__u64 visits, drains, folds, inherits;

SEC("fentry/bpf_rstat_flush")
int on_visit(void *ctx)
{
	__sync_fetch_and_add(&visits, 1);
	return 0;
}

SEC("fentry/__bpf_cgroup_stats_drain")
int on_drain(void *ctx)
{
	__sync_fetch_and_add(&drains, 1);
	return 0;
}

SEC("fentry/__bpf_cgroup_stats_fold")
int on_fold(void *ctx)
{
	__sync_fetch_and_add(&folds, 1);
	return 0;
}

SEC("fentry/__bpf_cgroup_stats_inherit")
int on_inherit(void *ctx)
{
	__sync_fetch_and_add(&inherits, 1);
	return 0;
}
