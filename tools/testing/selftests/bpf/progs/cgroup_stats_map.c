// SPDX-License-Identifier: GPL-2.0
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "bpf_experimental.h"
#include "cgroup_stats_map.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct cgroup_stats_value);
} stats SEC(".maps"), other SEC(".maps");

/* Shows which of a removed cgroup and its ancestors was added to. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__uint(map_flags, BPF_F_NO_HIERARCHY);
	__type(key, __u64);
	__type(value, struct cgroup_stats_value);
} own SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct cgroup_stats_value);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, CGROUP_STATS_MAPS);
	__type(key, __u32);
	__array(values, struct inner);
} maps SEC(".maps");

struct work {
	struct bpf_wq wq;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct work);
} work SEC(".maps");

/* Whose events count, and where. */
int target_tid;
__u64 target_id;

/* Of each kind of program: how often it ran, and what went wrong last. */
int runs[NR_KINDS];
long errors[NR_KINDS];

/* What programs saw. */
__u64 seen;
__u64 keys[CGROUP_STATS_KEYS];
__u64 values[CGROUP_STATS_KEYS];
int nr_keys;
int done;
__u64 made_id;
long made_err, gone_err;

/* Programs for bpf_prog_test_run(): the context is an array of arguments. */

SEC("?raw_tp")
int add(__u64 *args)
{
	return bpf_cgroup_stats_add(&stats, args[0], args[1], args[2], args[3]);
}

SEC("?raw_tp")
int add_nth(__u64 *args)
{
	__u32 nth = args[3];
	void *map;

	map = bpf_map_lookup_elem(&maps, &nth);
	if (!map)
		return -1;
	return bpf_cgroup_stats_add(map, args[0], args[1], args[2], 0);
}

SEC("?syscall")
int add_sleepable(__u64 *args)
{
	return bpf_cgroup_stats_add(&stats, args[0], args[1], args[2], args[3]);
}

static __always_inline int __look(void *map, __u64 id, __u32 index)
{
	struct cgroup_stats_value *value;

	value = bpf_map_lookup_elem(map, &id);
	if (!value)
		return -ENOENT;
	seen = value->n[index & (CGROUP_STATS_ELEMS - 1)];
	return 0;
}

/* Shows the totals as of the last flush. */
SEC("?raw_tp")
int peek(__u64 *args)
{
	return __look(&stats, args[0], args[1]);
}

SEC("?syscall")
int look(__u64 *args)
{
	return __look(&stats, args[0], args[1]);
}

/* The key is a total, which the flush changes: from @args[0] to @args[1]. */
SEC("?syscall")
int look_by_total(__u64 *args)
{
	struct cgroup_stats_value *value, *found;
	__u64 id = args[0];

	value = bpf_map_lookup_elem(&stats, &id);
	if (!value)
		return -ENOENT;
	bpf_cgroup_stats_add(&stats, id, 0, id - value->n[0], 0);
	bpf_cgroup_stats_flush(&stats, id, 0);
	if (value->n[0] != id)
		return -EAGAIN;
	bpf_cgroup_stats_add(&stats, id, 0, args[1] - id, 0);
	found = bpf_map_lookup_elem(&stats, &value->n[0]);
	if (value->n[0] != args[1])
		return -EBUSY;
	return found == value ? 0 : -EINVAL;
}

static __noinline int look_subprog(__u64 id, __u32 index)
{
	return __look(&stats, id, index);
}

SEC("?syscall")
int look_static(__u64 *args)
{
	return look_subprog(args[0], args[1]);
}

SEC("?syscall")
int look_rcu(__u64 *args)
{
	int ret;

	bpf_rcu_read_lock();
	ret = __look(&stats, args[0], args[1]);
	bpf_rcu_read_unlock();
	return ret;
}

SEC("?syscall")
int look_preempt(__u64 *args)
{
	int ret;

	bpf_preempt_disable();
	ret = __look(&stats, args[0], args[1]);
	bpf_preempt_enable();
	return ret;
}

__noinline int look_any(__u64 id, __u32 index)
{
	return __look(&stats, id, index);
}

SEC("?syscall")
int look_global(__u64 *args)
{
	return look_any(args[0], args[1]);
}

struct look_ctx {
	__u64 id;
	__u32 index;
	int ret;
};

static int look_in_loop(__u64 i, struct look_ctx *ctx)
{
	ctx->ret = __look(&stats, ctx->id, ctx->index);
	return 0;
}

SEC("?syscall")
int look_loop(__u64 *args)
{
	struct look_ctx ctx = { .id = args[0], .index = args[1] };

	bpf_loop(1, look_in_loop, &ctx, 0);
	return ctx.ret;
}

