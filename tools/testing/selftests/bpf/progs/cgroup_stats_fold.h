/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_FOLD_H
#define __CGROUP_STATS_FOLD_H

#ifndef __bpf__
#define __cgroup_stats_max
#define __cgroup_stats_min
#endif

#define FOLD_ELEMS	17	/* one more than there are in two lines of marks */
#define FOLD_LARGE	1024	/* 4096 bytes of elements of 4 */
#define FOLD_CAP	100
#define FOLD_TOP	4
#define FOLD_EVENTS	1024
#define FOLD_IDS	64

struct fold_sums {
	__u64 n[FOLD_ELEMS];
};

struct fold_large {
	__u32 n[FOLD_LARGE];
};

struct fold_record {
	__u64 id;
	__u64 count;
};

struct fold_top {
	__u64 own;
	/* The largest of descendants, in descending order. */
	struct fold_record top[FOLD_TOP];
};

struct fold_mixed {
	__u64 sum;
	__s64 max __cgroup_stats_max;
	__s64 min __cgroup_stats_min;
};

/* What one fold saw. */
struct fold_event {
	__u64 id;
	__u32 cpu;
	__u32 has_parent;
	struct fold_mixed now, prev, pending, total;
};

/* Programs that count how often they were called. */
enum {
	FOLD_SUM,
	FOLD_SUM_AGAIN,
	FOLD_SUM_OTHER,
	FOLD_IGNORE,
	NR_FOLDS,
};

/* Calls of the kfuncs. */
enum {
	/* That give memory */
	PROBE_NOW,
	PROBE_PREV,
	PROBE_PENDING,
	PROBE_TOTAL,
	PROBE_RW_TOTAL,
	PROBE_ONE_BYTE,
	PROBE_RW_ONE_BYTE,
	PROBE_PART,
	PROBE_SAME_MAP,
	NR_MEM_PROBES,
	/* That give memory where there is a parent */
	PROBE_PARENT = NR_MEM_PROBES,
	PROBE_RW_PARENT,
	NR_PARENT_PROBES,
	/* That give NULL */
	PROBE_BAD = NR_PARENT_PROBES,
	PROBE_BAD_MAX,
	PROBE_RW_NOW,
	PROBE_RW_PREV,
	PROBE_RW_PENDING,
	PROBE_RW_BAD,
	PROBE_RW_BAD_MAX,
	PROBE_EMPTY,
	PROBE_RW_EMPTY,
	PROBE_LONG,
	PROBE_RW_LONG,
	PROBE_LONGEST,
	PROBE_RW_LONGEST,
	PROBE_OTHER_MAP,
	PROBE_OTHER_TYPE,
	NR_PROBES,
};

enum { PROBED_NOT, PROBED_NULL, PROBED_MEM };

#ifdef __bpf__
const u8 *bpf_cgroup_stats_fold_ro(struct bpf_cgroup_stats_fold *fold, void *p__map,
				   u32 which, const u32 rdonly_buf_size) __ksym;
u8 *bpf_cgroup_stats_fold_rw(struct bpf_cgroup_stats_fold *fold, void *p__map,
			     u32 which, const u32 rdwr_buf_size) __ksym;
#endif

#endif
