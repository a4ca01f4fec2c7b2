/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests share that use the programs of progs/cgroup_stats_map.c. */
#ifndef __CGROUP_STATS_MAP_HELPERS_H
#define __CGROUP_STATS_MAP_HELPERS_H

#include "cgroup_stats_helpers.h"
#include "../progs/cgroup_stats_map.h"
#include "cgroup_stats_map.skel.h"

#define MAX_ELEMS	512

static inline __u64 cg_root_id(void)
{
	return cg_id("..");
}

/* --- maps --- */

enum { T_U64 = 1, T_U32 };

/* BTF with the types above, to which a test adds its own. */
static inline struct btf *btf_ints(void)
{
	struct btf *btf = btf__new_empty();

	if (!ASSERT_OK_PTR(btf, "btf__new_empty"))
		return NULL;
	ASSERT_EQ(btf__add_int(btf, "u64", 8, 0), T_U64, "u64");
	ASSERT_EQ(btf__add_int(btf, "u32", 4, 0), T_U32, "u32");
	return btf;
}

/* Loads and frees @btf; its fd. */
static inline int btf_load(struct btf *btf)
{
	int fd = -1;

	if (ASSERT_OK(btf__load_into_kernel(btf), "btf__load_into_kernel"))
		fd = dup(btf__fd(btf));
	btf__free(btf);
	return fd;
}

struct map_attr {
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 key_type;
	__u32 value_type;
	struct bpf_map_create_opts opts;
};

/* What makes a map of @nr elements; the caller closes .opts.btf_fd. */
static inline struct map_attr map_attr(__u64 root, __u32 nr)
{
	struct btf *btf = btf_ints();
	struct map_attr attr = {
		.key_size = 8,
		.value_size = nr * 8,
		.opts.sz = sizeof(struct bpf_map_create_opts),
		.opts.btf_key_type_id = T_U64,
		.opts.map_extra = root,
	};

	attr.opts.btf_value_type_id = btf__add_array(btf, T_U32, T_U64, nr);
	attr.opts.btf_fd = btf_load(btf);
	return attr;
}

/* Without assertions, for races. */
static inline int map_try(const struct map_attr *attr)
{
	return bpf_map_create(BPF_MAP_TYPE_CGROUP_STATS, "stats", attr->key_size,
			      attr->value_size, attr->max_entries, &attr->opts);
}

static inline int map_make(__u64 root, __u32 nr)
{
	struct map_attr attr = map_attr(root, nr);
	int fd = map_try(&attr);

	close(attr.opts.btf_fd);
	ASSERT_GE(fd, 0, "create map");
	return fd;
}

/* Element @index of cgroup @id; a number that no test counts to: no entry. */
static inline __u64 total(int map_fd, __u64 id, __u32 index)
{
	__u64 value[MAX_ELEMS];

	if (bpf_map_lookup_elem(map_fd, &id, value))
		return -errno;
	return value[index];
}

#define NO_ENTRY ((__u64)-ENOENT)

/* --- programs --- */

/*
 * Load the skeleton with the named programs only. @map_fd, if there is one, is
 * used as its map, else the map is made with @root.
 */
static inline struct cgroup_stats_map *load(__u64 root, int map_fd, const char *names)
{
	struct cgroup_stats_map *skel = cgroup_stats_map__open();

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	autoload(skel->obj, names);
	bpf_map__set_autocreate(skel->maps.maps, !!strstr(names, "_nth"));
	bpf_map__set_autocreate(skel->maps.other, !!strstr(names, "look_either"));
	bpf_map__set_autocreate(skel->maps.own, !!strstr(names, "after_cgroup_exit"));
	bpf_map__set_autocreate(skel->maps.work, !!strstr(names, "start_"));
	bpf_map__set_map_extra(skel->maps.stats, root);
	bpf_map__set_map_extra(skel->maps.other, root);
	bpf_map__set_map_extra(skel->maps.own, root);
	if (map_fd >= 0 &&
	    !ASSERT_OK(bpf_map__reuse_fd(skel->maps.stats, map_fd), "reuse_fd"))
		goto fail;
	if (!ASSERT_OK(cgroup_stats_map__load(skel), "load"))
		goto fail;
	return skel;
fail:
	cgroup_stats_map__destroy(skel);
	return NULL;
}

static inline int run_packet(const struct bpf_program *prog)
{
	char packet[64] = {};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err;

	opts.data_in = packet;
	opts.data_size_in = sizeof(packet);
	err = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
	ASSERT_OK(err, bpf_program__name(prog));
	return err ?: (int)opts.retval;
}

#endif
