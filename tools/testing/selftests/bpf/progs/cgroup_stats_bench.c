// SPDX-License-Identifier: GPL-2.0
/*
 * What statistics per cgroup cost, by the map and in other ways:
 * benchs/bench_cgroup_stats.c loads those of these programs that a benchmark needs.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_experimental.h"
#include "cgroup_stats_bench.h"

char _license[] SEC("license") = "GPL";

/* Elements of a value, those of them that change, and the level of the task's cgroup. */
const volatile __u32 nr_elems = 1;
const volatile __u32 nr_dirty = 1;
const volatile __u32 nr_levels = 1;

/* Which of the attached programs are to run. */
__u32 turn;
/* How many of the maps change, where more than one can. */
__u32 nr_changed;
/* How often to add, or how many of ids[] change, from the first on. */
__u32 nr_loops;
__u32 first;
/* What is larger than all samples before, or smaller. */
__u64 sample;
/* The process whose adds are measured. */
__u32 tgid;
/* What took how long, without the call of the program, and how often. */
__u64 ns;
__u32 nr_parts;
/* The cgroup to flush or to add to. */
__u64 target_id;
/* Calls that did not do what they are here for. */
__u64 failed;
__u64 ids[BENCH_CGROUPS];

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, __u64);
} stats SEC(".maps");

/* Of several maps that change, each. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, BENCH_MAPS);
	__type(key, __u32);
	__type(value, __u32);
} each SEC(".maps");

/* For user space, which adds up; and for who adds to all ancestors with every event. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, BENCH_CGROUPS);
	__uint(key_size, sizeof(__u64));
	__uint(value_size, sizeof(__u64));
} counts SEC(".maps");

/* For the flusher. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, BENCH_CGROUPS);
	__uint(key_size, sizeof(__u64));
	__uint(value_size, sizeof(struct bench_running));
} running SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BENCH_CGROUPS);
	__uint(key_size, sizeof(__u64));
	__uint(value_size, sizeof(struct bench_total));
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} cgrp_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u64);
} percpu_cgroup_storage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} percpu_array SEC(".maps");

struct cgroup *bpf_cgroup_from_id(u64 cgid) __ksym;
void bpf_cgroup_release(struct cgroup *cgrp) __ksym;
struct cgroup *bpf_cgroup_acquire(struct cgroup *cgrp) __ksym;
/* rstat's: a kernel has the first two or the others. */
void css_rstat_updated(struct cgroup_subsys_state *css, int cpu) __ksym __weak;
void css_rstat_flush(struct cgroup_subsys_state *css) __ksym __weak;
void cgroup_rstat_updated(struct cgroup *cgrp, int cpu) __ksym __weak;
void cgroup_rstat_flush(struct cgroup *cgrp) __ksym __weak;

const u8 *bpf_cgroup_stats_fold_ro(struct bpf_cgroup_stats_fold *fold, void *p__map,
				   u32 which, const u32 rdonly_buf_size) __weak __ksym;
u8 *bpf_cgroup_stats_fold_rw(struct bpf_cgroup_stats_fold *fold, void *p__map,
			     u32 which, const u32 rdwr_buf_size) __weak __ksym;

/* --- rstat by its kfuncs, with a reference to the cgroup --- */

static __always_inline void rstat_updated(struct cgroup *cgrp)
{
	if (bpf_ksym_exists(css_rstat_updated)) {
		/* It wants preemption off, and leaves that to its callers. */
		bpf_preempt_disable();
		css_rstat_updated(&cgrp->self, bpf_get_smp_processor_id());
		bpf_preempt_enable();
	} else {
		cgroup_rstat_updated(cgrp, bpf_get_smp_processor_id());
	}
}

static __always_inline void rstat_flush(struct cgroup *cgrp)
{
	if (bpf_ksym_exists(css_rstat_flush))
		css_rstat_flush(&cgrp->self);
	else
		cgroup_rstat_flush(cgrp);
}

/* --- adds: nr_loops of each --- */

static struct cgroup *current_cgroup(void)
{
	return bpf_get_current_task_btf()->cgroups->dfl_cgrp;
}

