// SPDX-License-Identifier: GPL-2.0
/* The example of Documentation/bpf/map_cgroup_stats.rst */
#include <sys/mman.h>
#include <test_progs.h>
#include "cgroup_helpers.h"
#include "cgroup_stats_example.skel.h"

#define PARENT		"/cgroup_stats_example"
#define CHILD		PARENT "/child"

#define NR_PAGES	16
#define NR_BYTES	1000

/* As the program has it */
struct example_stats {
	__u64 faults;
	__u64 written;
};

/* Something to count: NR_PAGES page faults at least, and NR_BYTES written. */
static int work(void)
{
	size_t page = getpagesize(), size = NR_PAGES * page;
	char *mem, buf[NR_BYTES] = {};
	int i, fd, written;

	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return -errno;
	madvise(mem, size, MADV_NOHUGEPAGE);
	for (i = 0; i < NR_PAGES; i++)
		mem[i * page] = 1;
	munmap(mem, size);

	fd = open("/dev/null", O_WRONLY);
	if (fd < 0)
		return -errno;
	written = write(fd, buf, sizeof(buf));
	close(fd);
	return written == sizeof(buf) ? 0 : -EIO;
}

/* One cgroup: it is flushed before it is read, so nothing is missing. */
static void read_one(int map_fd, __u64 parent, __u64 child)
{
	struct example_stats before, after, total;

	if (!ASSERT_OK(bpf_map_lookup_elem(map_fd, &child, &before), "lookup before"))
		return;
	ASSERT_OK(work(), "work");
	if (!ASSERT_OK(bpf_map_lookup_elem(map_fd, &child, &after), "lookup after"))
		return;
	ASSERT_GE(after.faults - before.faults, NR_PAGES, "page faults");
	ASSERT_EQ(after.written - before.written, NR_BYTES, "bytes written");

	/* The parent's totals include the child's. */
	if (!ASSERT_OK(bpf_map_lookup_elem(map_fd, &parent, &total), "lookup of the parent"))
		return;
	ASSERT_GE(total.faults, after.faults, "page faults of the parent");
	ASSERT_GE(total.written, after.written, "bytes written of the parent");
}

/* All cgroups, in ascending order of ids, with one flush per system call. */
static int read_all(int map_fd)
{
	struct example_stats values[64];
	__u64 ids[64], batch, *in = NULL;
	__u32 i, count;
	int err, n = 0;

	do {
		count = ARRAY_SIZE(ids);
		err = bpf_map_lookup_batch(map_fd, in, &batch, ids, values, &count, NULL);
		if (err && err != -ENOENT)
			return err;
		for (i = 0; i < count; i++)
			printf("cgroup %llu: %llu page faults, %llu bytes written\n",
			       ids[i], values[i].faults, values[i].written);
		n += count;
		in = &batch;
	} while (!err);		/* -ENOENT: that was the last one */
	return n;
}

/* A removed cgroup is gone from the map; what it counted stays in the parent. */
static void remove_child(int map_fd, __u64 parent, __u64 child)
{
	struct example_stats last, total;

	if (!ASSERT_OK(join_cgroup(PARENT), "join the parent") ||
	    !ASSERT_OK(bpf_map_lookup_elem(map_fd, &child, &last), "last lookup"))
		return;
	remove_cgroup(CHILD);
	ASSERT_EQ(bpf_map_lookup_elem(map_fd, &child, &last), -ENOENT, "removed");
	if (!ASSERT_OK(bpf_map_lookup_elem(map_fd, &parent, &total), "lookup of the parent"))
		return;
	ASSERT_GE(total.faults, last.faults, "page faults stay");
	ASSERT_GE(total.written, last.written, "bytes written stay");
}

void test_cgroup_stats_example(void)
{
	struct cgroup_stats_example *skel = NULL;
	int parent_fd = -1, child_fd = -1, map_fd;
	__u64 parent, child;

	if (!ASSERT_OK(setup_cgroup_environment(), "cgroup environment"))
		return;
	parent_fd = create_and_get_cgroup(PARENT);
	child_fd = create_and_get_cgroup(CHILD);
	if (!ASSERT_OK_FD(parent_fd, "parent") || !ASSERT_OK_FD(child_fd, "child"))
		goto out;
	parent = get_cgroup_id(PARENT);
	child = get_cgroup_id(CHILD);

	skel = cgroup_stats_example__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		goto out;
	/* Count for PARENT and all that is below it. */
	bpf_map__set_map_extra(skel->maps.stats, parent);
	if (!ASSERT_OK(cgroup_stats_example__load(skel), "load") ||
	    !ASSERT_OK(cgroup_stats_example__attach(skel), "attach") ||
	    !ASSERT_OK(join_cgroup(CHILD), "join the child"))
		goto out;

	map_fd = bpf_map__fd(skel->maps.stats);
	read_one(map_fd, parent, child);
	ASSERT_EQ(read_all(map_fd), 2, "number of cgroups");
	remove_child(map_fd, parent, child);
out:
	cgroup_stats_example__destroy(skel);
	close(child_fd);
	close(parent_fd);
	cleanup_cgroup_environment();
}
