// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF_MAP_TYPE_CGROUP_STATS: statistics per cgroup, added up by rstat.
 *
 * A map has one entry per cgroup of a subtree, and an entry is an array of
 * counters. Programs add to the current CPU's copy of it; rstat adds the copies
 * up, over CPUs and over descendants, when somebody reads.
 *
 * For example, a map on /a counts page faults, and a task in /a/b faults three
 * times on CPU 1:
 *
 *	add()		running[1] of /a/b is 3, and three marks are set on CPU 1:
 *			the element's line, the cgroup, and its group of cgroups
 *	lookup(/a)	flushes /a: on CPU 1 the group's mark is taken, then the
 *			cgroup's, and /a/b goes on rstat's tree of CPU 1
 *	  fold /a/b	the line's mark is taken; running - last is 3, so last = 3,
 *			total of /a/b += 3, pending of /a += 3
 *	  fold /a	pending is 3, so total of /a += 3, pending = 0
 *
 * rmdir(/a/b) changes nothing in /a: what is still in /a/b is flushed into /a's
 * pending before its entry goes.
 *
 * Marks, and why there is no fence in add(): each mark is stored after what it
 * announces, with release order, and whatever it was before:
 *
 *	add(), any context		flush, under the flush lock
 *
 *	[A] running += value		[D] take the group's mark
 *	[B] line's mark = 1		[C] take the cgroup's mark
 *	[C] cgroup's mark = 1		[B] take the line's mark
 *	[D] group's mark = 1		[A] read running
 *
 * A flush that takes a mark of ours reads all that we stored before it. One that
 * does not see our mark comes before it, and the mark stays for the next flush.
 * This is message passing: nobody decides by a load after a store, so there is
 * nothing that needs a full barrier, and an interrupt between two steps does all
 * the steps itself and waits for nobody. The price is an idle visit now and
 * then, to a line whose change an earlier flush has folded already.
 *
 * Who may see an entry, in the order of its life:
 *
 *	entries		the flusher's pointer in struct cgroup_bpf: from before the
 *			first add to release, when no adder can be left
 *	ids		cgroup_stats_ids, for adds and system calls by id
 *	adders		the update path's pointer: set last, NULL from offline on
 *
 * All of them are written under cgroup_mutex and read under RCU. Adders turn
 * preemption off for it: sleepable programs hold no more than trace RCU.
 *
 * Locks: cgroup_mutex, then rstat's flush lock. The update path takes none. The
 * static key is enabled with neither held.
 */
#include <linux/bitmap.h>
#include <linux/bpf.h>
#include <linux/bpf_cgroup_stats.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/cgroup.h>
#include <linux/filter.h>
#include <linux/llist.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/rcupdate_trace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include "../cgroup/cgroup-internal.h"

#define CGROUP_STATS_ELEM_SIZE	sizeof(u64)
#define CGROUP_STATS_VALUE_MAX	4096
#define CGROUP_STATS_TYPE_DEPTH	8	/* arrays and structs within each other */

#define CGROUP_STATS_FLAGS	(BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY)

/* For somebody else's mkdir() too: rather fail than loop in reclaim or kill for it. */
#define CGROUP_STATS_GFP	(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

/*
 * Marks are bytes, which CPUs store without an atomic. A flush takes those of lines
 * and of cgroups by words, those of groups one by one.
 */
#define CGROUP_STATS_WORD	8
#define CGROUP_STATS_LINE	8	/* elements per mark */
#define CGROUP_STATS_GROUP	64	/* cgroups per mark */
#define CGROUP_STATS_GROUPS	CGROUP_STATS_WORD
#define CGROUP_STATS_CHUNK	(CGROUP_STATS_GROUP * CGROUP_STATS_GROUPS)

struct cgroup_stats_map {
	struct bpf_map map;
	/* Index into the arrays of entries: set under cgroup_mutex, once. */
	u32 slot;
	/* Elements of the value: set before anyone has the map. */
	u32 nr_elems;
	/* Written under cgroup_mutex, read by anyone for map_mem_usage. */
	u32 nr_entries;
	/*
	 * The root of the subtree, without a reference: set with its entry,
	 * NULL when that goes. cgroup_mutex, RCU to read.
	 */
	struct cgroup __rcu *root;
	/* Whom entries are charged to, NULL: the root memcg. A reference. */
	struct obj_cgroup *objcg;
	/* ->map_free()'s: its rcu waits for programs first, for flushers last. */
	struct rcu_work free_work;
};

/*
 * One per map and cgroup. Unlinked under cgroup_mutex, freed after a trace RCU
 * and an RCU grace period: programs hold pointers to the totals.
 */
struct cgroup_stats_entry {
	/* Valid as long as the entry is linked, and an RCU grace period on. */
	struct cgroup_stats_map *smap;
	/*
	 * Per CPU: running[nr_elems], the marks of its lines (whole words), and
	 * last[nr_elems], what of running was folded already. Adders write running
	 * and set marks; a flusher takes marks, and last is its own.
	 */
	u64 __percpu *area;
	union {
		struct llist_node spare;	/* before it is linked */
		struct rcu_head rcu;		/* after it was unlinked */
	};
	/*
	 * total[nr_elems], of the cgroup and all below it; pending[nr_elems], come
	 * from children and not yet in total; the marks of pending's lines.
	 * Written under the flush lock. Programs read total at any time.
	 */
	u64 data[];
};

/*
 * A cgroup's entries by the maps' slots. Slots are written under cgroup_mutex; an
 * array that is too short is replaced by a longer one, and freed after RCU. A
 * cgroup that has had an entry has an array until it is released.
 */
struct cgroup_stats_array {
	/* Without a reference: valid as long as the array can be found. */
	struct cgroup *cgrp;
	/* The cgroup's number, the same in every array it has had. */
	struct cgroup_stats_chunk *chunk;
	u32 number;
	u32 nr;
	/* What adders need of it. Like all above, set before the array is found. */
	u8 __percpu *cgrp_mark;
	u8 __percpu *group_mark;
	struct rcu_head rcu;
	struct cgroup_stats_entry __rcu *entry[] __counted_by(nr);
};

struct cgroup_stats_marks {
	u8 group[CGROUP_STATS_GROUPS] __aligned(CGROUP_STATS_WORD);
	u8 cgrp[CGROUP_STATS_CHUNK] __aligned(CGROUP_STATS_WORD);
};

/* Numbers for cgroups, by which marks lead to them. Chunks are added, and stay. */
struct cgroup_stats_chunk {
	/* Written under cgroup_mutex with a release, read by the drain. */
	struct cgroup_stats_chunk *next;
	/* Adders set them, on their own CPU; the flusher takes them. */
	struct cgroup_stats_marks __percpu *marks;
	/* Numbers in use: cgroup_mutex. */
	DECLARE_BITMAP(used, CGROUP_STATS_CHUNK);
	/*
	 * Set under cgroup_mutex; cleared under the flush lock too, which is what
	 * the drain reads it under, so that a mark never leads to a freed cgroup.
	 */
	struct cgroup *cgrp[CGROUP_STATS_CHUNK];
};

