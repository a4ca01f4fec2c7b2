// SPDX-License-Identifier: GPL-2.0
/* The helpers with arguments of any kind, for prog_tests/cgroup_stats_fuzz.c */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct sums {
	__u64 n[9];
};

#define DEFINE_MIXED(name, u, s)			\
struct name {						\
	u sum;						\
	s signed_max __cgroup_stats_max;		\
	u min __cgroup_stats_min;			\
	s signed_sum;					\
	u max __cgroup_stats_max;			\
	s signed_min[2] __cgroup_stats_min;		\
}

DEFINE_MIXED(mixed32, __u32, __s32);
DEFINE_MIXED(mixed64, __u64, __s64);

#define DEFINE_MAP(name, type_of_value, flags)		\
struct {						\
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);	\
	__uint(map_flags, flags);			\
	__type(key, __u64);				\
	__type(value, struct type_of_value);		\
} name SEC(".maps")

DEFINE_MAP(map0, sums, 0);
DEFINE_MAP(map1, mixed32, 0);
DEFINE_MAP(map2, mixed64, BPF_F_NO_PERCPU);
DEFINE_MAP(map3, mixed32, BPF_F_NO_HIERARCHY);
DEFINE_MAP(map4, sums, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY);

/* What a lookup returned. */
__u64 seen[9];

/* For each map: the arguments are those of the helper. */
#define DEFINE_PROGS(map, type_of_value)					\
SEC("syscall")									\
int add_##map(__u64 *args)							\
{										\
	return bpf_cgroup_stats_add(&(map), args[0], args[1], args[2], args[3]);	\
}										\
										\
SEC("syscall")									\
int flush_##map(__u64 *args)							\
{										\
	return bpf_cgroup_stats_flush(&(map), args[0], args[1]);		\
}										\
										\
SEC("syscall")									\
int look_##map(__u64 *args)							\
{										\
	__u64 id = args[0];							\
	void *value;								\
										\
	value = bpf_map_lookup_elem(&(map), &id);				\
	if (!value)								\
		return -ENOENT;							\
	__builtin_memcpy(seen, value, sizeof(struct type_of_value));		\
	return 0;								\
}

DEFINE_PROGS(map0, sums)
DEFINE_PROGS(map1, mixed32)
DEFINE_PROGS(map2, mixed64)
DEFINE_PROGS(map3, mixed32)
DEFINE_PROGS(map4, sums)
