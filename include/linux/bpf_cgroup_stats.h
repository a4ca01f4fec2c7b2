/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_BPF_CGROUP_STATS_H
#define _LINUX_BPF_CGROUP_STATS_H

#include <linux/errno.h>
#include <linux/jump_label.h>
#include <linux/types.h>

struct bpf_map;
struct cgroup;

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
