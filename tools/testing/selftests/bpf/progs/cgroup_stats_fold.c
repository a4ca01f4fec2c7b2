// SPDX-License-Identifier: GPL-2.0
/* Aggregators of cgroup stats maps: prog_tests/cgroup_stats_fold.c */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "cgroup_stats_fold.h"

char _license[] SEC("license") = "GPL";

struct sums_map {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct fold_sums);
} stats SEC(".maps"), other SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct fold_top);
} hottest SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct fold_large);
} large SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct fold_mixed);
} mixed SEC(".maps");

/* stats and other, for a program that refers to them in no other way. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct sums_map);
} maps SEC(".maps") = {
	.values = { &stats, &other },
};

/* Adders, for bpf_prog_test_run(): the context is an array of arguments. */

SEC("raw_tp")
int add(__u64 *args)
{
	return bpf_cgroup_stats_add(&stats, args[0], args[1], args[2], 0);
}

SEC("raw_tp")
int add_other(__u64 *args)
{
	return bpf_cgroup_stats_add(&other, args[0], args[1], args[2], 0);
}

SEC("raw_tp")
int add_large(__u64 *args)
{
	return bpf_cgroup_stats_add(&large, args[0], args[1], args[2], 0);
}

SEC("raw_tp")
int add_hottest(__u64 *args)
{
	return bpf_cgroup_stats_add(&hottest, args[0], args[1], args[2], 0);
}

SEC("raw_tp")
int add_mixed(__u64 *args)
{
	return bpf_cgroup_stats_add(&mixed, args[0], args[1], args[2], 0);
}

/*
 * Aggregators. They run under the flush lock, one at a time, so that globals may
 * be counted up as they are.
 */
__u64 folds[NR_FOLDS];

/* Folds that did not get what they must. */
__u64 failed;

#define RO(type, f, map, which) \
	((const type *)bpf_cgroup_stats_fold_ro(f, map, which, sizeof(type)))
#define RW(type, f, map, which) \
	((type *)bpf_cgroup_stats_fold_rw(f, map, which, sizeof(type)))

/* A total goes to @cap and no further; a parent gets to know all. */
static __always_inline void add_up(struct bpf_cgroup_stats_fold *f, void *map, __u64 cap)
{
	const struct fold_sums *now, *prev, *pending;
	struct fold_sums *total, *parent;
	__u64 delta, sum;
	int i;

	now = RO(struct fold_sums, f, map, BPF_CGROUP_STATS_NOW);
	prev = RO(struct fold_sums, f, map, BPF_CGROUP_STATS_PREV);
	pending = RO(struct fold_sums, f, map, BPF_CGROUP_STATS_PENDING);
	total = RW(struct fold_sums, f, map, BPF_CGROUP_STATS_TOTAL);
	parent = RW(struct fold_sums, f, map, BPF_CGROUP_STATS_PARENT);
	if (!now || !prev || !pending || !total) {
		failed++;
		return;
	}
	for (i = 0; i < FOLD_ELEMS; i++) {
		delta = now->n[i] - prev->n[i] + pending->n[i];
		sum = total->n[i] + delta;
		total->n[i] = sum < cap ? sum : cap;
		if (parent)
			parent->n[i] += delta;
	}
}

SEC("?struct_ops/fold")
int BPF_PROG(saturate, struct bpf_cgroup_stats_fold *f)
{
	add_up(f, &stats, FOLD_CAP);
	return 0;
}

SEC("?struct_ops/fold")
int BPF_PROG(saturate_large, struct bpf_cgroup_stats_fold *f)
{
	const struct fold_large *now, *prev, *pending;
	struct fold_large *total, *parent;
	__u32 delta;
	int i;

	now = RO(struct fold_large, f, &large, BPF_CGROUP_STATS_NOW);
	prev = RO(struct fold_large, f, &large, BPF_CGROUP_STATS_PREV);
	pending = RO(struct fold_large, f, &large, BPF_CGROUP_STATS_PENDING);
	total = RW(struct fold_large, f, &large, BPF_CGROUP_STATS_TOTAL);
	parent = RW(struct fold_large, f, &large, BPF_CGROUP_STATS_PARENT);
	if (!now || !prev || !pending || !total) {
		failed++;
		return 0;
	}
	for (i = 0; i < FOLD_LARGE; i++) {
		delta = now->n[i] - prev->n[i] + pending->n[i];
		total->n[i] += delta;
		if (total->n[i] > FOLD_CAP)
			total->n[i] = FOLD_CAP;
		if (parent)
			parent->n[i] += delta;
	}
	return 0;
}