static long look_in_walk(struct bpf_map *map, const void *key, void *value,
			 struct look_ctx *ctx)
{
	ctx->ret = __look(&stats, ctx->id, ctx->index);
	return 1;
}

SEC("?syscall")
int look_walk(__u64 *args)
{
	struct look_ctx ctx = { .id = args[0], .index = args[1] };

	bpf_for_each_map_elem(&stats, look_in_walk, &ctx, 0);
	return ctx.ret;
}

/* One call that sees two maps. */
SEC("?syscall")
int look_either(__u64 *args)
{
	struct cgroup_stats_value *value;
	__u64 id = args[0];
	void *map = &stats;

	if (args[2])
		map = &other;
	value = bpf_map_lookup_elem(map, &id);
	if (!value)
		return -ENOENT;
	seen = value->n[args[1] & (CGROUP_STATS_ELEMS - 1)];
	return 0;
}

SEC("?syscall")
int flush(__u64 *args)
{
	return bpf_cgroup_stats_flush(&stats, args[0], args[3]);
}

static __noinline int flush_subprog(__u64 id)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?syscall")
int flush_static(__u64 *args)
{
	return flush_subprog(args[0]);
}

/* What each element's call sees. */
static long sum_one(struct bpf_map *map, const __u64 *key,
		    struct cgroup_stats_value *value, void *ctx)
{
	__u32 nr = nr_keys;

	if (nr >= CGROUP_STATS_KEYS)
		return 1;
	keys[nr] = *key;
	values[nr] = value->n[0];
	nr_keys = nr + 1;
	return 0;
}

SEC("?raw_tp")
int walk(__u64 *args)
{
	nr_keys = 0;
	return bpf_for_each_map_elem(&stats, sum_one, NULL, args[0]);
}

SEC("?syscall")
int walk_sleepable(__u64 *args)
{
	nr_keys = 0;
	return bpf_for_each_map_elem(&stats, sum_one, NULL, args[0]);
}

static int flush_wq_cb(void *map, int *key, void *value)
{
	errors[KIND_WQ] = bpf_cgroup_stats_add(&stats, target_id, KIND_WQ, 1, 0) ?:
			  bpf_cgroup_stats_flush(&stats, target_id, 0);
	__sync_fetch_and_add(&runs[KIND_WQ], 1);
	return 0;
}

/* A work item's callback may sleep though the program that starts it may not. */
SEC("?tc")
int start_wq(struct __sk_buff *ctx)
{
	struct work *val;
	int key = 0;

	val = bpf_map_lookup_elem(&work, &key);
	if (!val)
		return -ENOENT;
	return bpf_wq_init(&val->wq, &work, 0) ?:
	       bpf_wq_set_callback(&val->wq, flush_wq_cb, 0) ?:
	       bpf_wq_start(&val->wq, 0);
}

/* A work item that has the map from another one, and sleeps with it. */
__u32 wq_nth;

static int use_nth_cb(void *map, int *key, void *value)
{
	__u32 nth = wq_nth;
	void *inner;

	inner = bpf_map_lookup_elem(&maps, &nth);
	if (inner) {
		bpf_cgroup_stats_add(inner, target_id, 0, 1, 0);
		bpf_cgroup_stats_flush(inner, target_id, 0);
		bpf_cgroup_stats_add(inner, target_id, 0, 1, 0);
		__sync_fetch_and_add(&done, 1);
	}
	__sync_fetch_and_add(&runs[KIND_WQ], 1);
	return 0;
}

SEC("?tc")
int start_wq_nth(struct __sk_buff *ctx)
{
	struct work *val;
	int key = 0;

	val = bpf_map_lookup_elem(&work, &key);
	if (!val)
		return -ENOENT;
	/* Init fails from the second time on. */
	bpf_wq_init(&val->wq, &work, 0);
	return bpf_wq_set_callback(&val->wq, use_nth_cb, 0) ?:
	       bpf_wq_start(&val->wq, 0);
}

static int timer_cb(void *map, int *key, void *value)
{
	errors[KIND_TIMER] = bpf_cgroup_stats_add(&stats, target_id, KIND_TIMER, 1, 0);
	__sync_fetch_and_add(&runs[KIND_TIMER], 1);
	return 0;
}

SEC("?syscall")
int start_timer(__u64 *args)
{
	struct work *val;
	int key = 0;

	val = bpf_map_lookup_elem(&work, &key);
	if (!val)
		return -ENOENT;
	return bpf_timer_init(&val->timer, &work, 1 /* CLOCK_MONOTONIC */) ?:
	       bpf_timer_set_callback(&val->timer, timer_cb) ?:
	       bpf_timer_start(&val->timer, 0, 0);
}

