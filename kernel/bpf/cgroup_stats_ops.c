// SPDX-License-Identifier: GPL-2.0-only
/*
 * Aggregators: struct_ops programs that fold the values of a BPF_MAP_TYPE_CGROUP_STATS
 * map in the place of its elements' operations.
 *
 * A program serves the one map of the type that it refers to: to have loaded it proves
 * access to the map. Programs hold a reference to their maps, so the map is there as
 * long as it has an aggregator; the map holds none in return, or neither would go.
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include "cgroup_stats.h"

static u8 *cgroup_stats_fold_value(struct bpf_cgroup_stats_fold *fold, struct bpf_map *map,
				   u32 first, u32 which, u32 size)
{
	struct cgroup_stats_fold_kern *kern;

	kern = container_of(fold, struct cgroup_stats_fold_kern, fold);
	/* To the verifier a size of 0 is a buffer of one byte. */
	if (map != fold->map || which < first || which >= ARRAY_SIZE(kern->value) ||
	    !size || size > map->value_size)
		return NULL;
	return kern->value[which];
}

__bpf_kfunc_start_defs();

/**
 * bpf_cgroup_stats_fold_ro - a value that ->fold() works on, to be read
 * @fold: the argument of ->fold()
 * @p__map: the map that is folded
 * @which: one of enum bpf_cgroup_stats_values
 * @rdonly_buf_size: bytes to be read, from 1 to the map's value size; a constant
 *
 * Return: a pointer that is good until ->fold() returns; NULL if the map is another one,
 * if @which or the size is out of range, or if there is no parent in the map.
 */
__bpf_kfunc const u8 *bpf_cgroup_stats_fold_ro(struct bpf_cgroup_stats_fold *fold,
					       void *p__map, u32 which,
					       const u32 rdonly_buf_size)
{
	return cgroup_stats_fold_value(fold, p__map, BPF_CGROUP_STATS_NOW, which,
				       rdonly_buf_size);
}

/**
 * bpf_cgroup_stats_fold_rw - a value that ->fold() works on, to be changed
 * @fold: the argument of ->fold()
 * @p__map: the map that is folded
 * @which: BPF_CGROUP_STATS_TOTAL or BPF_CGROUP_STATS_PARENT
 * @rdwr_buf_size: bytes to be used, from 1 to the map's value size; a constant
 *
 * Readers and the parent see changes when ->fold() has returned.
 *
 * Return: as of bpf_cgroup_stats_fold_ro().
 */
