// SPDX-License-Identifier: GPL-2.0
/*
 * Adds and lookups of elements of each width and operation, for
 * prog_tests/cgroup_stats_values.c, which makes the maps.
 */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include "bpf_misc.h"
#include "cgroup_stats_values.h"

char _license[] SEC("license") = "GPL";

struct any_value {
	__u64 n[VALUES_ELEMS];
};

/* User space has this name a map of elements of any kind. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct any_value);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct mixed32);
} mixed32 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct mixed64);
} mixed64 SEC(".maps");

/* As user space makes it: with a template of its own choice. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} maps SEC(".maps");

/* Bytes of an element of stats. */
const volatile __u32 width = 8;

/* What a lookup of a program saw. */
__u64 seen[VALUES_ELEMS];

/* Where members are: constant expressions, all of them. */
#define INDEX_32(member, op) bpf_cgroup_stats_index(struct mixed32, member),
#define INDEX_64(member, op) bpf_cgroup_stats_index(struct mixed64, member),
const __u32 index32[] = { MIXED_MEMBERS(INDEX_32) };
const __u32 index64[] = { MIXED_MEMBERS(INDEX_64) };

/* Programs for bpf_prog_test_run(): the context is an array of arguments. */

SEC("?raw_tp")
int add(__u64 *args)
{
	return bpf_cgroup_stats_add(&stats, args[0], args[1], args[2], args[3]);
}

SEC("?syscall")
int add_sleepable(__u64 *args)
{
	return bpf_cgroup_stats_add(&stats, args[0], args[1], args[2], args[3]);
}

SEC("?raw_tp")
int add_inner(__u64 *args)
{
	__u32 zero = 0;
	void *map;

	map = bpf_map_lookup_elem(&maps, &zero);
	if (!map)
		return -1;
	return bpf_cgroup_stats_add(map, args[0], args[1], args[2], args[3]);
}

/* A sleepable program's lookup flushes. Each element is read by one load of its width. */
SEC("?syscall")
int look(__u64 *args)
{
	__u64 id = args[0];
	void *value;
	int i;

	value = bpf_map_lookup_elem(&stats, &id);
	if (!value)
		return -ENOENT;
	for (i = 0; i < VALUES_ELEMS; i++)
		seen[i] = width == 8 ? ((__u64 *)value)[i] : ((__u32 *)value)[i];
	return 0;
}

/* To each member a sample that differs from its neighbours', and to one bucket. */
static __always_inline int mix(void *map, const __u32 *index, __u32 hist, __u32 peaks,
			       const __u64 *args)
{
	__u64 id = args[0], sample = args[1];
	__u32 bucket = args[2];
	long err;
	int i;

	err = bpf_cgroup_stats_add(map, id, hist + bucket, 1, 0) ?:
	      bpf_cgroup_stats_add(map, id, peaks + bucket, sample, 0);
	for (i = 0; !err && i < ARRAY_SIZE(index64); i++)
		err = bpf_cgroup_stats_add(map, id, index[i], sample * (i + 1), 0);
	return err;
}

SEC("?syscall")
int mix32(__u64 *args)
{
	return mix(&mixed32, index32, bpf_cgroup_stats_index(struct mixed32, hist[0]),
		   bpf_cgroup_stats_index(struct mixed32, peaks[0]), args);
}

SEC("?syscall")
int mix64(__u64 *args)
{
	return mix(&mixed64, index64, bpf_cgroup_stats_index(struct mixed64, hist[0]),
		   bpf_cgroup_stats_index(struct mixed64, peaks[0]), args);
}
