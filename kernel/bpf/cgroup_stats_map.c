// SPDX-License-Identifier: GPL-2.0-only
/*
 * BPF_MAP_TYPE_CGROUP_STATS: statistics per cgroup, added up by rstat.
 *
 * A map has one entry per cgroup of a subtree, and an entry is an array of
 * elements: integers that are sums of what programs add, or the largest or
 * smallest of it. Programs add to the current CPU's copy; rstat adds the copies
 * up, over CPUs and over descendants, when somebody reads.
 *
 * For example, a map on /a counts page faults, and a task in /a/b faults three
 * times on CPU 1:
 *
 *	add()		running[1] of /a/b is 3, and four marks are set on CPU 1: the
 *			element's line, the cgroup, its group of cgroups, and the CPU
 *	lookup(/a)	flushes /a: CPU 1's mark is taken, then the group's, then the
 *			cgroup's, and /a/b goes on rstat's tree of CPU 1
 *	  fold /a/b	the line's mark is taken, and set for /a; running - folded
 *			is 3, so folded = 3, total of /a/b += 3, pending of /a += 3
 *	  fold /a	the line's mark is taken; pending is 3, so total of /a += 3,
 *			pending = 0
 *
 * rmdir(/a/b) changes nothing in /a: what is still in /a/b is flushed into /a's
 * pending before its entry goes.
 *
 * Marks, and why there is no fence in add(): each mark is stored after what it
 * announces, with release order, and whatever it was before:
 *
 *	add(), any context		flush, under the flush lock
 *
 *	[A] running += value		[E] take the CPU's mark
 *	[B] line's mark = 1		[D] take the group's mark
 *	[C] cgroup's mark = 1		[C] take the cgroup's mark
 *	[D] group's mark = 1		[B] take the line's mark
 *	[E] CPU's mark = 1		[A] read running
 *
 * A flush that takes a mark of ours reads all that we stored before it. One that
 * does not see our mark comes before it, and the mark stays for the next flush.
 * This is message passing: nobody decides by a load after a store, so an add to
 * per-CPU elements needs no full barrier, and an interrupt between two steps does all
 * the steps itself and waits for nobody. The price is an idle visit now and
 * then, to a line whose change an earlier flush has folded already, and to that line
 * of its ancestors: pending values are one for all CPUs, and their marks are not, so
 * an idle mark goes up like any other to where the change may be by now.
 *
 * A maximum or minimum goes the same way, but whole and not as a difference, which
 * does no harm: to merge the same value again changes nothing. With BPF_F_NO_PERCPU
 * all CPUs add to one array, atomically, and the line's mark is theirs together,
 * which does take a full barrier (see cgroup_stats_sample_shared()). An aggregator
 * (cgroup_stats_ops.c) takes the place of the arithmetic in fold, and of nothing else.
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
 * Locks: cgroup_mutex, or those of struct_ops, then rstat's flush lock. The update
 * path takes none. The static key is enabled with none held.
 */
#include <linux/bitmap.h>
#include <linux/bpf.h>
#include <linux/bpf_cgroup_stats.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/cgroup.h>
#include <linux/cpu.h>
#include <linux/filter.h>
#include <linux/llist.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/rculist.h>
#include <linux/rcupdate_trace.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include "../cgroup/cgroup-internal.h"
#include "cgroup_stats.h"

#define CGROUP_STATS_VALUE_MAX	4096
#define CGROUP_STATS_TYPE_DEPTH	8	/* arrays and structs within each other */
#define CGROUP_STATS_TAG	"cgroup_stats:"	/* and "max" or "min": of a member */

#define CGROUP_STATS_FLAGS	(BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | \
				 BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY)

/* Also for somebody else's mkdir(): fail, rather than loop in reclaim or invoke the OOM killer. */
#define CGROUP_STATS_GFP	(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

/*
 * Marks are bytes, which CPUs store without an atomic. A flush takes those of lines
 * and of cgroups by words, those of groups and CPUs one by one.
 */
#define CGROUP_STATS_WORD	8
#define CGROUP_STATS_LINE	8	/* elements per mark */
#define CGROUP_STATS_GROUP	64	/* cgroups per mark */
#define CGROUP_STATS_GROUPS	CGROUP_STATS_WORD
#define CGROUP_STATS_CHUNK	(CGROUP_STATS_GROUP * CGROUP_STATS_GROUPS)

/* What an element does with samples, and with what comes from elsewhere. */
enum cgroup_stats_op {
	CGROUP_STATS_OP_SUM,
	CGROUP_STATS_OP_MAX,
	CGROUP_STATS_OP_MIN,
	CGROUP_STATS_OP_SIGNED_MAX,
	CGROUP_STATS_OP_SIGNED_MIN,
};

struct cgroup_stats_map {
	struct bpf_map map;
	/* Elements of the value, and their size, 4 or 8: set before anyone has the map. */
	u32 nr_elems;
	u32 elem_size;
	/*
	 * nr_elems if all are sums of 8 bytes and per CPU: for these there are short cuts; or 0.
	 * As wide as the pointer that an index is added to: an add extends its index once.
	 */
	unsigned long nr_sums;
	/* Index into the arrays of entries: set under cgroup_mutex, once. */
	u32 slot;
	/* Each element is 0 without a sample: entries need not be initialised. */
	bool zero;
	/* Written under cgroup_mutex, read by anyone for map_mem_usage. */
	u32 nr_entries;
	/*
	 * The root of the subtree, without a reference: set with its entry,
	 * NULL when that goes. cgroup_mutex, RCU to read.
	 */
	struct cgroup __rcu *root;
	/* Whom entries are charged to, NULL: the root memcg. A reference. */
	struct obj_cgroup *objcg;
	/*
	 * What folds instead of the elements' operations, or NULL: the flush lock. That
	 * it is there is read by anyone for map_mem_usage.
	 */
	struct cgroup_stats_program *program;
	/* For ->map_free(). Its rcu_head waits for programs first, and for flushers last. */
	struct rcu_work free_work;
	/* enum cgroup_stats_op of each element: set before anyone has the map. */
	u8 op[];
};

/*
 * One per map and cgroup. Unlinked under cgroup_mutex, freed after a trace RCU
 * and an RCU grace period: programs hold pointers to the totals.
 */
struct cgroup_stats_entry {
	/*
	 * Per CPU: the marks of lines, running values, and the running values as of the
	 * last fold. Adders write running values and set marks. A flusher, under the flush
	 * lock, takes marks, sets those of the parent, and writes the values of the last
	 * fold. NULL with BPF_F_NO_PERCPU: then there is one such area, behind data.
	 */
	u64 __percpu *area;
	union {
		struct llist_node spare;	/* before it is linked */
		struct rcu_head rcu;		/* after it was unlinked */
	};
	/*
	 * Totals of the cgroup and all below it, then pending values, which children have
	 * handed up and which are not in the totals yet. Both are written under the flush
	 * lock; programs read totals at any time, without it.
	 */
	u64 data[];
};

/* A map's place in a cgroup. All of it is set before its array is found. */
struct cgroup_stats_slot {
	/*
	 * The map, valid as long as it is here, and an RCU grace period on; or NULL, and
	 * the rest means nothing. Cleared under cgroup_mutex when the map is freed, and
	 * marks with it; nothing else here changes.
	 */
	struct cgroup_stats_map *smap;
	/*
	 * The running values of entry->area, so that an add need not touch the entry, whose
	 * totals a flusher writes. Not used with BPF_F_NO_PERCPU.
	 */
	u64 __percpu *running;
	/* A flusher's first look: the marks of entry->area if they are one word, or NULL. */
	u64 __percpu *marks;
	struct cgroup_stats_entry *entry;
};

/*
 * A cgroup's entries by the maps' slots. For one more entry the array is replaced, by
 * one without the slots at its end that maps have left, under cgroup_mutex, and the old
 * one freed after RCU. A cgroup that has had an entry has an array until it is released.
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
	struct cgroup_stats_slot slot[] __counted_by(nr);
};

/* An attached aggregator. Freed when it has been detached under the flush lock. */
struct cgroup_stats_program {
	const struct bpf_cgroup_stats_ops *ops;
	/* Two arrays of elements, for one fold: now and total. */
	u64 copy[];
};