DEFINE_STATIC_KEY_FALSE(bpf_cgroup_stats_key);

/* Written under cgroup_mutex with a release, read by the drain. */
static struct cgroup_stats_chunk *cgroup_stats_chunks;

/* Living cgroups that have an array, by id. Written under cgroup_mutex. */
static DEFINE_XARRAY(cgroup_stats_ids);

/* Unbound: a work that waits for cgroup_mutex must not hold up CPU hotplug. */
static struct workqueue_struct *cgroup_stats_wq;

static struct cgroup_stats_map *to_smap(const struct bpf_map *map)
{
	return container_of(map, struct cgroup_stats_map, map);
}

/* Words of marks for the lines of one array of elements. */
static u32 cgroup_stats_words(const struct cgroup_stats_map *smap)
{
	return DIV_ROUND_UP(smap->nr_elems, CGROUP_STATS_LINE * CGROUP_STATS_WORD);
}

static u32 cgroup_stats_area_size(const struct cgroup_stats_map *smap)
{
	return (2 * smap->nr_elems + cgroup_stats_words(smap)) * sizeof(u64);
}

static size_t cgroup_stats_entry_size(const struct cgroup_stats_map *smap)
{
	return struct_size_t(struct cgroup_stats_entry, data,
			     2 * smap->nr_elems + cgroup_stats_words(smap));
}

#define cgroup_stats_locked(p) \
	rcu_dereference_protected(p, lockdep_is_held(&cgroup_mutex))

/* Take all marks of a word; bit 8 * i of the result is that of byte i. */
static u64 cgroup_stats_take(u64 *word)
{
	u64 taken = 0;

	if (READ_ONCE(*word))
		taken = xchg(word, 0);
	return le64_to_cpu((__force __le64)taken);
}

/* The number of the first mark in @taken, which must have one; drops it. */
static u32 cgroup_stats_next_mark(u64 *taken)
{
	u32 mark = __ffs64(*taken) / BITS_PER_BYTE;

	*taken &= *taken - 1;
	return mark;
}

/* --- finding entries: under RCU, or with preemption off --- */

/* The entry of @smap in @array; NULL outside of the map's subtree. */
static __always_inline struct cgroup_stats_entry *
cgroup_stats_find(const struct cgroup_stats_map *smap,
		  const struct cgroup_stats_array *array)
{
	struct cgroup_stats_entry *entry;

	if (!array || smap->slot >= array->nr)
		return NULL;
	entry = rcu_dereference_check(array->entry[smap->slot],
				      rcu_read_lock_any_held() ||
				      lockdep_is_held(&cgroup_mutex));
	/* Maps of other subtrees have the same slot. */
	return entry && entry->smap == smap ? entry : NULL;
}

static __always_inline struct cgroup_stats_array *
cgroup_stats_adders(struct cgroup *cgrp)
{
	return rcu_dereference_check(cgrp->bpf.stats_adders,
				     rcu_read_lock_any_held());
}

static __always_inline struct cgroup_stats_array *cgroup_stats_by_id(u64 id)
{
	struct cgroup *cgrp = xa_load(&cgroup_stats_ids, id);

	return cgrp ? cgroup_stats_adders(cgrp) : NULL;
}

/*
 * The current task's. It may be offline if the task is exiting: then the nearest
 * ancestor's that is not. A cgroup that no map reaches is climbed from in vain: a
 * map that reached its ancestor would reach it.
 */
static __always_inline struct cgroup_stats_array *cgroup_stats_of_current(void)
{
	struct cgroup *cgrp = task_dfl_cgroup(current);
	struct cgroup_stats_array *array;

	do {
		array = cgroup_stats_adders(cgrp);
	} while (unlikely(!array) && (cgrp = cgroup_parent(cgrp)));
	return array;
}

/* A reference to the cgroup of @array if it has an entry of @smap. */
static struct cgroup *cgroup_stats_tryget(const struct cgroup_stats_map *smap,
					  struct cgroup_stats_array *array)
{
	if (!cgroup_stats_find(smap, array) || !cgroup_tryget(array->cgrp))
		return NULL;
	return array->cgrp;
}

/* The smallest id above @id that has an entry of @smap; 0: there is none. */
static u64 cgroup_stats_next_id(const struct cgroup_stats_map *smap, u64 id)
{
	unsigned long next = id;
	struct cgroup *cgrp;

	rcu_read_lock();
	do {
		cgrp = xa_find_after(&cgroup_stats_ids, &next, ULONG_MAX, XA_PRESENT);
	} while (cgrp && !cgroup_stats_find(smap, cgroup_stats_adders(cgrp)));
	rcu_read_unlock();
	return cgrp ? next : 0;
}

/* --- update --- */

/*
 * Where this_cpu_add() is a load and a store, an NMI between them would be lost:
 * there the CPU's own element is added to atomically.
 */
static __always_inline void cgroup_stats_sum(u64 __percpu *slot, u64 value)
{
	if (IS_ENABLED(CONFIG_ARCH_HAS_NMI_SAFE_THIS_CPU_OPS))
		this_cpu_add(*slot, value);
	else
		atomic64_add(value, (atomic64_t *)raw_cpu_ptr(slot));
}

/* Set this CPU's mark, after all that it announces. */
static __always_inline void cgroup_stats_mark(u8 __percpu *mark)
{
	/* Pairs with cgroup_stats_take() and the drain's cmpxchg(). */
	smp_store_release(raw_cpu_ptr(mark), 1);
}

static __always_inline long
cgroup_stats_add(struct bpf_map *map, u64 id, u32 index, s64 value, u64 flags)
{
	struct cgroup_stats_map *smap = to_smap(map);
	struct cgroup_stats_array *array;
	struct cgroup_stats_entry *entry;
	u8 __percpu *lines;
	long err = -ENOENT;

	if (unlikely(flags))
		return -EINVAL;
	if (unlikely(index >= smap->nr_elems))
		return -E2BIG;

	preempt_disable_notrace();
	array = id ? cgroup_stats_by_id(id) : cgroup_stats_of_current();
	entry = cgroup_stats_find(smap, array);
	if (likely(entry)) {
		lines = (u8 __percpu *)(entry->area + smap->nr_elems);
		cgroup_stats_sum(entry->area + index, value);
		/*
		 * [B], [C], [D] of the comment on top. All three must be releases:
		 * a mark of a neighbour's may lead the flusher to ours half-way.
		 * They also carry along the entry that another CPU made.
		 */
		cgroup_stats_mark(lines + index / CGROUP_STATS_LINE);
		cgroup_stats_mark(array->cgrp_mark);
		cgroup_stats_mark(array->group_mark);
		err = 0;
	}
	preempt_enable_notrace();
	return err;
}

BPF_CALL_5(bpf_cgroup_stats_add, struct bpf_map *, map, u64, cgroup_id,
	   u32, index, s64, value, u64, flags)
{
	return cgroup_stats_add(map, cgroup_id, index, value, flags);
}

