/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_BPF_CGROUP_STATS_H
#define _LINUX_BPF_CGROUP_STATS_H

#include <linux/errno.h>
#include <linux/jump_label.h>
#include <linux/types.h>

struct bpf_map;
struct cgroup;

/**
 * struct bpf_cgroup_stats_fold - what one call of ->fold() is for; programs read it
 * @map: the map that is folded
 * @cgroup_id: the cgroup whose entry is folded
 * @cpu: the CPU that NOW and PREV are of; with BPF_F_NO_PERCPU they are of all CPUs, and
 *	this is the one whose changes rstat collects
 *
 * There must be a pointer in it: to the verifier, a struct of numbers may as well be on
 * the program's own stack.
 */
struct bpf_cgroup_stats_fold {
	struct bpf_map *map;
	u64 cgroup_id;
	u32 cpu;
};

/**
 * enum bpf_cgroup_stats_values - the values that ->fold() works on
 * @BPF_CGROUP_STATS_NOW: what the CPU has added up, or all CPUs with BPF_F_NO_PERCPU
 * @BPF_CGROUP_STATS_PREV: the same, at the last fold
 * @BPF_CGROUP_STATS_PENDING: what children have handed up since the last fold
 * @BPF_CGROUP_STATS_TOTAL: the cgroup's total, to be changed
 * @BPF_CGROUP_STATS_PARENT: what the parent has pending, to be changed
 *
 * See bpf_cgroup_stats_fold_ro() and bpf_cgroup_stats_fold_rw().
 */
enum bpf_cgroup_stats_values {
	BPF_CGROUP_STATS_NOW,
	BPF_CGROUP_STATS_PREV,
	BPF_CGROUP_STATS_PENDING,
	BPF_CGROUP_STATS_TOTAL,
	BPF_CGROUP_STATS_PARENT,
};

/**
 * struct bpf_cgroup_stats_ops - a fold of the user's own, in place of the elements'
 * @value_size: in bytes: that of the map which the program refers to
 * @fold: merges what has changed in one cgroup on one CPU into its total, and into
 *	what its parent has pending. Called under rstat's flush lock, with interrupts
 *	off unless the kernel is PREEMPT_RT.
 * @map: the one cgroup stats map that the program refers to; the kernel sets it, user
 *	space leaves it NULL
 */
struct bpf_cgroup_stats_ops {
	u32 value_size;
	void (*fold)(struct bpf_cgroup_stats_fold *fold);
	struct bpf_map *map;
};

/* The verifier puts this in the place of lookups that may sleep. */
u64 bpf_cgroup_stats_lookup_flush(u64 map, u64 key, u64 r3, u64 r4, u64 r5);

#ifdef CONFIG_BPF_CGROUP_STATS

/* On from the first map on: nobody pays for what nobody uses. */
DECLARE_STATIC_KEY_FALSE(bpf_cgroup_stats_key);

int __bpf_cgroup_stats_inherit(struct cgroup *cgrp);
void bpf_cgroup_stats_offline(struct cgroup *cgrp);
void bpf_cgroup_stats_release(struct cgroup *cgrp);
void __bpf_cgroup_stats_drain(int cpu);
void __bpf_cgroup_stats_fold(struct cgroup *cgrp, int cpu);
int bpf_cgroup_stats_copy(struct bpf_map *map, void *key, void *value);

static inline int bpf_cgroup_stats_inherit(struct cgroup *cgrp)
{
	if (static_branch_unlikely(&bpf_cgroup_stats_key))
		return __bpf_cgroup_stats_inherit(cgrp);
	return 0;
}

static inline void bpf_cgroup_stats_drain(int cpu)
{
	if (static_branch_unlikely(&bpf_cgroup_stats_key))
		__bpf_cgroup_stats_drain(cpu);
}

static inline void bpf_cgroup_stats_fold(struct cgroup *cgrp, int cpu)
{
	if (static_branch_unlikely(&bpf_cgroup_stats_key))
		__bpf_cgroup_stats_fold(cgrp, cpu);
}

/* What the map needs of rstat, see kernel/cgroup/rstat.c */
void cgroup_stats_rstat_queue(struct cgroup *cgrp, int cpu);
void cgroup_stats_rstat_lock(void);
void cgroup_stats_rstat_unlock(void);
void cgroup_stats_rstat_flush(struct cgroup *cgrp);

#else /* CONFIG_BPF_CGROUP_STATS */

static inline int bpf_cgroup_stats_inherit(struct cgroup *cgrp) { return 0; }
static inline void bpf_cgroup_stats_offline(struct cgroup *cgrp) {}
static inline void bpf_cgroup_stats_release(struct cgroup *cgrp) {}
static inline void bpf_cgroup_stats_drain(int cpu) {}
static inline void bpf_cgroup_stats_fold(struct cgroup *cgrp, int cpu) {}

static inline int bpf_cgroup_stats_copy(struct bpf_map *map, void *key, void *value)
{
	return -EOPNOTSUPP;
}

#endif /* CONFIG_BPF_CGROUP_STATS */

#endif /* _LINUX_BPF_CGROUP_STATS_H */
