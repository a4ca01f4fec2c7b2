/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _KERNEL_BPF_CGROUP_STATS_H
#define _KERNEL_BPF_CGROUP_STATS_H

#include <linux/bpf_cgroup_stats.h>

/* What kfuncs find by the argument of ->fold(). On the stack of one fold. */
struct cgroup_stats_fold_kern {
	struct bpf_cgroup_stats_fold fold;
	/* By enum bpf_cgroup_stats_values; NULL: there is none. */
	void *value[BPF_CGROUP_STATS_PARENT + 1];
};

int cgroup_stats_set_ops(struct bpf_map *map, const struct bpf_cgroup_stats_ops *old,
			 const struct bpf_cgroup_stats_ops *new);

#endif