const struct bpf_func_proto bpf_cgroup_stats_add_proto = {
	.func		= bpf_cgroup_stats_add,
	.gpl_only	= false,
	.ret_type	= RET_INTEGER,
	.arg1_type	= ARG_CONST_MAP_PTR,
	.arg2_type	= ARG_ANYTHING,
	.arg3_type	= ARG_ANYTHING,
	.arg4_type	= ARG_ANYTHING,
	.arg5_type	= ARG_ANYTHING,
};

/* --- flush --- */

static void cgroup_stats_drain_group(struct cgroup_stats_chunk *chunk,
				     struct cgroup_stats_marks *marks,
				     u32 group, int cpu)
{
	u32 nr = group * CGROUP_STATS_GROUP;
	u32 end = nr + CGROUP_STATS_GROUP;
	struct cgroup *cgrp;
	u64 taken;

	for (; nr < end; nr += CGROUP_STATS_WORD) {
		taken = cgroup_stats_take((u64 *)&marks->cgrp[nr]);
		while (taken) {
			/* NULL: a mark that outlived its cgroup. */
			cgrp = READ_ONCE(chunk->cgrp[nr + cgroup_stats_next_mark(&taken)]);
			if (cgrp)
				cgroup_stats_rstat_queue(cgrp, cpu);
		}
	}
}

/**
 * __bpf_cgroup_stats_drain - put the cgroups that @cpu added to on rstat's tree
 * @cpu: whose marks to take
 *
 * rstat's flush calls this under the flush lock before it takes the updated
 * cgroups of @cpu. One pass: what is added meanwhile, even by programs that trace
 * this very function, is for the next flush. The lock is dropped after a group of
 * cgroups, never within one: once on rstat's tree, a change is whoever's who
 * flushes the cgroup, but a mark taken and not yet queued would be nobody's.
 */
void __bpf_cgroup_stats_drain(int cpu)
{
	struct cgroup_stats_chunk *chunk, **link;
	struct cgroup_stats_marks *marks;
	u32 group;

	/* Pairs with the release in cgroup_stats_number_get(). */
	for (link = &cgroup_stats_chunks; (chunk = smp_load_acquire(link));
	     link = &chunk->next) {
		marks = per_cpu_ptr(chunk->marks, cpu);
		if (!READ_ONCE(*(u64 *)marks->group))
			continue;
		for (group = 0; group < CGROUP_STATS_GROUPS; group++) {
			/* Not xchg(): it takes no bytes on some architectures. */
			if (!READ_ONCE(marks->group[group]) ||
			    !cmpxchg(&marks->group[group], 1, 0))
				continue;
			cgroup_stats_drain_group(chunk, marks, group, cpu);

			cgroup_stats_rstat_unlock();
			if (!cond_resched())
				cpu_relax();
			cgroup_stats_rstat_lock();
		}
	}
}

/* What one fold works on: arrays of elements. @up is the parent's pending. */
struct cgroup_stats_fold {
	u64 *running;
	u64 *last;
	u64 *total;
	u64 *pending;
	u64 *up;
};

/* Fold elements @i to @end. Returns whether anything went up to the parent. */
static bool cgroup_stats_fold_line(const struct cgroup_stats_fold *f, u32 i, u32 end)
{
	bool went_up = false;
	u64 delta;

	for (; i < end; i++) {
		delta = READ_ONCE(f->running[i]) - f->last[i];
		f->last[i] += delta;
		/* Taken, both, even where one cancels the other. */
		delta += f->pending[i];
		f->pending[i] = 0;
		if (!delta)
			continue;
		/* Programs read it meanwhile: one store. */
		WRITE_ONCE(f->total[i], f->total[i] + delta);
		if (f->up) {
			f->up[i] += delta;
			went_up = true;
		}
	}
	return went_up;
}

static void cgroup_stats_fold_entry(struct cgroup_stats_entry *entry,
				    struct cgroup *parent, int cpu)
{
	u32 nr = entry->smap->nr_elems;
	u32 words = cgroup_stats_words(entry->smap);
	u64 *area = per_cpu_ptr(entry->area, cpu);
	u64 *lines = area + nr, *pending_lines = entry->data + 2 * nr;
	struct cgroup_stats_fold f = {
		.running	= area,
		.last		= area + nr + words,
		.total		= entry->data,
		.pending	= entry->data + nr,
	};
	struct cgroup_stats_entry *up;
	u32 word, line, i;
	u64 taken;

	for (word = 0; word < words; word++) {
		/* [B] before [A]: the marks before what they announce. */
		taken = cgroup_stats_take(&lines[word]) |
			le64_to_cpu((__force __le64)pending_lines[word]);
		if (!taken)
			continue;
		pending_lines[word] = 0;
		/*
		 * Only after a mark was taken, which orders this load: whoever set
		 * it had seen the child's entry, and that came after the parent's.
		 */
		up = parent ? cgroup_stats_find(entry->smap,
						rcu_dereference(parent->bpf.stats_entries)) : NULL;
		f.up = up ? up->data + nr : NULL;
		while (taken) {
			line = word * CGROUP_STATS_WORD + cgroup_stats_next_mark(&taken);
			i = line * CGROUP_STATS_LINE;
			if (cgroup_stats_fold_line(&f, i, min(i + CGROUP_STATS_LINE, nr)))
				((u8 *)(up->data + 2 * nr))[line] = 1;
		}
	}
}

/**
 * __bpf_cgroup_stats_fold - fold what @cpu added to @cgrp
 * @cgrp: a cgroup that rstat visits
 * @cpu: the CPU for which it does
 *
 * rstat's flush calls this under the flush lock, children before parents. It may
 * still do so after @cgrp was released and its parent is gone: a cgroup without
 * entries must not look at its parent.
 */
void __bpf_cgroup_stats_fold(struct cgroup *cgrp, int cpu)
{
	struct cgroup_stats_array *array;
	struct cgroup_stats_entry *entry;
	u32 i;

	rcu_read_lock();
	array = rcu_dereference(cgrp->bpf.stats_entries);
	for (i = 0; array && i < array->nr; i++) {
		entry = rcu_dereference(array->entry[i]);
		if (entry)
			cgroup_stats_fold_entry(entry, cgroup_parent(cgrp), cpu);
	}
	rcu_read_unlock();
}

/* Flush a cgroup, 0: the current task's; -ENOENT if it has no entry of @smap. */
static int cgroup_stats_flush(struct cgroup_stats_map *smap, u64 id)
{
	struct cgroup *cgrp;

	rcu_read_lock();
	cgrp = cgroup_stats_tryget(smap, id ? cgroup_stats_by_id(id) :
					      cgroup_stats_of_current());
	rcu_read_unlock();
	if (!cgrp)
		return -ENOENT;
	cgroup_stats_rstat_flush(cgrp);
	cgroup_put(cgrp);
	return 0;
}

BPF_CALL_3(bpf_cgroup_stats_flush, struct bpf_map *, map, u64, cgroup_id, u64, flags)
{
	if (flags)
		return -EINVAL;
	return cgroup_stats_flush(to_smap(map), cgroup_id);
}

