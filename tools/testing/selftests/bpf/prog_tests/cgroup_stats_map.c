// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/mount.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/compiler.h>
#include "cap_helpers.h"
#include "cgroup_stats_helpers.h"
#include "../progs/cgroup_stats_map.h"
#include "cgroup_stats_map.skel.h"
#include "cgroup_stats_map_fail.skel.h"

#define MAX_ELEMS	512

static __u64 cg_root_id(void)
{
	return cg_id("..");
}

/* --- maps --- */

enum { T_U64 = 1, T_U32 };

/* BTF with the types above, to which a test adds its own. */
static struct btf *btf_ints(void)
{
	struct btf *btf = btf__new_empty();

	if (!ASSERT_OK_PTR(btf, "btf__new_empty"))
		return NULL;
	ASSERT_EQ(btf__add_int(btf, "u64", 8, 0), T_U64, "u64");
	ASSERT_EQ(btf__add_int(btf, "u32", 4, 0), T_U32, "u32");
	return btf;
}

/* Loads and frees @btf; its fd. */
static int btf_load(struct btf *btf)
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
static struct map_attr map_attr(__u64 root, __u32 nr)
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
static int map_try(const struct map_attr *attr)
{
	return bpf_map_create(BPF_MAP_TYPE_CGROUP_STATS, "stats", attr->key_size,
			      attr->value_size, attr->max_entries, &attr->opts);
}

static int map_make(__u64 root, __u32 nr)
{
	struct map_attr attr = map_attr(root, nr);
	int fd = map_try(&attr);

	close(attr.opts.btf_fd);
	ASSERT_GE(fd, 0, "create map");
	return fd;
}

/* Element @index of cgroup @id; a number that no test counts to: no entry. */
static __u64 total(int map_fd, __u64 id, __u32 index)
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
static struct cgroup_stats_map *load(__u64 root, int map_fd, const char *names)
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

/* --- totals --- */

static void test_totals(void)
{
	__u64 a, b, c, d, root = cg_root_id();
	struct cgroup_stats_map *skel;
	int i, fd;

	a = cg_make("a");
	b = cg_make("a/b");
	c = cg_make("a/b/c");
	d = cg_make("d");
	skel = load(a, -1, "add add_sleepable");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);

	/* Untouched entries read as 0. */
	ASSERT_EQ(count_keys(fd), 3, "entries");
	ASSERT_EQ(total(fd, c, 0), 0, "c before");

	/* From every CPU, into every level. */
	for (i = 0; i < nr_cpus; i++) {
		ASSERT_OK(run_on(cpus[i], skel->progs.add, a, 0, 1, 0), "add a");
		ASSERT_OK(run_on(cpus[i], skel->progs.add, b, 0, 100, 0), "add b");
		ASSERT_OK(run_on(cpus[i], skel->progs.add, c, 0, 10000, 0), "add c");
	}
	ASSERT_EQ(total(fd, c, 0), 10000 * nr_cpus, "c");
	ASSERT_EQ(total(fd, b, 0), 10100 * nr_cpus, "b");
	ASSERT_EQ(total(fd, a, 0), 10101 * nr_cpus, "a");
	/* Read again: nothing is added up twice. */
	ASSERT_EQ(total(fd, a, 0), 10101 * nr_cpus, "a again");
	ASSERT_EQ(total(fd, b, 0), 10100 * nr_cpus, "b again");

	/* Each add shows at once, in an ancestor that is read first too. */
	for (i = 0; i < 3 * nr_cpus; i++) {
		ASSERT_OK(run_on(cpus[i % nr_cpus], skel->progs.add, c, 1, 1, 0), "add 1");
		if (!ASSERT_EQ(total(fd, a, 1), i + 1, "a sees the add"))
			break;
	}
	ASSERT_EQ(total(fd, c, 1), i, "c sees all");

	/* Negative samples, wrapping sums. */
	ASSERT_OK(run(skel->progs.add, c, 2, -5), "add -5");
	ASSERT_EQ((__s64)total(fd, b, 2), -5, "negative");
	ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, c, 2, 6, 0), "add 6");
	ASSERT_EQ(total(fd, b, 2), 1, "6 - 5");
	ASSERT_OK(run(skel->progs.add, c, 2, 0), "add 0");
	ASSERT_EQ(total(fd, b, 2), 1, "plus 0");

	/* 0 is the current task's. */
	ASSERT_OK(cg_join("a/b/c"), "join c");
	ASSERT_OK(run(skel->progs.add, 0, 3, 7), "add 0");
	ASSERT_OK(run(skel->progs.add_sleepable, 0, 3, 8), "add 0 sleepable");
	ASSERT_OK(cg_join("a/b"), "join b");
	ASSERT_OK(run(skel->progs.add, 0, 3, 1), "add 0");
	ASSERT_EQ(total(fd, c, 3), 15, "current c");
	ASSERT_EQ(total(fd, b, 3), 16, "current b");
	ASSERT_EQ(total(fd, a, 3), 16, "current a");

	/* Outside of the subtree. */
	ASSERT_OK(cg_join("d"), "join d");
	ASSERT_EQ(run(skel->progs.add, 0, 3, 1), -ENOENT, "current task outside");
	ASSERT_OK(cg_join(".."), "join root");
	ASSERT_EQ(run(skel->progs.add, 0, 3, 1), -ENOENT, "current task above");
	ASSERT_EQ(run(skel->progs.add, d, 3, 1), -ENOENT, "id outside");
	ASSERT_EQ(run(skel->progs.add, root, 3, 1), -ENOENT, "id above");
	ASSERT_EQ(run(skel->progs.add, NO_ID, 3, 1), -ENOENT, "id of nothing");
	ASSERT_EQ(run(skel->progs.add, ~0ULL, 3, 1), -ENOENT, "id ~0");
	ASSERT_EQ(total(fd, d, 0), NO_ENTRY, "lookup outside");
	ASSERT_EQ(total(fd, 0, 0), NO_ENTRY, "lookup of 0");

	/* What is wrong with the other arguments. */
	ASSERT_OK(run(skel->progs.add, a, CGROUP_STATS_ELEMS - 1, 1), "last index");
	ASSERT_EQ(run(skel->progs.add, a, CGROUP_STATS_ELEMS, 1), -E2BIG, "index");
	ASSERT_EQ(run(skel->progs.add, a, ~0U, 1), -E2BIG, "index ~0");
	ASSERT_EQ(run_on(THIS_CPU, skel->progs.add, a, 0, 1, 1), -EINVAL, "flags");
	ASSERT_EQ(run_on(THIS_CPU, skel->progs.add, a, 0, 1, ~0ULL), -EINVAL, "flags ~0");
	ASSERT_EQ(total(fd, a, 3), 16, "no failed add counts");
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("d");
	cg_remove("a/b/c");
	cg_remove("a/b");
	cg_remove("a");
}

/* What children and their parent added cancels out, and stays so. */
static void test_cancel(void)
{
	__u64 a, b, c, d;
	struct cgroup_stats_map *skel;
	int i, fd;

	a = cg_make("a");
	b = cg_make("a/b");
	c = cg_make("a/b/c");
	d = cg_make("a/b/d");
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);

	for (i = 0; i < 2 * nr_cpus; i++) {
		int cpu = cpus[i % nr_cpus];

		/* Of a child and its parent. */
		ASSERT_OK(run_on(cpu, skel->progs.add, c, 0, 5, 0), "add c");
		ASSERT_OK(run_on(cpu, skel->progs.add, b, 0, -5, 0), "add b");
		ASSERT_EQ(total(fd, b, 0), 0, "b, canceled");
		ASSERT_OK(run_on(cpu, skel->progs.add, b, 0, 1, 0), "add b");
		ASSERT_EQ(total(fd, b, 0), 1, "b");
		ASSERT_EQ(total(fd, a, 0), 1, "a");
		ASSERT_EQ(total(fd, c, 0), 5, "c");
		/* Of a grandchild and its grandparent, and of two children. */
		ASSERT_OK(run_on(cpu, skel->progs.add, c, 1, 7, 0), "add c");
		ASSERT_OK(run_on(cpu, skel->progs.add, a, 1, -7, 0), "add a");
		ASSERT_EQ(total(fd, a, 1), 0, "a, canceled");
		ASSERT_OK(run_on(cpu, skel->progs.add, c, 1, 7, 0), "add c");
		ASSERT_OK(run_on(cpu, skel->progs.add, d, 1, -14, 0), "add d");
		ASSERT_EQ(total(fd, a, 1), -7ULL, "a");
		ASSERT_EQ(total(fd, b, 1), 0, "b, of children");
		/* Back to 0. */
		ASSERT_OK(run_on(cpu, skel->progs.add, b, 0, 4, 0), "add b");
		ASSERT_OK(run_on(cpu, skel->progs.add, c, 0, -5, 0), "add c");
		ASSERT_OK(run_on(cpu, skel->progs.add, a, 1, 7, 0), "add a");
		ASSERT_OK(run_on(cpu, skel->progs.add, c, 1, -14, 0), "add c");
		ASSERT_OK(run_on(cpu, skel->progs.add, d, 1, 14, 0), "add d");
		if (!ASSERT_EQ(total(fd, c, 0), 0, "c") || !ASSERT_EQ(total(fd, c, 1), 0, "c") ||
		    !ASSERT_EQ(total(fd, a, 0), 0, "a") || !ASSERT_EQ(total(fd, a, 1), 0, "a"))
			break;
	}
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b/d");
	cg_remove("a/b/c");
	cg_remove("a/b");
	cg_remove("a");
}

/* A map of a cgroup, and later one of its parent, where no map was before. */
static void test_parent_later(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), c = cg_make("a/b/c"), d;
	struct cgroup_stats_map *low, *high = NULL;

	low = load(c, -1, "add");
	if (!low)
		goto out;
	ASSERT_OK(run(low->progs.add, c, 0, 1), "add c");
	high = load(a, -1, "add");
	if (!high)
		goto out;
	d = cg_make("a/b/c/d");
	ASSERT_OK(run_on(cpus[nr_cpus - 1], high->progs.add, c, 0, 10, 0), "add c");
	ASSERT_OK(run_on(cpus[nr_cpus - 1], high->progs.add, d, 0, 100, 0), "add d");
	ASSERT_OK(run_on(cpus[nr_cpus - 1], low->progs.add, d, 0, 1000, 0), "add d");
	ASSERT_EQ(total(bpf_map__fd(high->maps.stats), a, 0), 110, "a");
	ASSERT_EQ(total(bpf_map__fd(high->maps.stats), b, 0), 110, "b");
	ASSERT_EQ(total(bpf_map__fd(high->maps.stats), c, 0), 110, "c");
	ASSERT_EQ(total(bpf_map__fd(low->maps.stats), c, 0), 1001, "c of the first");
	ASSERT_EQ(total(bpf_map__fd(low->maps.stats), b, 0), NO_ENTRY, "b of the first");
	cg_remove("a/b/c/d");
	ASSERT_EQ(total(bpf_map__fd(high->maps.stats), a, 0), 110, "a after rmdir");
	ASSERT_EQ(total(bpf_map__fd(low->maps.stats), c, 0), 1001, "c after rmdir");
out:
	cgroup_stats_map__destroy(low);
	cgroup_stats_map__destroy(high);
	cg_remove("a/b/c");
	cg_remove("a/b");
	cg_remove("a");
}

/* What a removed cgroup collected stays in its ancestors. */
static void test_rmdir(void)
{
	struct cgroup_stats_map *skel;
	__u64 a, b, c, next, key;
	int i, fd;

	a = cg_make("a");
	b = cg_make("a/b");
	c = cg_make("a/b/c");
	skel = load(a, -1, "add peek");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);

	/* Read before, not read at all, read later. */
	ASSERT_OK(run(skel->progs.add, c, 0, 1), "add");
	ASSERT_EQ(total(fd, a, 0), 1, "before");
	for (i = 0; i < nr_cpus; i++)
		ASSERT_OK(run_on(cpus[i], skel->progs.add, c, 0, 10, 0), "add");
	cg_remove("a/b/c");
	ASSERT_EQ(run(skel->progs.add, c, 0, 1), -ENOENT, "add to removed");
	ASSERT_EQ(run(skel->progs.peek, c, 0, 0), -ENOENT, "lookup of program");
	ASSERT_EQ(total(fd, c, 0), NO_ENTRY, "c");
	ASSERT_EQ(total(fd, a, 0), 1 + 10 * nr_cpus, "a at once");
	ASSERT_EQ(total(fd, b, 0), 1 + 10 * nr_cpus, "b at once");

	/* The same path is a new cgroup. */
	next = cg_make("a/b/c");
	ASSERT_NEQ(next, c, "a new id");
	ASSERT_EQ(total(fd, next, 0), 0, "starts at 0");
	ASSERT_OK(run(skel->progs.add, next, 0, 1000), "add");

	/* From below a removed parent. */
	ASSERT_OK(run(skel->progs.add, b, 0, 500), "add");
	cg_remove("a/b/c");
	cg_remove("a/b");
	ASSERT_EQ(total(fd, a, 0), 1501 + 10 * nr_cpus, "a");
	ASSERT_EQ(count_keys(fd), 1, "entries");

	/* After the releases, which come later, nothing has changed. */
	for (i = 0; i < 5; i++) {
		kern_sync_rcu();
		ASSERT_EQ(total(fd, a, 0), 1501 + 10 * nr_cpus, "a later");
	}

	/* Without the root the map is empty, but there. */
	cg_remove("a");
	a = cg_make("a");
	ASSERT_EQ(count_keys(fd), 0, "no entries");
	ASSERT_EQ(bpf_map_get_next_key(fd, NULL, &key), -ENOENT, "get_next_key");
	ASSERT_EQ(run(skel->progs.add, a, 0, 1), -ENOENT, "add");
	ASSERT_EQ(total(fd, a, 0), NO_ENTRY, "lookup");
	{
		__u64 keys[4], value[4 * CGROUP_STATS_ELEMS], out = 77;
		__u32 count = 4;

		ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, value, &count, NULL),
			  -ENOENT, "batch");
		ASSERT_EQ(count, 0, "batch count");
		ASSERT_EQ(out, 77, "out_batch left alone");
	}
	ASSERT_GT(map_memory(fd), 0, "fdinfo");
out:
	cgroup_stats_map__destroy(skel);
	cg_try_remove("a/b/c");
	cg_try_remove("a/b");
	cg_remove("a");
}

/* Entries are there when mkdir() and gone when rmdir() of anyone return. */
static void test_mkdir(void)
{
	struct cgroup_stats_map *skel;
	char path[16];
	__u64 a, id;
	int i, fd;

	a = cg_make("a");
	skel = load(a, -1, "add on_mkdir on_rmdir");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	if (!ASSERT_OK(cgroup_stats_map__attach(skel), "attach"))
		goto out;
	skel->bss->target_tid = sys_gettid();

	for (i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		id = cg_make(path);
		ASSERT_EQ(skel->bss->made_id, id, "id in mkdir");
		ASSERT_OK(skel->bss->made_err, "add in mkdir");
		ASSERT_OK(run_on(cpus[i % nr_cpus], skel->progs.add, id, 0, 1, 0), "add");
		if (!ASSERT_EQ(total(fd, id, 0), 6, "own"))
			break;
		if (i % 2)
			continue;
		skel->bss->gone_err = 0;
		cg_remove(path);
		ASSERT_EQ(skel->bss->gone_err, -ENOENT, "add in rmdir");
	}
	ASSERT_EQ(total(fd, a, 0), 6 * 20, "all");
	ASSERT_EQ(count_keys(fd), 11, "entries");
	skel->bss->target_tid = 0;
out:
	cgroup_stats_map__destroy(skel);
	for (i = 1; i < 20; i += 2) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_remove(path);
	}
	cg_remove("a");
}

