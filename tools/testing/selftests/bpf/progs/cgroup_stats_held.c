// SPDX-License-Identifier: GPL-2.0
/* Programs that hold a map, or what is in it, while it goes, or let others do so. */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_experimental.h"
#include "cgroup_stats_held.h"

char _license[] SEC("license") = "GPL";

struct held_value {
	__u64 n;
};

/* Adds and folds that call functions, which can be held there. */
struct held_largest {
	__u32 n __cgroup_stats_max;
};

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct held_value);
} stats SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__uint(map_flags, BPF_F_NO_PERCPU);
	__type(key, __u64);
	__type(value, struct held_largest);
};

/* Programs do not keep the map that is in it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} maps SEC(".maps");

struct held_work {
	struct bpf_wq wq;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct held_work);
} works SEC(".maps");

/* Not there: KASAN checks what is looked up by, and nobody what a program reads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} nothing SEC(".maps");

__u64 target_id;

volatile int stage;

/* Where the map was that add_inner() has added to last: others are freed, too. */
__u64 inner_map;

/* Those who waited, and saw the next stage. */
__u64 waited;

/* What failed that must not. */
__u64 failed;

static __always_inline void failed_if(bool cond)
{
	if (cond)
		__sync_fetch_and_add(&failed, 1);
}

struct wait {
	__u64 deadline;
	int stage;
};

static int is_over(__u64 i, struct wait *wait)
{
	return stage >= wait->stage || bpf_ktime_get_ns() > wait->deadline;
}

static int wait_more(__u64 i, struct wait *wait)
{
	bpf_loop(1 << 20, is_over, wait, 0);
	return is_over(0, wait);
}

/* Without a sleep, and so for a limited time. */
static __always_inline void begin_and_wait(int begin)
{
	struct wait wait = {
		.deadline = bpf_ktime_get_ns() + 10000000000ULL,
		.stage = begin + 1,
	};

	stage = begin;
	bpf_loop(1 << 10, wait_more, &wait, 0);
	if (stage > begin)
		__sync_fetch_and_add(&waited, 1);
}

/* With flushes of another cgroup, which may sleep. */
static __always_inline void begin_and_flush(void *map)
{
	int i;

	stage = HELD;
	bpf_for(i, 0, 1 << 22) {
		if (stage > HELD)
			break;
		failed_if(bpf_cgroup_stats_flush(map, target_id, 0));
	}
	if (stage > HELD)
		__sync_fetch_and_add(&waited, 1);
}

static __always_inline void *inner(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&maps, &zero);
}

SEC("?raw_tp")
int add(__u64 *args)
{
	return bpf_cgroup_stats_add(&stats, args[0], args[1], args[2], 0);
}

SEC("?raw_tp")
int add_inner(__u64 *args)
{
	void *map = inner();

	if (!map)
		return -ESRCH;
	inner_map = (__u64)map;
	return bpf_cgroup_stats_add(map, args[0], args[1], args[2], 0);
}

/* --- held by programs --- */

__u64 total;

SEC("?syscall")
int hold_total(__u64 *args)
{
	struct held_value *totals;
	__u64 id = args[0];

	totals = bpf_map_lookup_elem(&stats, &id);
	if (!totals)
		return -ENOENT;
	begin_and_flush(&stats);
	total = totals->n;
	bpf_map_lookup_elem(&nothing, totals);
	return 0;
}

bool worked;

/* Not in a sleepable program, and yet with nothing but trace RCU to keep the map. */
static int work(void *map, int *key, void *value)
{
	void *kept = inner();

	if (kept) {
		begin_and_flush(kept);
		failed_if(bpf_cgroup_stats_add(kept, target_id, 0, 8, 0));
	}
	worked = true;
	return 0;
}

SEC("?tc")
int start_work(struct __sk_buff *skb)
{
	struct held_work *value;
	int zero = 0;

	value = bpf_map_lookup_elem(&works, &zero);
	failed_if(!value || bpf_wq_init(&value->wq, &works, 0) ||
		  bpf_wq_set_callback(&value->wq, work, 0) || bpf_wq_start(&value->wq, 0));
	return 0;
}

/* --- held by a mkdir(): cgroup_mutex; by the hotplug of a CPU: its lock --- */

union bpf_attr create_attr;

SEC("?fentry/__bpf_cgroup_stats_inherit")
int within_mkdir(void *ctx)
{
	if (stage == HELD_NOT)
		begin_and_wait(HELD);
	return 0;
}

SEC("?tp_btf/cpuhp_enter")
int within_hotplug(void *ctx)
{
	if (stage == HELD_NOT)
		begin_and_wait(HELD);
	return 0;
}

/* As light skeletons do. */
SEC("?syscall")
int create(void *ctx)
{
	return bpf_sys_bpf(BPF_MAP_CREATE, &create_attr, sizeof(create_attr));
}

/* The root of the map that is freed meanwhile. */
__u64 freed_root;

bool freed;

SEC("?fexit/cgroup_stats_map_free")
int BPF_PROG(after_put, struct bpf_map *map)
{
	if (freed_root && map->map_extra == freed_root)
		freed = true;
	return 0;
}

/* --- held between two groups of cgroups: a flusher, without the lock --- */

int flusher;

SEC("?fexit/cgroup_stats_rstat_unlock")
int between_groups(void *ctx)
{
	if (stage == HELD_NOT && bpf_get_current_pid_tgid() >> 32 == flusher)
		begin_and_wait(HELD);
	return 0;
}

/* --- held by an add: an array of entries --- */

SEC("?fentry/cgroup_stats_sample_shared")
int within_add(void *ctx)
{
	if (stage == HELD_NOT)
		begin_and_wait(HELD);
	return 0;
}

/* --- held by a flusher: a map --- */

static __always_inline bool frees_inner(struct work_struct *work)
{
	return (__u64)work == inner_map + offsetof(struct cgroup_stats_map, free_work.work);
}

/* Its last RCU period is over, and its entries are still there. */
SEC("?fentry/cgroup_stats_map_free_work")
int BPF_PROG(before_free, struct work_struct *work)
{
	if (frees_inner(work))
		begin_and_wait(HELD);
	return 0;
}

SEC("?fentry/cgroup_stats_fold_any")
int BPF_PROG(within_fold, const struct cgroup_stats_fold *f)
{
	if (stage == HELD && (__u64)f->smap == inner_map)
		begin_and_wait(HELD_GONE);
	return 0;
}

SEC("?fexit/cgroup_stats_map_free_work")
int BPF_PROG(after_free, struct work_struct *work)
{
	if (frees_inner(work))
		stage = HELD_FREED;
	return 0;
}