const struct bpf_func_proto bpf_cgroup_stats_flush_proto = {
	.func		= bpf_cgroup_stats_flush,
	.gpl_only	= false,
	.might_sleep	= true,
	.ret_type	= RET_INTEGER,
	.arg1_type	= ARG_CONST_MAP_PTR,
	.arg2_type	= ARG_ANYTHING,
	.arg3_type	= ARG_ANYTHING,
};

/* --- lookup --- */

/* Totals as of the last flush; a sleepable program's lookup flushes before. */
static void *cgroup_stats_map_lookup_elem(struct bpf_map *map, void *key)
{
	struct cgroup_stats_map *smap = to_smap(map);
	struct cgroup_stats_entry *entry;

	preempt_disable_notrace();
	entry = cgroup_stats_find(smap, cgroup_stats_by_id(*(u64 *)key));
	preempt_enable_notrace();
	return entry ? entry->data : NULL;
}

BPF_CALL_2(bpf_cgroup_stats_lookup_flush, struct bpf_map *, map, void *, key)
{
	u64 id = *(u64 *)key;

	if (id)
		cgroup_stats_flush(to_smap(map), id);
	return (unsigned long)cgroup_stats_map_lookup_elem(map, key);
}

/*
 * Copy the totals of @n ids as of one instant, and drop ids that have gone.
 * Returns how many are left.
 */
static u32 cgroup_stats_copy(struct cgroup_stats_map *smap, u64 *ids, void *values, u32 n)
{
	u32 i, left = 0, size = smap->map.value_size;
	struct cgroup_stats_entry *entry;

	cgroup_stats_rstat_lock();
	rcu_read_lock();
	for (i = 0; i < n; i++) {
		entry = cgroup_stats_find(smap, cgroup_stats_by_id(ids[i]));
		if (!entry)
			continue;
		memcpy(values + left * size, entry->data, size);
		ids[left++] = ids[i];
	}
	rcu_read_unlock();
	cgroup_stats_rstat_unlock();
	return left;
}

/**
 * bpf_cgroup_stats_copy - flush a cgroup and copy its totals
 * @map: a BPF_MAP_TYPE_CGROUP_STATS map
 * @key: the cgroup's id
 * @value: room for the map's value size
 *
 * Sleeps.
 *
 * Return: 0, or -ENOENT if the map has no such cgroup.
 */
int bpf_cgroup_stats_copy(struct bpf_map *map, void *key, void *value)
{
	struct cgroup_stats_map *smap = to_smap(map);
	u64 id = *(u64 *)key;

	/* 0, the current task's cgroup to helpers, is no key. */
	if (!id || cgroup_stats_flush(smap, id))
		return -ENOENT;
	return cgroup_stats_copy(smap, &id, value, 1) ? 0 : -ENOENT;
}

static int cgroup_stats_map_get_next_key(struct bpf_map *map, void *key, void *next_key)
{
	u64 next = cgroup_stats_next_id(to_smap(map), key ? *(u64 *)key : 0);

	if (!next)
		return -ENOENT;
	*(u64 *)next_key = next;
	return 0;
}

/* Flush all of the map, if its root is still there. */
static void cgroup_stats_flush_all(struct cgroup_stats_map *smap)
{
	struct cgroup *root;

	rcu_read_lock();
	root = rcu_dereference(smap->root);
	if (root && !cgroup_tryget(root))
		root = NULL;
	rcu_read_unlock();
	if (!root)
		return;
	cgroup_stats_rstat_flush(root);
	cgroup_put(root);
}

/* Up to @n values after @id, in ascending order. Moves @id to the last one seen. */
static u32 cgroup_stats_copy_next(struct cgroup_stats_map *smap, u64 *id,
				  u64 *ids, void *values, u32 n)
{
	u32 i, left;

	do {
		cond_resched();
		for (i = 0; i < n; i++) {
			ids[i] = cgroup_stats_next_id(smap, *id);
			if (!ids[i])
				break;
			*id = ids[i];
		}
		left = i ? cgroup_stats_copy(smap, ids, values, i) : 0;
	} while (i && !left);
	return left;
}

static int cgroup_stats_do_batch(struct cgroup_stats_map *smap,
				 const union bpf_attr *attr, u64 *id, u32 *done)
{
	u64 __user *ukeys = u64_to_user_ptr(attr->batch.keys);
	void __user *uvalues = u64_to_user_ptr(attr->batch.values);
	u32 n, size = smap->map.value_size;
	u32 room = max_t(u32, PAGE_SIZE / (sizeof(u64) + size), 1);
	int err = 0;
	u64 *ids;

	ids = kvmalloc_array(room, sizeof(u64) + size, GFP_USER | __GFP_NOWARN);
	if (!ids)
		return -ENOMEM;

	while (!err && *done < attr->batch.count) {
		n = cgroup_stats_copy_next(smap, id, ids, ids + room,
					   min(room, attr->batch.count - *done));
		if (!n)
			err = -ENOENT;
		else if (copy_to_user(ukeys + *done, ids, n * sizeof(u64)) ||
			 copy_to_user(uvalues + (size_t)*done * size, ids + room,
				      (size_t)n * size))
			err = -EFAULT;
		else
			*done += n;
	}
	kvfree(ids);
	return err;
}

/* One flush of the whole subtree, and then copies, a page at a time. */
static int cgroup_stats_map_lookup_batch(struct bpf_map *map, const union bpf_attr *attr,
					 union bpf_attr __user *uattr)
{
	void __user *uin = u64_to_user_ptr(attr->batch.in_batch);
	void __user *uout = u64_to_user_ptr(attr->batch.out_batch);
	struct cgroup_stats_map *smap = to_smap(map);
	u32 done = 0;
	u64 id = 0;
	int err;

	if (attr->batch.elem_flags || attr->batch.flags)
		return -EINVAL;
	if (!attr->batch.count)
		return 0;
	if (put_user(0, &uattr->batch.count) ||
	    (uin && copy_from_user(&id, uin, sizeof(id))))
		return -EFAULT;

	cgroup_stats_flush_all(smap);
	err = cgroup_stats_do_batch(smap, attr, &id, &done);
	if ((!err || err == -ENOENT) &&
	    (put_user(done, &uattr->batch.count) ||
	     (done && copy_to_user(uout, &id, sizeof(id)))))
		err = -EFAULT;
	return err;
}

static long cgroup_stats_map_for_each(struct bpf_map *map, bpf_callback_t callback_fn,
				      void *callback_ctx, u64 flags)
{
	struct cgroup_stats_map *smap = to_smap(map);
	u64 id = 0, ret = 0;
	long n = 0;
	void *value;

	cant_migrate();

	if (flags)
		return -EINVAL;

	while (!ret && (id = cgroup_stats_next_id(smap, id))) {
		value = cgroup_stats_map_lookup_elem(map, &id);
		if (!value)
			continue;
		n++;
		ret = callback_fn((u64)(long)map, (u64)(long)&id, (u64)(long)value,
				  (u64)(long)callback_ctx, 0);
	}
	return n;
}

/* bpffs' print of the map */
static void cgroup_stats_map_seq_show_elem(struct bpf_map *map, void *key,
					   struct seq_file *m)
{
	void *value = kmalloc(map->value_size, GFP_USER | __GFP_NOWARN);