/* A cgroup that a socket pins is offline for long before it is released. */
static void test_pinned(void)
{
	struct cgroup_stats_map *skel = NULL, *skel2 = NULL;
	int i, fd, fd2, sock = -1;
	__u64 a, b, c;

	a = cg_make("a");
	b = cg_make("a/b");
	c = cg_make("a/b/c");
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	ASSERT_OK(cg_join("a/b/c"), "join");
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_GE(sock, 0, "socket");
	ASSERT_OK(cg_join(".."), "join root");

	for (i = 0; i < nr_cpus; i++)
		ASSERT_OK(run_on(cpus[i], skel->progs.add, c, 0, 1, 0), "add");
	cg_remove("a/b/c");
	ASSERT_EQ(run(skel->progs.add, c, 0, 1), -ENOENT, "add");
	ASSERT_EQ(total(fd, c, 0), NO_ENTRY, "lookup");
	ASSERT_EQ(total(fd, b, 0), nr_cpus, "b");
	ASSERT_EQ(count_keys(fd), 2, "entries");

	/* A map that comes now has no entry of it, nor of its parent, later. */
	skel2 = load(a, -1, "add");
	if (!skel2)
		goto out;
	fd2 = bpf_map__fd(skel2->maps.stats);
	ASSERT_EQ(count_keys(fd2), 2, "entries of another map");
	ASSERT_OK(run(skel2->progs.add, b, 0, 3), "add");
	ASSERT_OK(run(skel->progs.add, b, 0, 4), "add");
	cg_remove("a/b");

	/* Maps come and go meanwhile, with the numbers that are free. */
	cgroup_stats_map__destroy(skel);
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	ASSERT_EQ(total(fd, a, 0), 0, "a new map");
	ASSERT_OK(run(skel->progs.add, a, 0, 9), "add");
	ASSERT_EQ(total(fd2, a, 0), 3, "a of the map before");

	close(sock);
	sock = -1;
	for (i = 0; i < 5; i++)
		kern_sync_rcu();
	ASSERT_EQ(total(fd2, a, 0), 3, "a of the map before, released");
	ASSERT_EQ(total(fd, a, 0), 9, "a of the new map, released");
out:
	cg_join("..");
	if (sock >= 0)
		close(sock);
	cgroup_stats_map__destroy(skel);
	cgroup_stats_map__destroy(skel2);
	cg_try_remove("a/b/c");
	cg_try_remove("a/b");
	cg_remove("a");
}

/* Values of every size of interest, each with its first and last element. */
static void test_sizes(void)
{
	static const __u32 sizes[] = { 1, 7, 8, 9, 63, 64, 65, 511, 512 };
	__u64 a = cg_make("a"), b = cg_make("a/b");
	struct cgroup_stats_map *skel;
	__u64 value[MAX_ELEMS + 1];
	int i, j, fd, nr, bad;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		nr = sizes[i];
		fd = map_make(a, nr);
		skel = load(0, fd, "add");
		if (!skel)
			break;
		/* A few on each CPU, read in between, so that lines differ. */
		ASSERT_OK(run(skel->progs.add, b, 0, 1), "add first");
		ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, b, nr - 1, 2, 0), "add last");
		ASSERT_EQ(run(skel->progs.add, b, nr, 1), -E2BIG, "one too far");
		ASSERT_EQ(total(fd, a, nr - 1), 2 + (nr == 1), "last");
		for (j = 0; j < nr; j += 5)
			run_on(cpus[j % nr_cpus], skel->progs.add, b, j, j * 100, 0);

		value[nr] = 0x1234;
		ASSERT_OK(bpf_map_lookup_elem(fd, &a, value), "lookup");
		ASSERT_EQ(value[nr], 0x1234, "behind the value");
		for (bad = 0, j = 0; j < nr; j++)
			bad += value[j] != (j % 5 ? 0 : j * 100) + (j == 0) + 2 * (j == nr - 1);
		ASSERT_EQ(bad, 0, "wrong elements");
		cgroup_stats_map__destroy(skel);
		close(fd);
	}
	cg_remove("a/b");
	cg_remove("a");
}

/* Several maps: nested, side by side, of one subtree; and one after the other. */
static void test_maps(void)
{
	static const char * const paths[] = { "a", "a/b", "a/b/c", "a/d", "e" };
	/* Root of each map, by the paths; the last four are made when others went. */
	static const int roots[] = { 0, 1, 2, 3, 4, 0, 4, 1, 0, 3, 4, 2 };
	/* Whether the first of two paths is in the subtree of the second. */
	static const bool in[5][5] = {
		{ 1, 0, 0, 0, 0 },
		{ 1, 1, 0, 0, 0 },
		{ 1, 1, 1, 0, 0 },
		{ 1, 0, 0, 1, 0 },
		{ 0, 0, 0, 0, 1 },
	};
	int i, j, k, err, round, fds[ARRAY_SIZE(roots)];
	__u64 ids[5], want[ARRAY_SIZE(roots)][5] = {};
	struct cgroup_stats_map *skel;

	memset(fds, -1, sizeof(fds));
	for (i = 0; i < 5; i++)
		ids[i] = cg_make(paths[i]);
	skel = load(ids[0], -1, "add_nth");
	if (!skel)
		goto out;

	for (round = 0; round < 4; round++) {
		for (i = 0; i < ARRAY_SIZE(roots); i++) {
			/* A third of them is replaced in each round. */
			if (fds[i] >= 0 && i % 3 != round % 3)
				continue;
			if (fds[i] >= 0)
				close(fds[i]);
			fds[i] = map_make(ids[roots[i]], CGROUP_STATS_ELEMS);
			memset(want[i], 0, sizeof(want[i]));
			err = bpf_map_update_elem(bpf_map__fd(skel->maps.maps), &i, &fds[i], 0);
			if (!ASSERT_OK(err, "set map"))
				goto out;
		}
		for (i = 0; i < ARRAY_SIZE(roots); i++) {
			for (j = 0; j < 5; j++) {
				err = run_on(cpus[(i + j) % nr_cpus], skel->progs.add_nth,
					     ids[j], 0, 1 << (i + j), i);
				ASSERT_EQ(err, in[j][roots[i]] ? 0 : -ENOENT, "add");
				for (k = 0; !err && k < 5; k++)
					want[i][k] += in[j][k] ? 1 << (i + j) : 0;
			}
		}
		for (i = 0; i < ARRAY_SIZE(roots); i++) {
			for (j = 0; j < 5; j++)
				ASSERT_EQ(total(fds[i], ids[j], 0),
					  in[j][roots[i]] ? want[i][j] : NO_ENTRY, "total");
		}
	}
out:
	cgroup_stats_map__destroy(skel);
	for (i = 0; i < ARRAY_SIZE(roots); i++)
		close(fds[i]);
	for (i = 4; i >= 0; i--)
		cg_remove(paths[i]);
}

struct creation {
	struct map_attr attr;
	bool begun, done;
	int keys;
};

static int create_map(void *arg)
{
	struct creation *c = arg;
	int fd;

	WRITE_ONCE(c->begun, true);
	fd = map_try(&c->attr);
	c->keys = count_keys(fd);
	WRITE_ONCE(c->done, true);
	return fd < 0;
}

/* Maps of a child that are made while one of its parent has not reached it yet. */
static void test_maps_at_once(void)
{
	enum { NR_CGROUPS = 200, NR_FDS = 256 };
	__u64 a = cg_make("a"), child = cg_make("a/child");
	int i, n, round, bad = 0, fds[NR_FDS];
	struct map_attr attr;
	struct creation *c;
	char path[16];
	pid_t pid;

	attr = map_attr(child, 1);
	c = shared_alloc(sizeof(*c));
	if (!c)
		goto out;
	c->attr = map_attr(a, MAX_ELEMS);
	for (i = 0; i < NR_CGROUPS; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_make(path);
	}
	for (round = 0; round < 3; round++) {
		c->begun = false;
		c->done = false;
		pid = spawn(create_map, c);
		while (pid > 0 && !READ_ONCE(c->begun))
			sched_yield();
		for (n = 0; n < NR_FDS && !READ_ONCE(c->done); n++)
			fds[n] = map_try(&attr);
		reap(pid);
		ASSERT_EQ(c->keys, NR_CGROUPS + 2, "entries of the parent's map");
		for (i = 0; i < n; i++) {
			bad += count_keys(fds[i]) != 1 || total(fds[i], child, 0) != 0;
			close(fds[i]);
		}
		if (!ASSERT_EQ(bad, 0, "maps without their entry"))
			break;
	}
	close(c->attr.opts.btf_fd);
	for (i = 0; i < NR_CGROUPS; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_remove(path);
	}
	munmap(c, sizeof(*c));
out:
	close(attr.opts.btf_fd);
	cg_remove("a/child");
	cg_remove("a");
}

/* More maps on one cgroup than there are bits in a word. */
static void test_many_maps(void)
{
	int i, err, fds[CGROUP_STATS_MAPS], nr = 70;
	struct cgroup_stats_map *skel;
	__u64 a = cg_make("a"), b;

	skel = load(a, -1, "add_nth");
	if (!skel)
		goto out;
	for (i = 0; i < nr; i++) {
		fds[i] = map_make(a, CGROUP_STATS_ELEMS);
		err = bpf_map_update_elem(bpf_map__fd(skel->maps.maps), &i, &fds[i], 0);
		if (!ASSERT_OK(err, "set map"))
			break;
	}
	b = cg_make("a/b");
	for (i = 0; i < nr; i++)
		ASSERT_OK(run_on(cpus[i % nr_cpus], skel->progs.add_nth, b, 0, i + 1, i), "add");
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(total(fds[i], b, 0), i + 1, "b");
		ASSERT_EQ(total(fds[i], a, 0), i + 1, "a");
	}
	cg_remove("a/b");
	for (i = 0; i < nr; i++)
		ASSERT_EQ(total(fds[i], a, 0), i + 1, "a after rmdir");
	for (i = 0; i < nr; i++)
		close(fds[i]);
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a");
}

/* Children of a, from one number on; their ids, which are 0 where there is none. */
static void make_children(__u64 *ids, int from, int to)
{
	char path[32];

	for (; from < to; from++) {
		snprintf(path, sizeof(path), "a/%d", from);
		ids[from] = cg_make(path);
	}
}

static void remove_children(const __u64 *ids, int nr)
{
	char path[32];

	while (nr--) {
		snprintf(path, sizeof(path), "a/%d", nr);
		if (ids[nr])
			cg_remove(path);
	}
}

#define MANY	600	/* more cgroups than there are numbers in a chunk */

static void test_many_cgroups(void)
{
	const int nr = MANY;
	struct cgroup_stats_map *skel;
	__u64 a = cg_make("a"), *ids = calloc(nr, sizeof(*ids)), sum = 0;
	int i, fd, bad = 0;
	char path[32];

	make_children(ids, 0, nr / 2);
	/* Half of them before the map, half after. */
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	make_children(ids, nr / 2, nr);
	ASSERT_EQ(count_keys(fd), nr + 1, "entries");

	for (i = 0; i < nr; i++) {
		bad += !!run_on(cpus[i % nr_cpus], skel->progs.add, ids[i], 0, i + 1, 0);
		sum += i + 1;
	}
	ASSERT_EQ(bad, 0, "failed adds");
	/* One flush for all, and then each by itself. */
	ASSERT_EQ(total(fd, a, 0), sum, "sum");
	for (i = 0; i < nr; i++)
		bad += total(fd, ids[i], 0) != i + 1;
	ASSERT_EQ(bad, 0, "wrong totals");

	/* Each by itself first. */
	for (i = 0; i < nr; i++) {
		run_on(cpus[i % nr_cpus], skel->progs.add, ids[i], 1, 1, 0);
		bad += total(fd, ids[i], 1) != 1;
	}
	ASSERT_EQ(bad, 0, "wrong totals");
	ASSERT_EQ(total(fd, a, 1), nr, "sum");

	for (i = 0; i < nr; i++) {
		bad += !!run_on(cpus[i % nr_cpus], skel->progs.add, ids[i], 2, 1, 0);
		snprintf(path, sizeof(path), "a/%d", i);
		bad += !!cg_try_remove(path);
		ids[i] = 0;
	}
	ASSERT_EQ(bad, 0, "failed adds and rmdirs");
	ASSERT_EQ(total(fd, a, 2), nr, "sum of the removed");
	ASSERT_EQ(total(fd, a, 0), sum, "sum of the removed");
out:
	remove_children(ids, nr);
	free(ids);
	cgroup_stats_map__destroy(skel);
	cg_remove("a");
}

/* Interrupts are off for a group of cgroups at a time, however many have changed. */
static void test_bounded(void)
{
	__u64 a = cg_make("a"), *ids = calloc(MANY, sizeof(*ids));
	struct cgroup_stats_map *skel;
	int i, bad = 0;

	make_children(ids, 0, MANY);
	skel = load(a, -1, "add on_queue on_unlock");
	if (!skel)
		goto out;
	if (!ASSERT_OK(cgroup_stats_map__attach(skel), "attach"))
		goto out;
	for (i = 0; i < MANY; i++)
		bad += !!add_on(cpus[0], skel->progs.add, ids[i], 0, 1);
	ASSERT_EQ(bad, 0, "failed adds");
	skel->bss->target_tid = sys_gettid();
	ASSERT_EQ(total(bpf_map__fd(skel->maps.stats), a, 0), MANY, "total");
	skel->bss->target_tid = 0;
	cgroup_stats_map__detach(skel);
	ASSERT_GE(skel->bss->most_queued, 1, "cgroups without a break");
	ASSERT_LE(skel->bss->most_queued, 64, "cgroups without a break");
out:
	remove_children(ids, MANY);
	free(ids);
	cgroup_stats_map__destroy(skel);
	cg_remove("a");
}

/* --- what is refused --- */

