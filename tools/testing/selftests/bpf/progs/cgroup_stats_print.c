// SPDX-License-Identifier: GPL-2.0
/* A value with all that there is to print, and a printer: prog_tests/cgroup_stats_print.c. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct wide {
	__u64 events;
	__s64 balance;
	__s64 warmest __cgroup_stats_max;
	__s64 coldest __cgroup_stats_min;
	__u64 slots[3];
	struct {
		__u64 smallest;
		__s64 lowest[2];
	} least __cgroup_stats_min;
	struct {
		__u64 in;
		__s64 out[2];
	} traffic[2];
	__u64 most __cgroup_stats_max;
};

/* The same with half the width: elements have the same indices. */
struct narrow {
	__u32 events;
	__s32 balance;
	__s32 warmest __cgroup_stats_max;
	__s32 coldest __cgroup_stats_min;
	__u32 slots[3];
	struct {
		__u32 smallest;
		__s32 lowest[2];
	} least __cgroup_stats_min;
	struct {
		__u32 in;
		__s32 out[2];
	} traffic[2];
	__u32 most __cgroup_stats_max;
};

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct wide);
} print_wide SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__uint(map_flags, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY);
	__type(key, __u64);
	__type(value, struct narrow);
} print_narrow SEC(".maps");

#define ADD(member, value) \
	bpf_cgroup_stats_add(map, id, bpf_cgroup_stats_index(struct narrow, member), value, 0)

/* @warmest and two more get nothing. @most takes -1 as an unsigned number. */
static __always_inline long fill(void *map, __u64 id, __s64 large)
{
	return ADD(events, large) ?:
	       ADD(balance, -5) ?:
	       ADD(coldest, 4) ?:
	       ADD(coldest, -40) ?:
	       ADD(slots[1], 1) ?:
	       ADD(slots[2], 22) ?:
	       ADD(least.smallest, 3) ?:
	       ADD(least.lowest[0], -6) ?:
	       ADD(least.lowest[1], 7) ?:
	       ADD(traffic[0].in, 100) ?:
	       ADD(traffic[0].out[1], -101) ?:
	       ADD(traffic[1].in, 200) ?:
	       ADD(traffic[1].out[0], -201) ?:
	       ADD(most, 8) ?:
	       ADD(most, -1);
}

SEC("raw_tp")
int fill_wide(__u64 *args)
{
	return fill(&print_wide, args[0], (1ULL << 63) + 1);
}

SEC("raw_tp")
int fill_narrow(__u64 *args)
{
	return fill(&print_narrow, args[0], (1U << 31) + 1);
}

/* What a value looks like is up to the program. */
SEC("iter/bpf_map_elem")
int dump_narrow(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct narrow *value = ctx->value;
	__u64 *id = ctx->key;
	int i;

	if (!id || !value)
		return 0;
	BPF_SEQ_PRINTF(seq, "cgroup %llu: events %u balance %d warmest %d coldest %d most %u\n",
		       *id, value->events, value->balance, value->warmest, value->coldest,
		       value->most);
	BPF_SEQ_PRINTF(seq, "slots %u %u %u smallest %u lowest %d %d\n",
		       value->slots[0], value->slots[1], value->slots[2],
		       value->least.smallest, value->least.lowest[0], value->least.lowest[1]);
	for (i = 0; i < 2; i++)
		BPF_SEQ_PRINTF(seq, "in %u out %d %d\n", value->traffic[i].in,
			       value->traffic[i].out[0], value->traffic[i].out[1]);
	return 0;
}
