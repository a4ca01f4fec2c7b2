// SPDX-License-Identifier: GPL-2.0
/*
 * Adds to a cgroup stats map by a pointer to the cgroup, bpf_cgroup_stats_add_cgroup(), and
 * the contexts in which programs may add and flush because these are kfuncs.
 */
#include "cgroup_stats_helpers.h"
#include "progs/cgroup_stats_kfunc.h"
#include "cgroup_stats_kfunc.skel.h"
#include "cgroup_stats_kfunc_fail.skel.h"

/* Maps of @root and below. */
static struct cgroup_stats_kfunc *skel_load(__u64 root)
{
	struct cgroup_stats_kfunc *skel = cgroup_stats_kfunc__open();

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	bpf_map__set_map_extra(skel->maps.sums, root);
	bpf_map__set_map_extra(skel->maps.mixed, root);
	bpf_map__set_map_extra(skel->maps.shared, root);
	if (!ASSERT_OK(cgroup_stats_kfunc__load(skel), "load")) {
		cgroup_stats_kfunc__destroy(skel);
		return NULL;
	}
	return skel;
}

static __u64 a, b;

/* Cgroups a and a/b, and maps of a. */
static struct cgroup_stats_kfunc *begin(void)
{
	a = cg_make("a");
	b = cg_make("a/b");
	return skel_load(a);
}