static void test_attributes(void)
{
	static const struct {
		const char *name;
		__u32 key_size, value_size, max_entries, flags;
		int err;
	} cases[] = {
		{ "as it should be", 8, 16, 0, 0, 0 },
		{ "no key", 0, 16, 0, 0, -EINVAL },
		{ "key of 4 bytes", 4, 16, 0, 0, -EINVAL },
		{ "key of 16 bytes", 16, 16, 0, 0, -EINVAL },
		{ "no value", 8, 0, 0, 0, -EINVAL },
		{ "value of 1 byte", 8, 1, 0, 0, -EINVAL },
		{ "value of 6 bytes", 8, 6, 0, 0, -EINVAL },
		{ "value of 7 bytes", 8, 7, 0, 0, -EINVAL },
		{ "value of 9 bytes", 8, 9, 0, 0, -EINVAL },
		{ "value of 17 bytes", 8, 17, 0, 0, -EINVAL },
		{ "value of a quarter of its type", 8, 4, 0, 0, -EINVAL },
		{ "value of 3/4 of its type", 8, 12, 0, 0, -EINVAL },
		{ "value smaller than its type", 8, 8, 0, 0, -EINVAL },
		{ "value half an element larger", 8, 20, 0, 0, -EINVAL },
		{ "value larger than its type", 8, 24, 0, 0, -EINVAL },
		{ "value 4 bytes over 4096", 8, 4100, 0, 0, -EINVAL },
		{ "value over 4096 bytes", 8, 4104, 0, 0, -EINVAL },
		{ "value of 2^32 - 8 bytes", 8, -8, 0, 0, -EINVAL },
		{ "value of 2^32 - 4 bytes", 8, -4, 0, 0, -EINVAL },
		{ "max_entries 1", 8, 16, 1, 0, -EINVAL },
		{ "max_entries ~0", 8, 16, ~0, 0, -EINVAL },
		{ "BPF_F_NO_PREALLOC", 8, 16, 0, BPF_F_NO_PREALLOC, -EINVAL },
		{ "BPF_F_NO_COMMON_LRU", 8, 16, 0, BPF_F_NO_COMMON_LRU, -EINVAL },
		{ "BPF_F_STACK_BUILD_ID", 8, 16, 0, BPF_F_STACK_BUILD_ID, -EINVAL },
		{ "BPF_F_ZERO_SEED", 8, 16, 0, BPF_F_ZERO_SEED, -EINVAL },
		{ "BPF_F_RDONLY_PROG", 8, 16, 0, BPF_F_RDONLY_PROG, -EINVAL },
		{ "BPF_F_WRONLY_PROG", 8, 16, 0, BPF_F_WRONLY_PROG, -EINVAL },
		{ "BPF_F_CLONE", 8, 16, 0, BPF_F_CLONE, -EINVAL },
		{ "BPF_F_MMAPABLE", 8, 16, 0, BPF_F_MMAPABLE, -EINVAL },
		{ "BPF_F_PRESERVE_ELEMS", 8, 16, 0, BPF_F_PRESERVE_ELEMS, -EINVAL },
		{ "BPF_F_INNER_MAP", 8, 16, 0, BPF_F_INNER_MAP, -EINVAL },
		{ "BPF_F_SEGV_ON_FAULT", 8, 16, 0, BPF_F_SEGV_ON_FAULT, -EINVAL },
		{ "BPF_F_NO_USER_CONV", 8, 16, 0, BPF_F_NO_USER_CONV, -EINVAL },
		{ "flag 19", 8, 16, 0, 1U << 19, -EINVAL },
		{ "flag 22", 8, 16, 0, 1U << 22, -EINVAL },
		{ "flag 31", 8, 16, 0, 1U << 31, -EINVAL },
		{ "NO_PERCPU and flag 22", 8, 16, 0, BPF_F_NO_PERCPU | 1U << 22, -EINVAL },
		{ "NO_HIERARCHY, NO_PREALLOC", 8, 16, 0, BPF_F_NO_HIERARCHY | BPF_F_NO_PREALLOC,
		  -EINVAL },
		{ "RDONLY and WRONLY", 8, 16, 0, BPF_F_RDONLY | BPF_F_WRONLY, -EINVAL },
		{ "RDONLY", 8, 16, 0, BPF_F_RDONLY, 0 },
		{ "WRONLY", 8, 16, 0, BPF_F_WRONLY, 0 },
		{ "NUMA node 0", 8, 16, 0, BPF_F_NUMA_NODE, 0 },
		{ "NO_PERCPU", 8, 16, 0, BPF_F_NO_PERCPU, 0 },
		{ "NO_HIERARCHY", 8, 16, 0, BPF_F_NO_HIERARCHY, 0 },
		{ "both", 8, 16, 0, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY, 0 },
		{ "both and NUMA node 0, RDONLY", 8, 16, 0,
		  BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY | BPF_F_NUMA_NODE | BPF_F_RDONLY, 0 },
		{ "both and WRONLY", 8, 16, 0,
		  BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY | BPF_F_WRONLY, 0 },
		{ "both, RDONLY and WRONLY", 8, 16, 0,
		  BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY | BPF_F_RDONLY | BPF_F_WRONLY, -EINVAL },
	};
	__u64 a = cg_make("a"), value[2] = {}, old_caps;
	struct map_attr good = map_attr(a, 2), attr;
	struct bpf_map_info info;
	bool ro, wo;
	int i, fd;
	__u32 len;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		attr = good;
		attr.key_size = cases[i].key_size;
		attr.value_size = cases[i].value_size;
		attr.max_entries = cases[i].max_entries;
		attr.opts.map_flags = cases[i].flags;
		fd = map_try(&attr);
		ASSERT_EQ(fd < 0 ? fd : 0, cases[i].err, cases[i].name);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		ASSERT_OK(bpf_map_get_info_by_fd(fd, &info, &len), cases[i].name);
		/* (those for this fd are not kept) */
		ASSERT_EQ(info.map_flags, cases[i].flags & ~(BPF_F_RDONLY | BPF_F_WRONLY),
			  cases[i].name);
		/* Access through the fd is as with any map. */
		wo = cases[i].flags & BPF_F_WRONLY;
		ro = cases[i].flags & BPF_F_RDONLY;
		ASSERT_EQ(bpf_map_lookup_elem(fd, &a, value), wo ? -EPERM : 0, cases[i].name);
		ASSERT_EQ(bpf_map_update_elem(fd, &a, value, 0), ro ? -EPERM : -EOPNOTSUPP,
			  cases[i].name);
		close(fd);
	}

	attr = good;
	attr.opts.map_flags = BPF_F_NUMA_NODE;
	attr.opts.numa_node = 1000;
	ASSERT_EQ(map_try(&attr), -EINVAL, "NUMA node 1000");

	/* BTF is a must. */
	attr = good;
	attr.opts.btf_key_type_id = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no type of key");
	attr.opts.btf_value_type_id = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no types");
	attr.opts.btf_fd = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no BTF");
	attr = good;
	attr.opts.btf_value_type_id = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no type of value");
	attr.opts.btf_value_type_id = 1000;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no such type of value");
	attr = good;
	attr.opts.btf_key_type_id = 1000;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no such type of key");
	attr = good;
	attr.opts.btf_fd = -1;
	ASSERT_EQ(map_try(&attr), -EBADF, "bad BTF fd");
	attr = good;
	attr.opts.map_ifindex = 1;
	ASSERT_LT(map_try(&attr), 0, "offload");
	ASSERT_EQ(count_keys(-1), 0, "no map, no keys");

	/* Without CAP_BPF; CAP_SYS_ADMIN implies it. */
	if (ASSERT_OK(cap_disable_effective(1ULL << CAP_BPF | 1ULL << CAP_SYS_ADMIN, &old_caps),
		      "drop caps")) {
		ASSERT_EQ(map_try(&good), -EPERM, "no CAP_BPF");
		ASSERT_OK(cap_enable_effective(old_caps, NULL), "restore caps");
	}
	close(good.opts.btf_fd);
	cg_remove("a");
}

/* Key and value types: each function adds its types and returns the value's id. */

static int add_struct(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_struct(btf, name, size);
}

/* Of @nr members of @type. */
static int struct_of(struct btf *btf, int type, __u32 size, int nr)
{
	int i, id = add_struct(btf, "s", size * nr);
	char name[16];

	for (i = 0; i < nr; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		btf__add_field(btf, name, type, i * size * 8, 0);
	}
	return id;
}

static int nested_structs(struct btf *btf, int depth)
{
	int type = T_U64;

	while (depth--)
		type = struct_of(btf, type, 8, 1);
	return type;
}

static int nested_arrays(struct btf *btf, int depth)
{
	int type = T_U64;

	while (depth--)
		type = btf__add_array(btf, T_U32, type, 1);
	return type;
}

static int v_u64(struct btf *btf)
{
	return T_U64;
}

static int v_char64(struct btf *btf)
{
	return btf__add_int(btf, "c64", 8, BTF_INT_CHAR);
}

static int v_typedefs(struct btf *btf)
{
	int s = struct_of(btf, btf__add_const(btf, btf__add_typedef(btf, "t1", T_U64)), 8, 2);

	return btf__add_typedef(btf, "t2", btf__add_volatile(btf, btf__add_const(btf, s)));
}

static int v_array(struct btf *btf)
{
	return btf__add_array(btf, T_U32, T_U64, 2);
}

static int v_structs_8(struct btf *btf)
{
	return nested_structs(btf, 8);
}

static int v_structs_9(struct btf *btf)
{
	return nested_structs(btf, 9);
}

static int v_structs_40(struct btf *btf)
{
	return nested_structs(btf, 40);
}

static int v_arrays_8(struct btf *btf)
{
	return nested_arrays(btf, 8);
}

static int v_arrays_9(struct btf *btf)
{
	return nested_arrays(btf, 9);
}

static int v_u32(struct btf *btf)
{
	return T_U32;
}

static int v_bits(struct btf *btf)
{
	int id = btf__add_int(btf, "u64:32", 8, 0);

	*(__u32 *)(btf__type_by_id(btf, id) + 1) = 32;
	return id;
}

static int v_pointer(struct btf *btf)
{
	return btf__add_ptr(btf, T_U64);
}

static int v_padding(struct btf *btf)
{
	int id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	return id;
}

static int v_overlap(struct btf *btf)
{
	int id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", T_U64, 0, 0);
	return id;
}

static int v_unaligned(struct btf *btf)
{
	int id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", T_U64, 32, 0);
	return id;
}

static int v_empty_struct(struct btf *btf)
{
	return add_struct(btf, "s", 0);
}

static int v_no_members(struct btf *btf)
{
	return add_struct(btf, "s", 8);
}

static int v_no_members_nested(struct btf *btf)
{
	return struct_of(btf, v_no_members(btf), 8, 2);
}

static int v_no_elements(struct btf *btf)
{
	return btf__add_array(btf, T_U32, T_U64, 0);
}

static int v_empty_member(struct btf *btf)
{
	int empty = v_empty_struct(btf), id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", empty, 64, 0);
	btf__add_field(btf, "c", T_U64, 64, 0);
	return id;
}

static int v_flexible(struct btf *btf)
{
	int array = v_no_elements(btf), id = add_struct(btf, "s", 8);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", array, 64, 0);
	return id;
}

/* What all overlaps has one element at most, and no end of members. */
static int v_overlap_many(struct btf *btf)
{
	int inner = v_no_members(btf), id = add_struct(btf, "s", 8), i;
	char name[16];

	for (i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		btf__add_field(btf, name, inner, 0, 0);
	}
	return id;
}

static int v_fwd(struct btf *btf)
{
	return btf__add_fwd(btf, "f", BTF_FWD_STRUCT);
}

static int v_func_pointer(struct btf *btf)
{
	return struct_of(btf, btf__add_ptr(btf, btf__add_func_proto(btf, 0)), 8, 1);
}

static int v_spin_lock(struct btf *btf)
{
	int lock = add_struct(btf, "bpf_spin_lock", 4), id;

	btf__add_field(btf, "val", T_U32, 0, 0);
	id = add_struct(btf, "s", 16);
	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "lock", lock, 64, 0);
	btf__add_field(btf, "b", T_U32, 96, 0);
	return id;
}

static int v_timer(struct btf *btf)
{
	int timer = add_struct(btf, "bpf_timer", 16);

	btf__add_field(btf, "__opaque", v_array(btf), 0, 0);
	return struct_of(btf, timer, 16, 1);
}

static int tagged(struct btf *btf, const char *tag, int member)
{
	int id = struct_of(btf, T_U64, 8, 2);

	btf__add_decl_tag(btf, tag, id, member);
	return id;
}

static int v_tag_other(struct btf *btf)
{
	int id = tagged(btf, "somebody_elses:max", 1);

	btf__add_decl_tag(btf, "max", id, 1);
	btf__add_decl_tag(btf, "cgroup_stats", id, 0);
	return id;
}

/* Of a member that the value does not have: whoever has it will say what is wrong. */
static int v_tag_elsewhere(struct btf *btf)
{
	tagged(btf, "cgroup_stats:new", 1);
	return T_U64;
}

static int v_bad_first_of_many(struct btf *btf)
{
	return btf__add_array(btf, T_U32, v_padding(btf), 256);
}

static const struct shape {
	const char *name;
	int (*value)(struct btf *btf);
	__u32 size;
	int err;
} shapes[] = {
	{ "u64", v_u64, 8, 0 },
	{ "typedefs and qualifiers", v_typedefs, 16, 0 },
	{ "array", v_array, 16, 0 },
	{ "structs 8 deep", v_structs_8, 8, 0 },
	{ "arrays 8 deep", v_arrays_8, 8, 0 },
	{ "tags of others", v_tag_other, 16, 0 },
	{ "tag in another type", v_tag_elsewhere, 8, 0 },
	{ "structs 9 deep", v_structs_9, 8, -EINVAL },
	{ "structs 40 deep", v_structs_40, 8, -EINVAL },
	{ "arrays 9 deep", v_arrays_9, 8, -EINVAL },
	{ "u32 of 8 bytes", v_u32, 8, -EINVAL },
	{ "u64 of 4 bytes", v_u64, 4, -EINVAL },
	{ "array smaller than it is", v_array, 12, -EINVAL },
	{ "32 bits in 64", v_bits, 8, -EINVAL },
	{ "64-bit char", v_char64, 8, -EINVAL },
	{ "pointer", v_pointer, 8, -EINVAL },
	{ "padding", v_padding, 16, -EINVAL },
	{ "overlapping", v_overlap, 16, -EINVAL },
	{ "unaligned", v_unaligned, 16, -EINVAL },
	{ "empty struct", v_empty_struct, 8, -EINVAL },
	{ "struct without members", v_no_members, 8, -EINVAL },
	{ "structs without members", v_no_members_nested, 16, -EINVAL },
	{ "array of nothing", v_no_elements, 8, -EINVAL },
	{ "empty member", v_empty_member, 16, -EINVAL },
	{ "flexible array", v_flexible, 8, -EINVAL },
	{ "members at the same place", v_overlap_many, 8, -EINVAL },
	{ "forward", v_fwd, 8, -EINVAL },
	{ "function pointer", v_func_pointer, 8, -EINVAL },
	{ "spin lock", v_spin_lock, 16, -EOPNOTSUPP },
	{ "timer", v_timer, 16, -EOPNOTSUPP },
	{ "bad, and large", v_bad_first_of_many, 4096, -EINVAL },
};

/*
 * More value types, as text: u64 and what else is in text_types[]; 3* T: an array;
 * { T T }: a struct; ( T T ): a union; _: a hole of 4 bytes; typedef T; u64:5: a
 * bitfield. A member may be followed by tags, as @max, and so may a struct or
 * a typedef itself, as #max: both stand for "cgroup_stats:max".
 */
struct text {
	struct btf *btf;
	char word[16];		/* the next one, "": the end */
	const char *rest;
};

static void text_next(struct text *t)
{
	int len;

	t->rest += strspn(t->rest, " ");
	len = strcspn(t->rest, " ");
	snprintf(t->word, sizeof(t->word), "%.*s", len, t->rest);
	t->rest += len;
}

static int add_bool(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_int(btf, name, size, BTF_INT_BOOL);
}

static int add_unsigned(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_int(btf, name, size, 0);
}

static int add_signed(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_int(btf, name, size, BTF_INT_SIGNED);
}

static int add_float(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_float(btf, name, size);
}

static int add_pointer(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_ptr(btf, T_U64);
}

static int add_enum(struct btf *btf, const char *name, __u32 size)
{
	int id = btf__add_enum(btf, name, size);

	btf__add_enum_value(btf, "e1", 1);
	return id;
}

static int add_enum64(struct btf *btf, const char *name, __u32 size)
{
	int id = btf__add_enum64(btf, name, size, false);

	btf__add_enum64_value(btf, "e1", 1);
	return id;
}

static const struct {
	const char *name;
	int (*add)(struct btf *btf, const char *name, __u32 size);
	__u32 size;
} text_types[] = {
	{ "u8", add_unsigned, 1 },
	{ "u16", add_unsigned, 2 },
	{ "u32", add_unsigned, 4 },
	{ "u64", add_unsigned, 8 },
	{ "u128", add_unsigned, 16 },
	{ "s8", add_signed, 1 },
	{ "s16", add_signed, 2 },
	{ "s32", add_signed, 4 },
	{ "s64", add_signed, 8 },
	{ "s128", add_signed, 16 },
	{ "bool", add_bool, 1 },
	{ "bool32", add_bool, 4 },
	{ "bool64", add_bool, 8 },
	{ "enum", add_enum, 4 },
	{ "enum_of_8", add_enum, 8 },
	{ "enum64", add_enum64, 8 },
	{ "float", add_float, 4 },
	{ "double", add_float, 8 },
	{ "pointer", add_pointer, 8 },
};

static void text_tags(struct text *t, char mark, int type, int member)
{
	char tag[32];

	for (; *t->word == mark; text_next(t)) {
		snprintf(tag, sizeof(tag), "cgroup_stats:%s", t->word + 1);
		btf__add_decl_tag(t->btf, tag, type, member);
	}
}

static int text_type(struct text *t);

#define TEXT_MEMBERS	8

struct text_member {
	__u32 offset, bits;
	int type;
	struct text tags;
};

/* One member and where it ends, if it begins at @offset. */
static __u32 text_member(struct text *t, struct text_member *m, __u32 offset)
{
	const char *bits = strchr(t->word, ':');

	m->offset = offset;
	m->bits = bits ? atoi(bits + 1) : 0;
	m->type = text_type(t);
	/* They need the struct, which in turn needs to be added after their types. */
	m->tags = *t;
	while (*t->word == '@')
		text_next(t);
	return offset + (m->bits ?: btf__resolve_size(t->btf, m->type) * 8);
}

static int text_struct(struct text *t, bool is_union)
{
	struct text_member members[TEXT_MEMBERS], *m;
	__u32 end = 0, size = 0;
	int i, id, nr = 0;
	char name[16];

	for (text_next(t); !strchr("})", *t->word); ) {
		if (*t->word == '_') {
			end += 32;
			text_next(t);
		} else if (ASSERT_LT(nr, TEXT_MEMBERS, "members")) {
			end = text_member(t, &members[nr++], is_union ? 0 : end);
		} else {
			break;
		}
		size = MAX(size, end / 8);
	}
	text_next(t);
	id = is_union ? btf__add_union(t->btf, "u", size) : add_struct(t->btf, "s", size);
	for (i = 0; i < nr; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		btf__add_field(t->btf, name, members[i].type, members[i].offset, members[i].bits);
	}
	for (i = 0, m = members; i < nr; i++, m++)
		text_tags(&m->tags, '@', id, i);
	text_tags(t, '#', id, -1);
	return id;
}