	if (value && !bpf_cgroup_stats_copy(map, key, value)) {
		seq_printf(m, "%llu: ", *(u64 *)key);
		btf_type_seq_show(map->btf, map->btf_value_type_id, value, m);
		seq_putc(m, '\n');
	}
	kfree(value);
}

/* The bpf_map_elem iterator: @value is a copy, since programs may write to it. */
struct cgroup_stats_iter {
	struct cgroup_stats_map *smap;
	u64 id;		/* of @value; 0: the end */
	void *value;
};

static void *cgroup_stats_iter_find(struct cgroup_stats_iter *iter, u64 after)
{
	if (cgroup_stats_copy_next(iter->smap, &after, &iter->id, iter->value, 1))
		return iter;
	return NULL;	/* and iter->id is 0 */
}

static void *cgroup_stats_seq_start(struct seq_file *seq, loff_t *pos)
{
	struct cgroup_stats_iter *iter = seq->private;

	if (*pos == 0) {
		++*pos;
		iter->id = 1;
		cgroup_stats_flush_all(iter->smap);
	}
	/* The one that did not fit into the last read, or what comes after it. */
	return iter->id ? cgroup_stats_iter_find(iter, iter->id - 1) : NULL;
}

static void *cgroup_stats_seq_next(struct seq_file *seq, void *v, loff_t *pos)
{
	struct cgroup_stats_iter *iter = seq->private;

	++*pos;
	return cgroup_stats_iter_find(iter, iter->id);
}

static int cgroup_stats_seq_show(struct seq_file *seq, void *v)
{
	struct cgroup_stats_iter *iter = seq->private;
	struct bpf_iter__bpf_map_elem ctx = {};
	struct bpf_iter_meta meta;
	struct bpf_prog *prog;

	meta.seq = seq;
	prog = bpf_iter_get_info(&meta, !v);
	if (!prog)
		return 0;

	ctx.meta = &meta;
	ctx.map = &iter->smap->map;
	if (v) {
		ctx.key = &iter->id;
		ctx.value = iter->value;
	}
	return bpf_iter_run_prog(prog, &ctx);
}

static void cgroup_stats_seq_stop(struct seq_file *seq, void *v)
{
	if (!v)
		cgroup_stats_seq_show(seq, NULL);
}

static int cgroup_stats_iter_init(void *priv_data, struct bpf_iter_aux_info *aux)
{
	struct cgroup_stats_iter *iter = priv_data;

	iter->value = kmalloc(aux->map->value_size, GFP_USER | __GFP_NOWARN);
	if (!iter->value)
		return -ENOMEM;
	/* The link's reference may go before the reader does. */
	bpf_map_inc_with_uref(aux->map);
	iter->smap = to_smap(aux->map);
	return 0;
}

static void cgroup_stats_iter_fini(void *priv_data)
{
	struct cgroup_stats_iter *iter = priv_data;

	bpf_map_put_with_uref(&iter->smap->map);
	kfree(iter->value);
}

static const struct seq_operations cgroup_stats_seq_ops = {
	.start	= cgroup_stats_seq_start,
	.next	= cgroup_stats_seq_next,
	.stop	= cgroup_stats_seq_stop,
	.show	= cgroup_stats_seq_show,
};

static const struct bpf_iter_seq_info cgroup_stats_iter_seq_info = {
	.seq_ops		= &cgroup_stats_seq_ops,
	.init_seq_private	= cgroup_stats_iter_init,
	.fini_seq_private	= cgroup_stats_iter_fini,
	.seq_priv_size		= sizeof(struct cgroup_stats_iter),
};

/* --- entries: made, published, withdrawn, freed --- */

static struct cgroup_stats_entry *cgroup_stats_entry_alloc(struct cgroup_stats_map *smap)
{
	gfp_t gfp = bpf_memcg_flags(CGROUP_STATS_GFP);
	struct cgroup_stats_entry *entry;
	struct mem_cgroup *memcg, *old;

#ifdef CONFIG_MEMCG
	memcg = smap->objcg ? get_mem_cgroup_from_objcg(smap->objcg) : root_mem_cgroup;
#else
	memcg = NULL;
#endif
	old = set_active_memcg(memcg);
	entry = kzalloc_node(cgroup_stats_entry_size(smap), gfp, smap->map.numa_node);
	if (entry) {
		entry->smap = smap;
		entry->area = __alloc_percpu_gfp(cgroup_stats_area_size(smap), sizeof(u64),
						 gfp);
		if (!entry->area) {
			kfree(entry);
			entry = NULL;
		}
	}
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	return entry;
}

static void cgroup_stats_entry_free_now(struct cgroup_stats_entry *entry)
{
	free_percpu(entry->area);
	kfree(entry);
}

static void cgroup_stats_entry_free_rcu(struct rcu_head *rcu)
{
	cgroup_stats_entry_free_now(container_of(rcu, struct cgroup_stats_entry, rcu));
}

static void cgroup_stats_entry_free_trace(struct rcu_head *rcu)
{
	call_rcu(rcu, cgroup_stats_entry_free_rcu);
}

/* Free an unlinked entry behind the flusher, adders, and programs with its totals. */
static void cgroup_stats_entry_free(struct cgroup_stats_entry *entry)
{
	call_rcu_tasks_trace(&entry->rcu, cgroup_stats_entry_free_trace);
}

static int cgroup_stats_number_get(struct cgroup_stats_array *array)
{
	struct cgroup_stats_chunk *chunk, **link = &cgroup_stats_chunks;
	u32 nr;

	for (; (chunk = *link); link = &chunk->next) {
		nr = find_first_zero_bit(chunk->used, CGROUP_STATS_CHUNK);
		if (nr < CGROUP_STATS_CHUNK)
			break;
	}
	if (!chunk) {
		chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);
		if (!chunk)
			return -ENOMEM;
		chunk->marks = alloc_percpu(struct cgroup_stats_marks);
		if (!chunk->marks) {
			kfree(chunk);
			return -ENOMEM;
		}
		nr = 0;
		/* Pairs with the acquire in __bpf_cgroup_stats_drain(). */
		smp_store_release(link, chunk);
	}
	__set_bit(nr, chunk->used);
	/* A mark of the number's last owner may lead here at once: all of the cgroup first. */
	smp_store_release(&chunk->cgrp[nr], array->cgrp);
	array->chunk = chunk;
	array->number = nr;
	return 0;
}

/* From here on no mark, however old, leads to the cgroup. */
static void cgroup_stats_number_put(struct cgroup_stats_array *array)
{
	cgroup_stats_rstat_lock();
	WRITE_ONCE(array->chunk->cgrp[array->number], NULL);
	cgroup_stats_rstat_unlock();
	__clear_bit(array->number, array->chunk->used);
}

static struct cgroup_stats_array *cgroup_stats_array_alloc(struct cgroup *cgrp, u32 nr)
{
	struct cgroup_stats_array *array;

	array = kzalloc(struct_size(array, entry, nr), GFP_KERNEL);
	if (array) {
		array->cgrp = cgrp;
		array->nr = nr;
	}
	return array;
}