#define LOOP_IF(type, name, once, is_turn)		\
SEC("?" type)						\
int name(void *ctx)					\
{							\
	__u64 begin;					\
							\
	if (!(is_turn))					\
		return 0;				\
	begin = bpf_ktime_get_ns();			\
	bpf_loop(nr_loops, once, NULL, 0);		\
	ns = bpf_ktime_get_ns() - begin;		\
	turn = BENCH_NONE;				\
	return 0;					\
}

#define LOOP(type, name, once, whose) LOOP_IF(type, name, once, turn == (whose))

/* An NMI comes by once for each of its handlers, and on all CPUs but one. */
#define LOOP_NMI(name, once, whose)			\
	LOOP_IF("raw_tp/nmi_handler", name, once,	\
		turn == (whose) && bpf_get_current_pid_tgid() >> 32 == tgid)

static long once_empty(__u32 i, void *ctx)
{
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_empty, once_empty, BENCH_EMPTY)
LOOP("cgroup_skb/egress", add_empty_skb, once_empty, BENCH_EMPTY)
LOOP_NMI(add_empty_nmi, once_empty, BENCH_EMPTY)

/* What was added is checked in the end, by user space. */
static long once_map(__u32 i, void *ctx)
{
	bpf_cgroup_stats_add(&stats, 0, 0, 1, 0);
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_map, once_map, BENCH_ADD)
LOOP_NMI(add_map_nmi, once_map, BENCH_ADD)

static long once_map_max_new(__u32 i, void *ctx)
{
	bpf_cgroup_stats_add(&stats, 0, 0, sample + i, 0);
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_map_max_new, once_map_max_new, BENCH_ADD)

static long once_map_min_new(__u32 i, void *ctx)
{
	bpf_cgroup_stats_add(&stats, 0, 0, sample - i, 0);
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_map_min_new, once_map_min_new, BENCH_ADD)

static long once_map_id(__u32 i, void *ctx)
{
	bpf_cgroup_stats_add(&stats, target_id, 0, 1, 0);
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_id_map, once_map_id, BENCH_ADD)

static __always_inline void add_count(__u64 id)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &id);

	if (value)
		(*value)++;
	else
		failed++;
}

static long once_percpu_hash(__u32 i, void *ctx)
{
	add_count(current_cgroup()->kn->id);
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_percpu_hash, once_percpu_hash, BENCH_ADD)

static long once_percpu_hash_id(__u32 i, void *ctx)
{
	add_count(target_id);
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_id_percpu_hash, once_percpu_hash_id, BENCH_ADD)

static __always_inline void add_running(__u64 id)
{
	struct bench_running *value = bpf_map_lookup_elem(&running, &id);

	if (value)
		value->now++;
	else
		failed++;
}

static long once_kfunc(__u32 i, void *ctx)
{
	struct cgroup *cgrp = current_cgroup();

	add_running(cgrp->kn->id);
	if (!bpf_ksym_exists(css_rstat_updated)) {
		/* This one takes a pointer that nobody holds a reference to. */
		rstat_updated(cgrp);
		return 0;
	}
	cgrp = bpf_cgroup_acquire(cgrp);
	if (!cgrp) {
		failed++;
		return 0;
	}
	rstat_updated(cgrp);
	bpf_cgroup_release(cgrp);
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_kfunc, once_kfunc, BENCH_ADD)

static long once_cgrp_storage(__u32 i, void *ctx)
{
	__u64 *value = bpf_cgrp_storage_get(&cgrp_storage, current_cgroup(), NULL, 0);

	if (value)
		__sync_fetch_and_add(value, 1);
	else
		failed++;
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_cgrp_storage, once_cgrp_storage, BENCH_ADD)

static long once_percpu_array(__u32 i, void *ctx)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&percpu_array, &key);

	if (value)
		(*value)++;
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_percpu_array, once_percpu_array, BENCH_ADD)

static long once_percpu_cgroup_storage(__u32 i, void *ctx)
{
	__u64 *value = bpf_get_local_storage(&percpu_cgroup_storage, 0);

	(*value)++;
	return 0;
}

LOOP("cgroup_skb/egress", add_percpu_cgroup_storage, once_percpu_cgroup_storage, BENCH_ADD)

/* What collectors do who add up with every event. */
static long once_walk_up(__u32 i, void *ctx)
{
	__u32 level;

	for (level = 1; level <= nr_levels; level++)
		add_count(bpf_get_current_ancestor_cgroup_id(level));
	return 0;
}

