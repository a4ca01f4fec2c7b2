// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that add, and count what they were told was added. Whatever cgroups come
 * and go, totals must show just that: prog_tests/cgroup_stats_map.c.
 */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "cgroup_stats_map.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct cgroup_stats_sums);
} stats SEC(".maps");

/*
 * What was added to each cgroup by itself. User space makes the entries, before
 * anybody can add, for all cgroups that ever are.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, CGROUP_STATS_IDS);
	__type(key, __u64);
	__type(value, struct cgroup_stats_sums);
} own SEC(".maps");

/* Whom to add to. User space changes them at any time. */
__u64 ids[CGROUP_STATS_SLOTS];

/* Of the first element, for the whole tree: adds that began, adds that succeeded. */
struct cgroup_stats_count began[CGROUP_STATS_CPUS], added[CGROUP_STATS_CPUS];

/* Adds to cgroups that were gone, and failures that there must not be. */
__u64 missed, failed;

/* Runs in interrupts. */
__u64 in_irq;

/*
 * Each add goes to two elements: 1 to the first, to count them; and some number to
 * another, so that a lost one here and a doubled one there do not make up for it.
 */
static __always_inline void add_to(__u64 id, __u32 random)
{
	__u32 cpu = bpf_get_smp_processor_id() % CGROUP_STATS_CPUS;
	__u32 index = 1 + (random & 15);
	__u64 who = id ?: bpf_get_current_cgroup_id();
	__u64 value = (random >> 8) & 0xffff;
	struct cgroup_stats_sums *sums;
	long err;

	sums = bpf_map_lookup_elem(&own, &who);
	if (!sums)
		return;

	__sync_fetch_and_add(&began[cpu].n, 1);
	err = bpf_cgroup_stats_add(&stats, id, 0, 1, 0);
	if (!err) {
		__sync_fetch_and_add(&sums->n[0], 1);
		__sync_fetch_and_add(&added[cpu].n, 1);
	} else {
		__sync_fetch_and_add(err == -ENOENT ? &missed : &failed, 1);
	}

	err = bpf_cgroup_stats_add(&stats, id, index, value, 0);
	if (!err)
		__sync_fetch_and_add(&sums->n[index], value);
	else if (err != -ENOENT)
		__sync_fetch_and_add(&failed, 1);
}

static __always_inline void add_some(void)
{
	__u32 random = bpf_get_prandom_u32();

	add_to(ids[random % CGROUP_STATS_SLOTS], bpf_get_prandom_u32());
}

static int add_one(__u64 i, void *ctx)
{
	add_some();
	return 0;
}

/* Many in one system call, now to ids, now to the current cgroup. */
SEC("syscall")
int burst(__u64 *args)
{
	bpf_loop(args[0], add_one, NULL, 0);
	return 0;
}

SEC("syscall")
int flush(__u64 *args)
{
	return bpf_cgroup_stats_flush(&stats, args[0], 0);
}

/*
 * The leaves of a writer, each of them twice, in two elements next to each other.
 * None is added to again in this burst, so that a mark that was lost stays lost.
 */
__u64 leaves[CGROUP_STATS_CPUS * CGROUP_STATS_LEAVES];

static int add_leaf(__u64 i, __u64 *writer)
{
	__u32 nr = *writer * CGROUP_STATS_LEAVES + i % CGROUP_STATS_LEAVES;

	if (bpf_cgroup_stats_add(&stats, leaves[nr % ARRAY_SIZE(leaves)],
				 i / CGROUP_STATS_LEAVES, 1, 0))
		__sync_fetch_and_add(&failed, 1);
	return 0;
}

SEC("syscall")
int burst_leaves(__u64 *args)
{
	__u64 writer = args[0];

	bpf_loop(2 * CGROUP_STATS_LEAVES, add_leaf, &writer, 0);
	return 0;
}

/* All of these count for tasks in the tree only: others have no entry in own. */

SEC("tp_btf/sys_enter")
int on_sys_enter(void *ctx)
{
	add_to(0, bpf_get_prandom_u32());
	return 0;
}

/* Under the runqueue's lock; of tasks that exit, the last thing that they do. */
SEC("tp_btf/sched_switch")
int on_switch(void *ctx)
{
	add_to(0, bpf_get_prandom_u32());
	return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(void *ctx)
{
	add_to(0, bpf_get_prandom_u32());
	return 0;
}

SEC("fentry/flush_ptrace_hw_breakpoint")
int BPF_PROG(after_exit)
{
	add_to(0, bpf_get_prandom_u32());
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_mkdir, struct cgroup *cgrp)
{
	add_some();
	return 0;
}

/* In the flush itself. */
SEC("fentry/bpf_rstat_flush")
int on_flush(void *ctx)
{
	if (bpf_get_prandom_u32() % 8 == 0)
		add_some();
	return 0;
}

SEC("perf_event")
int on_timer(void *ctx)
{
	add_to(0, bpf_get_prandom_u32());
	add_some();
	__sync_fetch_and_add(&in_irq, 1);
	return 0;
}