static int text_type(struct text *t)
{
	__u32 i, nr;
	int id;

	if (*t->word == '{' || *t->word == '(')
		return text_struct(t, *t->word == '(');
	if (!strcmp(t->word, "typedef")) {
		text_next(t);
		id = btf__add_typedef(t->btf, "t", text_type(t));
		text_tags(t, '#', id, -1);
		return id;
	}
	nr = strtoul(t->word, NULL, 10);
	if (nr) {
		text_next(t);
		return btf__add_array(t->btf, T_U32, text_type(t), nr);
	}
	for (i = 0; i < ARRAY_SIZE(text_types); i++) {
		if (!strncmp(t->word, text_types[i].name, strcspn(t->word, ":")) &&
		    !text_types[i].name[strcspn(t->word, ":")])
			break;
	}
	if (!ASSERT_LT(i, ARRAY_SIZE(text_types), t->word))
		return 0;
	text_next(t);
	return text_types[i].add(t->btf, text_types[i].name, text_types[i].size);
}

/* Each by itself is a map, or -EINVAL. */
static const char * const good_texts[] = {
	"u64", "s64", "u32", "s32", "1* u32", "3* u32", "2* s64",
	"{ u64 s64 }", "{ u32 }", "{ u32 s32 u32 }", "{ u64 2* u64 u64 }", "5* { u64 u64 u64 }",
	"{ u32 3* s32 2* { u32 s32 } }", "2* 3* u32", "typedef { typedef u32 s32 }",
	"512* u64", "1023* u32", "1024* u32", "1024* s32", "{ 512* u32 2* 256* s32 @max }",
	"{ u64 @max }", "{ s64 @max }", "{ u64 @min }", "{ s64 @min }",
	"{ u32 @max }", "{ s32 @max }", "{ u32 @min }", "{ s32 @min }",
	"{ u64 u64 @max u64 @min s64 s64 @max s64 @min }", "{ s32 @min u32 @max u32 }",
	"{ 16* u64 @max u64 }", "{ u32 2* 3* s32 @min }", "{ 1024* u32 @max }",
	"{ { u64 2* s64 } @min u64 }", "{ u32 3* { u32 s32 } @max }",
	"{ { u64 u64 @max } u64 }", "3* { u64 u64 @max }", "{ 3* { u64 u64 @max } u64 }",
	"{ 2* { { u32 @max } 2* { u32 u32 @min } } u32 @min }",
	"{ typedef u64 @max }", "typedef { u64 typedef u64 @min }",
	"{ { { u64 } { u64 } } @max { u64 @max } { { u64 @min } } }",
	"2* { 2* { 2* { 2* { u32 @max u32 } } } }",
};

static const char * const bad_texts[] = {
	/* sizes */
	"513* u64", "1025* u32", "8192* u64", "{ 1024* u32 u32 }",
	"u8", "s8", "u16", "s16", "u128", "s128", "4* u8", "8* u8", "2* u16", "4* s16",
	"{ u16 u16 }", "{ u32 u16 }", "{ u32 u16 u16 }", "3* u16", "{ u64 u64 u128 }",
	/* both widths */
	"{ u32 u32 u64 }", "{ u64 u32 u32 }", "{ u32 u64 u32 }", "{ u64 u32 }", "{ u32 u64 }",
	"{ u64 2* u32 }", "{ 2* u32 u64 }", "{ 2* u64 { u32 u32 } }", "{ { u32 u32 } { u64 } }",
	"2* { u32 u32 u64 }", "{ u64 4* { s32 s32 } }", "{ 2* u32 @max u64 @max }",
	/* no integers */
	"bool", "4* bool", "8* bool", "bool32", "bool64", "{ u64 bool64 }", "{ u32 bool32 @max }",
	"enum", "enum_of_8", "enum64", "2* enum", "{ u32 enum }", "{ enum u32 }", "{ u64 enum64 }",
	"{ enum @max }", "{ enum64 @min }", "{ u64 enum_of_8 }",
	"float", "double", "{ u32 float }", "{ double u64 }", "2* float", "{ double @max }",
	"pointer", "{ u64 pointer }", "2* pointer", "{ pointer @max }", "4* pointer",
	/* bitfields, unions */
	"{ u32:16 u32:16 }", "{ u64:32 u64:32 }", "{ u32:32 }", "{ u64:64 }", "{ u32 u32:32 }",
	"{ u64:64 @max }", "( u32 )", "( u64 u64 )", "{ u32 ( u32 s32 ) }", "{ ( u64 ) @max }",
	"2* ( u64 )",
	/* holes */
	"{ u32 _ u32 }", "{ _ u32 }", "{ u32 _ }", "{ u64 _ }", "{ u64 _ u64 }", "{ _ u64 }",
	"{ u64 _ _ u64 }", "{ _ _ u64 }", "{ u64 _ _ }", "2* { u32 _ }", "2* { u64 _ _ }",
	"{ u32 { u32 _ } u32 }", "{ u32 @max _ }",
	/* depth */
	"1* { 1* { 1* { 1* { 1* u32 } } } }", "{ { { { { { { { { u32 @max } } } } } } } } }",
	/* tags that mean nothing */
	"{ u64 @ }", "{ u64 @new }", "{ u64 @sum }", "{ u64 @maximum }", "{ u64 @ma }",
	"{ u64 @MAX }", "{ u64 @max:min }", "{ u32 u32 @new }", "2* { u64 u64 @new }",
	"{ { u64 @new } }", "{ { u64 } @new }", "{ 4* u32 @ }", "{ u64 @max u64 @new }",
	/* more than one on a member */
	"{ u64 @max @max }", "{ u64 @min @min }", "{ u64 @max @min }", "{ u64 @min @max }",
	"{ u64 @max @new }", "{ u64 @new @max }", "{ u32 4* u32 @max @min }",
	"{ { u64 } @max @max }",
	/* within a tagged member */
	"{ { u64 @max } @max }", "{ { u64 u64 @min } @max }", "{ { { u64 @max } } @min }",
	"{ 2* { u64 @max } @max }", "{ { u64 2* { u64 @max } } @max }", "{ { u64 @new } @max }",
	"{ u32 { u32 { u32 @min } } @min }",
	/* on types */
	"{ u64 } #max", "{ u64 } #min", "{ u64 } #new", "{ u64 } #", "2* { u64 } #max",
	"{ { u64 } #max }", "{ { u64 } #max @max }", "{ u64 2* { u64 } #min }",
	"{ { u64 @max } #max }", "typedef u64 #max", "typedef typedef u64 #max",
	"{ typedef u64 #max }", "{ typedef u32 #min @min }", "2* typedef u32 #min",
	"{ typedef 2* u64 #max }", "{ u64 typedef u64 #new }", "typedef typedef 2* u64 #max",
};

/* The flags make no difference to what a value may be. */
static void check_value_type(struct map_attr *attr, const char *name, int want)
{
	static const __u32 flags[] = {
		0, BPF_F_NO_PERCPU, BPF_F_NO_HIERARCHY, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY,
	};
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		attr->opts.map_flags = flags[i];
		fd = map_try(attr);
		if (!ASSERT_EQ(fd < 0 ? fd : 0, want, name))
			printf("value %s, flags 0x%x\n", name, flags[i]);
		if (fd >= 0)
			close(fd);
	}
}

static void check_texts(struct map_attr *attr, const char * const *texts, int nr, int want)
{
	struct text t;
	int i, id;

	for (i = 0; i < nr; i++) {
		t.btf = btf_ints();
		if (!t.btf)
			break;
		t.rest = texts[i];
		text_next(&t);
		id = text_type(&t);
		ASSERT_STREQ(t.word, "", texts[i]);
		attr->opts.btf_value_type_id = id;
		attr->value_size = btf__resolve_size(t.btf, id);
		attr->opts.btf_fd = btf_load(t.btf);
		check_value_type(attr, texts[i], want);
		close(attr->opts.btf_fd);
	}
}

static void test_value_types(void)
{
	struct map_attr attr = map_attr(cg_make("a"), 1);
	struct btf *btf;
	int i;

	close(attr.opts.btf_fd);
	for (i = 0; i < ARRAY_SIZE(shapes); i++) {
		btf = btf_ints();
		if (!btf)
			break;
		attr.opts.btf_value_type_id = shapes[i].value(btf);
		attr.opts.btf_fd = btf_load(btf);
		attr.value_size = shapes[i].size;
		check_value_type(&attr, shapes[i].name, shapes[i].err);
		close(attr.opts.btf_fd);
	}
	check_texts(&attr, good_texts, ARRAY_SIZE(good_texts), 0);
	check_texts(&attr, bad_texts, ARRAY_SIZE(bad_texts), -EINVAL);
	cg_remove("a");
}

static int k_s64(struct btf *btf)
{
	return btf__add_int(btf, "s64", 8, BTF_INT_SIGNED);
}

static int k_double(struct btf *btf)
{
	return btf__add_float(btf, "double", 8);
}

static int k_struct(struct btf *btf)
{
	return struct_of(btf, T_U64, 8, 1);
}

static int k_enum64(struct btf *btf)
{
	int id = btf__add_enum64(btf, "e", 8, false);

	btf__add_enum64_value(btf, "e1", 1);
	return id;
}

static int k_typedef(struct btf *btf)
{
	return btf__add_typedef(btf, "cgroup_id", btf__add_const(btf, T_U64));
}

static int k_array(struct btf *btf)
{
	return btf__add_array(btf, T_U32, T_U32, 2);
}

static void test_key_types(void)
{
	static const struct shape keys[] = {
		{ "u64", v_u64, 8, 0 },
		{ "typedef", k_typedef, 8, 0 },
		{ "s64", k_s64, 8, -EINVAL },
		{ "u32", v_u32, 8, -EINVAL },
		{ "u32 of 4 bytes", v_u32, 4, -EINVAL },
		{ "32 bits in 64", v_bits, 8, -EINVAL },
		{ "struct", k_struct, 8, -EINVAL },
		{ "enum64", k_enum64, 8, -EINVAL },
		{ "u32s", k_array, 8, -EINVAL },
		{ "pointer", v_pointer, 8, -EINVAL },
		{ "double", k_double, 8, -EINVAL },
	};
	struct map_attr attr = map_attr(cg_make("a"), 1);
	struct btf *btf;
	int i, fd;

	close(attr.opts.btf_fd);
	attr.opts.btf_value_type_id = T_U64;
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		btf = btf_ints();
		if (!btf)
			break;
		attr.opts.btf_key_type_id = keys[i].value(btf);
		attr.opts.btf_fd = btf_load(btf);
		attr.key_size = keys[i].size;
		fd = map_try(&attr);
		ASSERT_EQ(fd < 0 ? fd : 0, keys[i].err, keys[i].name);
		if (fd >= 0)
			close(fd);
		close(attr.opts.btf_fd);
	}
	cg_remove("a");
}

/*
 * Types whose walk would take for ever, were it not refused at its first step. They
 * are const, which ends the walk for special fields that all maps have.
 */
static void test_endless_types(void)
{
	const int depth = 7, nr = 3000;
	struct map_attr attr = map_attr(cg_make("a"), 1);
	int i, j, id, outer, size;
	struct btf *btf;
	char name[16];

	close(attr.opts.btf_fd);
	for (size = 0; size <= 8; size += 8) {
		btf = btf_ints();
		if (!btf)
			break;
		id = add_struct(btf, "s", size);
		for (i = 1; i <= depth; i++) {
			id = btf__add_const(btf, id);
			outer = add_struct(btf, "s", i == depth ? 8 : size);
			for (j = 0; j < nr; j++) {
				snprintf(name, sizeof(name), "m%d", j);
				btf__add_field(btf, name, id, 0, 0);
			}
			id = outer;
		}
		attr.opts.btf_value_type_id = id;
		attr.opts.btf_fd = btf_load(btf);
		ASSERT_EQ(map_try(&attr), -EINVAL, size ? "at the same place" : "empty");
		close(attr.opts.btf_fd);
	}
	cg_remove("a");
}

/* --- roots --- */

struct ns_test {
	__u64 a, b, c, d;
	int joined, unshared;
	int outer_fd;		/* a map of all of the hierarchy */
	__u64 outside;
	int parent, sibling, self, child, above;
	__u64 first;
	int nr;
};

static int in_namespace(void *arg)
{
	struct ns_test *t = arg;
	struct map_attr attr;
	int fd;

	t->joined = cg_join("a/b");
	t->unshared = unshare(CLONE_NEWCGROUP);
	if (t->joined || t->unshared)
		return 0;
	attr = map_attr(0, 1);

#define CREATE(id) ({ attr.opts.map_extra = id; fd = map_try(&attr); fd; })
	t->parent = CREATE(t->a);
	t->sibling = CREATE(t->d);
	t->above = CREATE(cg_root_id());
	t->child = CREATE(t->c);
	t->self = CREATE(t->b);
	/* Who has a map of more than its namespace can read it. */
	t->outside = total(t->outer_fd, t->d, 0);

	/* 0 is the namespace's root. */
	fd = CREATE(0);
	t->nr = count_keys(fd);
	bpf_map_get_next_key(fd, NULL, &t->first);
#undef CREATE
	return 0;
}

