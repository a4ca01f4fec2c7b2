// SPDX-License-Identifier: GPL-2.0
/*
 * A kernel that never had a cgroup stats map pays nothing for them: rstat and mkdir() do
 * not call them. This comes before the other tests of these maps, by its name. Whoever has
 * had no map since boot says so by CGROUP_STATS_ABSENT; else this test is skipped where one
 * has been before.
 */
#include "cgroup_stats_helpers.h"
#include "cgroup_stats_absent.skel.h"

/* A cgroup comes, has a task that uses the CPU and is flushed, and goes. */
static void use_cgroup(void)
{
	__u64 end;

	cg_make("a");
	ASSERT_OK(cg_join("a"), "join");
	for (end = get_time_ns() + 2000000; get_time_ns() < end; )
		;
	usleep(1000);
	ASSERT_GE(cg_number("a", "cpu.stat", "usage_usec"), 0, "cpu.stat");
	ASSERT_OK(cg_join(".."), "leave");
	cg_remove("a");
}

static void with_map(const struct cgroup_stats_absent__bss *calls)
{
	const struct array sums = { { 8, false, OP_SUM }, 1 };
	int fd = map_make_of(0, 0, &sums, 1);

	use_cgroup();
	ASSERT_GT(calls->drains, 0, "drains");
	ASSERT_GT(calls->folds, 0, "folds");
	ASSERT_GT(calls->inherits, 0, "inheritances");
	close(fd);
}

void serial_test_cgroup_stats_absent(void)
{
	struct cgroup_stats_absent *skel = cgroup_stats_absent__open_and_load();

	if (!ASSERT_OK_PTR(skel, "load"))
		return;
	if (!ASSERT_OK(cgroup_stats_absent__attach(skel), "attach") || !tests_begin())
		goto out;
	use_cgroup();
	ASSERT_GT(skel->bss->visits, 0, "cgroups that were flushed");
	if (skel->bss->drains && !getenv("CGROUP_STATS_ABSENT")) {
		test__skip();
		goto out;
	}
	ASSERT_EQ(skel->bss->drains, 0, "drains");
	ASSERT_EQ(skel->bss->folds, 0, "folds");
	ASSERT_EQ(skel->bss->inherits, 0, "inheritances");
	with_map(skel->bss);
out:
	tests_end();
	cgroup_stats_absent__destroy(skel);
}