/* Reads in ascending order; what it writes to its buffer is its own. */
SEC("?iter/bpf_map_elem")
int dump(struct bpf_iter__bpf_map_elem *ctx)
{
	struct cgroup_stats_value *value = ctx->value;
	__u64 *key = ctx->key;

	if (!key || !value) {
		done++;
		return 0;
	}
	BPF_SEQ_PRINTF(ctx->meta->seq, "%llu %llu\n", *key, value->n[0]);
	value->n[0] = 12345;
	value->n[CGROUP_STATS_ELEMS - 1] = 12345;
	return 0;
}

/* mkdir() and rmdir(), under cgroup_mutex. */
SEC("?tp_btf/cgroup_mkdir")
int BPF_PROG(on_mkdir, struct cgroup *cgrp, const char *path)
{
	if (bpf_get_current_pid_tgid() << 32 >> 32 != target_tid)
		return 0;
	made_id = cgrp->kn->id;
	made_err = bpf_cgroup_stats_add(&stats, made_id, 0, 5, 0);
	return 0;
}

SEC("?tp_btf/cgroup_rmdir")
int BPF_PROG(on_rmdir, struct cgroup *cgrp, const char *path)
{
	if (bpf_get_current_pid_tgid() << 32 >> 32 != target_tid)
		return 0;
	gone_err = bpf_cgroup_stats_add(&stats, cgrp->kn->id, 0, 5, 0);
	return 0;
}

/* One program of each kind that adds. */

static __always_inline void count(enum kind kind)
{
	long err;

	err = bpf_cgroup_stats_add(&stats, target_id, kind, 1, 0);
	if (err)
		errors[kind] = err;
	__sync_fetch_and_add(&runs[kind], 1);
}

static __always_inline void count_target(enum kind kind)
{
	if ((__u32)bpf_get_current_pid_tgid() == target_tid)
		count(kind);
}

SEC("?raw_tp/sys_enter")
int kind_raw_tp(void *ctx)
{
	count_target(KIND_RAW_TP);
	return 0;
}

SEC("?tp_btf/sys_exit")
int kind_tp_btf(void *ctx)
{
	count_target(KIND_TP_BTF);
	return 0;
}

SEC("?tp/syscalls/sys_enter_getpgid")
int kind_tp(void *ctx)
{
	count_target(KIND_TP);
	return 0;
}

SEC("?fentry/" SYS_PREFIX "sys_getpgid")
int kind_fentry(void *ctx)
{
	count_target(KIND_FENTRY);
	return 0;
}

SEC("?fentry.s/" SYS_PREFIX "sys_getpgid")
int kind_fentry_sleepable(void *ctx)
{
	count_target(KIND_FENTRY_SLEEPABLE);
	return 0;
}

SEC("?fexit/" SYS_PREFIX "sys_getpgid")
int kind_fexit(void *ctx)
{
	count_target(KIND_FEXIT);
	return 0;
}

SEC("?kprobe/" SYS_PREFIX "sys_getpgid")
int kind_kprobe(void *ctx)
{
	count_target(KIND_KPROBE);
	return 0;
}

SEC("?kretprobe/" SYS_PREFIX "sys_getpgid")
int kind_kretprobe(void *ctx)
{
	count_target(KIND_KRETPROBE);
	return 0;
}

SEC("?lsm.s/bpf")
int BPF_PROG(kind_lsm_sleepable, int cmd, union bpf_attr *attr, unsigned int size)
{
	count_target(KIND_LSM_SLEEPABLE);
	return 0;
}

SEC("?lsm/bpf")
int BPF_PROG(kind_lsm, int cmd, union bpf_attr *attr, unsigned int size)
{
	count_target(KIND_LSM);
	return 0;
}

SEC("?cgroup/getsockopt")
int kind_sockopt(struct bpf_sockopt *ctx)
{
	count(KIND_SOCKOPT);
	return 1;
}

SEC("?cgroup/sock_create")
int kind_sock_create(struct bpf_sock *ctx)
{
	count(KIND_SOCK_CREATE);
	return 1;
}

SEC("?cgroup_skb/egress")
int kind_cgroup_skb(struct __sk_buff *ctx)
{
	count(KIND_CGROUP_SKB);
	return 1;
}

SEC("?socket")
int kind_socket(struct __sk_buff *ctx)
{
	count(KIND_SOCKET);
	return 0;
}

SEC("?tc")
int kind_tc(struct __sk_buff *ctx)
{
	count(KIND_TC);
	return 0;
}

SEC("?xdp")
int kind_xdp(struct xdp_md *ctx)
{
	count(KIND_XDP);
	return XDP_PASS;
}

