// SPDX-License-Identifier: GPL-2.0
/*
 * The other examples of Documentation/bpf/map_cgroup_stats.rst, each with work of which
 * it is known what it counts to.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <test_progs.h>
#include "cgroup_helpers.h"
#include "cgroup_stats_example_hist.skel.h"
#include "cgroup_stats_example_peak.skel.h"
#include "cgroup_stats_example_top.skel.h"

#define ROOT	"/cgroup_stats_examples"
#define A	ROOT "/a"
#define B	ROOT "/b"

/* The id of a new cgroup. */
static __u64 make_cgroup(const char *path)
{
	int fd = create_and_get_cgroup(path);
	__u64 id = 0;

	if (ASSERT_OK_FD(fd, path)) {
		close(fd);
		id = get_cgroup_id(path);
	}
	return id;
}

static bool lookup(const struct bpf_map *map, __u64 id, void *value)
{
	return ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(map), &id, value), "lookup");
}

/* --- cgroup_stats_example_hist --- */

#define NR_SLOTS	32
#define CALLS_A		30
#define CALLS_B		7

/* As the program has it */
struct latency {
	__u64 calls;
	__u64 nsecs;
	__u64 hist[NR_SLOTS];
};

static int write_and_sync(int nr)
{
	char path[] = "/tmp/cgroup_stats_examples.XXXXXX";
	int i, fd, err = 0;

	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	unlink(path);
	for (i = 0; i < nr && !err; i++) {
		if (write(fd, &i, sizeof(i)) != sizeof(i) || fsync(fd))
			err = -EIO;
	}
	close(fd);
	return err;
}

/* Each call is in one slot, and the slots are right about the time it took. */
static void check_latency(const struct latency *latency, __u64 calls)
{
	__u64 sum = 0, least = 0, most = 0;
	int i;

	for (i = 0; i < NR_SLOTS; i++) {
		sum += latency->hist[i];
		least += i ? latency->hist[i] << i : 0;
		most += latency->hist[i] << (i + 1);
	}
	ASSERT_EQ(latency->calls, calls, "calls");
	ASSERT_EQ(sum, calls, "calls in all slots");
	ASSERT_GE(latency->nsecs, least, "time by the slots' lower ends");
	if (!latency->hist[NR_SLOTS - 1])	/* which has no upper end */
		ASSERT_LT(latency->nsecs, most, "time by the slots' upper ends");
}

static void check_hist(const struct bpf_map *map, __u64 root, __u64 a, __u64 b)
{
	struct latency in_a, in_b, all, later;
	int i;

	if (!lookup(map, a, &in_a) || !lookup(map, b, &in_b) || !lookup(map, root, &all))
		return;
	check_latency(&in_a, CALLS_A);
	check_latency(&in_b, CALLS_B);
	check_latency(&all, CALLS_A + CALLS_B);
	ASSERT_EQ(all.nsecs, in_a.nsecs + in_b.nsecs, "time of all");
	for (i = 0; i < NR_SLOTS; i++)
		ASSERT_EQ(all.hist[i], in_a.hist[i] + in_b.hist[i], "slot of all");

	/* A histogram of the past has its place in the parent's. */
	remove_cgroup(A);
	if (lookup(map, root, &later))
		ASSERT_OK(memcmp(&later, &all, sizeof(all)), "all, after rmdir");
}

static void test_hist(void)
{
	__u64 root = make_cgroup(ROOT), a = make_cgroup(A), b = make_cgroup(B);
	struct cgroup_stats_example_hist *skel;

	skel = cgroup_stats_example_hist__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	skel->rodata->syscall_nr = SYS_fsync;
	bpf_map__set_map_extra(skel->maps.latency, root);
	if (!ASSERT_OK(cgroup_stats_example_hist__load(skel), "load") ||
	    !ASSERT_OK(cgroup_stats_example_hist__attach(skel), "attach"))
		goto out;

	if (!ASSERT_OK(join_cgroup(A), "join a"))
		goto out;
	ASSERT_OK(write_and_sync(CALLS_A), "work in a");
	ASSERT_EQ(getpgid(0), getpgrp(), "another system call");
	if (!ASSERT_OK(join_cgroup(B), "join b"))
		goto out;
	ASSERT_OK(write_and_sync(CALLS_B), "work in b");
	join_root_cgroup();
	check_hist(skel->maps.latency, root, a, b);
out:
	cgroup_stats_example_hist__destroy(skel);
}

/* --- cgroup_stats_example_peak --- */

/* As the program has it */
struct sizes {
	__u32 reads;
	__u32 largest;
	__u32 smallest;
};

static int read_sized(const char *cgroup, const char *path, size_t size, ssize_t expected)
{
	char buf[5000];
	ssize_t got = -1;
	int fd;

	if (join_cgroup(cgroup))
		return -EIO;
	fd = open(path, O_RDONLY);
	if (fd >= 0) {
		got = read(fd, buf, size);
		close(fd);
	}
	join_root_cgroup();
	return got == expected ? 0 : -EIO;
}

