// SPDX-License-Identifier: GPL-2.0
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "cgroup_stats_fold.h"

char _license[] SEC("license") = "GPL";

struct stats {
	__u64 n[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct stats);
} stats SEC(".maps");

__u64 any_index;
__u32 any_u32_index;
__u32 any_size;
__u64 out;

#define NOW(f) ((struct stats *)bpf_cgroup_stats_fold_ro(f, &stats, BPF_CGROUP_STATS_NOW, \
							 sizeof(struct stats)))
#define TOTAL(f) ((struct stats *)bpf_cgroup_stats_fold_rw(f, &stats, BPF_CGROUP_STATS_TOTAL, \
							   sizeof(struct stats)))

/* Memory is as long as it was said to be. */

SEC("?struct_ops/fold")
__failure __msg("invalid access to memory, mem_size=32 off=32 size=8")
int BPF_PROG(write_behind, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total = TOTAL(f);

	if (total)
		(&total->n[3])[1] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("invalid access to memory, mem_size=32 off=32 size=8")
int BPF_PROG(read_behind, struct bpf_cgroup_stats_fold *f)
{
	struct stats *now = NOW(f);

	if (now)
		out = (&now->n[3])[1];
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("invalid access to memory, mem_size=8 off=8 size=8")
int BPF_PROG(write_behind_part, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total;

	total = (void *)bpf_cgroup_stats_fold_rw(f, &stats, BPF_CGROUP_STATS_TOTAL, 8);
	if (total)
		total->n[1] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("invalid access to memory, mem_size=32 off=28 size=8")
int BPF_PROG(write_across, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total = TOTAL(f);

	if (total)
		*(__u64 *)((void *)total + 28) = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("invalid access to memory, mem_size=32 off=-8 size=8")
int BPF_PROG(write_before, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total = TOTAL(f);

	if (total)
		*(&total->n[0] - 1) = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("math between mem pointer and register with unbounded min value is not allowed")
int BPF_PROG(write_anywhere, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total = TOTAL(f);

	if (total)
		total->n[any_index] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("unbounded memory access, make sure to bounds check any such access")
int BPF_PROG(write_anywhere_behind, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total = TOTAL(f);

	if (total)
		total->n[any_u32_index] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("invalid access to memory, mem_size=32 off=32 size=8")
int BPF_PROG(write_off_by_one, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total = TOTAL(f);
	__u64 i = any_index;

	if (total && i <= 4)
		total->n[i] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("cannot write into rdonly_mem|invalid access to memory, mem_size=0 off=0 size=8")
int BPF_PROG(write_empty, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total;

	/* To the verifier this is a byte that is read-only, or nothing. The kfunc gives NULL. */
	total = (void *)bpf_cgroup_stats_fold_rw(f, &stats, BPF_CGROUP_STATS_TOTAL, 0);
	if (total)
		total->n[0] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("R4 is not a const")
int BPF_PROG(read_any_size, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_ro(f, &stats, BPF_CGROUP_STATS_NOW, any_size);
}

SEC("?struct_ops/fold")
__failure __msg("R4 is not a const")
int BPF_PROG(write_any_size, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_rw(f, &stats, BPF_CGROUP_STATS_TOTAL, any_size);
}

/* What is read-only is not written. */

SEC("?struct_ops/fold")
__failure __msg("cannot write into rdonly_mem")
int BPF_PROG(write_now, struct bpf_cgroup_stats_fold *f)
{
	struct stats *now = NOW(f);

	if (now)
		now->n[0] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("cannot write into rdonly_mem")
int BPF_PROG(write_now_atomic, struct bpf_cgroup_stats_fold *f)
{
	struct stats *now = NOW(f);

	if (now)
		__sync_fetch_and_add(&now->n[0], 1);
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("cannot write into rdonly_mem")
int BPF_PROG(write_total_ro, struct bpf_cgroup_stats_fold *f)
{
	struct stats *total;

	total = (void *)bpf_cgroup_stats_fold_ro(f, &stats, BPF_CGROUP_STATS_TOTAL, sizeof(*total));
	if (total)
		total->n[0] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("only read is supported")
int BPF_PROG(write_id, struct bpf_cgroup_stats_fold *f)
{
	f->cgroup_id = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("only read is supported")
int BPF_PROG(write_cpu, struct bpf_cgroup_stats_fold *f)
{
	f->cpu = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("access beyond struct bpf_cgroup_stats_fold")
int BPF_PROG(read_behind_fold, struct bpf_cgroup_stats_fold *f)
{
	out = *(__u64 *)((void *)f + sizeof(*f));
	return 0;
}

/* NULL is possible. */

SEC("?struct_ops/fold")
__failure __msg("invalid mem access 'mem_or_null'")
int BPF_PROG(write_unchecked, struct bpf_cgroup_stats_fold *f)
{
	TOTAL(f)->n[0] = 1;
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("invalid mem access 'rdonly_mem_or_null'")
int BPF_PROG(read_unchecked, struct bpf_cgroup_stats_fold *f)
{
	out = NOW(f)->n[0];
	return 0;
}

/* Arguments of the kfuncs. */

SEC("?struct_ops/fold")
__failure __msg("pointer in R2 isn't map pointer|R2 is scalar expected STRUCT bpf_map")
int BPF_PROG(number_as_map, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_ro(f, (void *)f->cgroup_id, BPF_CGROUP_STATS_NOW, 8);
}

SEC("?struct_ops/fold")
__failure __msg("expected pointer to STRUCT bpf_map but R2 has a pointer to STRUCT")
int BPF_PROG(fold_as_map, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_ro(f, f, BPF_CGROUP_STATS_NOW, 8);
}

SEC("?struct_ops/fold")
__failure __msg("Possibly NULL pointer passed to trusted arg1|NULL pointer passed to trusted R2")
int BPF_PROG(null_as_map, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_ro(f, NULL, BPF_CGROUP_STATS_NOW, 8);
}

SEC("?struct_ops/fold")
__failure __msg("R2 must be a rcu pointer|R2 is map_value expected STRUCT bpf_map")
int BPF_PROG(value_as_map, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_ro(f, &out, BPF_CGROUP_STATS_NOW, 8);
}

SEC("?struct_ops/fold")
__failure __msg("Possibly NULL pointer passed to trusted arg0|NULL pointer passed to trusted R1")
int BPF_PROG(null_as_fold, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_ro(NULL, &stats, BPF_CGROUP_STATS_NOW, 8);
}

/* What a program has made itself would lead the kernel anywhere. */

__u64 forged[16];

SEC("?struct_ops/fold")
__failure __msg("arg#0 pointer type STRUCT bpf_cgroup_stats_fold must point to|"
		"R1 is fp expected STRUCT bpf_cgroup_stats_fold")
int BPF_PROG(stack_as_fold, struct bpf_cgroup_stats_fold *f)
{
	struct bpf_cgroup_stats_fold copy = {};

	return !bpf_cgroup_stats_fold_ro(&copy, &stats, BPF_CGROUP_STATS_NOW, 8);
}

SEC("?struct_ops/fold")
__failure __msg("arg#0 pointer type STRUCT bpf_cgroup_stats_fold must point to|"
		"R1 is map_value expected STRUCT bpf_cgroup_stats_fold")
int BPF_PROG(global_as_fold, struct bpf_cgroup_stats_fold *f)
{
	return !bpf_cgroup_stats_fold_rw((void *)forged, &stats, BPF_CGROUP_STATS_TOTAL, 8);
}

/* An aggregator runs under a lock. */

SEC("?struct_ops.s/fold")
__failure __msg("attach to unsupported member fold of struct bpf_cgroup_stats_ops")
int BPF_PROG(sleepable, struct bpf_cgroup_stats_fold *f)
{
	return 0;
}

SEC("?struct_ops/fold")
__failure __msg("non-sleepable prog")
int BPF_PROG(flush, struct bpf_cgroup_stats_fold *f)
{
	return bpf_cgroup_stats_flush(&stats, f->cgroup_id, 0);
}

/* The kfuncs are for aggregators. */

SEC("?syscall")
__failure __msg("calling kernel function bpf_cgroup_stats_fold_ro is not allowed")
int read_in_syscall(struct bpf_cgroup_stats_fold *ctx)
{
	return !bpf_cgroup_stats_fold_ro(ctx, &stats, BPF_CGROUP_STATS_NOW, 8);
}

SEC("?syscall")
__failure __msg("calling kernel function bpf_cgroup_stats_fold_rw is not allowed")
int write_in_syscall(struct bpf_cgroup_stats_fold *ctx)
{
	return !bpf_cgroup_stats_fold_rw(ctx, &stats, BPF_CGROUP_STATS_TOTAL, 8);
}

SEC("?tp_btf/sys_enter")
__failure __msg("calling kernel function bpf_cgroup_stats_fold_ro is not allowed")
int read_in_tracing(struct bpf_cgroup_stats_fold *ctx)
{
	return !bpf_cgroup_stats_fold_ro(ctx, &stats, BPF_CGROUP_STATS_NOW, 8);
}

SEC("?tp_btf/sys_enter")
__failure __msg("calling kernel function bpf_cgroup_stats_fold_rw is not allowed")
int write_in_tracing(struct bpf_cgroup_stats_fold *ctx)
{
	return !bpf_cgroup_stats_fold_rw(ctx, &stats, BPF_CGROUP_STATS_TOTAL, 8);
}

SEC("?tc")
__failure __msg("calling kernel function bpf_cgroup_stats_fold_ro is not allowed")
int read_in_tc(struct bpf_cgroup_stats_fold *ctx)
{
	return !bpf_cgroup_stats_fold_ro(ctx, &stats, BPF_CGROUP_STATS_NOW, 8);
}

/* Each of the aggregators above in turn. */
SEC("?.struct_ops.link")
struct bpf_cgroup_stats_ops ops = {
	.value_size = sizeof(struct stats),
};