/* Whether v2 has a cgroup of this id. */
static bool v2_has(__u64 id)
{
	union {
		struct file_handle fh;
		char space[sizeof(struct file_handle) + sizeof(__u64)];
	} u = { .fh.handle_bytes = sizeof(id), .fh.handle_type = 0xfe /* FILEID_KERNFS */ };
	struct stat st;
	bool dir;
	int fd;

	memcpy(u.fh.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(workdir, &u.fh, O_RDONLY);
	if (fd < 0)
		return false;
	dir = fstat(fd, &st) || S_ISDIR(st.st_mode);
	close(fd);
	return dir;
}

/* Ids of a hierarchy of v1 are not for us. */
static void check_v1(struct map_attr *attr)
{
	char dir[] = "/tmp/cgroup_stats_v1_XXXXXX", path[64];
	int i, checked = 0;
	__u64 id;

	if (!ASSERT_OK_PTR(mkdtemp(dir), "mkdtemp"))
		return;
	if (mount("none", dir, "cgroup", 0, "none,name=cgroup_stats_map")) {
		printf("no cgroup v1\n");
		goto out;
	}
	for (i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		if (!ASSERT_OK(mkdir(path, 0755), "mkdir v1"))
			break;
		id = dir_id(AT_FDCWD, path);
		if (id && !v2_has(id)) {
			attr->opts.map_extra = id;
			ASSERT_EQ(map_try(attr), -ENOENT, "v1");
			checked++;
		}
		ASSERT_OK(rmdir(path), "rmdir v1");
	}
	ASSERT_GT(checked, 0, "ids of v1");
	umount(dir);
out:
	rmdir(dir);
}

static void test_roots(void)
{
	struct ns_test *t;
	struct map_attr attr;
	__u64 gone;
	int fd;

	t = shared_alloc(sizeof(*t));
	if (!t)
		return;
	t->a = cg_make("a");
	t->b = cg_make("a/b");
	t->c = cg_make("a/b/c");
	t->d = cg_make("d");
	gone = cg_make("e");
	cg_remove("e");
	attr = map_attr(0, 1);

	attr.opts.map_extra = gone;
	ASSERT_EQ(map_try(&attr), -ENOENT, "removed");
	attr.opts.map_extra = NO_ID;
	ASSERT_EQ(map_try(&attr), -ENOENT, "no such id");
	attr.opts.map_extra = ~0ULL;
	ASSERT_EQ(map_try(&attr), -ENOENT, "id ~0");
	attr.opts.map_extra = cg_id("cgroup.procs");
	ASSERT_EQ(map_try(&attr), -ENOENT, "a file's id");
	attr.opts.map_extra = t->a | 1ULL << 32;
	ASSERT_EQ(map_try(&attr), -ENOENT, "another generation");

	check_v1(&attr);

	/* 0 is all of the hierarchy, here. */
	attr.opts.map_extra = 0;
	fd = map_try(&attr);
	ASSERT_EQ(total(fd, cg_root_id(), 0), 0, "root");
	ASSERT_EQ(total(fd, cg_id("."), 0), 0, "workdir");
	ASSERT_EQ(total(fd, t->c, 0), 0, "c");
	close(fd);

	t->outer_fd = map_try(&attr);
	reap(spawn(in_namespace, t));
	close(t->outer_fd);
	ASSERT_OK(t->joined, "join");
	ASSERT_OK(t->unshared, "unshare");
	ASSERT_EQ(t->parent, -ENOENT, "parent of namespace");
	ASSERT_EQ(t->sibling, -ENOENT, "outside of namespace");
	ASSERT_EQ(t->above, -ENOENT, "above namespace");
	ASSERT_GE(t->self, 0, "root of namespace");
	ASSERT_GE(t->child, 0, "in namespace");
	ASSERT_EQ(t->nr, 2, "entries of namespace");
	ASSERT_EQ(t->outside, 0, "inherited descriptor");
	ASSERT_TRUE(t->first == t->b || t->first == t->c, "the namespace's");

	close(attr.opts.btf_fd);
	cg_remove("d");
	cg_remove("a/b/c");
	cg_remove("a/b");
	cg_remove("a");
	munmap(t, sizeof(*t));
}

/* --- system calls --- */

static void test_syscalls(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), key = a, value[CGROUP_STATS_ELEMS] = {}, next;
	int fd = map_make(a, CGROUP_STATS_ELEMS);
	void *bad = (void *)8;
	__u32 count = 1;

	ASSERT_OK(bpf_map_lookup_elem(fd, &key, value), "lookup");
	ASSERT_EQ(bpf_map_lookup_elem_flags(fd, &key, value, BPF_F_LOCK), -EINVAL, "BPF_F_LOCK");
	ASSERT_EQ(bpf_map_lookup_elem_flags(fd, &key, value, BPF_EXIST), -EINVAL, "BPF_EXIST");
	ASSERT_EQ(bpf_map_lookup_elem(fd, NULL, value), -EFAULT, "NULL key");
	ASSERT_EQ(bpf_map_lookup_elem(fd, bad, value), -EFAULT, "bad key");
	ASSERT_EQ(bpf_map_lookup_elem(fd, &key, bad), -EFAULT, "bad value");
	ASSERT_EQ(bpf_map_update_elem(fd, &key, value, BPF_ANY), -EOPNOTSUPP, "BPF_ANY");
	ASSERT_EQ(bpf_map_update_elem(fd, &key, value, BPF_EXIST), -EOPNOTSUPP, "BPF_EXIST");
	ASSERT_EQ(bpf_map_delete_elem(fd, &key), -EOPNOTSUPP, "delete");
	ASSERT_EQ(bpf_map_lookup_and_delete_elem(fd, &key, value), -NOT_SUPPORTED,
		  "lookup_and_delete");
	ASSERT_EQ(bpf_map_update_batch(fd, &key, value, &count, NULL), -NOT_SUPPORTED,
		  "update_batch");
	count = 1;
	ASSERT_EQ(bpf_map_delete_batch(fd, &key, &count, NULL), -NOT_SUPPORTED, "delete_batch");
	count = 1;
	ASSERT_EQ(bpf_map_lookup_and_delete_batch(fd, NULL, &next, &key, value, &count, NULL),
		  -NOT_SUPPORTED, "lookup_and_delete_batch");
	ASSERT_EQ((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), -1, "mmap");

	/* In ascending order, from anywhere. */
	ASSERT_OK(bpf_map_get_next_key(fd, NULL, &next), "NULL");
	ASSERT_EQ(next, MIN(a, b), "first");
	key = 0;
	ASSERT_OK(bpf_map_get_next_key(fd, &key, &next), "0");
	ASSERT_EQ(next, MIN(a, b), "after 0");
	key = next;
	ASSERT_OK(bpf_map_get_next_key(fd, &key, &next), "the first");
	ASSERT_EQ(next, MAX(a, b), "second");
	key = next - 1;
	ASSERT_OK(bpf_map_get_next_key(fd, &key, &next), "nobody's");
	ASSERT_EQ(next, MAX(a, b), "after nobody's");
	key = next;
	ASSERT_EQ(bpf_map_get_next_key(fd, &key, &next), -ENOENT, "the last");
	key = NO_ID;
	ASSERT_EQ(bpf_map_get_next_key(fd, &key, &next), -ENOENT, "beyond");
	key = ~0ULL;
	ASSERT_EQ(bpf_map_get_next_key(fd, &key, &next), -ENOENT, "~0");
	ASSERT_EQ(bpf_map_get_next_key(fd, bad, &next), -EFAULT, "bad key");
	ASSERT_EQ(bpf_map_get_next_key(fd, NULL, bad), -EFAULT, "bad next_key");

	/* Of a cgroup that has just gone. */
	key = MIN(a, b);
	cg_remove("a/b");
	if (key == a) {
		ASSERT_EQ(bpf_map_get_next_key(fd, &b, &next), -ENOENT, "removed");
	} else {
		ASSERT_OK(bpf_map_get_next_key(fd, &b, &next), "removed");
		ASSERT_EQ(next, a, "after removed");
	}

	close(fd);
	cg_remove("a");
}

/* --- who may do what, through which descriptor --- */

#define DESCRIPTOR_PIN	"/sys/fs/bpf/cgroup_stats_descriptor"

struct descriptor {
	__u64 id;		/* a cgroup of the map, which has two */
	int dump;		/* a program that iterates over maps */
	__u64 added;
	const char *name;
};

/* What reads, through any descriptor that may. */
static void check_reads(const struct descriptor *d, int fd)
{
	struct cgroup_stats_value values[2];
	__u64 keys[2], out;
	__u32 count = 2;

	ASSERT_EQ(total(fd, d->id, 0), d->added, d->name);
	ASSERT_OK(bpf_map_get_next_key(fd, NULL, keys), d->name);
	ASSERT_EQ(count_keys(fd), 2, d->name);
	ASSERT_OK(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), d->name);
	ASSERT_EQ(count, 2, d->name);
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, &out, &out, keys, values, &count, NULL), -ENOENT,
		  d->name);
}

static void check_no_reads(const struct descriptor *d, int fd)
{
	struct cgroup_stats_value value;
	__u64 key = d->id, out;
	__u32 count = 1;

	ASSERT_EQ(bpf_map_lookup_elem(fd, &key, &value), -EPERM, d->name);
	ASSERT_EQ(bpf_map_get_next_key(fd, NULL, &key), -EPERM, d->name);
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, &key, &value, &count, NULL), -EPERM,
		  d->name);
}

/* What writes, to which there is nothing: the errors say whether it would be allowed. */
static void check_writes(const struct descriptor *d, int fd, bool may_read, bool may_write)
{
	int batch_err = may_write ? -NOT_SUPPORTED : -EPERM;
	struct cgroup_stats_value value = {};
	__u64 key = d->id, out;
	__u32 count = 1;

	ASSERT_EQ(bpf_map_update_elem(fd, &key, &value, 0), may_write ? -EOPNOTSUPP : -EPERM,
		  d->name);
	ASSERT_EQ(bpf_map_delete_elem(fd, &key), may_write ? -EOPNOTSUPP : -EPERM, d->name);
	ASSERT_EQ(bpf_map_update_batch(fd, &key, &value, &count, NULL), batch_err, d->name);
	ASSERT_EQ(bpf_map_delete_batch(fd, &key, &count, NULL), batch_err, d->name);
	/* These read too. */
	ASSERT_EQ(bpf_map_lookup_and_delete_elem(fd, &key, &value),
		  may_read && may_write ? -NOT_SUPPORTED : -EPERM, d->name);
	ASSERT_EQ(bpf_map_lookup_and_delete_batch(fd, NULL, &out, &key, &value, &count, NULL),
		  may_read && may_write ? -NOT_SUPPORTED : -EPERM, d->name);
}

/* Programs are no system calls: they add, flush and iterate through any descriptor. */
static void check_programs(struct descriptor *d, int fd)
{
	__u64 args[] = { d->id, 0, 3, 0 };
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	union bpf_iter_link_info info = {};
	struct cgroup_stats_map *skel;
	int prog_fd = load_add(fd), link_fd;

	if (ASSERT_OK_FD(prog_fd, d->name) &&
	    ASSERT_OK(run_args(THIS_CPU, prog_fd, args, ARRAY_SIZE(args)), d->name))
		d->added += 3;
	close(prog_fd);
	skel = load(0, fd, "flush");
	if (skel)
		ASSERT_OK(run(skel->progs.flush, d->id, 0, 0), d->name);
	cgroup_stats_map__destroy(skel);
	info.map.map_fd = fd;
	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	link_fd = bpf_link_create(d->dump, 0, BPF_TRACE_ITER, &opts);
	ASSERT_OK_FD(link_fd, d->name);
	close(link_fd);
}

static void check_descriptor(struct descriptor *d, int fd, const char *name, __u32 flags)
{
	bool may_read = !(flags & BPF_F_WRONLY), may_write = !(flags & BPF_F_RDONLY);

	d->name = name;
	if (!ASSERT_OK_FD(fd, name))
		return;
	check_programs(d, fd);
	if (may_read)
		check_reads(d, fd);
	else
		check_no_reads(d, fd);
	check_writes(d, fd, may_read, may_write);
	if (!may_write)
		ASSERT_EQ(bpf_map_freeze(fd), -EPERM, name);
	close(fd);
}

/* The same map through descriptors that may less than it does. */
static void check_descriptors(struct descriptor *d, int map_fd)
{
	static const __u32 flags[] = { 0, BPF_F_RDONLY, BPF_F_WRONLY };
	__u32 id = map_id(map_fd);
	int i;

	unlink(DESCRIPTOR_PIN);
	ASSERT_OK(bpf_obj_pin(map_fd, DESCRIPTOR_PIN), "pin");
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		LIBBPF_OPTS(bpf_get_fd_by_id_opts, id_opts, .open_flags = flags[i]);
		LIBBPF_OPTS(bpf_obj_get_opts, get_opts, .file_flags = flags[i]);

		check_descriptor(d, bpf_map_get_fd_by_id_opts(id, &id_opts), "by id", flags[i]);
		check_descriptor(d, bpf_obj_get_opts(DESCRIPTOR_PIN, &get_opts), "pinned",
				 flags[i]);
	}
	unlink(DESCRIPTOR_PIN);
}

static void test_descriptors(void)
{
	static const __u32 limits[] = { 0, BPF_F_RDONLY, BPF_F_WRONLY };
	struct cgroup_stats_map *skel = load(0, -1, "dump");
	struct map_attr attr;
	struct descriptor d;
	int fd, i, j;
	__u64 a, b;

	if (!skel)
		return;
	a = cg_make("a");
	b = cg_make("a/b");
	attr = map_attr(a, CGROUP_STATS_ELEMS);
	for (i = 0; i < ARRAY_SIZE(all_flags); i++) {
		d = (struct descriptor) { b, bpf_program__fd(skel->progs.dump) };
		attr.opts.map_flags = all_flags[i];
		fd = map_try(&attr);
		check_descriptors(&d, fd);
		/* Nobody but programs adds, and what freezing forbids is not there. */
		ASSERT_OK(bpf_map_freeze(fd), "freeze");
		ASSERT_EQ(bpf_map_freeze(fd), -EPERM, "freeze again");
		check_descriptor(&d, fd, "frozen", BPF_F_RDONLY);
		for (j = 0; j < ARRAY_SIZE(limits); j++) {
			attr.opts.map_flags = all_flags[i] | limits[j];
			d.added = 0;
			check_descriptor(&d, map_try(&attr), "created", limits[j]);
		}
	}
	close(attr.opts.btf_fd);
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* Without privilege: nothing new, and all that a descriptor allows. */
static void test_unprivileged(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), old_caps, args[] = { b, 0, 3, 0 };
	int fd = map_make(a, CGROUP_STATS_ELEMS), prog_fd = load_add(fd), filter_fd;
	const struct bpf_insn filter[] = {
		BPF_MOV64_IMM(BPF_REG_2, 0),
		BPF_MOV64_IMM(BPF_REG_3, 0),
		BPF_MOV64_IMM(BPF_REG_4, 1),
		BPF_MOV64_IMM(BPF_REG_5, 0),
		BPF_LD_MAP_FD(BPF_REG_1, fd),
		BPF_EMIT_CALL(BPF_FUNC_cgroup_stats_add),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	struct descriptor d = { .id = b, .name = "unprivileged" };
	struct map_attr attr = map_attr(a, 1);

	/* It is a program that could be loaded. */
	filter_fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "filter", "GPL", filter,
				  ARRAY_SIZE(filter), NULL);
	ASSERT_OK_FD(filter_fd, "filter with CAP_BPF");
	close(filter_fd);
	if (!ASSERT_OK(cap_disable_effective(1ULL << CAP_BPF | 1ULL << CAP_PERFMON |
					     1ULL << CAP_NET_ADMIN | 1ULL << CAP_SYS_ADMIN,
					     &old_caps), "drop caps"))
		goto out;
	ASSERT_EQ(map_try(&attr), -EPERM, "create");
	ASSERT_EQ(bpf_map_get_fd_by_id(map_id(fd)), -EPERM, "by id");
	ASSERT_LT(bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "filter", "GPL", filter,
				ARRAY_SIZE(filter), NULL), 0, "filter");
	/* Who has a program may run it, and who has a map may read it. */
	if (ASSERT_OK(run_args(THIS_CPU, prog_fd, args, ARRAY_SIZE(args)), "add"))
		d.added += 3;
	check_reads(&d, fd);
	check_writes(&d, fd, true, true);
	ASSERT_OK(cap_enable_effective(old_caps, NULL), "restore caps");
out:
	close(attr.opts.btf_fd);
	close(prog_fd);
	close(fd);
	cg_remove("a/b");
	cg_remove("a");
}

/* --- a user namespace, with and without a token --- */

/* Between the test and a child in a user namespace, which share descriptors as well. */
struct token_test {
	struct map_attr attr;
	__u64 a, b;
	__u64 maps;		/* that are delegated */
	int step, err;
	int fs_fd, mnt_fd;
	/* What came of creating maps. */
	int no_token, no_cap, above, created;
	/* What came of a program that adds. */
	int loaded, added;
	__u64 total;
};

static int map_try_token(const struct token_test *t, __u64 root, int token_fd)
{
	struct map_attr attr = t->attr;

	attr.opts.map_extra = root;
	attr.opts.token_fd = token_fd;
	if (token_fd)
		attr.opts.map_flags |= BPF_F_TOKEN_FD;
	return map_try(&attr);
}

/* In the cgroup namespace of b: a is out of reach, whatever the token says. */
static void use_token(struct token_test *t, int token_fd)
{
	__u64 old_caps, args[] = { t->b, 0, 7, 0 };
	int prog_fd;

	t->no_token = map_try_token(t, 0, 0);
	t->err = cap_disable_effective(1ULL << CAP_BPF | 1ULL << CAP_SYS_ADMIN, &old_caps);
	t->no_cap = map_try_token(t, 0, token_fd);
	t->err = t->err ?: cap_enable_effective(old_caps, NULL);
	t->above = map_try_token(t, t->a, token_fd);
	t->created = map_try_token(t, 0, token_fd);
	if (t->created < 0)
		return;
	prog_fd = load_add_token(t->created, token_fd);
	t->loaded = prog_fd;
	t->added = run_args(THIS_CPU, prog_fd, args, ARRAY_SIZE(args));
	t->total = total(t->created, t->b, 0);
	close(prog_fd);
	close(t->created);
}

static int in_user_namespace(void *arg)
{
	struct token_test *t = arg;
	int dir_fd, token_fd;

	t->err = cg_join("a/b");
	if (t->err || unshare(CLONE_NEWUSER) || unshare(CLONE_NEWNS | CLONE_NEWCGROUP))
		return 1;
	t->fs_fd = syscall(__NR_fsopen, "bpf", 0);
	WRITE_ONCE(t->step, 1);
	if (!wait_until(READ_ONCE(t->step) == 2))
		return 2;
	dir_fd = openat(t->mnt_fd, ".", O_DIRECTORY);
	token_fd = bpf_token_create(dir_fd, NULL);
	close(dir_fd);
	if (token_fd < 0)
		return 3;
	use_token(t, token_fd);
	close(token_fd);
	return 0;
}