LOOP("fentry/bpf_fentry_test1", add_walk_up, once_walk_up, BENCH_ADD)

/* --- memcg's own counter, once, and a function that does nothing --- */

static __u64 since;

static __always_inline int begin_of(__u32 whose)
{
	if (turn == whose && bpf_get_current_pid_tgid() >> 32 == tgid)
		since = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int end_of(__u32 whose)
{
	__u64 now = bpf_ktime_get_ns();

	if (turn == whose && since) {
		ns = now - since;
		since = 0;
		turn = BENCH_NONE;
	}
	return 0;
}

SEC("?fentry/bpf_fentry_test1")
int empty_begin(void *ctx)
{
	return begin_of(BENCH_EMPTY);
}

SEC("?fexit/bpf_fentry_test1")
int empty_end(void *ctx)
{
	return end_of(BENCH_EMPTY);
}

SEC("?fentry")
int memcg_begin(void *ctx)
{
	return begin_of(BENCH_ADD);
}

SEC("?fexit")
int memcg_end(void *ctx)
{
	return end_of(BENCH_ADD);
}

/* --- all calls of functions that are not within each other --- */

#define TIME_CALLS(what, function)				\
static __u64 since_##what;					\
								\
SEC("?fentry/" function)					\
int begin_##what(void *ctx)					\
{								\
	if (turn == BENCH_RELEASE)				\
		since_##what = bpf_ktime_get_ns();		\
	return 0;						\
}								\
								\
SEC("?fexit/" function)						\
int end_##what(void *ctx)					\
{								\
	__u64 now = bpf_ktime_get_ns();				\
								\
	if (since_##what) {					\
		__sync_fetch_and_add(&ns, now - since_##what);	\
		__sync_fetch_and_add(&nr_parts, 1);		\
		since_##what = 0;				\
	}							\
	return 0;						\
}

TIME_CALLS(empty, "bpf_fentry_test1")
TIME_CALLS(offline, "bpf_cgroup_stats_offline")
TIME_CALLS(release, "bpf_cgroup_stats_release")
TIME_CALLS(free, "cgroup_stats_entry_free_rcu")

/* --- changes: in nr_loops cgroups of ids[], from the first on --- */

#define CHANGE(name, once)				\
SEC("?fentry/bpf_fentry_test1")				\
int name(void *ctx)					\
{							\
	if (turn == BENCH_CHANGE)			\
		bpf_loop(nr_loops, once, NULL, 0);	\
	return 0;					\
}

static __always_inline __u64 nth_id(__u32 i)
{
	return ids[(first + i) % BENCH_CGROUPS];
}

static __always_inline void change_map_by(__u64 id, __u64 value)
{
	__u32 elem;

	for (elem = 0; elem < nr_dirty; elem++)
		if (bpf_cgroup_stats_add(&stats, id, elem, value, 0))
			failed++;
}

static long change_one_map(__u32 i, void *ctx)
{
	change_map_by(nth_id(i), 1);
	return 0;
}

CHANGE(change_map, change_one_map)

static long change_one_map_max_new(__u32 i, void *ctx)
{
	change_map_by(nth_id(i), sample + i);
	return 0;
}

CHANGE(change_map_max_new, change_one_map_max_new)

static long change_one_map_min_new(__u32 i, void *ctx)
{
	change_map_by(nth_id(i), sample - i);
	return 0;
}

CHANGE(change_map_min_new, change_one_map_min_new)

static long change_one_of_each(__u32 i, void *ctx)
{
	__u32 key = i % nr_changed, elem;
	void *map;

	map = bpf_map_lookup_elem(&each, &key);
	for (elem = 0; map && elem < nr_dirty; elem++)
		if (bpf_cgroup_stats_add(map, nth_id(i / nr_changed), elem, 1, 0))
			failed++;
	return 0;
}

SEC("?fentry/bpf_fentry_test1")
int change_map_fold(void *ctx)
{
	if (turn == BENCH_CHANGE)
		bpf_loop(nr_loops * nr_changed, change_one_of_each, NULL, 0);
	return 0;
}

static __always_inline void change_count(__u64 id)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &id);
	__u32 elem;

	if (!value) {
		failed++;
		return;
	}
	for (elem = 0; elem < nr_dirty; elem++)
		value[elem]++;
}

