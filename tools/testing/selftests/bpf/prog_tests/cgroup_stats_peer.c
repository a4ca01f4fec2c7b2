// SPDX-License-Identifier: GPL-2.0
#include <sys/mman.h>
#include <test_progs.h>
#include "cgroup_helpers.h"
#include "cgroup_stats_peer.skel.h"

#define CGROUP	"/cgroup_stats_peer"

/* Work in the cgroup, and a flush of it. */
static int work(struct cgroup_stats_peer *skel, __u64 *total)
{
	__u64 id = get_cgroup_id(CGROUP);
	char *page;

	join_cgroup(CGROUP);
	page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	munmap(page, 1 << 20);
	join_root_cgroup();
	return bpf_map_lookup_elem(bpf_map__fd(skel->maps.stats), &id, total);
}

/* Counting within rstat's lock is counting like any other with the map. */
static void test_map(struct cgroup_stats_peer *skel)
{
	struct bpf_link *link;
	__u64 total = 0;

	link = bpf_program__attach(skel->progs.map);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	ASSERT_OK(work(skel, &total), "work");
	bpf_link__destroy(link);
	ASSERT_OK(work(skel, &total), "lookup");
	ASSERT_GT(skel->bss->added, 0, "added");
	ASSERT_EQ(total, skel->bss->added, "total");
}

/*
 * With the kfunc it is the end of the CPU: there is no answer from here. What is on rstat's
 * list of updated cgroups already does not take the lock; after a flush it is not.
 */
static void test_kfunc(struct cgroup_stats_peer *skel)
{
	struct bpf_link *link;
	__u64 total;
	int i;

	link = bpf_program__attach(skel->progs.kfunc);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	for (i = 0; i < 10; i++)
		work(skel, &total);
	bpf_link__destroy(link);
}

void serial_test_cgroup_stats_peer(void)
{
	bool deadlock = getenv("CGROUP_STATS_DEADLOCK");
	struct cgroup_stats_peer *skel;
	int fd;

	/* Where rstat takes no lock for it, there is nothing to be within. */
	if (libbpf_find_vmlinux_btf_id("cgroup_rstat_cpu_locked", BPF_TRACE_RAW_TP) <= 0) {
		test__skip();
		return;
	}
	fd = cgroup_setup_and_join(CGROUP);
	if (!ASSERT_OK_FD(fd, "cgroup"))
		return;
	join_root_cgroup();
	skel = cgroup_stats_peer__open();
	if (!ASSERT_OK_PTR(skel, "open"))
		goto out;
	bpf_map__set_map_extra(skel->maps.stats, get_cgroup_id(CGROUP));
	bpf_program__set_autoload(deadlock ? skel->progs.kfunc : skel->progs.map, true);
	if (!ASSERT_OK(cgroup_stats_peer__load(skel), "load"))
		goto out;
	if (deadlock)
		test_kfunc(skel);
	else
		test_map(skel);
out:
	cgroup_stats_peer__destroy(skel);
	close(fd);
	cleanup_cgroup_environment();
}
