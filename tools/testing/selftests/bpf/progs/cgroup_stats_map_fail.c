// SPDX-License-Identifier: GPL-2.0
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "bpf_experimental.h"
#include "cgroup_stats_map.h"

char _license[] SEC("license") = "GPL";

struct stats {
	__u64 a;
	__u64 b;
};

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct stats);
} stats SEC(".maps");

struct elem {
	struct bpf_timer timer;
	struct bpf_spin_lock lock;
	struct bpf_wq wq;
	__u64 a;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct elem);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct stats);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} storage SEC(".maps");

__u64 id;
__u32 zero;
__u64 out;

/* Totals are read-only. */

SEC("?tc")
__failure __msg("write into map forbidden, value_size=16 off=8 size=8")
int write(void *ctx)
{
	struct stats *value = bpf_map_lookup_elem(&stats, &id);

	if (value)
		value->b = 1;
	return 0;
}

SEC("?syscall")
__failure __msg("write into map forbidden, value_size=16 off=0 size=8")
int write_sleepable(void *ctx)
{
	struct stats *value = bpf_map_lookup_elem(&stats, &id);

	if (value)
		value->a = 1;
	return 0;
}

SEC("?tc")
__failure __msg("write into map forbidden, value_size=16 off=8 size=8")
int write_atomic(void *ctx)
{
	struct stats *value = bpf_map_lookup_elem(&stats, &id);

	if (value)
		__sync_fetch_and_add(&value->b, 1);
	return 0;
}

SEC("?tc")
__failure __msg("write into map forbidden, value_size=16 off=0 size=1")
int write_byte(void *ctx)
{
	char *value = bpf_map_lookup_elem(&stats, &id);

	if (value)
		*value = 1;
	return 0;
}

SEC("?raw_tp/sys_enter")
__failure __msg("write into map forbidden")
int write_by_helper(void *ctx)
{
	struct stats *value = bpf_map_lookup_elem(&stats, &id);

	if (value)
		bpf_probe_read_kernel(value, sizeof(*value), ctx);
	return 0;
}

static long write_cb(struct bpf_map *map, __u64 *key, struct stats *value, void *ctx)
{
	value->a = 1;
	return 0;
}

SEC("?tc")
__failure __msg("write into map forbidden, value_size=16 off=0 size=8")
int write_in_walk(void *ctx)
{
	bpf_for_each_map_elem(&stats, write_cb, NULL, 0);
	return 0;
}

SEC("?tc")
__failure __msg("invalid access to map value, value_size=16 off=16 size=8")
int read_behind(void *ctx)
{
	struct stats *value = bpf_map_lookup_elem(&stats, &id);

	if (value)
		out = (&value->b)[1];
	return 0;
}

SEC("?tc")
__failure __msg("invalid mem access 'map_value_or_null'")
int read_unchecked(void *ctx)
{
	struct stats *value = bpf_map_lookup_elem(&stats, &id);

	out = value->a;
	return 0;
}

/* Helpers that are not for this map. */

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_map_update_elem")
int update(void *ctx)
{
	struct stats value = {};

	return bpf_map_update_elem(&stats, &id, &value, BPF_ANY);
}

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_map_delete_elem")
int delete(void *ctx)
{
	return bpf_map_delete_elem(&stats, &id);
}

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_map_push_elem")
int push(void *ctx)
{
	struct stats value = {};

	return bpf_map_push_elem(&stats, &value, BPF_ANY);
}

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_map_pop_elem")
int pop(void *ctx)
{
	struct stats value;

	return bpf_map_pop_elem(&stats, &value);
}

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_map_peek_elem")
int peek(void *ctx)
{
	struct stats value;

	return bpf_map_peek_elem(&stats, &value);
}

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_map_lookup_percpu_elem")
int lookup_percpu(void *ctx)
{
	return !bpf_map_lookup_percpu_elem(&stats, &id, 0);
}

SEC("?tp_btf/sys_enter")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_cgrp_storage_get")
int BPF_PROG(storage_get)
{
	struct task_struct *task = bpf_get_current_task_btf();

	bpf_cgrp_storage_get(&stats, task->cgroups->dfl_cgrp, 0, 0);
	return 0;
}

SEC("?xdp")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_redirect_map")
int redirect(struct xdp_md *ctx)
{
	return bpf_redirect_map(&stats, 0, 0);
}

/* Maps that are not for these helpers. */

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_cgroup_stats_add")
int add_hash(void *ctx)
{
	return bpf_cgroup_stats_add(&hash, id, 0, 1, 0);
}

SEC("?tc")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_cgroup_stats_add")
int add_array(void *ctx)
{
	return bpf_cgroup_stats_add(&array, id, 0, 1, 0);
}

SEC("?tp_btf/sys_enter")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_cgroup_stats_add")
int add_storage(void *ctx)
{
	return bpf_cgroup_stats_add(&storage, id, 0, 1, 0);
}

SEC("?syscall")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_cgroup_stats_flush")
int flush_hash(void *ctx)
{
	return bpf_cgroup_stats_flush(&hash, id, 0);
}

SEC("?tc")
__failure __msg("R1 type=map_value expected=map_ptr")
int add_value(void *ctx)
{
	struct stats *value = bpf_map_lookup_elem(&stats, &id);

	return value ? bpf_cgroup_stats_add(value, id, 0, 1, 0) : 0;
}

SEC("?tc")
__failure __msg("R1 type=scalar expected=map_ptr")
int add_null(void *ctx)
{
	return bpf_cgroup_stats_add(NULL, id, 0, 1, 0);
}