SEC("?struct_ops/fold")
int BPF_PROG(sum, struct bpf_cgroup_stats_fold *f)
{
	folds[FOLD_SUM]++;
	add_up(f, &stats, ~0ULL);
	return 0;
}

SEC("?struct_ops/fold")
int BPF_PROG(sum_again, struct bpf_cgroup_stats_fold *f)
{
	folds[FOLD_SUM_AGAIN]++;
	add_up(f, &stats, ~0ULL);
	return 0;
}

SEC("?struct_ops/fold")
int BPF_PROG(sum_other, struct bpf_cgroup_stats_fold *f)
{
	folds[FOLD_SUM_OTHER]++;
	add_up(f, &other, ~0ULL);
	return 0;
}

/* It has to name the map, but does nothing with it. */
SEC("?struct_ops/fold")
int BPF_PROG(ignore, struct bpf_cgroup_stats_fold *f)
{
	folds[FOLD_IGNORE]++;
	bpf_cgroup_stats_fold_ro(f, &stats, BPF_CGROUP_STATS_NOW, sizeof(struct fold_sums));
	return 0;
}

/* Programs that say too little, and too much, to be attached. */

SEC("?struct_ops/fold")
int BPF_PROG(no_map, struct bpf_cgroup_stats_fold *f)
{
	return 0;
}

SEC("?struct_ops/fold")
int BPF_PROG(two_maps, struct bpf_cgroup_stats_fold *f)
{
	add_up(f, &stats, ~0ULL);
	add_up(f, &other, ~0ULL);
	return 0;
}

/* --- the cgroups that have most of their own --- */

static __always_inline bool beats(const struct fold_record *a, const struct fold_record *b)
{
	return a->count > b->count || (a->count == b->count && a->id < b->id);
}

/* Counts only grow: of two records of a cgroup the larger is the newer. */
static __noinline int top_add(struct fold_top *top, __u64 id, __u64 count)
{
	struct fold_record *slot = &top->top[FOLD_TOP - 1], swap;
	struct fold_record record = { .id = id, .count = count };
	int i;

	for (i = 0; i < FOLD_TOP; i++) {
		if (top->top[i].id == id)
			slot = &top->top[i];
	}
	if (!id || !beats(&record, slot))
		return 0;
	*slot = record;
	for (i = FOLD_TOP - 1; i > 0; i--) {
		if (!beats(&top->top[i], &top->top[i - 1]))
			continue;
		swap = top->top[i];
		top->top[i] = top->top[i - 1];
		top->top[i - 1] = swap;
	}
	return 0;
}

SEC("?struct_ops/fold")
int BPF_PROG(top, struct bpf_cgroup_stats_fold *f)
{
	const struct fold_top *now, *prev, *pending;
	struct fold_top *total, *parent;
	int i;

	now = RO(struct fold_top, f, &hottest, BPF_CGROUP_STATS_NOW);
	prev = RO(struct fold_top, f, &hottest, BPF_CGROUP_STATS_PREV);
	pending = RO(struct fold_top, f, &hottest, BPF_CGROUP_STATS_PENDING);
	total = RW(struct fold_top, f, &hottest, BPF_CGROUP_STATS_TOTAL);
	parent = RW(struct fold_top, f, &hottest, BPF_CGROUP_STATS_PARENT);
	if (!now || !prev || !pending || !total) {
		failed++;
		return 0;
	}
	total->own += now->own - prev->own;
	for (i = 0; i < FOLD_TOP; i++)
		top_add(total, pending->top[i].id, pending->top[i].count);
	if (!parent)
		return 0;
	for (i = 0; i < FOLD_TOP; i++)
		top_add(parent, pending->top[i].id, pending->top[i].count);
	top_add(parent, f->cgroup_id, total->own);
	return 0;
}