/* Let the namespace have maps of some types, and any program. */
static int delegate(const struct token_test *t)
{
	static const char * const any[] = { "delegate_cmds", "delegate_progs", "delegate_attachs" };
	char maps[32];
	int i;

	for (i = 0; i < ARRAY_SIZE(any); i++) {
		if (syscall(__NR_fsconfig, t->fs_fd, FSCONFIG_SET_STRING, any[i], "any", 0))
			return -errno;
	}
	snprintf(maps, sizeof(maps), "0x%llx", t->maps);
	if (syscall(__NR_fsconfig, t->fs_fd, FSCONFIG_SET_STRING, "delegate_maps", maps, 0) ||
	    syscall(__NR_fsconfig, t->fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	return syscall(__NR_fsmount, t->fs_fd, 0, 0);
}

static void run_token(struct token_test *t)
{
	struct clone_args args = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };
	pid_t pid;

	t->step = 0;
	t->err = 0;
	t->fs_fd = -1;
	t->mnt_fd = -1;
	pid = syscall(__NR_clone3, &args, sizeof(args));
	if (!pid)
		_exit(in_user_namespace(t));
	if (!ASSERT_GT(pid, 0, "clone3"))
		return;
	ASSERT_TRUE(wait_until(READ_ONCE(t->step) == 1 || waitpid(pid, NULL, WNOHANG)),
		    "namespace");
	t->mnt_fd = delegate(t);
	ASSERT_OK_FD(t->mnt_fd, "delegate");
	WRITE_ONCE(t->step, 2);
	reap(pid);
	ASSERT_OK(t->err, "caps");
	close(t->fs_fd);
	close(t->mnt_fd);
}

static void test_token(void)
{
	struct token_test *t = shared_alloc(sizeof(*t));

	if (!t)
		return;
	t->a = cg_make("a");
	t->b = cg_make("a/b");
	t->attr = map_attr(0, 1);

	t->maps = 1ULL << BPF_MAP_TYPE_CGROUP_STATS;
	run_token(t);
	ASSERT_EQ(t->no_token, -EPERM, "CAP_BPF of the namespace");
	ASSERT_EQ(t->no_cap, -EPERM, "token without CAP_BPF");
	ASSERT_EQ(t->above, -ENOENT, "token, above the cgroup namespace");
	ASSERT_OK_FD(t->created, "token");
	ASSERT_OK_FD(t->loaded, "load");
	ASSERT_OK(t->added, "add");
	ASSERT_EQ(t->total, 7, "total");

	/* Of all types but this one. */
	t->maps = ~t->maps;
	run_token(t);
	ASSERT_EQ(t->created, -EPERM, "token for other types");

	close(t->attr.opts.btf_fd);
	cg_remove("a/b");
	cg_remove("a");
	munmap(t, sizeof(*t));
}

static void test_batch(void)
{
	const int nr = 100, elems = CGROUP_STATS_ELEMS;
	__u64 a = cg_make("a"), in, out, *keys, *values, *order, key, *prev = NULL;
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct cgroup_stats_map *skel;
	int i, fd, err, step, bad = 0;
	__u32 count, done;
	char path[16];

	keys = calloc(nr + 2, sizeof(__u64));
	order = calloc(nr + 2, sizeof(__u64));
	values = calloc(nr + 2, sizeof(__u64) * elems);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_make(path);
	}
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	for (i = 0; i <= nr && !bpf_map_get_next_key(fd, prev, &order[i]); i++) {
		prev = &order[i];
		bad += i && order[i - 1] >= order[i];
	}
	ASSERT_EQ(i, nr + 1, "keys");
	ASSERT_EQ(bad, 0, "out of order");
	ASSERT_EQ(order[0], a, "first");

	/* In steps of each size, with fresh adds that no flush has seen yet. */
	for (step = 1; step <= nr + 2; step += step < 9 ? 1 : 31) {
		for (i = 0; i <= nr; i++)
			bad += !!run_on(cpus[i % nr_cpus], skel->progs.add, order[i], 1, i, 0);
		for (done = 0, err = 0; !err && done <= nr; done += count) {
			count = step;
			err = bpf_map_lookup_batch(fd, done ? &in : NULL, &out, keys + done,
						   values + done * elems, &count, NULL);
			in = out;
			if (!ASSERT_LE(done + count, nr + 1, "count"))
				goto out;
		}
		if (!err) {
			count = step;
			err = bpf_map_lookup_batch(fd, &in, &out, keys + done, values, &count,
						   NULL);
			ASSERT_EQ(count, 0, "count behind the end");
		}
		ASSERT_EQ(err, -ENOENT, "the end");
		ASSERT_EQ(done, nr + 1, "all of them");
		ASSERT_OK(memcmp(keys, order, (nr + 1) * sizeof(*keys)), "same order");
		for (i = 1; i <= nr; i++) {
			bad += values[i * elems + 1] != total(fd, order[i], 1) ||
			       values[i * elems + 1] % i;
		}
		if (!ASSERT_EQ(bad, 0, "adds and values"))
			break;
	}

	/* One call for all: a snapshot, its root the sum of the rest and its own. */
	count = nr + 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), -ENOENT,
		  "all at once");
	ASSERT_EQ(count, nr + 1, "count");
	for (i = 1, key = 0; i <= nr; i++)
		key += values[i * elems + 1];
	ASSERT_EQ(values[1], key, "root");

	/* From ids that nobody has. */
	in = order[3] + 1;
	count = 1;
	ASSERT_OK(bpf_map_lookup_batch(fd, &in, &out, keys, values, &count, NULL), "from between");
	ASSERT_EQ(keys[0], order[3] + 1 == order[4] ? order[5] : order[4], "from between");
	in = ~0ULL;
	count = 1;
	ASSERT_EQ(bpf_map_lookup_batch(fd, &in, &out, keys, values, &count, NULL), -ENOENT,
		  "from ~0");

	/* Arguments. */
	count = 0;
	ASSERT_OK(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), "count 0");
	count = 2;
	opts.flags = 1;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, &opts), -EINVAL,
		  "flags");
	opts.flags = 0;
	opts.elem_flags = BPF_F_LOCK;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, &opts), -EINVAL,
		  "elem_flags");
#define BAD(n) ((void *)(long)(n))
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, BAD(8), &out, keys, values, &count, NULL), -EFAULT,
		  "in_batch");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, BAD(8), keys, values, &count, NULL), -EFAULT,
		  "out_batch");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, BAD(8), values, &count, NULL), -EFAULT,
		  "keys");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, BAD(8), &count, NULL), -EFAULT,
		  "values");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, NULL, &count, NULL), -EFAULT,
		  "no values");
#undef BAD
	/* The count is that of elements, not of room in bytes. */
	count = ~0;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), -ENOENT,
		  "count ~0");
	ASSERT_EQ(count, nr + 1, "count ~0");
out:
	cgroup_stats_map__destroy(skel);
	free(keys);
	free(values);
	free(order);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_remove(path);
	}
	cg_remove("a");
}

/* What user space is told of the map, and its reuse through a pin. */
static void test_info(void)
{
	const char *pin = "/sys/fs/bpf/cgroup_stats_map";
	__u64 a = cg_make("a"), d = cg_make("d");
	struct cgroup_stats_map *skel = NULL, *again = NULL;
	struct bpf_map_info info = {};
	__u32 id, len = sizeof(info);
	int fd = map_make(a, 3);

	if (!ASSERT_OK(bpf_map_get_info_by_fd(fd, &info, &len), "info"))
		goto out;
	ASSERT_EQ(info.type, BPF_MAP_TYPE_CGROUP_STATS, "type");
	ASSERT_EQ(info.key_size, 8, "key_size");
	ASSERT_EQ(info.value_size, 24, "value_size");
	ASSERT_EQ(info.max_entries, 0, "max_entries");
	ASSERT_EQ(info.map_flags, 0, "flags");
	ASSERT_EQ(info.map_extra, a, "map_extra");
	ASSERT_STREQ(info.name, "stats", "name");
	ASSERT_EQ(map_fdinfo(fd, "map_type:"), BPF_MAP_TYPE_CGROUP_STATS, "fdinfo type");
	ASSERT_EQ(map_fdinfo(fd, "map_extra:"), a, "fdinfo map_extra");
	ASSERT_EQ(map_fdinfo(fd, "max_entries:"), 0, "fdinfo max_entries");

	/* By libbpf: the second object takes over the map of the first. */
	unlink(pin);
	skel = cgroup_stats_map__open();
	again = cgroup_stats_map__open();
	if (!ASSERT_OK_PTR(skel, "open") || !ASSERT_OK_PTR(again, "open"))
		goto out;
	bpf_map__set_map_extra(skel->maps.stats, a);
	bpf_map__set_map_extra(again->maps.stats, a);
	bpf_map__set_pin_path(skel->maps.stats, pin);
	bpf_map__set_pin_path(again->maps.stats, pin);
	bpf_program__set_autoload(again->progs.add, true);
	bpf_map__set_autocreate(skel->maps.maps, false);
	bpf_map__set_autocreate(again->maps.maps, false);
	if (!ASSERT_OK(cgroup_stats_map__load(skel), "load"))
		goto out;
	if (!ASSERT_OK(bpf_map_get_info_by_fd(bpf_map__fd(skel->maps.stats), &info, &len), "info"))
		goto out;
	id = info.id;
	if (!ASSERT_OK(cgroup_stats_map__load(again), "load again"))
		goto out;
	if (!ASSERT_OK(bpf_map_get_info_by_fd(bpf_map__fd(again->maps.stats), &info, &len), "info"))
		goto out;
	ASSERT_EQ(info.id, id, "the same map");
	ASSERT_OK(run(again->progs.add, a, 0, 4), "add");
	ASSERT_EQ(total(bpf_map__fd(skel->maps.stats), a, 0), 4, "seen by the first");

	/* But not with another root. */
	cgroup_stats_map__destroy(again);
	again = cgroup_stats_map__open();
	if (!ASSERT_OK_PTR(again, "open"))
		goto out;
	bpf_map__set_map_extra(again->maps.stats, d);
	bpf_map__set_pin_path(again->maps.stats, pin);
	ASSERT_EQ(cgroup_stats_map__load(again), -EINVAL, "another root");
out:
	unlink(pin);
	cgroup_stats_map__destroy(skel);
	cgroup_stats_map__destroy(again);
	close(fd);
	cg_remove("d");
	cg_remove("a");
}

/* The memory that fdinfo shows: a fixed part, and so much per entry. */
static void test_memlock(void)
{
	static const int sizes[] = { 1, 64, 65, 512 };
	int i, j, fd, nr_possible = libbpf_num_possible_cpus();
	long long base, one[ARRAY_SIZE(sizes)], fixed[ARRAY_SIZE(sizes)];
	__u64 a = cg_make("a");
	char path[16];

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = map_make(a, sizes[i]);
		base = map_memory(fd);
		cg_make("a/0");
		one[i] = map_memory(fd) - base;
		fixed[i] = base - one[i];
		for (j = 1; j < 5; j++) {
			snprintf(path, sizeof(path), "a/%d", j);
			cg_make(path);
			ASSERT_EQ(map_memory(fd), base + (j + 1) * one[i], "grows");
		}
		for (j = 0; j < 5; j++) {
			snprintf(path, sizeof(path), "a/%d", j);
			cg_remove(path);
		}
		/* Entries go when their cgroups are released. */
		ASSERT_TRUE(wait_until(map_memory(fd) == base), "shrinks");
		close(fd);
	}
	/*
	 * Two arrays of elements, for all CPUs together and for each one, and a byte per
	 * 8 of them in whole words for each CPU. The map has a byte for every 4 of the value.
	 */
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int arrays = 2 * (sizes[i] - 1), marks = (sizes[i] + 63) / 64 - 1;

		ASSERT_EQ(one[i] - one[0], 8 * (arrays + (arrays + marks) * nr_possible),
			  "per entry");
		ASSERT_EQ(fixed[i], fixed[0] + 2 * (sizes[i] - sizes[0]), "fixed");
	}
	ASSERT_GT(one[0], 8 * (2 + 3 * nr_possible), "smallest entry");
	ASSERT_LT(one[0], 8 * (2 + 3 * nr_possible) + 256, "smallest entry");
	ASSERT_GT(fixed[0], 0, "fixed part");
	ASSERT_LT(fixed[0], 4096, "fixed part");
	cg_remove("a");
}

/* --- what programs see --- */

/* Whether @prog's lookups flush: then it sees each add that came before. */
static void check_look(struct cgroup_stats_map *skel, const struct bpf_program *prog,
		       __u64 id, bool flushes)
{
	static __u64 sum;
	int i, err, stale = 0, fresh = 0;

	for (i = 0; i < 20; i++) {
		sum++;
		err = run_on(cpus[i % nr_cpus], skel->progs.add, id, 0, 1, 0);
		skel->bss->seen = ~0ULL;
		if (!ASSERT_OK(err, "add") ||
		    !ASSERT_OK(run(prog, id, 0, 0), bpf_program__name(prog)))
			break;
		if (flushes && !ASSERT_EQ(skel->bss->seen, sum, bpf_program__name(prog)))
			break;
		stale += skel->bss->seen < sum;
		fresh += skel->bss->seen == sum;
		ASSERT_LE(skel->bss->seen, sum, "from nowhere");
		if (flushes)
			continue;
		/* After a flush by somebody else it sees all. */
		if (i % 2)
			ASSERT_OK(run(skel->progs.flush, id, 0, 0), "flush");
		else
			ASSERT_EQ(total(bpf_map__fd(skel->maps.stats), id, 0), sum, "total");
		ASSERT_OK(run(prog, id, 0, 0), bpf_program__name(prog));
		if (!ASSERT_EQ(skel->bss->seen, sum, bpf_program__name(prog)))
			break;
	}
	/* The kernel flushes on its own too, now and then, but not 20 times in a row. */
	if (!flushes)
		ASSERT_GT(stale, 0, bpf_program__name(prog));
	if (!id)
		sum = 0;
}

static void test_lookups(void)
{
	struct cgroup_stats_map *skel;
	__u64 a = cg_make("a"), b = cg_make("a/b");
	int i;

	skel = load(a, -1,
		    "add peek look look_static look_rcu look_preempt look_global look_loop look_walk look_either flush flush_static");
	if (!skel)
		goto out;
	const struct {
		struct bpf_program *prog;
		bool flushes;
	} progs[] = {
		{ skel->progs.look, true },
		{ skel->progs.look_static, true },
		{ skel->progs.peek, false },
		{ skel->progs.look_rcu, false },
		{ skel->progs.look_preempt, false },
		{ skel->progs.look_loop, false },
		{ skel->progs.look_walk, false },
		{ skel->progs.look_global, false },
		{ skel->progs.look_either, false },
	};

	for (i = 0; i < ARRAY_SIZE(progs); i++) {
		check_look(skel, progs[i].prog, b, progs[i].flushes);
		ASSERT_EQ(run(progs[i].prog, NO_ID, 0, 0), -ENOENT, "no such id");
		ASSERT_EQ(run(progs[i].prog, 0, 0, 0), -ENOENT, "id 0");
	}
	/* A flush of a cgroup is one of all below it. */
	ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, b, 1, 5, 0), "add");
	ASSERT_OK(run(skel->progs.flush_static, a, 0, 0), "flush_static");
	ASSERT_OK(run(skel->progs.peek, b, 1, 0), "peek");
	ASSERT_EQ(skel->bss->seen, 5, "b");
	ASSERT_OK(run(skel->progs.peek, a, 1, 0), "peek");
	ASSERT_EQ(skel->bss->seen, 5, "a");

	ASSERT_EQ(run(skel->progs.flush, NO_ID, 0, 0), -ENOENT, "flush of no such id");
	ASSERT_EQ(run(skel->progs.flush, cg_root_id(), 0, 0), -ENOENT, "flush of outside");
	ASSERT_EQ(run_on(THIS_CPU, skel->progs.flush, a, 0, 0, 1), -EINVAL, "flags");
	ASSERT_EQ(run(skel->progs.flush, 0, 0, 0), -ENOENT, "flush of current, outside");
	ASSERT_OK(cg_join("a/b"), "join");
	ASSERT_OK(run(skel->progs.flush, 0, 0, 0), "flush of current");
	ASSERT_OK(cg_join(".."), "join root");
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

static int copy_flusher(void *arg)
{
	struct cgroup_stats_map *skel = arg;

	pin_to(cpus[1]);
	WRITE_ONCE(skel->bss->flusher_tid, sys_gettid());
	while (READ_ONCE(skel->bss->flusher_tid)) {
		if (READ_ONCE(skel->bss->half_step) != HALF_ADDED)
			continue;
		if (run(skel->progs.flush, skel->bss->target_id, 0, 0))
			return 1;
		__sync_val_compare_and_swap(&skel->bss->half_step, HALF_ADDED, HALF_MISSED);
	}
	return 0;
}

/* A value is copied as of one instant, though it is just being folded on another CPU. */
static void test_copy(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS];
	struct map_attr attr = map_attr(a, CGROUP_STATS_ELEMS);
	struct cgroup_stats_map *skel = NULL;
	int i, fd, round, step, torn = 0;
	pid_t pid = -1;

	/* Arrays that CPUs share are folded by a function that can be traced. */
	attr.opts.map_flags = BPF_F_NO_PERCPU;
	fd = map_try(&attr);
	close(attr.opts.btf_fd);
	if (nr_cpus < 2) {
		test__skip();
		goto out;
	}
	skel = load(a, fd, "flush after_flush half_way");
	if (!skel || !ASSERT_OK(cgroup_stats_map__attach(skel), "attach"))
		goto out;
	skel->bss->target_id = b;
	skel->bss->target_tid = sys_gettid();
	pin_to(cpus[0]);
	pid = spawn(copy_flusher, skel);
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->flusher_tid)), "flusher");

	/* The kernel flushes on its own too, now and then. */
	for (round = 0, step = HALF_IDLE; round < 20 && step != HALF_FOLDED; round++) {
		skel->bss->done = 0;
		WRITE_ONCE(skel->bss->half_step, HALF_READ);
		if (!ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(skel->maps.stats), &b, value),
			       "lookup"))
			break;
		step = __sync_lock_test_and_set(&skel->bss->half_step, HALF_COPIED);
		for (i = 0; i < CGROUP_STATS_ELEMS; i++)
			torn += value[i] != value[0];
		ASSERT_EQ(torn, 0, "elements of another instant");
	}
	ASSERT_EQ(step, HALF_FOLDED, "read during a fold");
	WRITE_ONCE(skel->bss->flusher_tid, 0);
