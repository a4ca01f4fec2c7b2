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

/* For cgroup_stats_map_exact.c */
#define CGROUP_STATS_SLOTS	32
#define CGROUP_STATS_IDS	16384
#define CGROUP_STATS_CPUS	64
#define CGROUP_STATS_NR_SUMS	17	/* one more than there are in two lines of marks */

#define CGROUP_STATS_LEAVES	32	/* of each writer; a power of two */

struct cgroup_stats_sums {
	__u64 n[CGROUP_STATS_NR_SUMS];
};

struct cgroup_stats_count {
	__u64 n;
	__u64 pad[7];
};

#ifdef __bpf__
__ksym void bpf_rcu_read_lock(void);
__ksym void bpf_rcu_read_unlock(void);
#endif

#endif
