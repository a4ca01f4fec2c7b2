// SPDX-License-Identifier: GPL-2.0
/*
 * Adds by a pointer to the cgroup, whose programs get map, index, value, flags, and what leads
 * to it; and where programs may add and flush because these are kfuncs.
 */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "cgroup_stats_kfunc.h"

char _license[] SEC("license") = "GPL";

/* Sums of 8 bytes have an add of their own, and so has what all CPUs share. */
#define DEFINE_MAP(name, type_of_value, flags)		\
struct {						\
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);	\
	__uint(map_flags, flags);			\
	__type(key, __u64);				\
	__type(value, struct type_of_value);		\
} name SEC(".maps")

DEFINE_MAP(sums, sums, 0);
DEFINE_MAP(mixed, mixed, 0);
DEFINE_MAP(shared, mixed, BPF_F_NO_PERCPU);

struct kept {
	struct cgroup __kptr *cgrp;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kept);
} kept SEC(".maps");

__u32 zero;
/* What cgroup_mkdir and cgroup_rmdir are told below this parent. */
__u64 parent;
int made = 1, removed = 1;

static int add(struct cgroup *cgrp, __u32 map, __u32 index, __s64 value, __u64 flags)
{
	switch (map) {
	case MAP_SUMS:
		return bpf_cgroup_stats_add_cgroup(&sums, cgrp, index, value, flags);
	case MAP_MIXED:
		return bpf_cgroup_stats_add_cgroup(&mixed, cgrp, index, value, flags);
	default:
		return bpf_cgroup_stats_add_cgroup(&shared, cgrp, index, value, flags);
	}
}

/* A pointer with a reference. */
SEC("syscall")
int add_id(__u64 *args)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(args[4]);
	int err;

	if (!cgrp)
		return -ESRCH;
	err = add(cgrp, args[0], args[1], args[2], args[3]);
	bpf_cgroup_release(cgrp);
	return err;
}

SEC("syscall")
int keep(__u64 *args)
{
	struct cgroup *cgrp = NULL, *old;
	struct kept *elem;

	elem = bpf_map_lookup_elem(&kept, &zero);
	if (!elem)
		return -ENOENT;
	if (args[0]) {
		cgrp = bpf_cgroup_from_id(args[0]);
		if (!cgrp)
			return -ESRCH;
	}
	old = bpf_kptr_xchg(&elem->cgrp, cgrp);
	if (old)
		bpf_cgroup_release(old);
	return 0;
}

/* A pointer that RCU protects, of a cgroup that may have been removed. */
SEC("syscall")
int add_kept(__u64 *args)
{
	struct cgroup *cgrp;
	struct kept *elem;
	int err = -ESRCH;

	elem = bpf_map_lookup_elem(&kept, &zero);
	if (!elem)
		return -ENOENT;
	bpf_rcu_read_lock();
	cgrp = elem->cgrp;
	if (cgrp)
		err = add(cgrp, args[0], args[1], args[2], args[3]);
	bpf_rcu_read_unlock();
	return err;
}

SEC("syscall")
int add_current(__u64 *args)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int err;

	bpf_rcu_read_lock();
	err = add(task->cgroups->dfl_cgrp, args[0], args[1], args[2], args[3]);
	bpf_rcu_read_unlock();
	return err;
}

/* The current task's, in another hierarchy. */
SEC("syscall")
int add_v1(__u64 *args)
{
	struct cgroup *cgrp;
	int err;

	cgrp = bpf_task_get_cgroup1(bpf_get_current_task_btf(), args[4]);
	if (!cgrp)
		return -ESRCH;
	err = add(cgrp, args[0], args[1], args[2], args[3]);
	bpf_cgroup_release(cgrp);
	return err;
}

/* An argument, on the way in and on the way out. */