__bpf_kfunc u8 *bpf_cgroup_stats_fold_rw(struct bpf_cgroup_stats_fold *fold, void *p__map,
					 u32 which, const u32 rdwr_buf_size)
{
	return cgroup_stats_fold_value(fold, p__map, BPF_CGROUP_STATS_TOTAL, which,
				       rdwr_buf_size);
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(cgroup_stats_kfunc_ids)
BTF_ID_FLAGS(func, bpf_cgroup_stats_fold_ro, KF_RCU | KF_RET_NULL)
BTF_ID_FLAGS(func, bpf_cgroup_stats_fold_rw, KF_RCU | KF_RET_NULL)
BTF_KFUNCS_END(cgroup_stats_kfunc_ids)

static const struct btf_kfunc_id_set cgroup_stats_kfunc_set = {
	.owner	= THIS_MODULE,
	.set	= &cgroup_stats_kfunc_ids,
};

/* Find the one map of the type that @prog refers to. Its reference keeps the map. */
static int cgroup_stats_ops_find(struct bpf_prog *prog, void *data)
{
	struct bpf_map **found = data, *map;
	int err;
	u32 i;

	/* bpf_prog_get_info_by_fd() may hold it for as long as its user likes. */
	err = mutex_lock_interruptible(&prog->aux->used_maps_mutex);
	if (err)
		return err;
	for (i = 0; i < prog->aux->used_map_cnt; i++) {
		map = prog->aux->used_maps[i];
		if (map->map_type != BPF_MAP_TYPE_CGROUP_STATS)
			continue;
		if (*found)
			err = -EINVAL;
		*found = map;
	}
	mutex_unlock(&prog->aux->used_maps_mutex);
	return err;
}

static int cgroup_stats_ops_reg(void *kdata, struct bpf_link *link)
{
	struct bpf_cgroup_stats_ops *ops = kdata;

	return cgroup_stats_set_ops(ops->map, NULL, ops);
}

static int cgroup_stats_ops_update(void *kdata, void *old_kdata, struct bpf_link *link)
{
	struct bpf_cgroup_stats_ops *ops = kdata, *old = old_kdata;

	return old->map == ops->map ? cgroup_stats_set_ops(ops->map, old, ops) : -EINVAL;
}

static void cgroup_stats_ops_unreg(void *kdata, struct bpf_link *link)
{
	struct bpf_cgroup_stats_ops *ops = kdata;

	cgroup_stats_set_ops(ops->map, ops, NULL);
}

static int cgroup_stats_ops_check_member(const struct btf_type *t,
					 const struct btf_member *member,
					 const struct bpf_prog *prog)
{
	return prog->sleepable ? -EINVAL : 0;
}

static int cgroup_stats_ops_init_member(const struct btf_type *t,
					const struct btf_member *member,
					void *kdata, const void *udata)
{
	const struct bpf_cgroup_stats_ops *from = udata;
	struct bpf_cgroup_stats_ops *ops = kdata;

	if (__btf_member_bit_offset(t, member) / BITS_PER_BYTE !=
	    offsetof(struct bpf_cgroup_stats_ops, value_size))
		return 0;
	ops->value_size = from->value_size;
	return 1;
}

/* Not at registration, which would have all others' links wait for used_maps_mutex. */
static int cgroup_stats_ops_validate(void *kdata)
{
	struct bpf_cgroup_stats_ops *ops = kdata;
	struct bpf_map *map = NULL;
	int err;

	err = bpf_struct_ops_for_each_prog(ops, cgroup_stats_ops_find, &map);
	if (err)
		return err;
	/* Without a program there is no map either. */
	if (!map || map->value_size != ops->value_size)
		return -EINVAL;
	ops->map = map;
	return 0;
}

static int cgroup_stats_ops_init(struct btf *btf)
{
	return 0;
}

static const struct bpf_verifier_ops cgroup_stats_ops_verifier_ops = {
	.get_func_proto		= bpf_base_func_proto,
	.is_valid_access	= bpf_tracing_btf_ctx_access,
};

static void cgroup_stats_ops_no_fold(struct bpf_cgroup_stats_fold *fold)
{
}

static struct bpf_cgroup_stats_ops cgroup_stats_ops_stubs = {
	.fold = cgroup_stats_ops_no_fold,
};

static struct bpf_struct_ops bpf_cgroup_stats_struct_ops = {
	.verifier_ops	= &cgroup_stats_ops_verifier_ops,
	.init		= cgroup_stats_ops_init,
	.check_member	= cgroup_stats_ops_check_member,
	.init_member	= cgroup_stats_ops_init_member,
	.validate	= cgroup_stats_ops_validate,
	.reg		= cgroup_stats_ops_reg,
	.unreg		= cgroup_stats_ops_unreg,
	.update		= cgroup_stats_ops_update,
	.cfi_stubs	= &cgroup_stats_ops_stubs,
	.name		= "bpf_cgroup_stats_ops",
	.owner		= THIS_MODULE,
};

static int __init cgroup_stats_ops_register(void)
{
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &cgroup_stats_kfunc_set) ?:
	       register_bpf_struct_ops(&bpf_cgroup_stats_struct_ops, bpf_cgroup_stats_ops);
}
late_initcall(cgroup_stats_ops_register);