/* --- what fold() sees --- */

struct fold_event events[FOLD_EVENTS];
__u32 nr_events;

static __always_inline void record_event(struct bpf_cgroup_stats_fold *f,
					 const struct fold_mixed *now,
					 const struct fold_mixed *prev,
					 const struct fold_mixed *pending,
					 const struct fold_mixed *total, bool has_parent)
{
	struct fold_event *event;
	__u32 nr = nr_events;

	nr_events = nr + 1;
	if (nr >= FOLD_EVENTS)
		return;
	event = &events[nr];
	event->id = f->cgroup_id;
	event->cpu = f->cpu;
	event->has_parent = has_parent;
	event->now = *now;
	event->prev = *prev;
	event->pending = *pending;
	event->total = *total;
}

static __always_inline void merge_mixed(struct fold_mixed *to, const struct fold_mixed *now,
					const struct fold_mixed *prev,
					const struct fold_mixed *pending)
{
	to->sum += now->sum - prev->sum + pending->sum;
	if (to->max < now->max)
		to->max = now->max;
	if (to->max < pending->max)
		to->max = pending->max;
	if (to->min > now->min)
		to->min = now->min;
	if (to->min > pending->min)
		to->min = pending->min;
}

SEC("?struct_ops/fold")
int BPF_PROG(record, struct bpf_cgroup_stats_fold *f)
{
	const struct fold_mixed *now, *prev, *pending;
	struct fold_mixed *total, *parent;

	now = RO(struct fold_mixed, f, &mixed, BPF_CGROUP_STATS_NOW);
	prev = RO(struct fold_mixed, f, &mixed, BPF_CGROUP_STATS_PREV);
	pending = RO(struct fold_mixed, f, &mixed, BPF_CGROUP_STATS_PENDING);
	total = RW(struct fold_mixed, f, &mixed, BPF_CGROUP_STATS_TOTAL);
	parent = RW(struct fold_mixed, f, &mixed, BPF_CGROUP_STATS_PARENT);
	if (!now || !prev || !pending || !total) {
		failed++;
		return 0;
	}
	record_event(f, now, prev, pending, total, !!parent);
	merge_mixed(total, now, prev, pending);
	if (parent)
		merge_mixed(parent, now, prev, pending);
	return 0;
}

/* --- what the kfuncs give --- */

__u64 probe_id;
__u8 probed[NR_PROBES];

/* The total, as it was written and as it is read. */
__u64 probe_written, probe_read;

#define PROBE(nr, mode, map, which, size) \
	(probed[nr] = bpf_cgroup_stats_fold_##mode(f, map, which, size) ? \
		      PROBED_MEM : PROBED_NULL)

static __always_inline void probe_which(struct bpf_cgroup_stats_fold *f)
{
	const __u32 size = sizeof(struct fold_sums);

	PROBE(PROBE_NOW, ro, &stats, BPF_CGROUP_STATS_NOW, size);
	PROBE(PROBE_PREV, ro, &stats, BPF_CGROUP_STATS_PREV, size);
	PROBE(PROBE_PENDING, ro, &stats, BPF_CGROUP_STATS_PENDING, size);
	PROBE(PROBE_TOTAL, ro, &stats, BPF_CGROUP_STATS_TOTAL, size);
	PROBE(PROBE_PARENT, ro, &stats, BPF_CGROUP_STATS_PARENT, size);
	PROBE(PROBE_BAD, ro, &stats, BPF_CGROUP_STATS_PARENT + 1, size);
	PROBE(PROBE_BAD_MAX, ro, &stats, ~0U, size);

	PROBE(PROBE_RW_TOTAL, rw, &stats, BPF_CGROUP_STATS_TOTAL, size);
	PROBE(PROBE_RW_PARENT, rw, &stats, BPF_CGROUP_STATS_PARENT, size);
	PROBE(PROBE_RW_NOW, rw, &stats, BPF_CGROUP_STATS_NOW, size);
	PROBE(PROBE_RW_PREV, rw, &stats, BPF_CGROUP_STATS_PREV, size);
	PROBE(PROBE_RW_PENDING, rw, &stats, BPF_CGROUP_STATS_PENDING, size);
	PROBE(PROBE_RW_BAD, rw, &stats, BPF_CGROUP_STATS_PARENT + 1, size);
	PROBE(PROBE_RW_BAD_MAX, rw, &stats, ~0U, size);
}

