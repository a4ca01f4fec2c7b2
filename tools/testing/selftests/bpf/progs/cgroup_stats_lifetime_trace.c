// SPDX-License-Identifier: GPL-2.0
/* Programs in the kernel's own functions, for prog_tests/cgroup_stats_lifetime.c. */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "cgroup_stats_lifetime.h"

char _license[] SEC("license") = "GPL";

struct lifetime_largest {
	__u32 n __cgroup_stats_max;
};

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct lifetime_value);
} stats SEC(".maps");

/* Adds and folds that have no short cut */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__uint(map_flags, BPF_F_NO_PERCPU);
	__type(key, __u64);
	__type(value, struct lifetime_largest);
} largest SEC(".maps");

/* What tasks of each cgroup added. User space makes the elements, before there are tasks. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, LIFETIME_IDS);
	__type(key, __u64);
	__type(value, struct lifetime_count);
} own SEC(".maps");

__u64 target_id;
int target_tid;

/* Whatever failed that must not. */
__u64 failed;

/* --- iterators --- */

SEC("?iter/bpf_map_elem")
int dump(struct bpf_iter__bpf_map_elem *ctx)
{
	struct lifetime_value *value = ctx->value;
	__u64 *key = ctx->key;

	if (key && value)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%llu %llu\n", *key, value->n[0]);
	return 0;
}

/* Its link holds a cgroup. */
SEC("?iter/cgroup")
int visit(struct bpf_iter__cgroup *ctx)
{
	return 0;
}

/* While it is attached, others come and go without a grace period. */
SEC("?raw_tp/sys_enter")
int nothing(void *ctx)
{
	return 0;
}

/* --- tasks that exit --- */

/* Of the adds: those of tasks whose own cgroup was gone. */
__u64 orphans;

/* User space has removed that many cgroups. */
volatile __u64 removed;

static __always_inline void count_own(void)
{
	__u64 id = bpf_get_current_cgroup_id();
	struct lifetime_count *count;
	long err;

	count = bpf_map_lookup_elem(&own, &id);
	if (!count)
		return;
	/* 0 is added to nothing, but finds out whether the cgroup is there. */
	if (bpf_cgroup_stats_add(&stats, id, 0, 0, 0) == -ENOENT)
		__sync_fetch_and_add(&orphans, 1);
	__sync_fetch_and_add(&count->began, 1);
	err = bpf_cgroup_stats_add(&stats, 0, 0, 1, 0);
	if (err)
		__sync_fetch_and_add(&failed, 1);
	else
		__sync_fetch_and_add(&count->told, 1);
}

SEC("?tp_btf/sched_process_exit")
int on_exit(void *ctx)
{
	count_own();
	return 0;
}

struct wait {
	__u64 deadline;
	__u64 removed;
};

static int wait_removed(__u64 i, struct wait *wait)
{
	return removed != wait->removed ||
	       bpf_ktime_get_ns() > wait->deadline;
}

/*
 * The task has left its cgroup for good but still runs. It gives user space a little
 * time for its rmdir().
 */
SEC("?fentry/flush_ptrace_hw_breakpoint")
int after_exit(void *ctx)
{
	struct wait wait = { .deadline = bpf_ktime_get_ns() + 2000000, .removed = removed };
	__u64 id = bpf_get_current_cgroup_id();

	if (!bpf_map_lookup_elem(&own, &id))
		return 0;
	count_own();
	bpf_loop(1 << 16, wait_removed, &wait, 0);
	count_own();
	return 0;
}

/* The last thing that a task does. */
SEC("?tp_btf/sched_switch")
int on_switch(void *ctx)
{
	count_own();
	return 0;
}

/* --- in the flush, and all around it --- */

/* Each place that a program is attached to has an element, which is its cookie. */
struct lifetime_count hits[LIFETIME_ELEMS];

static __always_inline void hit(void *ctx)
{
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u32 nr = cookie & (LIFETIME_ELEMS - 1);

	__sync_fetch_and_add(&hits[nr].began, 1);
	if (bpf_cgroup_stats_add(&stats, target_id, nr, 1, 0))
		__sync_fetch_and_add(&failed, 1);
	else
		__sync_fetch_and_add(&hits[nr].told, 1);
	/* 0 changes nothing, whatever it comes between. */
	if (cookie & LIFETIME_BOTH && bpf_cgroup_stats_add(&largest, target_id, 0, 0, 0))
		__sync_fetch_and_add(&failed, 1);
}

/* User space loads it again, for other functions. */
SEC("?fentry/bpf_rstat_flush")
int at_entry(void *ctx)
{
	hit(ctx);
	return 0;
}

SEC("?fexit/bpf_rstat_flush")
int at_exit(void *ctx)
{
	hit(ctx);
	return 0;
}

SEC("?raw_tp")
int at_tracepoint(void *ctx)
{
	hit(ctx);
	return 0;
}

SEC("?raw_tp")
int add(__u64 *args)
{
	return bpf_cgroup_stats_add(&stats, args[0], args[1], args[2], 0);
}

SEC("?raw_tp")
int add_largest(__u64 *args)
{
	return bpf_cgroup_stats_add(&largest, args[0], args[1], args[2], 0);
}

SEC("?syscall")
int flush(__u64 *args)
{
	return bpf_cgroup_stats_flush(&stats, args[0], 0);
}

/* --- mkdir() that fails --- */

/* The nodes of the new cgroup: its directory is number 0, and the files come after it. */
int nodes, fail_node;
__u64 new_id, new_told;

SEC("?lsm/kernfs_init_security")
int BPF_PROG(on_node, struct kernfs_node *dir, struct kernfs_node *node)
{
	int nr;

	if ((__u32)bpf_get_current_pid_tgid() != target_tid)
		return 0;
	nr = nodes++;
	if (nr) {
		/* It is not there yet for user space, but has its entries. */
		new_id = dir->id;
		if (bpf_cgroup_stats_add(&stats, new_id, 0, 1, 0))
			failed++;
		else
			new_told++;
	} else if (bpf_cgroup_stats_add(&stats, node->id, 0, 1, 0) != -ENOENT) {
		failed++;
	}
	return nr == fail_node ? -EPERM : 0;
}