struct cgroup_stats_marks {
	u8 group[CGROUP_STATS_GROUPS] __aligned(CGROUP_STATS_WORD);
	u8 cgrp[CGROUP_STATS_CHUNK] __aligned(CGROUP_STATS_WORD);
};

/* Numbers for cgroups, by which marks lead to them. Chunks are added, and stay. */
struct cgroup_stats_chunk {
	/* In cgroup_stats_chunks, for good. */
	struct list_head list;
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

/*
 * Added to under cgroup_mutex, read by the drain under the flush lock. A mark is found
 * after its chunk: adders have it from an array that is published behind
 * list_add_tail_rcu(), and set the CPU's mark last, with a release that pairs with the
 * full barrier of cgroup_stats_take_one().
 */
static LIST_HEAD(cgroup_stats_chunks);

/*
 * Each CPU's own mark: where it is not set, the drain looks at no groups. Adders set it. A
 * flusher takes it, and sets it again before it drops the lock with groups still to come.
 * If these turn out to have no marks, the next flush looks in vain.
 */
static DEFINE_PER_CPU_SHARED_ALIGNED(u8, cgroup_stats_cpu_mark);

/*
 * Living cgroups that have an array, by id. Written under cgroup_mutex. All of them have
 * the xarray's mark: ids are sparse, and it leads from one to the next.
 */
static DEFINE_XARRAY(cgroup_stats_ids);
#define CGROUP_STATS_MARK	XA_MARK_0

/* Unbound: a work that waits for cgroup_mutex must not hold up CPU hotplug. */
static struct workqueue_struct *cgroup_stats_wq;

static struct cgroup_stats_map *to_smap(const struct bpf_map *map)
{
	return container_of(map, struct cgroup_stats_map, map);
}

/* The room of one array of elements, in u64. */
static u32 cgroup_stats_len(const struct cgroup_stats_map *smap)
{
	return DIV_ROUND_UP(smap->map.value_size, sizeof(u64));
}

/*
 * How many words the marks of an area's lines take. They lie before the running values, in
 * descending order: line n's is the byte at running - 1 - n, so that one pointer finds both.
 */
static u32 cgroup_stats_words(const struct cgroup_stats_map *smap)
{
	return DIV_ROUND_UP(smap->nr_elems, CGROUP_STATS_LINE * CGROUP_STATS_WORD);
}

/* The room of an area, in u64: marks and two arrays. */
static u32 cgroup_stats_area_len(const struct cgroup_stats_map *smap)
{
	return 2 * cgroup_stats_len(smap) + cgroup_stats_words(smap);
}

static bool cgroup_stats_is_shared(const struct cgroup_stats_map *smap)
{
	return smap->map.map_flags & BPF_F_NO_PERCPU;
}

static u8 *cgroup_stats_line(void *running, u32 line)
{
	return (u8 *)running - 1 - line;
}

/* Where @cpu adds to. What was folded of it comes behind. */
static u64 *cgroup_stats_running(const struct cgroup_stats_map *smap,
				 struct cgroup_stats_entry *entry, int cpu)
{
	u64 *area = cgroup_stats_is_shared(smap) ? entry->data + 2 * cgroup_stats_len(smap) :
						   per_cpu_ptr(entry->area, cpu);

