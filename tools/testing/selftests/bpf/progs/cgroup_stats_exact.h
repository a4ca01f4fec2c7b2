/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_EXACT_H
#define __CGROUP_STATS_EXACT_H

/*
 * One map for each type, operation and set of flags: x(type, operation, name of the flags,
 * flags). They are hit one after the other by each adder.
 */
#define EXACT_FLAGS(x, t, op)						\
	x(t, op, plain, 0)						\
	x(t, op, shared, BPF_F_NO_PERCPU)				\
	x(t, op, flat, BPF_F_NO_HIERARCHY)				\
	x(t, op, both, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY)
#define EXACT_OPS(x, t)							\
	EXACT_FLAGS(x, t, sum) EXACT_FLAGS(x, t, max) EXACT_FLAGS(x, t, min)
#define EXACT_MAPS(x)							\
	EXACT_OPS(x, u32) EXACT_OPS(x, s32) EXACT_OPS(x, u64) EXACT_OPS(x, s64)

#define EXACT_NR(t, op, how, flags) EXACT_##t##_##op##_##how
#define EXACT_NR_(t, op, how, flags) EXACT_NR(t, op, how, flags),

enum {
	EXACT_MAPS(EXACT_NR_)
	/* One more, of sums and of what its aggregator makes of them */
	EXACT_group,
	NR_EXACT_MAPS,
};

/* The same for all, so that they fit into the same map of maps: no whole lines of marks. */
#define EXACT_SIZE		136
#define EXACT_ELEMS		(EXACT_SIZE / 4)
#define EXACT_WORDS		(EXACT_SIZE / 8)
#define EXACT_CHECK		(EXACT_WORDS - 1)	/* of the group: the sum of the others */

/*
 * x; two cgroups in it; two cgroups in each of these. They stay. Whatever else there is
 * comes and goes, and counts for the nearest one that stays.
 */
#define EXACT_NODES		7
#define EXACT_BELOW		EXACT_NODES		/* from here on: what comes and goes */
#define EXACT_COMMON		(2 * EXACT_NODES)	/* one in x, which writers look at */
#define EXACT_ACCOUNTS		(2 * EXACT_NODES + 1)
#define EXACT_SLOTS		32

#define EXACT_CPUS		16
#define EXACT_READERS		2
#define EXACT_WRITERS		8
#define EXACT_LEAVES		32	/* of each writer */
#define EXACT_NTH		12	/* maps of each set of flags */
#define EXACT_PASSING		16	/* adds to each map that comes and goes */

/*
 * Sums count, maxima and minima go on with each sample. Multiplied by this, elements of 8
 * bytes have halves that say the same, so that one is seen with a half of another.
 */
#define EXACT_FACTOR(width)	((width) == 8 ? 0x100000001LL : 1)

/* The sample of a maximum or a minimum. */
static inline __s64 exact_sample(int is_signed, int is_max, __u64 seq)
{
	if (is_max)
		return is_signed ? (__s64)seq - 0x40000000 : seq;
	return (is_signed ? 0x40000000 : 0x7fffffff) - (__s64)seq;
}

enum exact_kind {
	KIND_SYSCALL,
	KIND_SLEEPABLE,
	KIND_TASK,
	KIND_SWITCH,
	KIND_EXIT,
	KIND_MKDIR,
	KIND_SOFTIRQ,
	KIND_HARDIRQ,
	KIND_IPI,
	KIND_NMI,
	KIND_RSTAT,
	KIND_QUEUE,
	KIND_FLUSH,
	KIND_FOLD,
	KIND_AGGREGATOR,
	NR_KINDS,
};

/* A cgroup to add to, and what it counts for: that does not change. */
struct exact_slot {
	__u64 id;
	__u64 account;
};

struct exact_counts {
	__u64 n[EXACT_ELEMS];
};

struct exact_value {
	__u64 n[EXACT_WORDS];
};

#endif
