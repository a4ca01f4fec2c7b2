// SPDX-License-Identifier: GPL-2.0
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "bpf_experimental.h"

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, __u64);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} hash SEC(".maps");

__u64 id;

static int add(struct cgroup *cgrp)
{
	return bpf_cgroup_stats_add_cgroup(&stats, cgrp, 0, 1, 0);
}

/* The pointer to the cgroup. */

SEC("?syscall")
__failure __msg("must be a rcu pointer")
int walked(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return add(task->cgroups->dfl_cgrp);
}

SEC("?syscall")
__failure __msg("must be a rcu pointer")
int unlocked(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct cgroup *cgrp;

	bpf_rcu_read_lock();
	cgrp = task->cgroups->dfl_cgrp;
	bpf_rcu_read_unlock();
	return add(cgrp);
}

SEC("?raw_tp/sys_enter")
__failure __msg("must be a rcu pointer")
int cast(void *ctx)
{
	return add(bpf_core_cast((void *)id, struct cgroup));
}

SEC("?syscall")
__failure __msg("Possibly NULL pointer passed to trusted R2")
int unchecked(void *ctx)
{
	struct cgroup *cgrp = bpf_cgroup_from_id(id);
	int err = add(cgrp);

	if (cgrp)
		bpf_cgroup_release(cgrp);
	return err;
}

SEC("?raw_tp/sys_enter")
__failure __msg("Possibly NULL pointer passed to trusted R2")
int null(void *ctx)
{
	return add(NULL);
}

SEC("?raw_tp/sys_enter")
__failure __msg("expected pointer to STRUCT cgroup but R2 has a pointer to STRUCT task_struct")
int task(void *ctx)
{
	return add((void *)bpf_get_current_task_btf());
}

/* The map, whose type must be known. */

SEC("?tp_btf/cgroup_mkdir")
__failure __msg("cannot pass map_type {{[0-9]+}} into func bpf_cgroup_stats_add_cgroup")
int BPF_PROG(add_hash, struct cgroup *cgrp, const char *path)
{
	return bpf_cgroup_stats_add_cgroup(&hash, cgrp, 0, 1, 0);
}

SEC("?iter/bpf_map")
__failure __msg("pointer in R1 isn't map pointer")
int add_any_map(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;

	return map ? bpf_cgroup_stats_add(map, 0, 0, 1, 0) : 0;
}

SEC("?iter.s/bpf_map")
__failure __msg("pointer in R1 isn't map pointer")
int flush_any_map(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;

	return map ? bpf_cgroup_stats_flush(map, 0, 0) : 0;
}

/* A flush sleeps. */

SEC("?syscall")
__failure __msg("kernel func bpf_cgroup_stats_flush is sleepable within")
int flush_irqs_off(void *ctx)
{
	unsigned long flags;

	bpf_local_irq_save(&flags);
	bpf_cgroup_stats_flush(&stats, id, 0);
	bpf_local_irq_restore(&flags);
	return 0;
}

struct bpf_res_spin_lock res_lock __hidden SEC(".data.res_lock");

SEC("?syscall")
__failure __msg("function calls are not allowed while holding a lock")
int flush_res_locked(void *ctx)
{
	if (bpf_res_spin_lock(&res_lock))
		return 0;
	bpf_cgroup_stats_flush(&stats, id, 0);
	bpf_res_spin_unlock(&res_lock);
	return 0;
}

__noinline int flush_exception(u64 cookie)
{
	return bpf_cgroup_stats_flush(&stats, id, 0);
}

SEC("?syscall")
__exception_cb(flush_exception)
__failure __msg("cannot sleep in callback or global function")
int flush_in_exception(void *ctx)
{
	bpf_throw(0);
	return 0;
}

/* The sample is a number. */

SEC("?tp_btf/cgroup_mkdir")
__failure __msg("R4 is not a scalar")
int BPF_PROG(add_pointer, struct cgroup *cgrp, const char *path)
{
	return bpf_cgroup_stats_add_cgroup(&stats, cgrp, 0, (long)cgrp, 0);
}