/*
 * Make @array the cgroup's, and free the one it replaces. An adder by id can come
 * as soon as the id is known, which is before mkdir() ends, so each step rests on
 * the one before: the number that marks lead by, the flusher's pointer, the id, and
 * last the adders' pointer.
 */
static int cgroup_stats_publish(struct cgroup *cgrp, struct cgroup_stats_array *array)
{
	struct cgroup_stats_array *old = cgroup_stats_locked(cgrp->bpf.stats_entries);
	struct cgroup_stats_marks __percpu *marks;
	int err;

	if (old) {
		array->chunk = old->chunk;
		array->number = old->number;
	} else {
		err = cgroup_stats_number_get(array);
		if (err)
			return err;
	}
	marks = array->chunk->marks;
	array->cgrp_mark = marks->cgrp + array->number;
	array->group_mark = marks->group + array->number / CGROUP_STATS_GROUP;

	rcu_assign_pointer(cgrp->bpf.stats_entries, array);
	if (!old) {
		err = xa_insert(&cgroup_stats_ids, cgroup_id(cgrp), cgrp, GFP_KERNEL);
		if (err) {
			RCU_INIT_POINTER(cgrp->bpf.stats_entries, NULL);
			cgroup_stats_number_put(array);
			return err;
		}
	}
	rcu_assign_pointer(cgrp->bpf.stats_adders, array);
	if (old)
		kfree_rcu(old, rcu);
	return 0;
}

/* Give @cgrp, which lacks one, @entry. On failure the entry is freed. */
static int cgroup_stats_link(struct cgroup *cgrp, struct cgroup_stats_entry *entry)
{
	struct cgroup_stats_array *new, *array = cgroup_stats_locked(cgrp->bpf.stats_entries);
	struct cgroup_stats_map *smap = entry->smap;
	u32 i, slot = smap->slot;
	int err = -ENOMEM;

	if (array && slot < array->nr) {
		/* One store: for the flusher and for adders. */
		rcu_assign_pointer(array->entry[slot], entry);
	} else {
		/* Four at a time: arrays are replaced, not resized. */
		new = cgroup_stats_array_alloc(cgrp, round_up(slot + 1, 4));
		if (!new)
			goto err_free;
		for (i = 0; array && i < array->nr; i++)
			RCU_INIT_POINTER(new->entry[i], cgroup_stats_locked(array->entry[i]));
		RCU_INIT_POINTER(new->entry[slot], entry);
		err = cgroup_stats_publish(cgrp, new);
		if (err) {
			kfree_rcu(new, rcu);
			goto err_free;
		}
	}
	WRITE_ONCE(smap->nr_entries, smap->nr_entries + 1);
	return 0;

err_free:
	cgroup_stats_entry_free(entry);
	return err;
}

/* --- cgroups come and go --- */

/* Every mark was taken, and nothing waits to go up. */
static bool cgroup_stats_entry_clean(struct cgroup_stats_entry *entry)
{
	u32 word, words = cgroup_stats_words(entry->smap);
	u32 nr = entry->smap->nr_elems;
	int cpu;

	for (word = 0; word < words; word++) {
		if (READ_ONCE(entry->data[2 * nr + word]))
			return false;
		for_each_possible_cpu(cpu) {
			if (READ_ONCE(per_cpu_ptr(entry->area, cpu)[nr + word]))
				return false;
		}
	}
	return true;
}

/* Free an array that nobody can find any more, and its entries, behind RCU readers. */
static void cgroup_stats_array_drop(struct cgroup_stats_array *array)
{
	struct cgroup_stats_entry *entry;
	struct cgroup_stats_map *smap;
	u32 i;

	for (i = 0; i < array->nr; i++) {
		entry = cgroup_stats_locked(array->entry[i]);
		if (!entry)
			continue;
		WARN_ON_ONCE(!cgroup_stats_entry_clean(entry));
		smap = entry->smap;
		WRITE_ONCE(smap->nr_entries, smap->nr_entries - 1);
		if (rcu_access_pointer(smap->root) == array->cgrp)
			RCU_INIT_POINTER(smap->root, NULL);
		cgroup_stats_entry_free(entry);
	}
	kfree_rcu(array, rcu);
}

static int cgroup_stats_inherit_entries(struct cgroup_stats_array *array,
					struct cgroup_stats_array *up)
{
	struct cgroup_stats_entry *parent, *entry;
	int n = 0;
	u32 i;

	for (i = 0; i < up->nr; i++) {
		parent = cgroup_stats_locked(up->entry[i]);
		if (!parent)
			continue;
		entry = cgroup_stats_entry_alloc(parent->smap);
		if (!entry)
			return -ENOMEM;
		RCU_INIT_POINTER(array->entry[i], entry);
		WRITE_ONCE(parent->smap->nr_entries, parent->smap->nr_entries + 1);
		n++;
	}
	return n;
}

/**
 * __bpf_cgroup_stats_inherit - make the entries of a new cgroup
 * @cgrp: the cgroup, under cgroup_mutex; nobody's parent yet
 *
 * A cgroup has an entry of every map that its parent has one of. This must come
 * after everything else in cgroup_bpf_inherit() that can fail: adders may find
 * the entries when it returns, and a cgroup that fails later is freed at once.
 *
 * Return: 0 or -ENOMEM.
 */
int __bpf_cgroup_stats_inherit(struct cgroup *cgrp)
{
	struct cgroup *parent = cgroup_parent(cgrp);
	struct cgroup_stats_array *array, *up;
	int n, err;

	up = parent ? cgroup_stats_locked(parent->bpf.stats_entries) : NULL;
	if (!up)
		return 0;
	array = cgroup_stats_array_alloc(cgrp, up->nr);
	if (!array)
		return -ENOMEM;
	n = cgroup_stats_inherit_entries(array, up);
	err = n > 0 ? cgroup_stats_publish(cgrp, array) : n;
	if (err || !n)
		cgroup_stats_array_drop(array);
	return err;
}

/**
 * bpf_cgroup_stats_offline - end the adds to a cgroup that is being removed
 * @cgrp: the cgroup, under cgroup_mutex
 *
 * cgroup_bpf_release() follows an RCU grace period later: then no add is left.
 */
void bpf_cgroup_stats_offline(struct cgroup *cgrp)
{
	/* Whether or not a map is left: the id must not outlive the cgroup. */
	if (!rcu_access_pointer(cgrp->bpf.stats_adders))
		return;
	RCU_INIT_POINTER(cgrp->bpf.stats_adders, NULL);
	xa_erase(&cgroup_stats_ids, cgroup_id(cgrp));
}

/**
 * bpf_cgroup_stats_release - give what is left to the parent and drop the entries
 * @cgrp: an offline cgroup, under cgroup_mutex, at least an RCU grace period later
 *
 * Children have been released before. Must come before the references to the
 * ancestors are put: what is left goes into the parent's pending, by an ordinary
 * flush, so that the parent is on rstat's tree of every CPU that it came from.
 */