static __always_inline void probe_sizes(struct bpf_cgroup_stats_fold *f)
{
	const __u32 size = sizeof(struct fold_sums);

	PROBE(PROBE_ONE_BYTE, ro, &stats, BPF_CGROUP_STATS_NOW, 1);
	PROBE(PROBE_PART, ro, &stats, BPF_CGROUP_STATS_NOW, size - 1);
	PROBE(PROBE_EMPTY, ro, &stats, BPF_CGROUP_STATS_NOW, 0);
	PROBE(PROBE_LONG, ro, &stats, BPF_CGROUP_STATS_NOW, size + 1);
	PROBE(PROBE_LONGEST, ro, &stats, BPF_CGROUP_STATS_NOW, ~0U);
	PROBE(PROBE_RW_ONE_BYTE, rw, &stats, BPF_CGROUP_STATS_TOTAL, 1);
	PROBE(PROBE_RW_EMPTY, rw, &stats, BPF_CGROUP_STATS_TOTAL, 0);
	PROBE(PROBE_RW_LONG, rw, &stats, BPF_CGROUP_STATS_TOTAL, size + 1);
	PROBE(PROBE_RW_LONGEST, rw, &stats, BPF_CGROUP_STATS_TOTAL, ~0U);
}

static __always_inline void probe_maps(struct bpf_cgroup_stats_fold *f)
{
	const __u32 size = sizeof(struct fold_sums);
	__u32 same_key = 0, other_key = 1;
	void *map;

	PROBE(PROBE_OTHER_TYPE, ro, &maps, BPF_CGROUP_STATS_NOW, size);
	map = bpf_map_lookup_elem(&maps, &same_key);
	if (map)
		PROBE(PROBE_SAME_MAP, ro, map, BPF_CGROUP_STATS_NOW, size);
	map = bpf_map_lookup_elem(&maps, &other_key);
	if (map)
		PROBE(PROBE_OTHER_MAP, ro, map, BPF_CGROUP_STATS_NOW, size);
}

SEC("?struct_ops/fold")
int BPF_PROG(probe, struct bpf_cgroup_stats_fold *f)
{
	const struct fold_sums *read;
	struct fold_sums *write;

	add_up(f, &stats, ~0ULL);
	if (f->cgroup_id != probe_id)
		return 0;
	probe_which(f);
	probe_sizes(f);
	probe_maps(f);
	/* What was written through the one is read through the other. */
	write = RW(struct fold_sums, f, &stats, BPF_CGROUP_STATS_TOTAL);
	read = RO(struct fold_sums, f, &stats, BPF_CGROUP_STATS_TOTAL);
	if (write && read) {
		probe_written = write->n[0];
		probe_read = read->n[0];
	}
	return 0;
}

/* Each test says which programs to put here. */

SEC(".struct_ops.link")
struct bpf_cgroup_stats_ops first = {
	.value_size = sizeof(struct fold_sums),
};

SEC(".struct_ops.link")
struct bpf_cgroup_stats_ops second = {
	.value_size = sizeof(struct fold_sums),
};

SEC(".struct_ops.link")
struct bpf_cgroup_stats_ops third = {
	.value_size = sizeof(struct fold_sums),
};

/* As it is written when there is only one. */

SEC("?.struct_ops.link")
struct bpf_cgroup_stats_ops large_ops = {
	.value_size = sizeof(struct fold_large),
	.fold = (void *)saturate_large,
};

SEC("?.struct_ops.link")
struct bpf_cgroup_stats_ops hottest_ops = {
	.value_size = sizeof(struct fold_top),
	.fold = (void *)top,
};

SEC("?.struct_ops.link")
struct bpf_cgroup_stats_ops mixed_ops = {
	.value_size = sizeof(struct fold_mixed),
	.fold = (void *)record,
};