static void end(struct cgroup_stats_kfunc *skel)
{
	cgroup_stats_kfunc__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

static int map_fd(struct cgroup_stats_kfunc *skel, enum maps map)
{
	const struct bpf_map *maps[] = {
		[MAP_SUMS] = skel->maps.sums,
		[MAP_MIXED] = skel->maps.mixed,
		[MAP_SHARED_CPUS] = skel->maps.shared,
	};

	return bpf_map__fd(maps[map]);
}

static int add_flags(const struct bpf_program *prog, enum maps map, __u64 index, __u64 value,
		     __u64 flags, __u64 id)
{
	__u64 args[] = { map, index, value, flags, id };

	return run_args(THIS_CPU, bpf_program__fd(prog), args, ARRAY_SIZE(args));
}

static int add(const struct bpf_program *prog, enum maps map, __u64 index, __u64 value, __u64 id)
{
	return add_flags(prog, map, index, value, 0, id);
}

/* The first and the last element of @id's totals; all between have no sample. */
static void check(struct cgroup_stats_kfunc *skel, enum maps map, __u64 id, __u64 first, __u64 last)
{
	__u64 value[KFUNC_ELEMS] = {};
	int i;

	if (!ASSERT_OK(bpf_map_lookup_elem(map_fd(skel, map), &id, value), "lookup"))
		return;
	ASSERT_EQ(value[0], first, "first element");
	for (i = 1; i < KFUNC_ELEMS - 1; i++)
		ASSERT_EQ(value[i], 0, "element between");
	ASSERT_EQ(value[KFUNC_ELEMS - 1], last, "last element");
}

/* Which are the same cgroups as those of ids. */
static void test_values(void)
{
	struct cgroup_stats_kfunc *skel = begin();
	enum maps map;

	if (!skel)
		goto out;
	ASSERT_OK(run(skel->progs.keep, b, 0, 0), "keep");
	for (map = 0; map < NR_MAPS; map++) {
		ASSERT_OK(add(skel->progs.add_id, map, 0, 3, b), "add");
		ASSERT_OK(add(skel->progs.add_id, map, 0, 4, a), "add to parent");
		ASSERT_OK(add(skel->progs.add_id, map, KFUNC_ELEMS - 1, 6, b), "add to last");
		ASSERT_OK(add(skel->progs.add_kept, map, 0, 10, 0), "add under RCU");
		ASSERT_OK(add(skel->progs.add_kept, map, KFUNC_ELEMS - 1, 5, 0), "add to last");
		check(skel, map, b, 13, map == MAP_SUMS ? 11 : 6);
		check(skel, map, a, 17, map == MAP_SUMS ? 11 : 6);
	}
out:
	end(skel);
}

/* What is refused changes nothing, not even in other maps. */
static void test_errors(void)
{
	struct cgroup_stats_kfunc *skel = begin(), *other;
	__u64 out = cg_make("out");
	const struct bpf_program *prog;
	enum maps map;

	other = skel_load(out);
	if (!skel || !other)
		goto out;
	prog = skel->progs.add_id;
	for (map = 0; map < NR_MAPS; map++) {
		ASSERT_EQ(add_flags(prog, map, 0, 1, 1, b), -EINVAL, "flags");
		ASSERT_EQ(add_flags(prog, map, 0, 1, 1ULL << 63, b), -EINVAL, "high flag");
		ASSERT_EQ(add(prog, map, KFUNC_ELEMS, 1, b), -E2BIG, "index");
		ASSERT_EQ(add(prog, map, ~0U, 1, b), -E2BIG, "largest index");
		ASSERT_EQ(add(prog, map, 0, 1, out), -ENOENT, "outside");
		check(skel, map, b, 0, 0);
		check(skel, map, a, 0, 0);
		check(other, map, out, 0, 0);
	}
out:
	cgroup_stats_kfunc__destroy(other);
	cg_remove("out");
	end(skel);
}

/* The pointer keeps the cgroup and not its entry; a new cgroup is another one. */
static void test_removed(void)
{
	struct cgroup_stats_kfunc *skel = begin();
	enum maps map;

	if (!skel)
		goto out;
	ASSERT_OK(run(skel->progs.keep, b, 0, 0), "keep");
	for (map = 0; map < NR_MAPS; map++)
		ASSERT_OK(add(skel->progs.add_kept, map, 0, 3, 0), "add");
	cg_remove("a/b");
	for (map = 0; map < NR_MAPS; map++)
		ASSERT_EQ(add(skel->progs.add_kept, map, 0, 3, 0), -ENOENT, "removed");
	b = cg_make("a/b");
	for (map = 0; map < NR_MAPS; map++) {
		ASSERT_EQ(add(skel->progs.add_kept, map, 0, 3, 0), -ENOENT, "replaced");
		check(skel, map, b, 0, 0);
		check(skel, map, a, 3, 0);
	}
	ASSERT_OK(run(skel->progs.keep, 0, 0, 0), "keep none");
out:
	end(skel);
}

static void test_current(void)
{
	struct cgroup_stats_kfunc *skel = begin();
	enum maps map;

	if (!skel)
		goto out;
	for (map = 0; map < NR_MAPS; map++)
		ASSERT_EQ(add(skel->progs.add_current, map, 0, 2, 0), -ENOENT, "outside");
	ASSERT_OK(cg_join("a/b"), "join");
	for (map = 0; map < NR_MAPS; map++) {
		ASSERT_OK(add(skel->progs.add_current, map, 0, 2, 0), "add");
		check(skel, map, b, 2, 0);
		check(skel, map, a, 2, 0);
	}
	ASSERT_OK(cg_join(".."), "leave");
out:
	end(skel);
}

static void test_v1(void)
{
	struct cgroup_stats_kfunc *skel = skel_load(0);
	enum maps map;
	int id;

	if (!skel)
		return;
	if (!ASSERT_OK(setup_classid_environment(), "setup_classid_environment"))
		goto out;
	id = get_cgroup1_hierarchy_id("net_cls");
	if (ASSERT_GT(id, 0, "hierarchy") && ASSERT_OK(join_classid(), "join_classid")) {
		for (map = 0; map < NR_MAPS; map++)
			ASSERT_EQ(add(skel->progs.add_v1, map, 0, 1, id), -ENOENT, "v1");
	}
	cleanup_classid_environment();
out:
	cgroup_stats_kfunc__destroy(skel);
}

/* A new cgroup has its entry when others learn of it, and has none when it is removed. */
static void test_tracepoints(void)
{
	struct cgroup_stats_kfunc *skel;

	a = cg_make("a");
	skel = skel_load(a);
	if (!skel)
		goto out;
	skel->bss->parent = a;
	if (!ASSERT_OK(cgroup_stats_kfunc__attach(skel), "attach"))
		goto destroy;
	b = cg_make("a/b");
	ASSERT_OK(skel->data->made, "add in mkdir");
	check(skel, MAP_SUMS, b, 1, 0);
	cg_remove("a/b");
	ASSERT_EQ(skel->data->removed, -ENOENT, "add in rmdir");
	check(skel, MAP_SUMS, a, 1, 0);
destroy:
	cgroup_stats_kfunc__destroy(skel);
out:
	cg_remove("a");
}

/* Under a lock of the program's, as anywhere. */
static void test_locked(void)
{
	struct cgroup_stats_kfunc *skel = begin();

	if (!skel)
		goto out;
	ASSERT_OK(run(skel->progs.add_locked, b, 0, 0), "spin lock");
	ASSERT_OK(run(skel->progs.add_res_locked, b, 0, 0), "resilient spin lock");
	check(skel, MAP_SUMS, b, 3, 0);
	check(skel, MAP_SUMS, a, 3, 0);
	check(skel, MAP_MIXED, b, 3, 0);
out:
	end(skel);
}

/* Programs' lookups flush where that is certain to be allowed, and elsewhere do not. */
static void test_contexts(void)
{
	struct cgroup_stats_kfunc *skel = begin();
	int i;

	if (!skel)
		goto out;
	ASSERT_OK(add(skel->progs.add_id, MAP_SUMS, 0, 3, b), "add");
	ASSERT_OK(run(skel->progs.look_irqs_off, b, 0, 0), "look");
	ASSERT_EQ(skel->bss->stale, 0, "with interrupts off");
	ASSERT_EQ(skel->bss->fresh, 3, "with interrupts on");

	ASSERT_OK(add(skel->progs.add_id, MAP_SUMS, 0, 4, b), "add");
	ASSERT_OK(add(skel->progs.add_id, MAP_MIXED, 0, 5, b), "add");
	ASSERT_OK(run(skel->progs.schedule_work, b, 0, 0), "schedule work");
	for (i = 0; i < 10000 && !READ_ONCE(skel->bss->flushed_in_work); i++)
		usleep(1000);
	ASSERT_EQ(skel->bss->looked_in_work, 7, "lookup in a task's work");
	ASSERT_EQ(skel->bss->flushed_in_work, 5, "flush in a task's work");

	skel->links.on_syscall = bpf_program__attach(skel->progs.on_syscall);
	if (!ASSERT_OK_PTR(skel->links.on_syscall, "attach"))
		goto out;
	ASSERT_OK(add(skel->progs.add_id, MAP_SUMS, 0, 1, b), "add");
	skel->bss->pid = getpid();
	getppid();
	skel->bss->pid = 0;
	ASSERT_EQ(skel->bss->looked_in_tracepoint, 8, "lookup in a tracepoint");
out:
	end(skel);
}

void serial_test_cgroup_stats_kfunc(void)
{
	static const struct subtest tests[] = {
		{ "values", test_values },
		{ "errors", test_errors },
		{ "removed", test_removed },
		{ "current", test_current },
		{ "v1", test_v1 },
		{ "tracepoints", test_tracepoints },
		{ "locked", test_locked },
		{ "contexts", test_contexts },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
	RUN_TESTS(cgroup_stats_kfunc_fail);
}