	return area + cgroup_stats_words(smap);
}

static u64 *cgroup_stats_pending(const struct cgroup_stats_map *smap,
				 struct cgroup_stats_entry *entry)
{
	return entry->data + cgroup_stats_len(smap);
}

static size_t cgroup_stats_entry_size(const struct cgroup_stats_map *smap)
{
	u32 len = 2 * cgroup_stats_len(smap);

	if (cgroup_stats_is_shared(smap))
		len += cgroup_stats_area_len(smap);
	return struct_size_t(struct cgroup_stats_entry, data, len);
}

static size_t cgroup_stats_program_size(const struct cgroup_stats_map *smap)
{
	return struct_size_t(struct cgroup_stats_program, copy, 2 * cgroup_stats_len(smap));
}

static size_t cgroup_stats_percpu_size(const struct cgroup_stats_map *smap)
{
	return cgroup_stats_is_shared(smap) ? 0 : cgroup_stats_area_len(smap) * sizeof(u64);
}

#define cgroup_stats_locked(p) \
	rcu_dereference_protected(p, lockdep_is_held(&cgroup_mutex))

/* Take all marks of a word: a full barrier, if there are any. Pairs with adders' releases. */
static u64 cgroup_stats_take(u64 *word)
{
	return READ_ONCE(*word) ? xchg(word, 0) : 0;
}

/* Take one mark, likewise. Not by xchg(), which takes no bytes on some architectures. */
static bool cgroup_stats_take_one(u8 *mark)
{
	return READ_ONCE(*mark) && cmpxchg(mark, 1, 0);
}

/* Marks of a word of which the first byte, or the last one, is to be bits 0 to 7. */
static u64 cgroup_stats_upwards(u64 marks)
{
	return le64_to_cpu((__force __le64)marks);
}

static u64 cgroup_stats_downwards(u64 marks)
{
	return be64_to_cpu((__force __be64)marks);
}

/* The number of the first mark in @taken, which must have one; drops it. */
static u32 cgroup_stats_next_mark(u64 *taken)
{
	u32 mark = __ffs64(*taken) / BITS_PER_BYTE;

	*taken &= *taken - 1;
	return mark;
}

/* --- elements: in a register each is 64 bits wide, as its type extends it --- */

/* What an element is. By value: where it is a constant, the switches below are gone. */
struct cgroup_stats_elem {
	enum cgroup_stats_op op;
	u32 size;
};

static __always_inline struct cgroup_stats_elem
cgroup_stats_elem(const struct cgroup_stats_map *smap, u32 i)
{
	return (struct cgroup_stats_elem) { smap->op[i], smap->elem_size };
}

/* @value, converted to the element's type. */
static __always_inline u64 cgroup_stats_convert(struct cgroup_stats_elem elem, u64 value)
{
	if (elem.size == sizeof(u64))
		return value;
	if (elem.op == CGROUP_STATS_OP_SIGNED_MAX || elem.op == CGROUP_STATS_OP_SIGNED_MIN)
		return (s32)value;
	return (u32)value;
}

static __always_inline u64 cgroup_stats_read(struct cgroup_stats_elem elem, const void *array,
					     u32 i)
{
	if (elem.size == sizeof(u64))
		return READ_ONCE(((const u64 *)array)[i]);
	return cgroup_stats_convert(elem, READ_ONCE(((const u32 *)array)[i]));
}

/* Programs read totals meanwhile: one store. */
static __always_inline void cgroup_stats_write(struct cgroup_stats_elem elem, void *array, u32 i,
					       u64 value)
{
	if (elem.size == sizeof(u64))
		WRITE_ONCE(((u64 *)array)[i], value);
	else
		WRITE_ONCE(((u32 *)array)[i], value);
}

/* The element's operation on two values of its type. */
static __always_inline u64 cgroup_stats_merge(struct cgroup_stats_elem elem, u64 a, u64 b)
{
	switch (elem.op) {
	case CGROUP_STATS_OP_MAX:
		return max(a, b);
	case CGROUP_STATS_OP_MIN:
		return min(a, b);
	case CGROUP_STATS_OP_SIGNED_MAX:
		return max((s64)a, (s64)b);
	case CGROUP_STATS_OP_SIGNED_MIN:
		return min((s64)a, (s64)b);
	default:
		return cgroup_stats_convert(elem, a + b);
	}
}

static __always_inline void cgroup_stats_merge_into(struct cgroup_stats_elem elem, void *array,
						    u32 i, u64 value)
{
	value = cgroup_stats_merge(elem, cgroup_stats_read(elem, array, i), value);
	cgroup_stats_write(elem, array, i, value);
}

/* What merges with any value to that value: what the element is without a sample. */
static __always_inline u64 cgroup_stats_identity(struct cgroup_stats_elem elem)
{
	u64 sign = BIT_ULL(elem.size * BITS_PER_BYTE - 1);

	switch (elem.op) {
	case CGROUP_STATS_OP_MIN:
		return cgroup_stats_convert(elem, U64_MAX);
	case CGROUP_STATS_OP_SIGNED_MAX:
		return -sign;
	case CGROUP_STATS_OP_SIGNED_MIN:
		return sign - 1;
	default:
		return 0;
	}
}

/* Make all elements of @array identities. */
static void cgroup_stats_init_elems(const struct cgroup_stats_map *smap, void *array)
{
	struct cgroup_stats_elem elem;
	u32 i;

	for (i = 0; i < smap->nr_elems; i++) {
		elem = cgroup_stats_elem(smap, i);
		cgroup_stats_write(elem, array, i, cgroup_stats_identity(elem));
	}
}

/* --- finding entries: under RCU, or with preemption off --- */

/* Has @array an entry of @smap? Maps of other subtrees have the same slot. */
static __always_inline bool cgroup_stats_has(const struct cgroup_stats_array *array,
					     const struct cgroup_stats_map *smap)
{
	unsigned long nr = smap->slot;

	return likely(array && nr < array->nr) && likely(READ_ONCE(array->slot[nr].smap) == smap);
}

/* The place of @smap in @array; NULL outside of the map's subtree. */
static struct cgroup_stats_slot *
cgroup_stats_find(const struct cgroup_stats_map *smap, struct cgroup_stats_array *array)
{
	return cgroup_stats_has(array, smap) ? &array->slot[smap->slot] : NULL;
}

static __always_inline struct cgroup_stats_array *
cgroup_stats_adders(struct cgroup *cgrp)
{
	return rcu_dereference_check(cgrp->bpf.stats_adders,
				     rcu_read_lock_any_held());
}

/*
 * xa_load(), without the cursor that it moves along: an add by id is little else. No
 * cgroup has the id 0, which the tree would keep in another way.
 */
static __always_inline struct cgroup *cgroup_stats_load(u64 id)
{
	struct xarray *xa = &cgroup_stats_ids;
	struct xa_node *node;
	void *entry;

	rcu_read_lock();
	do {
		entry = xa_head(xa);
		if (xa_is_node(entry) && id >> xa_to_node(entry)->shift > XA_CHUNK_MASK)
			entry = NULL;
		while (xa_is_node(entry)) {
			node = xa_to_node(entry);
			entry = xa_entry(xa, node, (id >> node->shift) & XA_CHUNK_MASK);
		}
	} while (unlikely(xa_is_internal(entry)));	/* XA_RETRY_ENTRY: a node has gone */
	rcu_read_unlock();
	return entry;
}

static __always_inline struct cgroup_stats_array *cgroup_stats_by_id(u64 id)
{
	struct cgroup *cgrp = cgroup_stats_load(id);

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

/* The smallest id above @id that has an entry of @smap; 0: there is none. */
static u64 cgroup_stats_next_id(const struct cgroup_stats_map *smap, u64 id)
{
	unsigned long next = id;
	struct cgroup *cgrp;

	rcu_read_lock();
	do {
		cgrp = xa_find_after(&cgroup_stats_ids, &next, ULONG_MAX, CGROUP_STATS_MARK);
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

/* Replace @old, if it is still there. Interrupts are all that can come between. */
static bool cgroup_stats_replace(const struct cgroup_stats_map *smap, void *array, u32 i,
				 u64 old, u64 new)
{
	/* An instruction, or two that notice, wherever this is built: safe from NMIs. */
	if (smap->elem_size == sizeof(u64))
		return try_cmpxchg_local((u64 *)array + i, &old, new);
	return cmpxchg_local((u32 *)array + i, (u32)old, (u32)new) == (u32)old;
}

/* Merge a sample into a running value of this CPU. */
static void cgroup_stats_sample(const struct cgroup_stats_map *smap, void *running, u32 i,
				u64 value)
{
	struct cgroup_stats_elem elem = cgroup_stats_elem(smap, i);
	u64 old, new;

	do {
		old = cgroup_stats_read(elem, running, i);
		new = cgroup_stats_merge(elem, old, value);
	} while (new != old && !cgroup_stats_replace(smap, running, i, old, new));
}

/* The same on all CPUs, with a full barrier. */
static bool cgroup_stats_replace_shared(const struct cgroup_stats_map *smap, void *array,
					u32 i, u64 old, u64 new)
{
	if (smap->elem_size == sizeof(u64))
		return try_cmpxchg((u64 *)array + i, &old, new);
	return cmpxchg((u32 *)array + i, (u32)old, (u32)new) == (u32)old;
}

/*
 * Merge a sample into a running value of all CPUs. The line's mark is one for all of
 * them too: a flusher may take it as another CPU's, and then has no part in the message
 * that our release is. So the mark must be ordered behind the value by a full barrier,
 * which pairs with that of cgroup_stats_take(); atomics that return something have it.
 */
static noinline void cgroup_stats_sample_shared(const struct cgroup_stats_map *smap,
						void *running, u32 i, u64 value)
{
	struct cgroup_stats_elem elem = cgroup_stats_elem(smap, i);
	u64 old, new;

	if (elem.op == CGROUP_STATS_OP_SUM) {
		if (elem.size == sizeof(u64))
			atomic64_fetch_add(value, (atomic64_t *)running + i);
		else
			atomic_fetch_add(value, (atomic_t *)running + i);
		return;
	}
	do {
		old = cgroup_stats_read(elem, running, i);
		new = cgroup_stats_merge(elem, old, value);
		if (new == old) {
			/* Somebody else's sample, whose mark may be still to come. */
			smp_mb();
			return;
		}
	} while (!cgroup_stats_replace_shared(smap, running, i, old, new));
}

static __always_inline void cgroup_stats_mark(u8 __percpu *mark)
{
	if (IS_ENABLED(CONFIG_X86_64)) {
		/* Each store is a release there; this one needs no address of its own. */
		barrier();
		this_cpu_write(*mark, 1);
	} else {
		/* Pairs with cgroup_stats_take() and cgroup_stats_take_one(). */
		smp_store_release(raw_cpu_ptr(mark), 1);
	}
}

/*
 * [C] to [E] of the comment on top; like [B] they must be releases: a mark of a
 * neighbour's may lead the flusher to ours half-way. They also carry along the entry
 * that another CPU made.
 */
static __always_inline void cgroup_stats_mark_cgroup(const struct cgroup_stats_array *array)
{
	cgroup_stats_mark(array->cgrp_mark);
	cgroup_stats_mark(array->group_mark);
	cgroup_stats_mark(&cgroup_stats_cpu_mark);
}

/* Add to a sum of 8 bytes. */
static __always_inline long
cgroup_stats_add_sum(struct cgroup_stats_map *smap, struct cgroup_stats_array *array,
		     unsigned long index, s64 value)
{
	u64 __percpu *running;

	if (unlikely(!cgroup_stats_has(array, smap)))
		return -ENOENT;
	running = array->slot[smap->slot].running;
	cgroup_stats_sum(running + index, value);
	cgroup_stats_mark((u8 __percpu *)running - index / CGROUP_STATS_LINE - 1);
	cgroup_stats_mark_cgroup(array);
	return 0;
}

/* Add to a map whose elements are not all sums of 8 bytes. */
static noinline long
cgroup_stats_add_any(struct cgroup_stats_map *smap, u64 id, u32 index, s64 value)
{
	struct cgroup_stats_array *array;
	struct cgroup_stats_slot *slot;
	long err = -ENOENT;
	u64 *running;

	if (unlikely(index >= smap->nr_elems))
		return -E2BIG;
	value = cgroup_stats_convert(cgroup_stats_elem(smap, index), value);

	preempt_disable_notrace();
	array = id ? cgroup_stats_by_id(id) : cgroup_stats_of_current();
	slot = cgroup_stats_find(smap, array);
	if (likely(slot)) {
		running = cgroup_stats_running(smap, slot->entry, smp_processor_id());
		if (cgroup_stats_is_shared(smap))
			cgroup_stats_sample_shared(smap, running, index, value);
		else
			cgroup_stats_sample(smap, running, index, value);
		/* Pairs with cgroup_stats_take(). */
		smp_store_release(cgroup_stats_line(running, index / CGROUP_STATS_LINE), 1);
		cgroup_stats_mark_cgroup(array);
		err = 0;
	}
	preempt_enable_notrace();
	return err;
}

/* All but the usual add, which calls nobody and so has nothing to save. */
static noinline long
cgroup_stats_add_slow(struct cgroup_stats_map *smap, u64 id, u32 index, s64 value, u64 flags)
{
	long err;

	if (unlikely(flags))
		return -EINVAL;
	if (index >= smap->nr_sums)
		return cgroup_stats_add_any(smap, id, index, value);

	preempt_disable_notrace();
	err = cgroup_stats_add_sum(smap, cgroup_stats_by_id(id), index, value);
	preempt_enable_notrace();
	return err;
}

static __always_inline long
cgroup_stats_add(struct bpf_map *map, u64 id, unsigned long index, s64 value, u64 flags)
{
	struct cgroup_stats_map *smap = to_smap(map);
	long err;

	id |= flags;	/* which must be 0 */
	if (id || index >= smap->nr_sums)
		return cgroup_stats_add_slow(smap, id, index, value, flags);

	preempt_disable_notrace();
	err = cgroup_stats_add_sum(smap, cgroup_stats_of_current(), index, value);
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
		taken = cgroup_stats_upwards(cgroup_stats_take((u64 *)&marks->cgrp[nr]));
		while (taken) {
			/* NULL: a mark that outlived its cgroup. */
			cgrp = READ_ONCE(chunk->cgrp[nr + cgroup_stats_next_mark(&taken)]);
			if (cgrp)
				cgroup_stats_rstat_queue(cgrp, cpu);
		}
	}
}

/* Out of line: a CPU without a mark has no registers to save. */
static noinline void cgroup_stats_drain_groups(u8 *cpu_mark, int cpu)
{
	struct cgroup_stats_chunk *chunk;
	struct cgroup_stats_marks *marks;
	u32 group;

	list_for_each_entry_lockless(chunk, &cgroup_stats_chunks, list) {
		marks = per_cpu_ptr(chunk->marks, cpu);
		if (!READ_ONCE(*(u64 *)marks->group))
			continue;
		for (group = 0; group < CGROUP_STATS_GROUPS; group++) {
			if (!cgroup_stats_take_one(&marks->group[group]))
				continue;
			cgroup_stats_drain_group(chunk, marks, group, cpu);

			/*
			 * Others must not pass by the groups that are still to come. If there
			 * is an adder's mark by now, it stays, for what it announces.
			 */
			cmpxchg(cpu_mark, 0, 1);
			cgroup_stats_rstat_unlock();
			if (!cond_resched())
				cpu_relax();
			cgroup_stats_rstat_lock();
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
	u8 *cpu_mark = per_cpu_ptr(&cgroup_stats_cpu_mark, cpu);

	if (cgroup_stats_take_one(cpu_mark))
		cgroup_stats_drain_groups(cpu_mark, cpu);
}

/* What one fold works on: arrays of elements. */
struct cgroup_stats_fold {
	const struct cgroup_stats_map *smap;
	void *running;
	void *folded;
	void *total;
	void *pending;
	void *up;		/* the parent's pending, or NULL */
	void *up_running;	/* whose marks are for its pending as well */
};

/* Sums are known not to be shared. */
static __always_inline u64 *cgroup_stats_fold_running(const struct cgroup_stats_map *smap,
						      const struct cgroup_stats_slot *slot,
						      int cpu, bool sums)
{
	return sums ? per_cpu_ptr(slot->running, cpu) :
		      cgroup_stats_running(smap, slot->entry, cpu);
}

static __always_inline struct cgroup_stats_fold
cgroup_stats_fold_begin(const struct cgroup_stats_map *smap, const struct cgroup_stats_slot *slot,
			int cpu, bool sums)
{
	u64 *running = cgroup_stats_fold_running(smap, slot, cpu, sums);

	return (struct cgroup_stats_fold) {
		.smap		= smap,
		.running	= running,
		.folded		= running + cgroup_stats_len(smap),
		.total		= slot->entry->data,
		.pending	= cgroup_stats_pending(smap, slot->entry),
	};
}

/*
 * Find the parent's entry, if it has one. Only after a mark was taken: the full barrier of
 * cgroup_stats_take() orders this load. Whoever set the mark had seen this entry or one
 * below, and these are published after the parent's.
 */
static __always_inline void cgroup_stats_fold_up(struct cgroup_stats_fold *f,
						 struct cgroup *cgrp, int cpu, bool sums)
{
	struct cgroup *parent = cgroup_parent(cgrp);
	struct cgroup_stats_array *array;
	struct cgroup_stats_slot *slot;

	f->up = NULL;
	if (!parent || f->smap->map.map_flags & BPF_F_NO_HIERARCHY)
		return;
	array = rcu_dereference(parent->bpf.stats_entries);
	if (!cgroup_stats_has(array, f->smap))
		return;
	slot = &array->slot[f->smap->slot];
	f->up = cgroup_stats_pending(f->smap, slot->entry);
	f->up_running = cgroup_stats_fold_running(f->smap, slot, cpu, sums);
}

/*
 * Set marks of a word for the parent, whose turn on this CPU is next. Its adders set the
 * same ones: a mark that lies there must stay, or be read in passing, for what it
 * announces. Behind a plain store of ours there might be theirs, unread.
 */
static __always_inline void cgroup_stats_fold_mark_up(struct cgroup_stats_fold *f, u32 word,
						      u64 marks)
{
	u64 *up = (u64 *)f->up_running - 1 - word;

	if (marks & ~READ_ONCE(*up))
		atomic64_or(marks, (atomic64_t *)up);
}

/*
 * Take the marks of a word of lines, [B] before [A], and hand them to the parent. All of
 * them: if nothing is left here to go up, another CPU's flush has taken what was pending,
 * and may have left it for this one further up.
 */
static __always_inline u64 cgroup_stats_fold_take(struct cgroup_stats_fold *f,
						  struct cgroup *cgrp, int cpu, u32 word,
						  bool sums)
{
	u64 taken = cgroup_stats_take((u64 *)f->running - 1 - word);

	if (taken) {
		cgroup_stats_fold_up(f, cgrp, cpu, sums);
		if (f->up)
			cgroup_stats_fold_mark_up(f, word, taken);
	}
	return cgroup_stats_downwards(taken);
}

/* Fold a sum of 8 bytes: what was added and what is pending. Returns what is new of it. */
static __always_inline u64 cgroup_stats_fold_sum(const u64 *running, u64 *folded, u64 *pending,
						 u64 *total)
{
	u64 now = READ_ONCE(*running);
	u64 delta = now - *folded + *pending;

	*folded = now;
	*pending = 0;
	/* Programs read it meanwhile: one store. */
	WRITE_ONCE(*total, *total + delta);
	return delta;
}

/* Fold @n of them, a line at most, from @i on. */
static __always_inline void cgroup_stats_fold_sums(const struct cgroup_stats_fold *f, u32 i, u32 n)
{
	u64 *folded = (u64 *)f->folded + i, *pending = (u64 *)f->pending + i;
	u64 *running = (u64 *)f->running + i, *total = (u64 *)f->total + i;
	u64 *up = (u64 *)f->up + i;

	if (!f->up) {
		for (i = 0; i < n; i++)
			cgroup_stats_fold_sum(running + i, folded + i, pending + i, total + i);
	} else if (n < CGROUP_STATS_LINE) {
		for (i = 0; i < n; i++)
			up[i] += cgroup_stats_fold_sum(running + i, folded + i, pending + i,
						       total + i);
	} else {
#pragma GCC unroll 8
		for (i = 0; i < CGROUP_STATS_LINE; i++)
			up[i] += cgroup_stats_fold_sum(running + i, folded + i, pending + i,
						       total + i);
	}
}

/* The same for an element of any kind. Maxima and minima fold whole, however often. */
static __always_inline void cgroup_stats_fold_elem(const struct cgroup_stats_fold *f, u32 i,
						   struct cgroup_stats_elem elem)
{
	u64 now = cgroup_stats_read(elem, f->running, i);
	u64 folded = cgroup_stats_read(elem, f->folded, i);
	u64 pending = cgroup_stats_read(elem, f->pending, i);
	u64 identity = cgroup_stats_identity(elem), delta;

	if (now == folded && pending == identity)
		return;
	cgroup_stats_write(elem, f->folded, i, now);
	cgroup_stats_write(elem, f->pending, i, identity);
	if (elem.op == CGROUP_STATS_OP_SUM)
		now -= folded;
	delta = cgroup_stats_merge(elem, now, pending);
	cgroup_stats_merge_into(elem, f->total, i, delta);
	if (f->up)
		cgroup_stats_merge_into(elem, f->up, i, delta);
}

static noinline void cgroup_stats_fold_any(const struct cgroup_stats_fold *fold, u32 i, u32 n)
{
	static const struct cgroup_stats_elem sum4 = { CGROUP_STATS_OP_SUM, sizeof(u32) };
	static const struct cgroup_stats_elem sum8 = { CGROUP_STATS_OP_SUM, sizeof(u64) };
	const struct cgroup_stats_fold f = *fold;	/* which stores to arrays cannot change */
	struct cgroup_stats_elem elem;
	u32 end = i + n;

	for (; i < end; i++) {
		elem = cgroup_stats_elem(f.smap, i);
		/* Most are sums, of which the compiler makes something better. */
		if (elem.op != CGROUP_STATS_OP_SUM)
			cgroup_stats_fold_elem(&f, i, elem);
		else if (elem.size == sizeof(u64))
			cgroup_stats_fold_elem(&f, i, sum8);
		else
			cgroup_stats_fold_elem(&f, i, sum4);
	}
}

static __always_inline void cgroup_stats_fold_entry(const struct cgroup_stats_map *smap,
						    const struct cgroup_stats_slot *slot,
						    struct cgroup *cgrp, int cpu, bool sums)
{
	struct cgroup_stats_fold f = cgroup_stats_fold_begin(smap, slot, cpu, sums);
	u32 word, line, i, n, words = cgroup_stats_words(smap);
	u64 taken;

	for (word = 0; word < words; word++) {
		taken = cgroup_stats_fold_take(&f, cgrp, cpu, word, sums);
		while (taken) {
			line = word * CGROUP_STATS_WORD + cgroup_stats_next_mark(&taken);
			i = line * CGROUP_STATS_LINE;
			n = min(smap->nr_elems - i, CGROUP_STATS_LINE);
			if (sums)
				cgroup_stats_fold_sums(&f, i, n);
			else
				cgroup_stats_fold_any(&f, i, n);
		}
	}
}

/* Copy elements, each whole: others read one side and write the other. */
static void cgroup_stats_copy_elems(const struct cgroup_stats_map *smap, u64 *dst,
				    const u64 *src)
{
	u32 i, len = cgroup_stats_len(smap);

	for (i = 0; i < len; i++)
		WRITE_ONCE(dst[i], READ_ONCE(src[i]));
}

/*
 * Mark all lines for the parent, as idle marks go up in cgroup_stats_fold_take(), and
 * because without the program what it left there goes by lines.
 */
static void cgroup_stats_fold_mark_all(const struct cgroup_stats_fold *f)
{
	u32 line, lines = DIV_ROUND_UP(f->smap->nr_elems, CGROUP_STATS_LINE);
	u8 *mark;

	for (line = 0; line < lines; line++) {
		mark = cgroup_stats_line(f->up_running, line);
		/* As in cgroup_stats_fold_mark_up(), an adder's must stay. */
		if (!READ_ONCE(*mark))
			cmpxchg(mark, 0, 1);
	}
}

/* Fold an entry by the map's program: the value as a whole, if any of it has changed. */
static void cgroup_stats_fold_program(struct cgroup_stats_map *smap,
				      const struct cgroup_stats_slot *slot,
				      struct cgroup *cgrp, int cpu)
{
	struct cgroup_stats_fold f = cgroup_stats_fold_begin(smap, slot, cpu, false);
	u64 *now = smap->program->copy, *total = now + cgroup_stats_len(smap);
	struct cgroup_stats_fold_kern kern;
	u64 taken = 0;
	u32 word;

	for (word = 0; word < cgroup_stats_words(smap); word++)
		taken |= cgroup_stats_take((u64 *)f.running - 1 - word);
	if (!taken)
		return;
	cgroup_stats_fold_up(&f, cgrp, cpu, false);

	/* Copies: adders go on, and readers must not see the program at work. */
	cgroup_stats_copy_elems(smap, now, f.running);
	cgroup_stats_copy_elems(smap, total, f.total);
	kern = (struct cgroup_stats_fold_kern) {
		.fold.map	= &smap->map,
		.fold.cgroup_id	= cgroup_id(cgrp),
		.fold.cpu	= cpu,
		.value		= { now, f.folded, f.pending, total, f.up },
	};
	smap->program->ops->fold(&kern.fold);

	/* It had its one chance: what was new is folded, whether or not it looked. */
	cgroup_stats_copy_elems(smap, f.folded, now);
	cgroup_stats_copy_elems(smap, f.total, total);
	cgroup_stats_init_elems(smap, f.pending);
	if (f.up)
		cgroup_stats_fold_mark_all(&f);
}

static noinline void cgroup_stats_fold_slot(struct cgroup_stats_slot *slot,
					    struct cgroup *cgrp, int cpu)
{
	struct cgroup_stats_map *smap = READ_ONCE(slot->smap);

	if (!smap)
		return;
	if (unlikely(smap->program))
		cgroup_stats_fold_program(smap, slot, cgrp, cpu);
	else if (smap->nr_sums)
		cgroup_stats_fold_entry(smap, slot, cgrp, cpu, true);
	else
		cgroup_stats_fold_entry(smap, slot, cgrp, cpu, false);
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
	struct cgroup_stats_slot *slot, *end;
	struct cgroup_stats_array *array;
	u64 __percpu *marks;

	rcu_read_lock();
	array = rcu_dereference(cgrp->bpf.stats_entries);
	if (!array)
		goto out;
	end = array->slot + array->nr;
	for (slot = array->slot; slot < end; slot++) {
		marks = READ_ONCE(slot->marks);
		/* Of a cgroup that has changed, most entries have not. */
		if (!marks || READ_ONCE(*per_cpu_ptr(marks, cpu)))
			cgroup_stats_fold_slot(slot, cgrp, cpu);
	}
out:
	rcu_read_unlock();
}

/* Flush a cgroup, 0: the current task's; -ENOENT if it has no entry of @smap. */
static int cgroup_stats_flush(struct cgroup_stats_map *smap, u64 id)
{
	struct cgroup_stats_array *array;
	struct cgroup *cgrp = NULL;

	rcu_read_lock();
	array = id ? cgroup_stats_by_id(id) : cgroup_stats_of_current();
	if (cgroup_stats_has(array, smap) && cgroup_tryget(array->cgrp))
		cgrp = array->cgrp;
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
	struct cgroup_stats_slot *slot;
	void *totals;

	preempt_disable_notrace();
	slot = cgroup_stats_find(to_smap(map), cgroup_stats_by_id(*(u64 *)key));
	totals = slot ? slot->entry->data : NULL;
	preempt_enable_notrace();
	return totals;
}

BPF_CALL_2(bpf_cgroup_stats_lookup_flush, struct bpf_map *, map, void *, key)
{
	u64 id = *(u64 *)key;	/* once: it may be anybody's memory */

	if (id)
		cgroup_stats_flush(to_smap(map), id);
	return (unsigned long)cgroup_stats_map_lookup_elem(map, &id);
}

/* Copy the totals of one cgroup, if it has not gone. */
static int cgroup_stats_copy(struct cgroup_stats_map *smap, u64 id, void *value)
{
	struct cgroup_stats_slot *slot;

	cgroup_stats_rstat_lock();
	rcu_read_lock();
	slot = cgroup_stats_find(smap, cgroup_stats_by_id(id));
	if (slot)
		memcpy(value, slot->entry->data, smap->map.value_size);
	rcu_read_unlock();
	cgroup_stats_rstat_unlock();
	return slot ? 0 : -ENOENT;
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

	/* 0, the current task's cgroup elsewhere, is no key. */
	if (!id || cgroup_stats_flush(smap, id))
		return -ENOENT;
	return cgroup_stats_copy(smap, id, value);
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

/**
 * cgroup_stats_set_ops - attach, replace or detach what folds a map's values
 * @map: a BPF_MAP_TYPE_CGROUP_STATS map
 * @old: what is attached, NULL: nothing
 * @new: what is to be, NULL: nothing, elements fold by their own operations
 *
 * What was added before is folded by @old and what comes after by @new; what is added
 * meanwhile by either. When this returns, @old is not running any more. Sleeps.
 *
 * Return: 0, -ENOMEM, or -EBUSY if something else than @old is attached.
 */
int cgroup_stats_set_ops(struct bpf_map *map, const struct bpf_cgroup_stats_ops *old,
			 const struct bpf_cgroup_stats_ops *new)
{
	struct cgroup_stats_map *smap = to_smap(map);
	struct cgroup_stats_program *program = NULL;
	int err = -EBUSY;

	if (new) {
		program = kvmalloc(cgroup_stats_program_size(smap), bpf_memcg_flags(GFP_KERNEL));
		if (!program)
			return -ENOMEM;
		program->ops = new;
	}
	cgroup_stats_flush_all(smap);
	cgroup_stats_rstat_lock();
	if ((smap->program ? smap->program->ops : NULL) == old) {
		/* ->map_mem_usage() looks without the lock. */
		program = xchg(&smap->program, program);
		err = 0;
	}
	cgroup_stats_rstat_unlock();
	kvfree(program);
	return err;
}

/*
 * Copy up to @n totals of cgroups after @id, in ascending order and as of one instant, and
 * move @id to the last one. Interrupts are off while it looks at a group's number of
 * cgroups, this map's and others, at most. Returns how many it copied, 0 at the end.
 */
static u32 cgroup_stats_copy_next(struct cgroup_stats_map *smap, u64 *id,
				  u64 *ids, void *values, u32 n)
{
	u32 size = smap->map.value_size, copied = 0, seen;
	struct cgroup_stats_slot *slot;
	struct cgroup *cgrp;

	if (*id == ULONG_MAX)
		return 0;
	do {
		XA_STATE(xas, &cgroup_stats_ids, *id + 1);

		cond_resched();
		seen = 0;
		cgroup_stats_rstat_lock();
		rcu_read_lock();
		xas_for_each_marked(&xas, cgrp, ULONG_MAX, CGROUP_STATS_MARK) {
			if (xas_retry(&xas, cgrp))
				continue;
			slot = cgroup_stats_find(smap, cgroup_stats_adders(cgrp));
			if (slot) {
				ids[copied] = xas.xa_index;
				memcpy(values + copied * size, slot->entry->data, size);
				copied++;
			}
			if (copied == n || ++seen == CGROUP_STATS_GROUP)
				break;
		}
		rcu_read_unlock();
		cgroup_stats_rstat_unlock();
		if (copied)
			*id = ids[copied - 1];
		else if (cgrp)
			*id = xas.xa_index;
	} while (cgrp && !copied);
	return copied;
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
		btf_type_seq_show_flags(map->btf, map->btf_value_type_id, value, m,
					BTF_SHOW_COMPACT | BTF_SHOW_ZERO | BTF_SHOW_UNSAFE);
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
	iter->id = 0;
	return NULL;
}

static void *cgroup_stats_seq_start(struct seq_file *seq, loff_t *pos)
{
	struct cgroup_stats_iter *iter = seq->private;

	if (*pos == 0) {
		++*pos;
		cgroup_stats_flush_all(iter->smap);
		return cgroup_stats_iter_find(iter, 0);
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

static void cgroup_stats_init_entry(const struct cgroup_stats_map *smap,
				    struct cgroup_stats_entry *entry)
{
	u64 *running;
	int cpu;

	if (smap->zero)
		return;
	cgroup_stats_init_elems(smap, entry->data);
	cgroup_stats_init_elems(smap, cgroup_stats_pending(smap, entry));
	for_each_possible_cpu(cpu) {
		running = cgroup_stats_running(smap, entry, cpu);
		cgroup_stats_init_elems(smap, running);
		cgroup_stats_init_elems(smap, running + cgroup_stats_len(smap));
		if (cgroup_stats_is_shared(smap))
			break;
		cond_resched();
	}
}

static struct cgroup_stats_entry *__cgroup_stats_entry_alloc(struct cgroup_stats_map *smap)
{
	gfp_t gfp = bpf_memcg_flags(CGROUP_STATS_GFP);
	size_t percpu_size = cgroup_stats_percpu_size(smap);
	struct cgroup_stats_entry *entry;

	entry = kvzalloc_node(cgroup_stats_entry_size(smap), gfp, smap->map.numa_node);
	if (!entry)
		return NULL;
	if (percpu_size) {
		entry->area = __alloc_percpu_gfp(percpu_size, sizeof(u64), gfp);
		if (!entry->area) {
			kvfree(entry);
			return NULL;
		}
	}
	cgroup_stats_init_entry(smap, entry);
	return entry;
}

static struct cgroup_stats_entry *cgroup_stats_entry_alloc(struct cgroup_stats_map *smap)
{
	struct cgroup_stats_entry *entry;
	struct mem_cgroup *memcg, *old;

#ifdef CONFIG_MEMCG
	memcg = smap->objcg ? get_mem_cgroup_from_objcg(smap->objcg) : root_mem_cgroup;
#else
	memcg = NULL;
#endif
	old = set_active_memcg(memcg);
	entry = __cgroup_stats_entry_alloc(smap);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	return entry;
}

static void cgroup_stats_entry_free_now(struct cgroup_stats_entry *entry)
{
	free_percpu(entry->area);
	kvfree(entry);
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

static int cgroup_stats_id_insert(struct cgroup *cgrp)
{
	int err;

	xa_lock(&cgroup_stats_ids);
	err = __xa_insert(&cgroup_stats_ids, cgroup_id(cgrp), cgrp, GFP_KERNEL);
	if (!err)
		__xa_set_mark(&cgroup_stats_ids, cgroup_id(cgrp), CGROUP_STATS_MARK);
	xa_unlock(&cgroup_stats_ids);
	return err;
}

static int cgroup_stats_number_get(struct cgroup_stats_array *array)
{
	struct cgroup_stats_chunk *chunk;
	u32 nr;

	list_for_each_entry(chunk, &cgroup_stats_chunks, list) {
		nr = find_first_zero_bit(chunk->used, CGROUP_STATS_CHUNK);
		if (nr < CGROUP_STATS_CHUNK)
			goto found;
	}
	chunk = kzalloc(sizeof(*chunk), GFP_KERNEL);
	if (!chunk)
		return -ENOMEM;
	chunk->marks = alloc_percpu(struct cgroup_stats_marks);
	if (!chunk->marks) {
		kfree(chunk);
		return -ENOMEM;
	}
	nr = 0;
	list_add_tail_rcu(&chunk->list, &cgroup_stats_chunks);
found:
	__set_bit(nr, chunk->used);
	/*
	 * A mark of the number's last owner may lead to the cgroup at once: all of it first.
	 * Pairs with the READ_ONCE() in cgroup_stats_drain_group(), which all use of the
	 * cgroup depends on.
	 */
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

/* How many of its slots are in use, or lie before one that is. */
static u32 cgroup_stats_array_used(const struct cgroup_stats_array *array)
{
	u32 nr = array ? array->nr : 0;

	while (nr && !array->slot[nr - 1].smap)
		nr--;
	return nr;
}

/* Whoever makes the cgroup or the map pays: maps that are gone cannot. */
static struct cgroup_stats_array *cgroup_stats_array_alloc(struct cgroup *cgrp, u32 nr)
{
	struct cgroup_stats_array *array;

	array = kvzalloc(struct_size(array, slot, nr), bpf_memcg_flags(CGROUP_STATS_GFP));
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
static int cgroup_stats_publish(struct cgroup_stats_array *array)
{
	struct cgroup *cgrp = array->cgrp;
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
		err = cgroup_stats_id_insert(cgrp);
		if (err) {
			RCU_INIT_POINTER(cgrp->bpf.stats_entries, NULL);
			cgroup_stats_number_put(array);
			return err;
		}
	}
	rcu_assign_pointer(cgrp->bpf.stats_adders, array);
	if (old)
		kvfree_rcu(old, rcu);
	return 0;
}

/* Every mark was taken. */
static bool cgroup_stats_entry_clean(const struct cgroup_stats_map *smap,
				     struct cgroup_stats_entry *entry)
{
	u32 words = cgroup_stats_words(smap);
	u64 *running;
	int cpu;

	for_each_possible_cpu(cpu) {
		running = cgroup_stats_running(smap, entry, cpu);
		if (memchr_inv(running - words, 0, words * sizeof(u64)))
			return false;
	}
	return true;
}

/* Free an array that nobody can find any more, and its entries, behind RCU readers. */
static void cgroup_stats_array_drop(struct cgroup_stats_array *array)
{
	struct cgroup_stats_slot *slot;
	struct cgroup_stats_map *smap;
	u32 i;

	for (i = 0; i < array->nr; i++) {
		slot = &array->slot[i];
		smap = slot->smap;
		if (!smap)
			continue;
		WARN_ON_ONCE(!cgroup_stats_entry_clean(smap, slot->entry));
		WRITE_ONCE(smap->nr_entries, smap->nr_entries - 1);
		if (rcu_access_pointer(smap->root) == array->cgrp)
			RCU_INIT_POINTER(smap->root, NULL);
		cgroup_stats_entry_free(slot->entry);
	}
	kvfree_rcu(array, rcu);
}

static void cgroup_stats_slot_init(struct cgroup_stats_slot *slot,
				   struct cgroup_stats_map *smap,
				   struct cgroup_stats_entry *entry)
{
	u32 words = cgroup_stats_words(smap);

	*slot = (struct cgroup_stats_slot) {
		.smap		= smap,
		.running	= entry->area + words,
		.marks		= words == 1 ? entry->area : NULL,
		.entry		= entry,
	};
	WRITE_ONCE(smap->nr_entries, smap->nr_entries + 1);
}

/* Give @cgrp, which lacks one, @entry of @smap. On failure the entry is freed. */
static int cgroup_stats_link(struct cgroup *cgrp, struct cgroup_stats_map *smap,
			     struct cgroup_stats_entry *entry)
{
	struct cgroup_stats_array *array, *old = cgroup_stats_locked(cgrp->bpf.stats_entries);
	u32 used = cgroup_stats_array_used(old);
	int err;

	array = cgroup_stats_array_alloc(cgrp, max(smap->slot + 1, used));
	if (!array) {
		cgroup_stats_entry_free_now(entry);
		return -ENOMEM;
	}
	if (used)
		memcpy(array->slot, old->slot, flex_array_size(old, slot, used));
	cgroup_stats_slot_init(&array->slot[smap->slot], smap, entry);
	err = cgroup_stats_publish(array);
	if (err)	/* of an array that had no entry before */
		cgroup_stats_array_drop(array);
	return err;
}

/* --- cgroups come and go --- */

static int cgroup_stats_inherit_entries(struct cgroup_stats_array *array,
					struct cgroup_stats_array *up)
{
	struct cgroup_stats_entry *entry;
	struct cgroup_stats_map *smap;
	u32 i;

	for (i = 0; i < array->nr; i++) {
		smap = up->slot[i].smap;
		if (!smap)
			continue;
		entry = cgroup_stats_entry_alloc(smap);
		if (!entry)
			return -ENOMEM;
		cgroup_stats_slot_init(&array->slot[i], smap, entry);
	}
	return 0;
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
	struct cgroup_stats_array *array, *up;
	u32 used;
	int err;

	/* The root cgroup has no parent, but is there before any map. */
	up = cgroup_stats_locked(cgroup_parent(cgrp)->bpf.stats_entries);
	used = cgroup_stats_array_used(up);
	if (!used)
		return 0;
	array = cgroup_stats_array_alloc(cgrp, used);
	if (!array)
		return -ENOMEM;
	err = cgroup_stats_inherit_entries(array, up) ?: cgroup_stats_publish(array);
	if (err)
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

/* Which of the 64 slots from @first on are in use in @cgrp, as bits. */
static u64 cgroup_stats_slots_of(struct cgroup *cgrp, u32 first)
{
	struct cgroup_stats_array *array = cgroup_stats_locked(cgrp->bpf.stats_entries);
	u32 i, end = array ? min(array->nr, first + 64) : 0;
	u64 used = 0;

	for (i = first; i < end; i++) {
		if (array->slot[i].smap)
			used |= BIT_ULL(i - first);
	}
	return used;
}

/* The same for the ancestors of @root, @root, and all below it. */
static u64 cgroup_stats_slots_around(struct cgroup *root, u32 first)
{
	struct cgroup_subsys_state *css;
	struct cgroup *cgrp;
	u64 used = 0;

	css_for_each_descendant_pre(css, &root->self) {
		used |= cgroup_stats_slots_of(css->cgroup, first);
		cond_resched();
	}
	for (cgrp = cgroup_parent(root); cgrp; cgrp = cgroup_parent(cgrp))
		used |= cgroup_stats_slots_of(cgrp, first);
	return used;
}

/*
 * The smallest slot that no other map has anywhere in the subtree, so that maps of
 * separate subtrees share slots and arrays stay short. A map of an ancestor may
 * not have reached the root yet: its slot counts as well.
 */
static u32 cgroup_stats_choose_slot(struct cgroup *root)
{
	u32 first = 0;
	u64 used;

	while ((used = cgroup_stats_slots_around(root, first)) == U64_MAX)
		first += 64;
	return first + __ffs64(~used);
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
	if (!rcu_access_pointer(smap->root))
		smap->slot = cgroup_stats_choose_slot(root);
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
		err = cgroup_stats_link(cgrp, smap,
					llist_entry(node, struct cgroup_stats_entry, spare));
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
 * May the creator wait for others? A light skeleton's maps are created by a program,
 * which is pinned to its CPU. If that goes offline, CPU hotplug waits until the program
 * has ended, and who has a lock that is taken here may wait for hotplug.
 */
static bool cgroup_stats_may_wait(void)
{
#ifdef CONFIG_SMP
	return !current->migration_disabled;
#else
	return true;
#endif
}

/* Turn the key on, for ever: ->map_free() must not wait for hotplug. */
static int cgroup_stats_enable(void)
{
	if (cgroup_stats_may_wait())
		cpus_read_lock();
	else if (!cpus_read_trylock())
		return -EAGAIN;
	/* Not static_key_enabled() first: another creator may have only begun to patch. */
	static_branch_enable_cpuslocked(&bpf_cgroup_stats_key);
	cpus_read_unlock();
	return 0;
}

static int cgroup_stats_lock_cgroups(void)
{
	if (cgroup_stats_may_wait())
		cgroup_lock();
	else if (!mutex_trylock(&cgroup_mutex))
		return -EAGAIN;
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
		int err = cgroup_stats_alloc_spare(smap, &spare, n) ?:
			  cgroup_stats_lock_cgroups();

		if (err) {
			n = err;
			break;
		}
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
	    attr->value_size % sizeof(u32) ||
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

	smap = bpf_map_area_alloc(struct_size(smap, op, attr->value_size / sizeof(u32)),
				  bpf_map_attr_numa_node(attr));
	if (!smap)
		return ERR_PTR(-ENOMEM);
	bpf_map_init_from_attr(&smap->map, attr);
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
	struct cgroup_stats_array *array;
	struct cgroup_subsys_state *css;
	struct cgroup_stats_slot *slot;
	struct cgroup *root;

	cgroup_lock();
	root = cgroup_stats_locked(smap->root);
	if (root) {
		/* Offline cgroups too: they stay among the children until released. */
		css_for_each_descendant_post(css, &root->self) {
			cond_resched();
			array = cgroup_stats_locked(css->cgroup->bpf.stats_entries);
			slot = cgroup_stats_find(smap, array);
			if (!slot)
				continue;
			WRITE_ONCE(slot->smap, NULL);
			WRITE_ONCE(slot->marks, NULL);
			cgroup_stats_entry_free(slot->entry);
		}
	}
	cgroup_unlock();

	obj_cgroup_put(smap->objcg);
	/* A flusher may still have it from a slot. */
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
 * RCU, and may sleep in our flush. Flushers and mkdir() know the map by its slots.
 * To clear those needs cgroup_mutex, for which this context must not wait.
 */
static void cgroup_stats_map_free(struct bpf_map *map)
{
	call_rcu_tasks_trace(&to_smap(map)->free_work.rcu, cgroup_stats_map_free_trace);
}

/* Is @t an integer of @size bytes, all of them, and not a bool? */
static bool cgroup_stats_type_is_int(const struct btf_type *t, u32 size)
{
	return btf_type_is_int(t) && t->size == size && !btf_int_offset(t) &&
	       btf_int_bits(t) == size * BITS_PER_BYTE &&
	       !(btf_int_encoding(t) & ~BTF_INT_SIGNED);
}

/* The search for the elements in a value's type. */
struct cgroup_stats_types {
	const struct btf *btf;
	/* Gets elem_size with the first element, and the op of each. */
	struct cgroup_stats_map *smap;
	/* Where the elements found so far end. */
	u32 end;
};

static int cgroup_stats_check_id(struct cgroup_stats_types *types, u32 id,
				 enum cgroup_stats_op op, int depth);

/* The operation that the tag of a member says, or an error. */
static int cgroup_stats_tag(const struct btf *btf, const struct btf_type *t, int member)
{
	const char *tag = btf_find_decl_tag_value(btf, t, member, CGROUP_STATS_TAG);

	if (tag == ERR_PTR(-ENOENT))
		return CGROUP_STATS_OP_SUM;
	if (IS_ERR(tag))
		return -EINVAL;
	if (!strcmp(tag, "max"))
		return CGROUP_STATS_OP_MAX;
	return strcmp(tag, "min") ? -EINVAL : CGROUP_STATS_OP_MIN;
}

static int cgroup_stats_check_members(struct cgroup_stats_types *types,
				      const struct btf_type *t,
				      enum cgroup_stats_op outer, int depth)
{
	const struct btf_member *member;
	u32 i, begin = types->end;
	int err, op;

	for_each_member(i, t, member) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		/* No bitfields, no holes: each begins where the last one ended. */
		if (__btf_member_bitfield_size(t, member) ||
		    __btf_member_bit_offset(t, member) != (types->end - begin) * BITS_PER_BYTE)
			return -EINVAL;
		/* What lies in a tagged member has its operation, and none of its own. */
		op = cgroup_stats_tag(types->btf, t, i);
		if (op < 0 || (op && outer))
			return -EINVAL;
		err = cgroup_stats_check_id(types, member->type, op ?: outer, depth);
		if (err)
			return err;
	}
	return 0;
}

static int cgroup_stats_check_array(struct cgroup_stats_types *types,
				    const struct btf_type *t, u32 size,
				    enum cgroup_stats_op op, int depth)
{
	struct cgroup_stats_map *smap = types->smap;
	u32 i, n, begin = types->end;
	int err;

	/* One stands for all. */
	err = cgroup_stats_check_id(types, btf_array(t)->type, op, depth);
	if (err)
		return err;
	if ((u64)(types->end - begin) * btf_array(t)->nelems != size)
		return -EINVAL;
	n = (types->end - begin) / smap->elem_size;
	types->end = begin + size;
	for (i = begin / smap->elem_size + n; i < types->end / smap->elem_size; i++)
		smap->op[i] = smap->op[i - n];
	return 0;
}

static int cgroup_stats_check_elem(struct cgroup_stats_types *types, const struct btf_type *t,
				   enum cgroup_stats_op op)
{
	struct cgroup_stats_map *smap = types->smap;

	if (!smap->elem_size && (t->size == sizeof(u32) || t->size == sizeof(u64)))
		smap->elem_size = t->size;
	if (!cgroup_stats_type_is_int(t, smap->elem_size))
		return -EINVAL;
	if (op == CGROUP_STATS_OP_MAX && btf_type_is_signed_int(t))
		op = CGROUP_STATS_OP_SIGNED_MAX;
	if (op == CGROUP_STATS_OP_MIN && btf_type_is_signed_int(t))
		op = CGROUP_STATS_OP_SIGNED_MIN;
	smap->op[types->end / smap->elem_size] = op;
	types->end += smap->elem_size;
	return 0;
}

/*
 * Type @t begins where the elements so far end, and must consist of elements without
 * holes. So each step moves the end on, or is the last one.
 */
static int cgroup_stats_check_type(struct cgroup_stats_types *types,
				   const struct btf_type *t, u32 size,
				   enum cgroup_stats_op op, int depth)
{
	u32 begin = types->end;
	int err = -EINVAL;

	if (!size || size > types->smap->map.value_size - begin)
		return -EINVAL;

	if (btf_type_is_int(t))
		err = cgroup_stats_check_elem(types, t, op);
	else if (depth && btf_type_is_array(t))
		err = cgroup_stats_check_array(types, t, size, op, depth - 1);
	else if (depth && BTF_INFO_KIND(t->info) == BTF_KIND_STRUCT)
		err = cgroup_stats_check_members(types, t, op, depth - 1);
	if (err)
		return err;
	return types->end == begin + size ? 0 : -EINVAL;
}

static int cgroup_stats_check_id(struct cgroup_stats_types *types, u32 id,
				 enum cgroup_stats_op op, int depth)
{
	const struct btf_type *t;
	u32 size;

	t = btf_type_id_size(types->btf, &id, &size);
	return t ? cgroup_stats_check_type(types, t, size, op, depth) : -EINVAL;
}

/* Tags are for members. On a type, where nobody looks for them, they are a mistake. */
static int cgroup_stats_check_tags(const struct btf *btf)
{
	const struct btf_decl_tag *tag;
	const struct btf_type *t;
	u32 id;

	for (id = 1; id < btf_nr_types(btf); id++) {
		t = btf_type_by_id(btf, id);
		if (BTF_INFO_KIND(t->info) != BTF_KIND_DECL_TAG)
			continue;
		tag = (const struct btf_decl_tag *)(t + 1);
		if (tag->component_idx == -1 &&
		    strstarts(btf_name_by_offset(btf, t->name_off), CGROUP_STATS_TAG))
			return -EINVAL;
	}
	return 0;
}

/* Find the elements of @smap's value, each of them an integer, and what they do. */
static int cgroup_stats_find_elems(struct cgroup_stats_map *smap, const struct btf *btf,
				   const struct btf_type *value_type)
{
	struct cgroup_stats_types types = { .btf = btf, .smap = smap };
	bool zero = true, sums;
	u32 i;
	int err;

	err = cgroup_stats_check_tags(btf) ?:
	      cgroup_stats_check_type(&types, value_type, smap->map.value_size,
				      CGROUP_STATS_OP_SUM, CGROUP_STATS_TYPE_DEPTH);
	if (err)
		return err;
	sums = smap->elem_size == sizeof(u64);
	smap->nr_elems = smap->map.value_size / smap->elem_size;
	for (i = 0; i < smap->nr_elems; i++) {
		zero &= !cgroup_stats_identity(cgroup_stats_elem(smap, i));
		sums &= smap->op[i] == CGROUP_STATS_OP_SUM;
	}
	smap->zero = zero;
	if (sums && !cgroup_stats_is_shared(smap))
		smap->nr_sums = smap->nr_elems;
	return 0;
}

/* The last step of creation that is the map's own: check the types, make the entries. */
static int cgroup_stats_map_check_btf(struct bpf_map *map, const struct btf *btf,
				      const struct btf_type *key_type,
				      const struct btf_type *value_type)
{
	struct cgroup *root;
	int err;

	if (!cgroup_stats_type_is_int(key_type, sizeof(u64)) ||
	    btf_type_is_signed_int(key_type))
		return -EINVAL;
	err = cgroup_stats_find_elems(to_smap(map), btf, value_type);
	if (err)
		return err;

	if (map->map_extra)
		root = cgroup_get_from_id(map->map_extra);
	else
		root = cgroup_get_from_path("/");
	if (IS_ERR(root))
		return -ENOENT;
	err = cgroup_stats_enable() ?: cgroup_stats_make_entries(to_smap(map), root);
	cgroup_put(root);
	return err;
}

static u64 cgroup_stats_map_mem_usage(const struct bpf_map *map)
{
	struct cgroup_stats_map *smap = to_smap(map);
	u64 entry = cgroup_stats_entry_size(smap) +
		    (u64)cgroup_stats_percpu_size(smap) * num_possible_cpus();
	u64 size = struct_size(smap, op, map->value_size / sizeof(u32));

	if (READ_ONCE(smap->program))
		size += cgroup_stats_program_size(smap);
	return size + READ_ONCE(smap->nr_entries) * entry;
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