SEC("?perf_event")
int kind_perf_event(void *ctx)
{
	count(KIND_PERF_EVENT);
	return 0;
}

SEC("?syscall")
int kind_syscall(void *ctx)
{
	count(KIND_SYSCALL);
	return 0;
}

SEC("?iter.s/cgroup")
int kind_iter(struct bpf_iter__cgroup *ctx)
{
	count(KIND_ITER);
	return 0;
}

/* rstat's own lock is held: these run in a flush of the map. */
SEC("?fentry/bpf_rstat_flush")
int BPF_PROG(kind_flush, struct cgroup *cgrp, struct cgroup *parent, int cpu)
{
	count_target(KIND_FLUSH);
	return 0;
}

SEC("?fentry/cgroup_stats_rstat_queue")
int BPF_PROG(kind_drain, struct cgroup *cgrp, int cpu)
{
	count_target(KIND_DRAIN);
	return 0;
}

SEC("?tp_btf/cgroup_rstat_locked")
int kind_rstat_locked(void *ctx)
{
	count_target(KIND_RSTAT_LOCKED);
	return 0;
}

/* How many cgroups the drain queues before it lets go of the lock, in a flush of ours. */
int queued, most_queued;

SEC("?fentry/cgroup_stats_rstat_queue")
int on_queue(void *ctx)
{
	if ((__u32)bpf_get_current_pid_tgid() != target_tid)
		return 0;
	queued++;
	if (queued > most_queued)
		most_queued = queued;
	return 0;
}

SEC("?fentry/cgroup_stats_rstat_unlock")
int on_unlock(void *ctx)
{
	if ((__u32)bpf_get_current_pid_tgid() == target_tid)
		queued = 0;
	return 0;
}

/* In the context of NMIs, the only ones there are without a PMU. */
SEC("?raw_tp/nmi_handler")
int kind_nmi(void *ctx)
{
	count(KIND_NMI);
	return 0;
}

/*
 * A task that has left its cgroup for good but still runs: it waits here until
 * user space has removed that cgroup, and then counts something.
 */
int exit_tgid;
bool at_exit, removed;
__u64 exit_id;
long exit_err, exit_own_err, exit_by_id_err;

static int wait_removed(__u64 i, __u64 *deadline)
{
	return removed || bpf_ktime_get_ns() > *deadline;
}

SEC("?fentry/flush_ptrace_hw_breakpoint")
int BPF_PROG(after_cgroup_exit, struct task_struct *task)
{
	__u64 deadline = bpf_ktime_get_ns() + 5000000000ULL;

	if (bpf_get_current_pid_tgid() >> 32 != exit_tgid)
		return 0;
	at_exit = true;
	bpf_loop(1 << 23, wait_removed, &deadline, 0);
	exit_id = bpf_get_current_cgroup_id();
	exit_by_id_err = bpf_cgroup_stats_add(&stats, exit_id, 0, 100, 0);
	exit_err = bpf_cgroup_stats_add(&stats, 0, 0, 7, 0);
	exit_own_err = bpf_cgroup_stats_add(&own, 0, 0, 7, 0);
	done++;
	return 0;
}

/*
 * A reader between its flush and its copy, and a flusher half-way in a fold of the same
 * entry. The flusher holds the lock; it goes on when the reader has its copy, or when that
 * has had time enough to show that it waits for the lock.
 */
int flusher_tid;
int half_step;

static int wait_half_step(__u64 i, __u64 *until)
{
	return half_step != until[0] || bpf_ktime_get_ns() > until[1];
}

static __always_inline void wait_while(int step, __u64 ns)
{
	__u64 until[] = { step, bpf_ktime_get_ns() + ns };

	bpf_loop(1 << 23, wait_half_step, until, 0);
}

SEC("?fexit/cgroup_stats_rstat_flush")
int after_flush(void *ctx)
{
	int i;

	if ((__u32)bpf_get_current_pid_tgid() != target_tid || half_step != HALF_READ)
		return 0;
	for (i = 0; i < CGROUP_STATS_ELEMS; i++)
		bpf_cgroup_stats_add(&stats, target_id, i, 1, 0);
	half_step = HALF_ADDED;
	wait_while(HALF_ADDED, 5000000000ULL);
	return 0;
}

/* A line of the target's entry, which comes before its parent's. */
SEC("?fentry/cgroup_stats_fold_any")
int half_way(void *ctx)
{
	if ((__u32)bpf_get_current_pid_tgid() != flusher_tid || half_step != HALF_ADDED)
		return 0;
	if (++done != CGROUP_STATS_ELEMS / 8 / 2 + 1)
		return 0;
	half_step = HALF_FOLDED;
	wait_while(HALF_FOLDED, 200000000ULL);
	return 0;
}