static void check_sizes(const struct bpf_map *map, __u64 id, __u32 reads, __u32 largest,
			__u32 smallest)
{
	struct sizes sizes;

	if (!lookup(map, id, &sizes))
		return;
	ASSERT_EQ(sizes.reads, reads, "reads");
	ASSERT_EQ(sizes.largest, largest, "largest");
	ASSERT_EQ(sizes.smallest, smallest, "smallest");
}

static void test_peak(void)
{
	__u64 root = make_cgroup(ROOT), a = make_cgroup(A), b = make_cgroup(B);
	struct cgroup_stats_example_peak *skel;
	const struct bpf_map *map;

	skel = cgroup_stats_example_peak__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	map = skel->maps.sizes;
	bpf_map__set_map_extra(skel->maps.sizes, root);
	if (!ASSERT_OK(cgroup_stats_example_peak__load(skel), "load") ||
	    !ASSERT_OK(cgroup_stats_example_peak__attach(skel), "attach"))
		goto out;

	/* Without a sample there are numbers, too, but none that mean anything. */
	check_sizes(map, a, 0, 0, UINT_MAX);
	check_sizes(map, root, 0, 0, UINT_MAX);

	ASSERT_OK(read_sized(A, "/dev/zero", 100, 100), "read 100 in a");
	check_sizes(map, a, 1, 100, 100);
	ASSERT_OK(read_sized(A, "/dev/zero", 4096, 4096), "read 4096 in a");
	ASSERT_OK(read_sized(A, "/dev/zero", 3, 3), "read 3 in a");
	check_sizes(map, a, 3, 4096, 3);
	check_sizes(map, root, 3, 4096, 3);

	/* A sample that is the same as none, but for the counter beside it. */
	ASSERT_OK(read_sized(B, "/dev/null", 1, 0), "read the end of a file in b");
	check_sizes(map, b, 1, 0, 0);
	check_sizes(map, root, 4, 4096, 0);

	/* One that fails is no sample. */
	ASSERT_OK(read_sized(B, "/", 1, -1), "read a directory in b");
	check_sizes(map, b, 1, 0, 0);

	/* The mark stays when who reached it is gone, until it is passed. */
	remove_cgroup(A);
	ASSERT_OK(read_sized(B, "/dev/zero", 4095, 4095), "read 4095 in b");
	check_sizes(map, b, 2, 4095, 0);
	check_sizes(map, root, 5, 4096, 0);
	ASSERT_OK(read_sized(B, "/dev/zero", 4097, 4097), "read 4097 in b");
	check_sizes(map, b, 3, 4097, 0);
	check_sizes(map, root, 6, 4097, 0);
out:
	cgroup_stats_example_peak__destroy(skel);
}

/* --- cgroup_stats_example_top --- */

#define NR_TOP	4

/* As the program has it */
struct forks {
	__u64 own;
	__u64 all;
	struct {
		__u64 id;
		__u64 forks;
	} top[NR_TOP];
};

/* A tree of cgroups, and how often to fork in them. */
enum { IN_ROOT, IN_A, IN_A_X, IN_B, IN_B_Y, IN_B_Y_Z, IN_C, NR_CGROUPS };

static struct {
	const char *path;
	int forks;
	__u64 id;
} cgroups[NR_CGROUPS] = {
	[IN_ROOT]	= { ROOT, 0 },
	[IN_A]		= { A, 2 },
	[IN_A_X]	= { A "/x", 7 },
	[IN_B]		= { B, 1 },
	[IN_B_Y]	= { B "/y", 5 },
	[IN_B_Y_Z]	= { B "/y/z", 9 },
	[IN_C]		= { ROOT "/c", 4 },
};

/* On one CPU after the other: each has a part of the sum. */
static int move_to_next_cpu(const cpu_set_t *allowed)
{
	cpu_set_t set;
	int cpu;

	cpu = sched_getcpu();
	do {
		cpu = (cpu + 1) % CPU_SETSIZE;
	} while (!CPU_ISSET(cpu, allowed));
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static int join_and_fork(const char *path, int nr)
{
	cpu_set_t allowed;
	pid_t pid;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) || join_parent_cgroup(path))
		return 1;
	while (nr--) {
		if (move_to_next_cpu(&allowed))
			return 1;
		pid = fork();
		if (!pid)
			_exit(0);
		if (waitpid(pid, NULL, 0) != pid)
			return 1;
	}
	return 0;
}

/* A child does it: test_progs may start a thread of its own when this takes long. */
static void fork_in(int cgroup, int nr)
{
	int status = -1;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(join_and_fork(cgroups[cgroup].path, nr));
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "wait");
	ASSERT_OK(status, "join and fork");
}

struct expected {
	__u64 own;
	__u64 all;
	struct {
		int cgroup;
		__u64 forks;	/* 0: none, there is no @cgroup */
	} top[NR_TOP];
};

