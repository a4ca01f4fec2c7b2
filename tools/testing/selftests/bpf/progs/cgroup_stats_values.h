/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_VALUES_H
#define __CGROUP_STATS_VALUES_H

/* No multiple of the elements that a mark stands for, nor of 8 bytes if they have 4. */
#define VALUES_ELEMS	37

/* What user space does not need: its types say the same. */
#ifndef __bpf__
#define __cgroup_stats_max
#define __cgroup_stats_min
#endif

#define MIXED_BUCKETS	16

/* All that a value may have, of integers of one width. */
#define DEFINE_MIXED(name, u, s)				\
struct name {							\
	u requests;						\
	u largest __cgroup_stats_max;				\
	s balance;						\
	s lowest __cgroup_stats_min;				\
	u hist[MIXED_BUCKETS];					\
	s peaks[MIXED_BUCKETS] __cgroup_stats_max;		\
	struct {						\
		u reads;					\
		s delay[2];					\
	} worst __cgroup_stats_max;				\
	struct {						\
		s hits;						\
		s coldest __cgroup_stats_min;			\
	} cache;						\
	struct {						\
		u jobs;						\
		s longest __cgroup_stats_max;			\
		u shortest __cgroup_stats_min;			\
	} queue[3];						\
	u smallest __cgroup_stats_min;				\
}

DEFINE_MIXED(mixed32, __u32, __s32);
DEFINE_MIXED(mixed64, __u64, __s64);

/* Members that the program adds to by their names, and what they must be. */
#define MIXED_MEMBERS(x)					\
	x(requests, OP_SUM)					\
	x(largest, OP_MAX)					\
	x(balance, OP_SUM)					\
	x(lowest, OP_MIN)					\
	x(hist[0], OP_SUM)					\
	x(hist[MIXED_BUCKETS - 1], OP_SUM)			\
	x(peaks[0], OP_MAX)					\
	x(peaks[3], OP_MAX)					\
	x(worst.reads, OP_MAX)					\
	x(worst.delay[0], OP_MAX)				\
	x(worst.delay[1], OP_MAX)				\
	x(cache.hits, OP_SUM)					\
	x(cache.coldest, OP_MIN)				\
	x(queue[0].jobs, OP_SUM)				\
	x(queue[0].longest, OP_MAX)				\
	x(queue[0].shortest, OP_MIN)				\
	x(queue[1].jobs, OP_SUM)				\
	x(queue[1].longest, OP_MAX)				\
	x(queue[1].shortest, OP_MIN)				\
	x(queue[2].jobs, OP_SUM)				\
	x(queue[2].longest, OP_MAX)				\
	x(queue[2].shortest, OP_MIN)				\
	x(smallest, OP_MIN)

#endif
