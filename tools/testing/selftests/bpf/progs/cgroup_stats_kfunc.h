/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_KFUNC_H
#define __CGROUP_STATS_KFUNC_H

/* What user space does not need: its types say the same. */
#ifndef __bpf__
#define __cgroup_stats_max
#endif

/* Both have elements of two marks. */
#define KFUNC_ELEMS	10

struct sums {
	__u64 elem[KFUNC_ELEMS];
};

struct mixed {
	__u64 sum;
	__u64 max[KFUNC_ELEMS - 1] __cgroup_stats_max;
};

enum maps { MAP_SUMS, MAP_MIXED, MAP_SHARED_CPUS, NR_MAPS };

#endif