static void check_top(const struct bpf_map *map, int cgroup, const struct expected *expected)
{
	struct forks forks;
	int i;

	if (!lookup(map, cgroups[cgroup].id, &forks))
		return;
	ASSERT_EQ(forks.own, expected->own, "own");
	ASSERT_EQ(forks.all, expected->all, "all");
	for (i = 0; i < NR_TOP; i++) {
		__u64 id = cgroups[expected->top[i].cgroup].id;

		ASSERT_EQ(forks.top[i].forks, expected->top[i].forks, "forks in top");
		ASSERT_EQ(forks.top[i].id, expected->top[i].forks ? id : 0, "id in top");
	}
}

/* @own, @all, and pairs of a cgroup and its forks */
#define CHECK_TOP(map, cgroup, own, all, ...) \
	check_top(map, cgroup, &(struct expected){ own, all, { __VA_ARGS__ } })

/* A cgroup is populated until its last task has exited for good. */
static void remove_when_empty(const char *parent, const char *name)
{
	__u64 deadline = get_time_ns() + 10000000000ULL;
	int err, fd = create_and_get_cgroup(parent);

	do {
		err = unlinkat(fd, name, AT_REMOVEDIR) ? -errno : 0;
	} while (err == -EBUSY && get_time_ns() < deadline && !sched_yield());
	ASSERT_OK(err, "rmdir");
	close(fd);
}

static void check_lists(const struct bpf_map *map)
{
	int i;

	for (i = 0; i < NR_CGROUPS; i++)
		fork_in(i, cgroups[i].forks);
	CHECK_TOP(map, IN_ROOT, 0, 28, { IN_B_Y_Z, 9 }, { IN_A_X, 7 }, { IN_B_Y, 5 }, { IN_C, 4 });
	CHECK_TOP(map, IN_A, 2, 9, { IN_A_X, 7 }, { IN_A, 2 });
	CHECK_TOP(map, IN_B, 1, 15, { IN_B_Y_Z, 9 }, { IN_B_Y, 5 }, { IN_B, 1 });
	CHECK_TOP(map, IN_B_Y_Z, 9, 9, { IN_B_Y_Z, 9 });

	/* One overtakes others, without which it would stay; the last one has to go. */
	fork_in(IN_B_Y, 1);
	fork_in(IN_A, 6);
	CHECK_TOP(map, IN_ROOT, 0, 35, { IN_B_Y_Z, 9 }, { IN_A, 8 }, { IN_A_X, 7 }, { IN_B_Y, 6 });
	CHECK_TOP(map, IN_A, 8, 15, { IN_A, 8 }, { IN_A_X, 7 });

	/* One that had to go comes back, to the top. */
	fork_in(IN_C, 6);
	CHECK_TOP(map, IN_ROOT, 0, 41, { IN_C, 10 }, { IN_B_Y_Z, 9 }, { IN_A, 8 }, { IN_A_X, 7 });

	/* Two that are level are in the order of their ids. */
	fork_in(IN_A_X, 1);
	CHECK_TOP(map, IN_ROOT, 0, 42, { IN_C, 10 }, { IN_B_Y_Z, 9 }, { IN_A, 8 }, { IN_A_X, 8 });
	CHECK_TOP(map, IN_A, 8, 16, { IN_A, 8 }, { IN_A_X, 8 });

	/* A removed cgroup keeps its place, here with what was not flushed before. */
	fork_in(IN_B_Y_Z, 3);
	remove_when_empty(cgroups[IN_B_Y].path, "z");
	CHECK_TOP(map, IN_ROOT, 0, 45, { IN_B_Y_Z, 12 }, { IN_C, 10 }, { IN_A, 8 }, { IN_A_X, 8 });
	CHECK_TOP(map, IN_B_Y, 6, 18, { IN_B_Y_Z, 12 }, { IN_B_Y, 6 });
}

static void test_top(void)
{
	struct cgroup_stats_example_top *skel;
	int i;

	for (i = 0; i < NR_CGROUPS; i++)
		cgroups[i].id = make_cgroup(cgroups[i].path);

	skel = cgroup_stats_example_top__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_map__set_map_extra(skel->maps.forks, cgroups[IN_ROOT].id);
	if (!ASSERT_OK(cgroup_stats_example_top__load(skel), "load"))
		goto out;
	/* First the aggregator, so that nothing is added up without it. */
	skel->links.top_forks = bpf_map__attach_struct_ops(skel->maps.top_forks);
	if (ASSERT_OK_PTR(skel->links.top_forks, "attach the aggregator") &&
	    ASSERT_OK(cgroup_stats_example_top__attach(skel), "attach"))
		check_lists(skel->maps.forks);
out:
	cgroup_stats_example_top__destroy(skel);
}

static void in_cgroups(const char *name, void (*test)(void))
{
	if (!test__start_subtest(name))
		return;
	if (ASSERT_OK(setup_cgroup_environment(), "cgroup environment")) {
		test();
		cleanup_cgroup_environment();
	}
}

void test_cgroup_stats_examples(void)
{
	in_cgroups("hist", test_hist);
	in_cgroups("peak", test_peak);
	in_cgroups("top", test_top);
}
