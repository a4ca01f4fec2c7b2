// SPDX-License-Identifier: GPL-2.0
/* Totals of cgroups and maps that come and go, and what they take. */
#include <linux/compiler.h>
#include "cgroup_stats_map_helpers.h"

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
		{ "teardown", test_teardown },
		{ "close", test_close },
		{ "memory", test_memory },
		{ "payer", test_payer },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}