/* A flush sleeps. */

SEC("?tc")
__failure __msg("in {{(a )?}}non-sleepable prog")
int flush_tc(void *ctx)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?raw_tp/sys_enter")
__failure __msg("in {{(a )?}}non-sleepable prog")
int flush_raw_tp(void *ctx)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?fentry/" SYS_PREFIX "sys_getpgid")
__failure __msg("in {{(a )?}}non-sleepable prog")
int flush_fentry(void *ctx)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?perf_event")
__failure __msg("in {{(a )?}}non-sleepable prog")
int flush_perf_event(void *ctx)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?iter/cgroup")
__failure __msg("in {{(a )?}}non-sleepable prog")
int flush_iter(void *ctx)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?syscall")
__failure __msg("sleepable helper bpf_cgroup_stats_flush#{{[0-9]+}} in rcu_read_lock region")
int flush_rcu(void *ctx)
{
	bpf_rcu_read_lock();
	bpf_cgroup_stats_flush(&stats, id, 0);
	bpf_rcu_read_unlock();
	return 0;
}

SEC("?syscall")
__failure __msg("sleepable helper bpf_cgroup_stats_flush#{{[0-9]+}} in non-preemptible region")
int flush_preempt(void *ctx)
{
	bpf_preempt_disable();
	bpf_cgroup_stats_flush(&stats, id, 0);
	bpf_preempt_enable();
	return 0;
}

SEC("?syscall")
__failure __msg("function calls are not allowed while holding a lock")
int flush_lock(void *ctx)
{
	struct elem *elem = bpf_map_lookup_elem(&array, &zero);

	if (!elem)
		return 0;
	bpf_spin_lock(&elem->lock);
	bpf_cgroup_stats_flush(&stats, id, 0);
	bpf_spin_unlock(&elem->lock);
	return 0;
}

static __noinline int flush_subprog(void)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?syscall")
__failure __msg("sleepable helper bpf_cgroup_stats_flush#{{[0-9]+}} in rcu_read_lock region")
int flush_rcu_subprog(void *ctx)
{
	bpf_rcu_read_lock();
	flush_subprog();
	bpf_rcu_read_unlock();
	return 0;
}

static long flush_walk_cb(struct bpf_map *map, const void *key, void *value, void *ctx)
{
	flush_subprog();
	return 0;
}

SEC("?syscall")
__failure __msg("bpf_cgroup_stats_flush#{{[0-9]+}} cannot sleep")
int flush_walk(void *ctx)
{
	bpf_for_each_map_elem(&stats, flush_walk_cb, NULL, 0);
	return 0;
}

SEC("?syscall")
__failure __msg("bpf_cgroup_stats_flush#{{[0-9]+}} cannot sleep")
int flush_walk_hash(void *ctx)
{
	bpf_for_each_map_elem(&hash, flush_walk_cb, NULL, 0);
	return 0;
}

static long flush_loop_cb(__u64 i, void *ctx)
{
	bpf_cgroup_stats_flush(&stats, id, 0);
	return 0;
}

SEC("?syscall")
__failure __msg("bpf_cgroup_stats_flush#{{[0-9]+}} cannot sleep")
int flush_loop(void *ctx)
{
	bpf_loop(2, flush_loop_cb, NULL, 0);
	return 0;
}

static long flush_vma_cb(struct task_struct *task, struct vm_area_struct *vma, void *ctx)
{
	bpf_cgroup_stats_flush(&stats, id, 0);
	return 0;
}

SEC("?fentry.s/" SYS_PREFIX "sys_getpgid")
__failure __msg("bpf_cgroup_stats_flush#{{[0-9]+}} cannot sleep")
int flush_find_vma(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	bpf_find_vma(task, 0, flush_vma_cb, NULL, 0);
	return 0;
}

__noinline int flush_global(__u64 x)
{
	return bpf_cgroup_stats_flush(&stats, x, 0);
}

SEC("?syscall")
__failure __msg("cannot sleep")
int flush_in_global(void *ctx)
{
	return flush_global(id);
}

static int flush_timer_cb(void *map, int *key, void *value)
{
	bpf_cgroup_stats_flush(&stats, id, 0);
	return 0;
}

SEC("?syscall")
__failure __msg("bpf_cgroup_stats_flush#{{[0-9]+ (cannot sleep|in non-sleepable prog)}}")
int flush_timer(void *ctx)
{
	struct elem *elem = bpf_map_lookup_elem(&array, &zero);

	if (!elem)
		return 0;
	bpf_timer_init(&elem->timer, &array, 1 /* CLOCK_MONOTONIC */);
	bpf_timer_set_callback(&elem->timer, flush_timer_cb);
	return 0;
}

static long flush_wq_loop_cb(__u64 i, void *ctx)
{
	bpf_cgroup_stats_flush(&stats, id, 0);
	return 0;
}

static int flush_wq_cb(void *map, int *key, void *value)
{
	bpf_loop(2, flush_wq_loop_cb, NULL, 0);
	return 0;
}

SEC("?syscall")
__failure __msg("bpf_cgroup_stats_flush#{{[0-9]+}} cannot sleep")
int flush_wq_loop(void *ctx)
{
	struct elem *elem = bpf_map_lookup_elem(&array, &zero);

	if (!elem)
		return 0;
	bpf_wq_init(&elem->wq, &array, 0);
	bpf_wq_set_callback(&elem->wq, flush_wq_cb, 0);
	return 0;
}
