/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_MAP_H
#define __CGROUP_STATS_MAP_H

#define CGROUP_STATS_ELEMS	32	/* a power of two */
#define CGROUP_STATS_MAPS	128
#define CGROUP_STATS_KEYS	1024

struct cgroup_stats_value {
	__u64 n[CGROUP_STATS_ELEMS];
};

/* Kinds of programs that add; each has an element of its own. */
enum kind {
	KIND_RAW_TP,
	KIND_TP_BTF,
	KIND_TP,
	KIND_FENTRY,
	KIND_FENTRY_SLEEPABLE,
	KIND_FEXIT,
	KIND_KPROBE,
	KIND_KRETPROBE,
	KIND_LSM_SLEEPABLE,
	KIND_LSM,
	KIND_SOCKOPT,
	KIND_SOCK_CREATE,
	KIND_CGROUP_SKB,
	KIND_SOCKET,
	KIND_TC,
	KIND_XDP,
	KIND_PERF_EVENT,
	KIND_SYSCALL,
	KIND_ITER,
	KIND_WQ,
	KIND_TIMER,
	KIND_FLUSH,
	KIND_DRAIN,
	KIND_RSTAT_LOCKED,
	KIND_NMI,
	NR_KINDS,
};

/* How far a reader and a flusher are. */
enum half_step {
	HALF_IDLE,
	HALF_READ,	/* the reader has begun */
	HALF_ADDED,	/* it has flushed, and there is more to fold */
	HALF_FOLDED,	/* half of it is folded */
	HALF_COPIED,	/* the reader has its copy */
	HALF_MISSED,	/* somebody else has flushed */
};

#ifdef __bpf__
__ksym void bpf_rcu_read_lock(void);
__ksym void bpf_rcu_read_unlock(void);
#endif

#endif