void bpf_cgroup_stats_release(struct cgroup *cgrp)
{
	struct cgroup_stats_array *array = cgroup_stats_locked(cgrp->bpf.stats_entries);

	if (!array)
		return;
	/* Also if no entry is left in it: marks may be that lead here. */
	cgroup_stats_rstat_flush(cgrp);
	cgroup_stats_number_put(array);

	RCU_INIT_POINTER(cgrp->bpf.stats_entries, NULL);
	cgroup_stats_array_drop(array);
}

/* --- the map --- */

/* Mark the slots of @cgrp's entries in @used, if any; returns how many slots it has. */
static u32 cgroup_stats_used_slots(struct cgroup *cgrp, unsigned long *used)
{
	struct cgroup_stats_array *array = cgroup_stats_locked(cgrp->bpf.stats_entries);
	u32 i;

	for (i = 0; used && array && i < array->nr; i++) {
		if (rcu_access_pointer(array->entry[i]))
			__set_bit(i, used);
	}
	return array ? array->nr : 0;
}

/* The same for the ancestors of @root, @root, and all below it: the most slots. */
static u32 cgroup_stats_scan_slots(struct cgroup *root, unsigned long *used)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;
	u32 most = 0;

	css_for_each_descendant_pre(css, &root->self) {
		most = max(most, cgroup_stats_used_slots(css->cgroup, used));
		cond_resched();
	}
	for (cgrp = cgroup_parent(root); cgrp; cgrp = cgroup_parent(cgrp))
		most = max(most, cgroup_stats_used_slots(cgrp, used));
	return most;
}

/*
 * The smallest slot that no other map has anywhere in the subtree, so that maps of
 * separate subtrees share slots and arrays stay short. A map of an ancestor may
 * not have reached the root yet: its slot counts as well.
 */
static int cgroup_stats_choose_slot(struct cgroup_stats_map *smap, struct cgroup *root)
{
	u32 most = cgroup_stats_scan_slots(root, NULL);
	unsigned long *used = bitmap_zalloc(most + 1, GFP_KERNEL);

	if (!used)
		return -ENOMEM;
	cgroup_stats_scan_slots(root, used);
	smap->slot = find_first_zero_bit(used, most + 1);
	bitmap_free(used);
	return 0;
}

/*
 * Give the entries of @spare to living cgroups that lack one, parents first.
 * Returns how many entries were missing, or an error.
 */
static int cgroup_stats_populate(struct cgroup_stats_map *smap, struct cgroup *root,
				 struct llist_head *spare)
{
	struct cgroup_subsys_state *css;
	struct llist_node *node;
	int err, missing = 0;

	/* A killed bpf.refcnt may stay pinned: it says nothing of living or dead. */
	if (cgroup_is_dead(root))
		return -ENOENT;
	if (!rcu_access_pointer(smap->root)) {
		err = cgroup_stats_choose_slot(smap, root);
		if (err)
			return err;
	}
	css_for_each_descendant_pre(css, &root->self) {
		struct cgroup *cgrp = css->cgroup;

		cond_resched();
		if (cgroup_is_dead(cgrp) ||
		    cgroup_stats_find(smap, cgroup_stats_locked(cgrp->bpf.stats_entries)))
			continue;
		node = llist_del_first(spare);
		if (!node) {
			missing++;
			continue;
		}
		err = cgroup_stats_link(cgrp, llist_entry(node, struct cgroup_stats_entry,
							  spare));
		if (err)
			return err;
		if (cgrp == root)
			rcu_assign_pointer(smap->root, root);
	}
	return missing;
}

static int cgroup_stats_alloc_spare(struct cgroup_stats_map *smap,
				    struct llist_head *spare, int n)
{
	struct cgroup_stats_entry *entry;

	while (n--) {
		if (fatal_signal_pending(current))
			return -EINTR;
		entry = cgroup_stats_entry_alloc(smap);
		if (!entry)
			return -ENOMEM;
		llist_add(&entry->spare, spare);
		cond_resched();
	}
	return 0;
}

/*
 * Make and publish the entries of all cgroups of the subtree, in rounds: allocate
 * as many as were missing, without cgroup_mutex, and hand them out under it.
 * Cgroups made meanwhile below one that has its entry inherit theirs. No program
 * has the map yet, so half of the entries do no harm, and an error frees the map.
 */
static int cgroup_stats_make_entries(struct cgroup_stats_map *smap, struct cgroup *root)
{
	struct cgroup_stats_entry *entry, *tmp;
	LLIST_HEAD(spare);
	int n = 1;

	while (n > 0) {
		int err = cgroup_stats_alloc_spare(smap, &spare, n);

		if (err) {
			n = err;
			break;
		}
		cgroup_lock();
		n = cgroup_stats_populate(smap, root, &spare);
		cgroup_unlock();
	}
	llist_for_each_entry_safe(entry, tmp, llist_del_all(&spare), spare)
		cgroup_stats_entry_free_now(entry);
	return n;
}

static int cgroup_stats_map_alloc_check(union bpf_attr *attr)
{
	if (attr->key_size != sizeof(u64) || attr->max_entries ||
	    !attr->value_size || attr->value_size > CGROUP_STATS_VALUE_MAX ||
	    attr->value_size % CGROUP_STATS_ELEM_SIZE ||
	    /* Without BTF nobody knows what the elements are. */
	    !attr->btf_key_type_id || !attr->btf_value_type_id ||
	    attr->map_flags & ~CGROUP_STATS_FLAGS ||
	    (attr->map_flags & BPF_F_RDONLY && attr->map_flags & BPF_F_WRONLY))
		return -EINVAL;
	return 0;
}

/* The map alone: entries need its BTF, so they come with ->map_check_btf(). */
static struct bpf_map *cgroup_stats_map_alloc(union bpf_attr *attr)
{
	struct cgroup_stats_map *smap;

	smap = bpf_map_area_alloc(sizeof(*smap), bpf_map_attr_numa_node(attr));
	if (!smap)
		return ERR_PTR(-ENOMEM);
	bpf_map_init_from_attr(&smap->map, attr);
	smap->nr_elems = attr->value_size / CGROUP_STATS_ELEM_SIZE;
#ifdef CONFIG_MEMCG
	/* Of our own: map->objcg goes before ->map_free(), while mkdir() charges. */
	if (memcg_bpf_enabled())
		smap->objcg = get_obj_cgroup_from_current();
#endif
	return &smap->map;
}

static void cgroup_stats_map_free_work(struct work_struct *work)
{
	struct cgroup_stats_map *smap = container_of(to_rcu_work(work),
						     struct cgroup_stats_map, free_work);
	struct cgroup_stats_entry *entry;
	struct cgroup_stats_array *array;
	struct cgroup_subsys_state *css;
	struct cgroup *root;

	cgroup_lock();
	root = cgroup_stats_locked(smap->root);
	if (root) {
		/* Offline cgroups too: they stay among the children until released. */
		css_for_each_descendant_post(css, &root->self) {
			cond_resched();
			array = cgroup_stats_locked(css->cgroup->bpf.stats_entries);
			entry = cgroup_stats_find(smap, array);
			if (!entry)
				continue;
			RCU_INIT_POINTER(array->entry[smap->slot], NULL);
			cgroup_stats_entry_free(entry);
		}
	}
	cgroup_unlock();

	obj_cgroup_put(smap->objcg);
	/* A flusher may still look at it through an entry. */
	kvfree_rcu(smap, free_work.rcu);
}