out:
	reap(pid);
	unpin();
	cgroup_stats_map__destroy(skel);
	close(fd);
	cg_remove("a/b");
	cg_remove("a");
}

/* Lines of the iterator that prints the map. */
static int count_lines(struct cgroup_stats_map *skel)
{
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {};
	int i, len, fd, n = 0;
	struct bpf_link *link;
	char buf[1024];

	linfo.map.map_fd = bpf_map__fd(skel->maps.stats);
	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.dump, &opts);
	if (!ASSERT_OK_PTR(link, "attach_iter"))
		return -1;
	fd = bpf_iter_create(bpf_link__fd(link));
	while ((len = read(fd, buf, sizeof(buf))) > 0) {
		for (i = 0; i < len; i++)
			n += buf[i] == '\n';
	}
	ASSERT_OK(len, "read to the end");
	close(fd);
	bpf_link__destroy(link);
	return n;
}

/* All walks get over cgroups of another map, however many, between those of theirs. */
static void test_strangers(void)
{
	/* The kernel looks at 64 at a time. */
	enum { NR_STRANGERS = 2 * 64 + 2 };
	__u64 a = cg_make("a"), first = cg_make("a/first"), last, out, prev;
	__u64 keys[4], values[4 * CGROUP_STATS_ELEMS];
	struct cgroup_stats_map *skel;
	int i, fd, other, err;
	char path[16];
	__u32 count;

	other = map_make(cg_make("x"), 1);
	for (i = 0; i < NR_STRANGERS; i++) {
		snprintf(path, sizeof(path), "x/%d", i);
		cg_make(path);
	}
	last = cg_make("a/last");
	ASSERT_EQ(count_keys(other), NR_STRANGERS + 1, "entries of the other map");
	skel = load(a, -1, "walk dump");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);

	count = ARRAY_SIZE(keys);
	err = bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL);
	ASSERT_EQ(err, -ENOENT, "batch");
	ASSERT_EQ(count, 3, "batch");
	for (i = 0, prev = 0; i < 3; i++, prev = out) {
		count = 1;
		err = bpf_map_lookup_batch(fd, i ? &prev : NULL, &out, keys + i, values, &count,
					   NULL);
		ASSERT_OK(err, "batch of one");
	}
	ASSERT_EQ(keys[0], a, "root");
	ASSERT_EQ(keys[1], first, "first");
	ASSERT_EQ(keys[2], last, "last");

	ASSERT_EQ(count_keys(fd), 3, "get_next_key");
	ASSERT_EQ(run(skel->progs.walk, 0, 0, 0), 3, "for_each");
	ASSERT_EQ(count_lines(skel), 3, "iterator");
out:
	cgroup_stats_map__destroy(skel);
	close(other);
	for (i = 0; i < NR_STRANGERS; i++) {
		snprintf(path, sizeof(path), "x/%d", i);
		cg_remove(path);
	}
	cg_remove("x");
	cg_remove("a/last");
	cg_remove("a/first");
	cg_remove("a");
}

/* All elements in programs: in ascending order, by for_each and by the iterator. */
static void test_for_each(void)
{
	const int nr = 40;
	__u64 a = cg_make("a"), key, value, sum, prev;
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {};
	struct cgroup_stats_map *skel;
	struct bpf_program *progs[2];
	struct bpf_link *link = NULL;
	char path[16], *buf, *pos;
	int i, j, fd, iter_fd, len, n;

	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_make(path);
	}
	buf = calloc(1, 65536);
	skel = load(a, -1, "add walk walk_sleepable dump");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		key = cg_id(path);
		ASSERT_OK(run_on(cpus[i % nr_cpus], skel->progs.add, key, 0, i, 0), "add");
	}
	sum = nr * (nr - 1) / 2;
	ASSERT_EQ(total(fd, a, 0), sum, "total");

	progs[0] = skel->progs.walk;
	progs[1] = skel->progs.walk_sleepable;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(run(progs[i], 0, 0, 0), nr + 1, "for_each");
		ASSERT_EQ(skel->bss->nr_keys, nr + 1, "calls");
		for (j = 1, value = 0; j <= nr; j++) {
			ASSERT_LT(skel->bss->keys[j - 1], skel->bss->keys[j], "order");
			value += skel->bss->values[j];
		}
		ASSERT_EQ(value, sum, "sum of children");
		ASSERT_EQ(skel->bss->values[0], sum, "the root, which is first");
		ASSERT_EQ(run(progs[i], 1, 0, 0), -EINVAL, "flags");
	}

	/* The iterator flushes, once, before the first. */
	ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, a, 0, 1000, 0), "add");
	linfo.map.map_fd = fd;
	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.dump, &opts);
	if (!ASSERT_OK_PTR(link, "attach_iter"))
		goto out;
	for (i = 0; i < 2; i++) {
		iter_fd = bpf_iter_create(bpf_link__fd(link));
		if (!ASSERT_GE(iter_fd, 0, "iter_create"))
			goto out;
		/* In pieces, so that it has to resume. */
		for (len = 0; len < 65000; len += n) {
			n = read(iter_fd, buf + len, 40);
			if (n <= 0)
				break;
		}
		if (!ASSERT_OK(n, "read to the end"))
			goto out;
		ASSERT_EQ(read(iter_fd, buf + len, 40), 0, "read behind the end");
		buf[len] = 0;
		close(iter_fd);
		prev = 0;
		value = 0;
		for (j = 0, pos = buf; *pos; pos = strchr(pos, '\n') + 1, j++) {
			__u64 v;

			n = sscanf(pos, "%llu %llu\n", &key, &v);
			if (!ASSERT_EQ(n, 2, "line"))
				break;
			ASSERT_GT(key, prev, "order");
			prev = key;
			if (key == a)
				ASSERT_EQ(v, sum + 1000, "root");
			else
				value += v;
		}
		ASSERT_EQ(j, nr + 1, "lines");
		ASSERT_EQ(value, sum, "sum of children");
		ASSERT_EQ(skel->bss->done, i + 1, "ends");
	}
	/* It wrote 12345 everywhere, to its own buffer. */
	ASSERT_EQ(total(fd, a, 0), sum + 1000, "root after");
	ASSERT_EQ(total(fd, a, CGROUP_STATS_ELEMS - 1), 0, "last element after");
	ASSERT_EQ(total(fd, prev, CGROUP_STATS_ELEMS - 1), 0, "of a child");

	/* An iterator's file outlives the link, the program, and the map's other fds. */
	iter_fd = bpf_iter_create(bpf_link__fd(link));
	n = read(iter_fd, buf, 20);
	ASSERT_GT(n, 0, "first read");
	bpf_link__destroy(link);
	link = NULL;
	cgroup_stats_map__destroy(skel);
	skel = NULL;
	for (len = 0; len < 65000; len += n) {
		n = read(iter_fd, buf, 4096);
		if (n <= 0)
			break;
	}
	ASSERT_OK(n, "last read");
	close(iter_fd);
out:
	bpf_link__destroy(link);
	cgroup_stats_map__destroy(skel);
	free(buf);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_remove(path);
	}
	cg_remove("a");
}

/* A pinned map as a text file. */
/* That what bpffs has printed has a line for @id, with @number in it. */
static void check_printed(const char *text, __u64 id, const char *number)
{
	const char *line, *found;
	char want[64];

	snprintf(want, sizeof(want), "\n%llu: ", id);
	line = strstr(text, want);
	if (!ASSERT_OK_PTR(line, "line"))
		return;
	found = strstr(line + strlen(want), number);
	if (ASSERT_OK_PTR(found, "value"))
		ASSERT_LT(found - line, strcspn(line + 1, "\n"), "value in its line");
}

static void test_bpffs(void)
{
	const char *pin = "/sys/fs/bpf/cgroup_stats_print";
	__u64 a = cg_make("a"), b = cg_make("a/b");
	struct cgroup_stats_map *skel;
	char buf[8192];
	int fd, n;

	unlink(pin);
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, b, 0, 4321, 0), "add");
	if (!ASSERT_OK(bpf_map__pin(skel->maps.stats, pin), "pin"))
		goto out;
	fd = open(pin, O_RDONLY);
	if (!ASSERT_GE(fd, 0, "open"))
		goto out;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (!ASSERT_GT(n, 0, "read"))
		goto out;
	buf[n] = 0;
	check_printed(buf, a, "4321");
	check_printed(buf, b, "4321");
out:
	unlink(pin);
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* --- kinds of programs --- */

/* What makes the programs run that are attached, at least once each. */
static void trigger(struct cgroup_stats_map *skel)
{
	int sock, val;
	socklen_t len = sizeof(val);

	skel->bss->target_tid = sys_gettid();
	/* Any of bpf()'s commands would do. */
	bpf_prog_get_fd_by_id(0);
	syscall(__NR_getpgid, 0);
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	getsockopt(sock, SOL_SOCKET, SO_TYPE, &val, &len);
	close(sock);
	skel->bss->target_tid = 0;
}

static int run_packet(const struct bpf_program *prog)
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

static void read_link(struct bpf_link *link)
{
	char buf[64];
	int fd = bpf_iter_create(bpf_link__fd(link));

	ASSERT_GE(fd, 0, "iter_create");
	ASSERT_EQ(read(fd, buf, sizeof(buf)), 0, "read iter");
	close(fd);
}

static void test_kinds(void)
{
	struct cgroup_stats_map *skel;
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS], deadline;
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {};
	struct bpf_program *prog;
	int cg_fd, perf_fd, i, fd;
	struct bpf_link *link;

	skel = load(a, -1,
		    "kind_raw_tp kind_tp_btf kind_tp kind_fentry kind_fentry_sleepable kind_fexit kind_kprobe kind_kretprobe kind_lsm kind_lsm_sleepable kind_sockopt kind_sock_create kind_cgroup_skb kind_socket kind_tc kind_xdp kind_perf_event kind_syscall kind_iter start_wq start_timer");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	skel->bss->target_id = b;
	cg_fd = openat(workdir, "a/b", O_RDONLY);

	/* Those that attach by themselves. */
	bpf_object__for_each_program(prog, skel->obj) {
		enum bpf_prog_type type = bpf_program__type(prog);

		if (!bpf_program__autoload(prog))
			continue;
		if (type != BPF_PROG_TYPE_TRACING && type != BPF_PROG_TYPE_KPROBE &&
		    type != BPF_PROG_TYPE_TRACEPOINT && type != BPF_PROG_TYPE_LSM &&
		    prog != skel->progs.kind_raw_tp)
			continue;
		if (prog == skel->progs.kind_iter)
			continue;
		link = bpf_program__attach(prog);
		ASSERT_OK_PTR(link, bpf_program__name(prog));
		trigger(skel);
		bpf_link__destroy(link);
	}

	/* Those that belong to a cgroup. */
	ASSERT_OK(cg_join("a/b"), "join");
	link = bpf_program__attach_cgroup(skel->progs.kind_sockopt, cg_fd);
	ASSERT_OK_PTR(link, "sockopt");
	trigger(skel);
	bpf_link__destroy(link);
	link = bpf_program__attach_cgroup(skel->progs.kind_sock_create, cg_fd);
	ASSERT_OK_PTR(link, "sock_create");
	trigger(skel);
	bpf_link__destroy(link);
	ASSERT_OK(cg_join(".."), "join root");

	/* Those that are run. */
	run_packet(skel->progs.kind_cgroup_skb);
	run_packet(skel->progs.kind_socket);
	run_packet(skel->progs.kind_tc);
	run_packet(skel->progs.kind_xdp);
	ASSERT_EQ(run(skel->progs.kind_syscall, 0, 0, 0), 0, "syscall");

	linfo.cgroup.cgroup_fd = cg_fd;
	linfo.cgroup.order = BPF_CGROUP_ITER_SELF_ONLY;
	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.kind_iter, &opts);
	if (ASSERT_OK_PTR(link, "iter"))
		read_link(link);
	bpf_link__destroy(link);

	/* Timers, of perf (in hard interrupts) and BPF's own. */
	perf_fd = perf_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, 1000000, cpus[0]);
	link = bpf_program__attach_perf_event(skel->progs.kind_perf_event, perf_fd);
	if (ASSERT_OK_PTR(link, "perf_event")) {
		pin_to(cpus[0]);
		deadline = get_time_ns() + 10000000000ULL;
		while (!READ_ONCE(skel->bss->runs[KIND_PERF_EVENT]) && get_time_ns() < deadline)
			;
		unpin();
		bpf_link__destroy(link);
	} else {
		close(perf_fd);
	}
	ASSERT_OK(run(skel->progs.start_timer, 0, 0, 0), "start_timer");
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->runs[KIND_TIMER])), "timer");
	ASSERT_OK(run_packet(skel->progs.start_wq), "start_wq");
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->runs[KIND_WQ])), "wq");

	ASSERT_OK(bpf_map_lookup_elem(fd, &a, value), "lookup");
	for (i = 0; i <= KIND_TIMER; i++) {
		if (!ASSERT_GT(skel->bss->runs[i], 0, "runs") ||
		    !ASSERT_OK(skel->bss->errors[i], "add") ||
		    !ASSERT_EQ(value[i], skel->bss->runs[i], "total"))
			printf("kind %d\n", i);
	}
	close(cg_fd);
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* Programs within a flush of the very map they add to: what they add is for the next. */
static void test_in_flush(void)
{
	static const enum kind kinds[] = { KIND_FLUSH, KIND_DRAIN, KIND_RSTAT_LOCKED };
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS];
	struct cgroup_stats_map *skel;
	int i, fd;

	skel = load(a, -1, "add kind_flush kind_drain kind_rstat_locked");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	skel->bss->target_id = b;
	if (!ASSERT_OK(cgroup_stats_map__attach(skel), "attach"))
		goto out;
	skel->bss->target_tid = sys_gettid();
	for (i = 0; i < 100; i++) {
		ASSERT_OK(run_on(cpus[i % nr_cpus], skel->progs.add, b, 31, 1, 0), "add");
		if (!ASSERT_EQ(total(fd, a, 31), i + 1, "total"))
			break;
	}
	skel->bss->target_tid = 0;
	cgroup_stats_map__detach(skel);
	ASSERT_OK(bpf_map_lookup_elem(fd, &a, value), "lookup");
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		ASSERT_GT(skel->bss->runs[kinds[i]], 0, "runs");
		ASSERT_OK(skel->bss->errors[kinds[i]], "add");
		ASSERT_EQ(value[kinds[i]], skel->bss->runs[kinds[i]], "total");
	}
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* From NMIs, in the middle of anything: a PMU's, or those for backtraces of all CPUs. */
static void test_nmi(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS];
	struct bpf_link *link = NULL;
	struct cgroup_stats_map *skel;
	int i, fd, perf_fd, adds = 0, level = 0;
	bool triggers = false;

	skel = load(a, -1, "add_sleepable kind_perf_event kind_nmi");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	skel->bss->target_id = b;

	perf_fd = perf_open(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, 100000, cpus[0]);
	if (perf_fd >= 0) {
		link = bpf_program__attach_perf_event(skel->progs.kind_perf_event, perf_fd);
		if (!link)
			close(perf_fd);
		pin_to(cpus[0]);
	}
	if (!link) {
		link = bpf_program__attach(skel->progs.kind_nmi);
		if (!link || access(SYSRQ, W_OK)) {
			test__skip();
			goto out;
		}
		triggers = true;
		level = console_level(ERRORS_ONLY);
	}
	for (i = 0; i < 20; i++) {
		int n;

		if (triggers)
			ASSERT_OK(trigger_nmis(), "sysrq");
		for (n = 0; n < 500; n++)
			adds += !run(skel->progs.add_sleepable, b, 31, 1);
		total(fd, i % 2 ? a : b, 0);
	}
	bpf_link__destroy(link);
	link = NULL;
	if (triggers)
		console_level(level);

	ASSERT_OK(bpf_map_lookup_elem(fd, &a, value), "lookup");
	i = perf_fd >= 0 ? KIND_PERF_EVENT : KIND_NMI;
	if (skel->bss->runs[i] == 0)
		test__skip();
	ASSERT_OK(skel->bss->errors[i], "add");
	ASSERT_EQ(value[i], skel->bss->runs[i], "total of NMIs");
	ASSERT_EQ(value[31], adds, "total of the interrupted");
	ASSERT_EQ(adds, 20 * 500, "adds");