static __always_inline void change_running(__u64 id)
{
	struct bench_running *value = bpf_map_lookup_elem(&running, &id);
	__u32 elem;

	if (!value) {
		failed++;
		return;
	}
	for (elem = 0; elem < nr_dirty; elem++)
		value[elem].now++;
}

static __always_inline void update_rstat(__u64 id)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(id);

	if (!cgrp) {
		failed++;
		return;
	}
	rstat_updated(cgrp);
	bpf_cgroup_release(cgrp);
}

static long change_one_percpu_hash(__u32 i, void *ctx)
{
	change_count(nth_id(i));
	return 0;
}

CHANGE(change_percpu_hash, change_one_percpu_hash)

static long change_one_kfunc(__u32 i, void *ctx)
{
	change_running(nth_id(i));
	update_rstat(nth_id(i));
	return 0;
}

CHANGE(change_kfunc, change_one_kfunc)

static long change_one_rstat(__u32 i, void *ctx)
{
	update_rstat(nth_id(i));
	return 0;
}

CHANGE(change_rstat, change_one_rstat)

/* --- flushes --- */

SEC("?fentry.s/bpf_fentry_test1")
int flush(void *ctx)
{
	struct cgroup *cgrp;
	__u64 begin;

	if (turn != BENCH_FLUSH)
		return 0;
	cgrp = bpf_cgroup_from_id(target_id);
	if (!cgrp) {
		failed++;
		return 0;
	}
	begin = bpf_ktime_get_ns();
	rstat_flush(cgrp);
	ns = bpf_ktime_get_ns() - begin;
	bpf_cgroup_release(cgrp);
	return 0;
}

/* As cgroup_hierarchical_stats does it, for any number of elements. */
SEC("?fentry/bpf_rstat_flush")
int BPF_PROG(flusher, struct cgroup *cgrp, struct cgroup *parent, int cpu)
{
	__u64 id = cgrp->kn->id, up_id = parent ? parent->kn->id : 0, delta;
	struct bench_total *total, *up = NULL;
	struct bench_running *value;
	__u32 i;

	value = bpf_map_lookup_percpu_elem(&running, &id, cpu);
	total = bpf_map_lookup_elem(&totals, &id);
	if (!value || !total)
		return 0;
	if (up_id)
		up = bpf_map_lookup_elem(&totals, &up_id);
	for (i = 0; i < nr_elems; i++) {
		delta = total[i].pending;
		if (delta)
			total[i].pending = 0;
		delta += value[i].now - value[i].prev;
		if (!delta)
			continue;
		value[i].prev = value[i].now;
		total[i].total += delta;
		if (up) {
			barrier_var(up);	/* or clang moves it, and the verifier objects */
			up[i].pending += delta;
		}
	}
	return 0;
}

SEC("?struct_ops/fold")
int BPF_PROG(fold, struct bpf_cgroup_stats_fold *f)
{
	const __u32 size = nr_elems * sizeof(__u64);
	const __u64 *now, *prev, *pending;
	__u64 *total, *parent, delta;
	__u32 i;

	now = (void *)bpf_cgroup_stats_fold_ro(f, &stats, BPF_CGROUP_STATS_NOW, size);
	prev = (void *)bpf_cgroup_stats_fold_ro(f, &stats, BPF_CGROUP_STATS_PREV, size);
	pending = (void *)bpf_cgroup_stats_fold_ro(f, &stats, BPF_CGROUP_STATS_PENDING, size);
	total = (void *)bpf_cgroup_stats_fold_rw(f, &stats, BPF_CGROUP_STATS_TOTAL, size);
	parent = (void *)bpf_cgroup_stats_fold_rw(f, &stats, BPF_CGROUP_STATS_PARENT, size);
	if (!now || !prev || !pending || !total)
		return 0;
	for (i = 0; i < nr_elems; i++) {
		delta = now[i] - prev[i] + pending[i];
		total[i] += delta;
		if (parent)
			parent[i] += delta;
	}
	return 0;
}

SEC("?.struct_ops.link")
struct bpf_cgroup_stats_ops aggregator = {
	.fold = (void *)fold,
};

SEC("?iter.s/cgroup")
int BPF_PROG(flush_all, struct bpf_iter_meta *meta, struct cgroup *cgrp)
{
	if (cgrp)
		rstat_flush(cgrp);
	return 0;
}