static void cgroup_stats_map_free_trace(struct rcu_head *rcu)
{
	struct cgroup_stats_map *smap = container_of(rcu, struct cgroup_stats_map,
						     free_work.rcu);

	INIT_RCU_WORK(&smap->free_work, cgroup_stats_map_free_work);
	queue_rcu_work(cgroup_stats_wq, &smap->free_work);
}

/*
 * A program may still have an inner map: a bpf_wq callback holds no more than trace
 * RCU, and may sleep in our flush. Flushers and mkdir() know the map by its entries.
 * To take those away needs cgroup_mutex, for which this context must not wait.
 */
static void cgroup_stats_map_free(struct bpf_map *map)
{
	call_rcu_tasks_trace(&to_smap(map)->free_work.rcu, cgroup_stats_map_free_trace);
}

/* Is @t an integer of @size bytes, all of them? */
static bool cgroup_stats_type_is_int(const struct btf_type *t, u32 size)
{
	return btf_type_is_int(t) && t->size == size && !btf_int_offset(t) &&
	       btf_int_bits(t) == size * BITS_PER_BYTE;
}

static int cgroup_stats_check_id(const struct btf *btf, u32 id, u32 off, u32 *end, int depth);

static int cgroup_stats_check_members(const struct btf *btf, const struct btf_type *t,
				      u32 off, u32 *end, int depth)
{
	const struct btf_member *member;
	u32 i, bit;
	int err;

	for_each_member(i, t, member) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		bit = __btf_member_bit_offset(t, member);
		/* A tag is an operation, and there is none yet but the sum. */
		if (__btf_member_bitfield_size(t, member) || bit % BITS_PER_BYTE ||
		    btf_find_decl_tag_value(btf, t, i, "cgroup_stats:") != ERR_PTR(-ENOENT))
			return -EINVAL;
		err = cgroup_stats_check_id(btf, member->type, off + bit / BITS_PER_BYTE,
					    end, depth);
		if (err)
			return err;
	}
	return 0;
}

/*
 * Type @t must begin at @off, where the elements so far @end, and consist of
 * elements without holes. So each step moves @end on, or is the last one.
 */
static int cgroup_stats_check_type(const struct btf *btf, const struct btf_type *t,
				   u32 size, u32 off, u32 *end, int depth)
{
	u32 begin = *end;
	int err = 0;

	if (!size || off != begin)
		return -EINVAL;

	if (cgroup_stats_type_is_int(t, CGROUP_STATS_ELEM_SIZE)) {
		*end += CGROUP_STATS_ELEM_SIZE;
	} else if (depth && btf_type_is_array(t)) {
		/* One stands for all. */
		err = cgroup_stats_check_id(btf, btf_array(t)->type, off, end, depth - 1);
		*end = begin + (*end - begin) * btf_array(t)->nelems;
	} else if (depth && BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT) {
		err = cgroup_stats_check_members(btf, t, off, end, depth - 1);
	} else {
		return -EINVAL;
	}
	if (err)
		return err;
	return *end == begin + size ? 0 : -EINVAL;
}

static int cgroup_stats_check_id(const struct btf *btf, u32 id, u32 off, u32 *end, int depth)
{
	const struct btf_type *t;
	u32 size;

	t = btf_type_id_size(btf, &id, &size);
	return t ? cgroup_stats_check_type(btf, t, size, off, end, depth) : -EINVAL;
}

/* The last step of creation that is the map's own: check the types, make the entries. */
static int cgroup_stats_map_check_btf(struct bpf_map *map, const struct btf *btf,
				      const struct btf_type *key_type,
				      const struct btf_type *value_type)
{
	struct cgroup *root;
	u32 end = 0;
	int err;

	if (!cgroup_stats_type_is_int(key_type, sizeof(u64)) ||
	    btf_type_is_signed_int(key_type))
		return -EINVAL;
	err = cgroup_stats_check_type(btf, value_type, map->value_size, 0, &end,
				      CGROUP_STATS_TYPE_DEPTH);
	if (err)
		return err;

	if (map->map_extra)
		root = cgroup_get_from_id(map->map_extra);
	else
		root = cgroup_get_from_path("/");
	if (IS_ERR(root))
		return -ENOENT;
	/*
	 * Not static_key_enabled() first: that is true as soon as another creator
	 * has begun to patch. It stays on: ->map_free() must not wait for hotplug.
	 */
	static_branch_enable(&bpf_cgroup_stats_key);
	err = cgroup_stats_make_entries(to_smap(map), root);
	cgroup_put(root);
	return err;
}

static u64 cgroup_stats_map_mem_usage(const struct bpf_map *map)
{
	struct cgroup_stats_map *smap = to_smap(map);
	u64 entry = cgroup_stats_entry_size(smap) +
		    (u64)cgroup_stats_area_size(smap) * num_possible_cpus();

	return sizeof(*smap) + READ_ONCE(smap->nr_entries) * entry;
}

static long cgroup_stats_map_update_elem(struct bpf_map *map, void *key, void *value,
					 u64 flags)
{
	return -EOPNOTSUPP;
}

static long cgroup_stats_map_delete_elem(struct bpf_map *map, void *key)
{
	return -EOPNOTSUPP;
}

static int __init cgroup_stats_init(void)
{
	cgroup_stats_wq = alloc_workqueue("bpf_cgroup_stats", WQ_UNBOUND, 1);
	if (!cgroup_stats_wq)
		panic("Failed to alloc workqueue for bpf cgroup stats.\n");
	return 0;
}
core_initcall(cgroup_stats_init);

BTF_ID_LIST_SINGLE(cgroup_stats_map_btf_ids, struct, cgroup_stats_map)
const struct bpf_map_ops cgroup_stats_map_ops = {
	.map_meta_equal = bpf_map_meta_equal,
	.map_alloc_check = cgroup_stats_map_alloc_check,
	.map_alloc = cgroup_stats_map_alloc,
	.map_free = cgroup_stats_map_free,
	.map_check_btf = cgroup_stats_map_check_btf,
	.map_get_next_key = cgroup_stats_map_get_next_key,
	.map_lookup_elem = cgroup_stats_map_lookup_elem,
	.map_update_elem = cgroup_stats_map_update_elem,
	.map_delete_elem = cgroup_stats_map_delete_elem,
	.map_lookup_batch = cgroup_stats_map_lookup_batch,
	.map_set_for_each_callback_args = map_set_for_each_callback_args,
	.map_for_each_callback = cgroup_stats_map_for_each,
	.map_seq_show_elem = cgroup_stats_map_seq_show_elem,
	.map_mem_usage = cgroup_stats_map_mem_usage,
	.map_btf_id = &cgroup_stats_map_btf_ids[0],
	.iter_seq_info = &cgroup_stats_iter_seq_info,
};