out:
	unpin();
	bpf_link__destroy(link);
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* A task that exits when its cgroup has already gone counts for the nearest ancestor. */
static void test_exiting(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), c = cg_make("a/b/c"), deadline;
	struct cgroup_stats_map *skel;
	int round, fd, own_fd, err, go[2];
	pid_t pid;
	char x;

	skel = load(a, -1, "add after_cgroup_exit");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	own_fd = bpf_map__fd(skel->maps.own);
	/* It waits with preemption off, for somebody on another CPU. */
	if (nr_cpus < 2 || cgroup_stats_map__attach(skel)) {
		test__skip();
		goto out;
	}
	pin_to(cpus[0]);
	/* First its own cgroup is gone, then its parent too. */
	for (round = 0; round < 2; round++) {
		skel->bss->at_exit = false;
		skel->bss->removed = false;
		if (!ASSERT_OK(pipe(go), "pipe"))
			break;
		pid = fork();
		if (!pid) {
			close(go[1]);
			pin_to(cpus[1]);
			err = cg_join("a/b/c");
			err = read(go[0], &x, 1) < 0 || err;
			_exit(err);
		}
		close(go[0]);
		skel->bss->exit_tgid = pid;
		ASSERT_EQ(write(go[1], "x", 1), 1, "write");
		close(go[1]);
		deadline = get_time_ns() + 10000000000ULL;
		while (!READ_ONCE(skel->bss->at_exit) && get_time_ns() < deadline)
			sched_yield();
		err = cg_remove_when_empty("a/b/c");
		if (!err && round == 1)
			err = cg_remove_when_empty("a/b");
		WRITE_ONCE(skel->bss->removed, true);
		ASSERT_OK(err, "rmdir under the exiting task");
		reap(pid);
		ASSERT_EQ(skel->bss->done, round + 1, "programs");
		ASSERT_EQ(skel->bss->exit_id, c, "cgroup of the task");
		ASSERT_EQ(skel->bss->exit_by_id_err, -ENOENT, "by id");
		ASSERT_OK(skel->bss->exit_err, "add");
		ASSERT_OK(skel->bss->exit_own_err, "add, no hierarchy");
		/* Nothing stays in what has gone. */
		ASSERT_EQ(total(own_fd, round == 0 ? b : a, 0), 7, "nearest ancestor's own");
		if (round == 0) {
			ASSERT_EQ(total(fd, b, 0), 7, "parent");
			ASSERT_EQ(total(fd, a, 0), 7, "root");
			c = cg_make("a/b/c");
		}
	}
	ASSERT_EQ(total(fd, a, 0), 14, "root");
out:
	unpin();
	cgroup_stats_map__destroy(skel);
	cg_try_remove("a/b/c");
	cg_try_remove("a/b");
	cg_remove("a");
}

/* --- maps and cgroups that go while they are in use --- */

struct churn {
	bool stop;
	__u64 ids[8];
	struct cgroup_stats_map *skel;
	__u64 adds, bad_adds, made, bad_dirs;
};

static struct churn *churn;

/* Through whatever map is there, to whatever cgroup is there. */
static int churn_adder(void *arg)
{
	unsigned int seed = 123456789 + (long)arg;
	__u64 id;
	int err;

	pin_to(cpus[(long)arg % nr_cpus]);
	while (!READ_ONCE(churn->stop)) {
		id = READ_ONCE(churn->ids[xrand(&seed) % 8]);
		err = run_on(THIS_CPU, churn->skel->progs.add_nth, id, 0, 1, xrand(&seed) % 4);
		if (!err)
			__sync_fetch_and_add(&churn->adds, 1);
		else if (err != -ENOENT && err != -1)
			__sync_fetch_and_add(&churn->bad_adds, 1);
	}
	return 0;
}

/* A few cgroups in each other, gone as soon as they are there. */
static int churn_dirs(void *arg)
{
	char path[64];
	int i, err;

	while (!READ_ONCE(churn->stop)) {
		sprintf(path, "x");
		for (i = 0; i < 4; i++) {
			sprintf(path + strlen(path), "/%ld", (long)arg);
			err = cg_try_make(path);
			if (!err)
				WRITE_ONCE(churn->ids[(long)arg * 4 + i], cg_id(path));
			else
				__sync_fetch_and_add(&churn->bad_dirs, 1);
		}
		for (; i > 0; i--) {
			if (cg_try_remove(path))
				__sync_fetch_and_add(&churn->bad_dirs, 1);
			*strrchr(path, '/') = 0;
		}
		__sync_fetch_and_add(&churn->made, 1);
		/* Let the others have cgroup_mutex too. */
		usleep(200);
	}
	return 0;
}

static void test_teardown(void)
{
	int i, key, fd, err, nr_pids = 0, made = 0, gone = 0, bad = 0;
	__u64 x = cg_make("x"), keys[64], values[64], out;
	struct cgroup_stats_map *skel;
	struct map_attr attr;
	pid_t pids[4];
	__u32 count;

	churn = shared_alloc(sizeof(*churn));
	if (!churn)
		return;
	attr = map_attr(x, CGROUP_STATS_ELEMS);
	skel = load(x, -1, "add_nth start_wq_nth");
	if (!skel)
		goto out;
	churn->skel = skel;
	pids[nr_pids++] = spawn(churn_dirs, (void *)0);
	pids[nr_pids++] = spawn(churn_dirs, (void *)1);
	pids[nr_pids++] = spawn(churn_adder, (void *)0);
	pids[nr_pids++] = spawn(churn_adder, (void *)1);

	for (i = 0; i < 120 || (READ_ONCE(churn->made) < 10 && i < 4000); i++) {
		/* Of the root, and of cgroups that may go at any time. */
		attr.opts.map_extra = i % 2 ? x : READ_ONCE(churn->ids[i / 2 % 8]);
		fd = map_try(&attr);
		if (fd < 0) {
			gone += fd == -ENOENT;
			bad += fd != -ENOENT;
			continue;
		}
		made++;
		key = i % 4;
		ASSERT_OK(bpf_map_update_elem(bpf_map__fd(skel->maps.maps), &key, &fd, 0), "set");
		count = 1;
		err = bpf_map_lookup_batch(fd, NULL, &out, keys, (void *)values, &count, NULL);
		bad += err && err != -ENOENT;
		/* Its last work may come when it has gone. */
		skel->bss->wq_nth = key;
		skel->bss->target_id = attr.opts.map_extra ?: x;
		ASSERT_OK(run_packet(skel->progs.start_wq_nth), "start_wq_nth");
		if (i % 3)
			bpf_map_delete_elem(bpf_map__fd(skel->maps.maps), &key);
		close(fd);
	}
	WRITE_ONCE(churn->stop, true);
	for (i = 0; i < nr_pids; i++)
		reap(pids[i]);
	ASSERT_EQ(bad, 0, "maps");
	ASSERT_GT(made, 0, "no map");
	ASSERT_GT(churn->made, 0, "no cgroups");
	ASSERT_EQ(churn->bad_dirs, 0, "mkdir and rmdir");
	ASSERT_EQ(churn->bad_adds, 0, "adds");
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->runs[KIND_WQ])), "wq");
	printf("%d maps, %d times no root, %llu times cgroups, %llu adds, %d works\n", made, gone,
	       churn->made, churn->adds, skel->bss->done);

	/* After all of that a map works. */
	fd = map_make(x, CGROUP_STATS_ELEMS);
	key = 0;
	ASSERT_OK(bpf_map_update_elem(bpf_map__fd(skel->maps.maps), &key, &fd, 0), "set");
	for (i = 0; i < nr_cpus; i++)
		ASSERT_OK(run_on(cpus[i], skel->progs.add_nth, x, 0, 3, 0), "add");
	ASSERT_EQ(total(fd, x, 0), 3 * nr_cpus, "total");
	close(fd);
out:
	cgroup_stats_map__destroy(skel);
	close(attr.opts.btf_fd);
	munmap((void *)churn, sizeof(*churn));
	cg_remove("x");
}

/* The last fd is closed, or the program goes, while adds go on. */
static void test_close(void)
{
	__u64 x = cg_make("x");
	struct cgroup_stats_map *skel;
	int i;

	for (i = 0; i < 15; i++) {
		cg_make("x/y");
		skel = load(x, -1, "kind_tp_btf kind_raw_tp");
		if (!skel)
			break;
		skel->bss->target_id = i % 2 ? x : cg_id("x/y");
		skel->bss->target_tid = sys_gettid();
		ASSERT_OK(cgroup_stats_map__attach(skel), "attach");
		sys_gettid();
		if (i % 3 == 0)
			cg_remove("x/y");
		sys_gettid();
		cgroup_stats_map__destroy(skel);
		if (i % 3)
			cg_remove("x/y");
	}
	cg_remove("x");
}

/* --- memory --- */

#define NR_FIRST 20	/* for what is only made once */
#define NR_HELD 100

struct memory {
	__u64 x;
	long long one, before, held, freed, grown;
	int made;
	bool back;
	int step;
};

/* In a cgroup of its own, which pays for its maps. */
static int use_memory(void *arg)
{
	struct memory *m = arg;
	int i, fd, fds[NR_FIRST + NR_HELD];
	struct map_attr attr;

	if (cg_join("m"))
		return 0;
	attr = map_attr(m->x, 64);
	for (i = 0; i < NR_FIRST; i++)
		fds[i] = map_try(&attr);
	m->before = cg_read("m", "memory.current");

	for (; i < NR_FIRST + NR_HELD; i++)
		fds[i] = map_try(&attr);
	m->one = map_memory(fds[0]);
	m->held = cg_read("m", "memory.current");

	/* What somebody else's mkdir() needs for them. */
	WRITE_ONCE(m->step, 1);
	wait_until(READ_ONCE(m->step) == 2);
	m->grown = cg_read("m", "memory.current");
	WRITE_ONCE(m->step, 3);
	wait_until(READ_ONCE(m->step) == 4);

	for (i = 0; i < NR_FIRST + NR_HELD; i++)
		close(fds[i]);
	for (i = 0; i < 1000; i++) {
		fd = map_try(&attr);
		m->made += fd >= 0;
		close(fd);
	}
	/* It is freed a while after, and each CPU keeps some charged memory for later. */
	m->back = wait_until((m->freed = cg_read("m", "memory.current")) <
			     m->before + (m->held - m->before) / 4);
	cg_join("..");
	return 0;
}

static void test_memory(void)
{
	char path[16];
	struct memory *m;
	pid_t pid;
	int i;

	m = shared_alloc(sizeof(*m));
	if (!m)
		return;
	m->x = cg_make("x");
	for (i = 0; i < 4; i++) {
		sprintf(path, "x/%d", i);
		cg_make(path);
	}
	cg_make("m");
	if (cg_read("m", "memory.current") < 0) {
		test__skip();
		goto out;
	}
	pid = spawn(use_memory, m);
	ASSERT_TRUE(wait_until(READ_ONCE(m->step) == 1), "maps");
	for (i = 4; i < 8; i++) {
		sprintf(path, "x/%d", i);
		cg_make(path);
	}
	WRITE_ONCE(m->step, 2);
	ASSERT_TRUE(wait_until(READ_ONCE(m->step) == 3), "memory read");
	for (i = 4; i < 8; i++) {
		sprintf(path, "x/%d", i);
		cg_remove(path);
	}
	WRITE_ONCE(m->step, 4);
	reap(pid);
	ASSERT_EQ(m->made, 1000, "maps");
	ASSERT_GT(m->one, 5 * 64 * 2 * 8, "one map");
	ASSERT_GT(m->held, m->before + m->one * NR_HELD / 2, "charged for maps");
	ASSERT_GT(m->grown, m->held + m->one * NR_HELD / 4, "charged for cgroups of others");
	ASSERT_TRUE(m->back, "all is freed");
	printf("a map %lld, before %lld, with %d maps %lld, and more cgroups %lld, without %lld\n",
	       m->one, m->before, NR_HELD, m->held, m->grown, m->freed);
out:
	cg_remove("m");
	for (i = 0; i < 4; i++) {
		sprintf(path, "x/%d", i);
		cg_remove(path);
	}
	cg_remove("x");
	munmap(m, sizeof(*m));
}

#define NR_INHERITED 16

/*
 * A map of m/p's, for a process that takes it by its id. What else this one needs, m/p has
 * no more when it exits.
 */
struct payer {
	__u64 x;
	__u32 id;
	bool taken;
};

static int payer_make(void *arg)
{
	struct payer *p = arg;

	if (cg_join("m/p"))
		return 1;
	WRITE_ONCE(p->id, map_id(map_make(p->x, MAX_ELEMS)));
	return !wait_until(READ_ONCE(p->taken));
}

static int payer_map(struct payer *p)
{
	pid_t pid = spawn(payer_make, p);
	int fd;

	ASSERT_TRUE(wait_until(READ_ONCE(p->id)), "map of m/p");
	fd = bpf_map_get_fd_by_id(p->id);
	ASSERT_GE(fd, 0, "map by id");
	WRITE_ONCE(p->taken, true);
	reap(pid);
	return fd;
}

/* What m pays of per-CPU memory: unlike memory.current, without what CPUs have in stock. */
static long long payer_percpu(void)
{
	return cg_number("m", "memory.stat", "percpu");
}

/* The payer goes before its map: then whoever is above it pays for the map's new entries. */
static void test_payer(void)
{
	long long before, one;
	struct payer *p;
	char path[16];
	int fd, i;

	p = shared_alloc(sizeof(*p));
	if (!p)
		return;
	p->x = cg_make("x");
	cg_make("m");
	cg_make("m/p");
	if (cg_write("m", "cgroup.subtree_control", "+memory")) {
		test__skip();
		cg_remove("m/p");
		goto out;
	}
	fd = payer_map(p);
	cg_remove("m/p");
	one = map_memory(fd);
	before = payer_percpu();
	for (i = 0; i < NR_INHERITED; i++) {
		sprintf(path, "x/%d", i);
		cg_make(path);
	}
	ASSERT_TRUE(wait_until(payer_percpu() > before + one * NR_INHERITED / 4), "m pays");
	for (i = 0; i < NR_INHERITED; i++) {
		sprintf(path, "x/%d", i);
		cg_remove(path);
	}
	close(fd);
	/* And has it back, with m/p's own: nothing keeps what has been removed. */
	ASSERT_TRUE(wait_until(!payer_percpu()), "freed");
	ASSERT_TRUE(wait_until(!cg_number("m", "cgroup.stat", "nr_dying_descendants")),
		    "released");
out:
	cg_remove("m");
	cg_remove("x");
	munmap(p, sizeof(*p));
}

/* --- the test --- */

void serial_test_cgroup_stats_map(void)
{
	static const struct subtest tests[] = {
		{ "totals", test_totals },
		{ "cancel", test_cancel },
		{ "parent_later", test_parent_later },
		{ "rmdir", test_rmdir },
		{ "mkdir", test_mkdir },
		{ "pinned", test_pinned },
		{ "sizes", test_sizes },
		{ "maps", test_maps },
		{ "maps_at_once", test_maps_at_once },
		{ "many_maps", test_many_maps },
		{ "many_cgroups", test_many_cgroups },
		{ "bounded", test_bounded },
		{ "attributes", test_attributes },
		{ "value_types", test_value_types },
		{ "key_types", test_key_types },
		{ "endless_types", test_endless_types },
		{ "roots", test_roots },
		{ "syscalls", test_syscalls },
		{ "descriptors", test_descriptors },
		{ "unprivileged", test_unprivileged },
		{ "token", test_token },
		{ "batch", test_batch },
		{ "info", test_info },
		{ "memlock", test_memlock },
		{ "lookups", test_lookups },
		{ "copy", test_copy },
		{ "strangers", test_strangers },
		{ "for_each", test_for_each },
		{ "bpffs", test_bpffs },
		{ "kinds", test_kinds },
		{ "in_flush", test_in_flush },
		{ "nmi", test_nmi },
		{ "exiting", test_exiting },
		{ "teardown", test_teardown },
		{ "close", test_close },
		{ "memory", test_memory },
		{ "payer", test_payer },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}

void test_cgroup_stats_map_fail(void)
{
	RUN_TESTS(cgroup_stats_map_fail);
}
