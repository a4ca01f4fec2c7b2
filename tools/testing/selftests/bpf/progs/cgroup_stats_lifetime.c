// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that add and count what they were told was added, for
 * prog_tests/cgroup_stats_lifetime.c. They need no BTF of the kernel, so that they are
 * loaded fast: that is done for every order of events.
 */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include "cgroup_stats_lifetime.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct lifetime_value);
} stats SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct lifetime_value);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, LIFETIME_MAPS);
	__type(key, __u32);
	__array(values, struct inner);
} maps SEC(".maps");

int target_tgid;

/* To stats, and to each of maps. */
struct lifetime_count count, counts[LIFETIME_MAPS];

/* Adds that failed with something else than -ENOENT. */
__u64 failed;

static __always_inline long counted(struct lifetime_count *c, void *map, __u64 id, __u32 index,
				    __u64 value)
{
	long err;

	__sync_fetch_and_add(&c->began, value);
	err = bpf_cgroup_stats_add(map, id, index, value, 0);
	/* Both are of what there is, or may be: an add to nothing is neither. */
	if (err)
		__sync_fetch_and_add(&c->began, -value);
	else
		__sync_fetch_and_add(&c->told, value);
	if (err && err != -ENOENT)
		__sync_fetch_and_add(&failed, 1);
	return err;
}

SEC("?raw_tp/sys_enter")
int on_sys_enter(void *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == target_tgid)
		counted(&count, &stats, 0, 0, 1);
	return 0;
}

/* For bpf_prog_test_run(), with the number of a map, a cgroup, a value. */

static __always_inline long add_to_nth(__u32 nth, __u64 id, __u64 value)
{
	void *map;

	nth &= LIFETIME_MAPS - 1;
	map = bpf_map_lookup_elem(&maps, &nth);
	if (!map)
		return -ESRCH;
	return counted(&counts[nth & (LIFETIME_MAPS - 1)], map, id, 0, value);
}

SEC("?raw_tp")
int add_nth(__u64 *args)
{
	return add_to_nth(args[0], args[1], args[2]);
}

struct burst {
	__u64 nth;
	__u64 id;
};

static int add_one(__u64 i, struct burst *burst)
{
	return add_to_nth(burst->nth, burst->id, 1) != 0;
}

/* As many times 1 as the value says, until that fails. */
SEC("?raw_tp")
int burst_nth(__u64 *args)
{
	struct burst burst = { .nth = args[0], .id = args[1] };

	bpf_loop(args[2], add_one, &burst, 0);
	return 0;
}

SEC("?syscall")
int flush_nth(__u64 *args)
{
	__u32 nth = args[0];
	void *map;

	map = bpf_map_lookup_elem(&maps, &nth);
	if (!map)
		return -ESRCH;
	return bpf_cgroup_stats_flush(map, args[1], 0);
}
