/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_BENCH_H
#define __CGROUP_STATS_BENCH_H

#define BENCH_ELEMS	512	/* at most: of a value */
#define BENCH_CGROUPS	16384	/* at most: that change in a round */
#define BENCH_MAPS	1024	/* at most */

/* Which of the attached programs are to run. */
enum {
	BENCH_NONE,
	BENCH_EMPTY,
	BENCH_ADD,
	BENCH_CHANGE,
	BENCH_FLUSH,
	BENCH_RELEASE,
};

/* An element of those who add up in a flusher of their own; of one CPU, and of a cgroup. */
struct bench_running {
	__u64 now;
	__u64 prev;
};

struct bench_total {
	__u64 total;
	__u64 pending;
};

#endif
