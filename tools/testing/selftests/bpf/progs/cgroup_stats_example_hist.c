// SPDX-License-Identifier: GPL-2.0
/*
 * How long one system call takes, say fsync(), as a histogram for each cgroup. An example
 * of Documentation/bpf/map_cgroup_stats.rst.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

#define NR_SLOTS 32

struct latency {
	__u64 calls;
	__u64 nsecs;		/* of all calls: nsecs / calls is the mean */
	__u64 hist[NR_SLOTS];	/* n: calls of 2^n ns and more, but less than 2^(n + 1) */
};

/* map_extra, the root of the subtree, is set before the program is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct latency);
} latency SEC(".maps");

/* When the task's call began; 0: it is in none. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} began SEC(".maps");

/* The system call's number, set before the program is loaded. */
const volatile long syscall_nr;

/* The slot of the highest bit that is set; the last slot has all above it, too. */
static __u32 slot_of(__u64 nsecs)
{
	__u32 slot;

	for (slot = 0; slot < NR_SLOTS - 1 && nsecs > 1; slot++)
		nsecs >>= 1;
	return slot;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(call_begins, struct pt_regs *regs, long nr)
{
	__u64 *start;

	if (nr != syscall_nr)
		return 0;
	start = bpf_task_storage_get(&began, bpf_get_current_task_btf(), NULL,
				     BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (start)
		*start = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_ends)
{
	__u64 *start, nsecs;

	start = bpf_task_storage_get(&began, bpf_get_current_task_btf(), NULL, 0);
	if (!start || !*start)
		return 0;
	nsecs = bpf_ktime_get_ns() - *start;
	*start = 0;

	bpf_cgroup_stats_add(&latency, 0, bpf_cgroup_stats_index(struct latency, calls), 1, 0);
	bpf_cgroup_stats_add(&latency, 0, bpf_cgroup_stats_index(struct latency, nsecs), nsecs, 0);
	bpf_cgroup_stats_add(&latency, 0, bpf_cgroup_stats_index(struct latency, hist[0]) +
			     slot_of(nsecs), 1, 0);
	return 0;
}
