// SPDX-License-Identifier: GPL-2.0
/*
 * Who forks most: each cgroup has a list of the four in its subtree that forked most by
 * themselves. To add that up takes an aggregator. An example of
 * Documentation/bpf/map_cgroup_stats.rst.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

#define NR_TOP 4

/* @id may be that of a cgroup that has been removed meanwhile: what it did stays. */
struct entry {
	__u64 id;	/* 0: none */
	__u64 forks;
};

struct forks {
	__u64 own;			/* of the cgroup itself */
	__u64 all;			/* of all below it, too */
	struct entry top[NR_TOP];	/* the most first; who has the same, by id */
};

/* map_extra, the root of the subtree, is set before the program is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct forks);
} forks SEC(".maps");

extern const u8 *bpf_cgroup_stats_fold_ro(struct bpf_cgroup_stats_fold *fold, void *p__map,
					  u32 which, const u32 rdonly_buf_size) __ksym;
extern u8 *bpf_cgroup_stats_fold_rw(struct bpf_cgroup_stats_fold *fold, void *p__map,
				    u32 which, const u32 rdwr_buf_size) __ksym;

#define fold_ro(fold, which) \
	((const struct forks *)bpf_cgroup_stats_fold_ro(fold, &forks, which, sizeof(struct forks)))
#define fold_rw(fold, which) \
	((struct forks *)bpf_cgroup_stats_fold_rw(fold, &forks, which, sizeof(struct forks)))

/*
 * Put a cgroup in its place; what has to make way moves down, to the cgroup's own former
 * place if it had one. To do this twice, or in another order, gives the same list,
 * because what a cgroup forked only grows.
 */
static void rank(struct entry *top, __u64 id, __u64 forks)
{
	struct entry new = { .id = id, .forks = forks }, old;
	int i;

	for (i = 0; i < NR_TOP; i++) {
		old = top[i];
		if (new.forks > old.forks || (new.forks == old.forks && new.id < old.id)) {
			top[i] = new;
			new = old;
		}
		if (old.id == id)
			break;
	}
}

static void merge(struct forks *to, const struct forks *pending, __u64 id, __u64 own)
{
	int i;

	rank(to->top, id, own);
	for (i = 0; i < NR_TOP; i++)
		rank(to->top, pending->top[i].id, pending->top[i].forks);
}

/*
 * Programs add to @own alone. It is the only member that is compared with what it was at
 * the last fold; the list comes from the children, and goes on to the parent.
 */
SEC("struct_ops/fold")
int BPF_PROG(fold, struct bpf_cgroup_stats_fold *f)
{
	const struct forks *now = fold_ro(f, BPF_CGROUP_STATS_NOW);
	const struct forks *prev = fold_ro(f, BPF_CGROUP_STATS_PREV);
	const struct forks *pending = fold_ro(f, BPF_CGROUP_STATS_PENDING);
	struct forks *total = fold_rw(f, BPF_CGROUP_STATS_TOTAL);
	struct forks *parent = fold_rw(f, BPF_CGROUP_STATS_PARENT);
	__u64 new;

	if (!now || !prev || !pending || !total)
		return 0;
	new = now->own - prev->own;	/* on this CPU */
	total->own += new;
	total->all += new + pending->all;
	merge(total, pending, f->cgroup_id, total->own);
	if (!parent)	/* this is the map's root */
		return 0;
	parent->all += new + pending->all;
	merge(parent, pending, f->cgroup_id, total->own);
	return 0;
}

SEC(".struct_ops.link")
struct bpf_cgroup_stats_ops top_forks = {
	.value_size = sizeof(struct forks),
	.fold = (void *)fold,
};

/* For the cgroup of who calls fork() or clone() */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(count_fork)
{
	bpf_cgroup_stats_add(&forks, 0, bpf_cgroup_stats_index(struct forks, own), 1, 0);
	return 0;
}