static bool is_child(struct cgroup *cgrp)
{
	struct cgroup_subsys_state *css = cgrp->self.parent;

	return css && css->cgroup->kn->id == parent;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_mkdir, struct cgroup *cgrp, const char *path)
{
	if (is_child(cgrp))
		made = add(cgrp, MAP_SUMS, 0, 1, 0);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(on_rmdir, struct cgroup *cgrp, const char *path)
{
	if (is_child(cgrp))
		removed = add(cgrp, MAP_SUMS, 0, 1, 0);
	return 0;
}

/* Adds under a lock of the program's own, by id and by a pointer. */

struct locked {
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} locked SEC(".maps");

struct bpf_res_spin_lock res_lock __hidden SEC(".data.res_lock");

SEC("syscall")
int add_locked(__u64 *args)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(args[0]);
	int by_id, by_pointer;
	struct locked *elem;

	if (!cgrp)
		return -ESRCH;
	elem = bpf_map_lookup_elem(&locked, &zero);
	if (!elem) {
		bpf_cgroup_release(cgrp);
		return -ENOENT;
	}
	bpf_spin_lock(&elem->lock);
	by_id = bpf_cgroup_stats_add(&sums, args[0], 0, 1, 0);
	by_pointer = bpf_cgroup_stats_add_cgroup(&sums, cgrp, 0, 2, 0);
	bpf_spin_unlock(&elem->lock);
	bpf_cgroup_release(cgrp);
	return by_id ?: by_pointer;
}

SEC("syscall")
int add_res_locked(__u64 *args)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(args[0]);
	int err, by_id, by_pointer;

	if (!cgrp)
		return -ESRCH;
	err = bpf_res_spin_lock(&res_lock);
	if (err) {
		bpf_cgroup_release(cgrp);
		return err;
	}
	by_id = bpf_cgroup_stats_add(&mixed, args[0], 0, 1, 0);
	by_pointer = bpf_cgroup_stats_add_cgroup(&mixed, cgrp, 0, 2, 0);
	bpf_res_spin_unlock(&res_lock);
	bpf_cgroup_release(cgrp);
	return by_id ?: by_pointer;
}

/* A lookup with interrupts off cannot flush, and one after it does. */
__u64 stale, fresh;

SEC("syscall")
int look_irqs_off(__u64 *args)
{
	unsigned long flags;
	struct sums *sum;

	bpf_local_irq_save(&flags);
	sum = bpf_map_lookup_elem(&sums, args);
	stale = sum ? sum->elem[0] : -1;
	bpf_local_irq_restore(&flags);
	sum = bpf_map_lookup_elem(&sums, args);
	fresh = sum ? sum->elem[0] : -1;
	return 0;
}

/* Flushes in a task's work, and in a tracepoint that may sleep: of the cgroup @watched. */

struct work {
	struct bpf_task_work tw;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} works SEC(".maps");

__u64 watched, flushed_in_work, looked_in_work, looked_in_tracepoint;
int pid;

static int on_work(struct bpf_map *map, void *key, void *value)
{
	struct sums *sum = bpf_map_lookup_elem(&sums, &watched);
	struct mixed *mix;

	looked_in_work = sum ? sum->elem[0] : -1;
	if (bpf_cgroup_stats_flush(&mixed, watched, 0))
		return 0;
	bpf_rcu_read_lock();	/* in which a lookup does not flush */
	mix = bpf_map_lookup_elem(&mixed, &watched);
	flushed_in_work = mix ? mix->sum : -1;
	bpf_rcu_read_unlock();
	return 0;
}

SEC("syscall")
int schedule_work(__u64 *args)
{
	struct work *work = bpf_map_lookup_elem(&works, &zero);

	if (!work)
		return -ENOENT;
	watched = args[0];
	return bpf_task_work_schedule_resume(bpf_get_current_task_btf(), &work->tw, &works,
					     on_work);
}

SEC("tp_btf.s/sys_enter")
int BPF_PROG(on_syscall, struct pt_regs *regs, long id)
{
	struct sums *sum;

	if (!pid || (bpf_get_current_pid_tgid() >> 32) != pid)
		return 0;
	sum = bpf_map_lookup_elem(&sums, &watched);
	looked_in_tracepoint = sum ? sum->elem[0] : -1;
	return 0;
}
