// SPDX-License-Identifier: GPL-2.0
/*
 * What is removed while somebody has it stays until then: totals and maps that programs
 * have, the array of entries that an add has found, the map that a flusher folds. That it
 * was freed too early is seen by KASAN, and some of it without. And what a flusher has not
 * come to yet is not kept from others while it is held. Who creates or frees a map in a
 * context that others wait for does not wait for a lock that is held.
 */
#include "cgroup_stats_helpers.h"
#include <network_helpers.h>
#include "../progs/cgroup_stats_held.h"
#include "cgroup_stats_held.skel.h"

static __u64 parent, child;

static struct cgroup_stats_held *load(const char *names)
{
	struct cgroup_stats_held *skel = cgroup_stats_held__open();

	parent = cg_make("h");
	child = cg_make("h/c");
	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	autoload(skel->obj, names);
	bpf_map__set_map_extra(skel->maps.stats, parent);
	if (!ASSERT_OK(cgroup_stats_held__load(skel), "load") ||
	    !ASSERT_OK(cgroup_stats_held__attach(skel), "attach")) {
		cgroup_stats_held__destroy(skel);
		return NULL;
	}
	skel->bss->target_id = parent;
	return skel;
}

static void unload(struct cgroup_stats_held *skel)
{
	if (skel) {
		ASSERT_EQ(skel->bss->failed, 0, "adds and flushes");
		cgroup_stats_held__destroy(skel);
	}
	cg_try_remove("h/c");
	cg_try_remove("h/d");
	cg_remove("h");
}

/* Or was: somebody else's flush may have come first. */
static bool is_held(struct cgroup_stats_held *skel)
{
	return ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->stage) >= HELD), "held");
}

static __u64 total(const struct cgroup_stats_held *skel, __u64 id)
{
	__u64 value = 0;

	ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(skel->maps.stats), &id, &value), "lookup");
	return value;
}

/* A maximum of 4 bytes that CPUs share, as the program declares it. */
static int make_inner(void)
{
	const struct array value = { { 4, false, OP_MAX }, 1 };

	return map_make_of(parent, BPF_F_NO_PERCPU, &value, 1);
}

static void set_inner(const struct cgroup_stats_held *skel, int fd)
{
	int maps_fd = bpf_map__fd(skel->maps.maps);
	__u32 zero = 0;

	if (fd >= 0)
		ASSERT_OK(bpf_map_update_elem(maps_fd, &zero, &fd, 0), "set inner map");
	else
		ASSERT_OK(bpf_map_delete_elem(maps_fd, &zero), "no inner map");
}

/* --- totals, by a program that sleeps --- */

static int total_holder(void *skel)
{
	return run(((struct cgroup_stats_held *)skel)->progs.hold_total, child, 0, 0) != 0;
}

static void test_total(void)
{
	struct cgroup_stats_held *skel = load("add hold_total");
	pid_t pid;

	if (!skel)
		goto out;
	ASSERT_OK(add_on(THIS_CPU, skel->progs.add, child, 0, 7), "add");
	pid = spawn(total_holder, skel);
	is_held(skel);
	cg_remove("h/c");
	ASSERT_TRUE(wait_until(!cg_number("h", "cgroup.stat", "nr_dying_descendants")),
		    "released");
	wait_for_rcu_frees();
	WRITE_ONCE(skel->bss->stage, HELD_GONE);
	reap(pid);
	ASSERT_EQ(skel->bss->waited, 1, "held to the end");
	ASSERT_EQ(skel->bss->total, 7, "totals");
	ASSERT_EQ(total(skel, parent), 7, "parent");
out:
	unload(skel);
}

/* --- a map, by a work item of a program that does not sleep --- */

static void test_map(void)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = &pkt_v4, .data_size_in = sizeof(pkt_v4));
	struct cgroup_stats_held *skel = load("start_work");
	int fd;

	if (!skel)
		goto out;
	fd = make_inner();
	set_inner(skel, fd);
	close(fd);
	ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.start_work), &opts), "run");
	is_held(skel);
	set_inner(skel, -1);
	wait_for_rcu_frees();
	WRITE_ONCE(skel->bss->stage, HELD_GONE);
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->worked)), "work item");
	ASSERT_EQ(skel->bss->waited, 1, "held to the end");
out:
	unload(skel);
}

/* --- groups of cgroups, by a flusher on its way through them --- */

#define TWO_GROUPS 130

static int flush_all(void *arg)
{
	struct cgroup_stats_held *skel = arg;
	__u64 value;

	skel->bss->flusher = getpid();
	return bpf_map_lookup_elem(bpf_map__fd(skel->maps.stats), &parent, &value);
}

static void test_groups(void)
{
	struct cgroup_stats_held *skel = load("add between_groups");
	__u64 ids[TWO_GROUPS];
	int i, bad = 0;
	char path[16];
	pid_t pid;

	if (!skel)
		goto out;
	for (i = 0; i < TWO_GROUPS; i++) {
		snprintf(path, sizeof(path), "h/c/%d", i);
		ids[i] = cg_make(path);
		bad += !!add_on(0, skel->progs.add, ids[i], 0, 1);
	}
	ASSERT_EQ(bad, 0, "failed adds");
	pid = spawn(flush_all, skel);
	is_held(skel);
	for (i = 0; i < TWO_GROUPS; i++)
		bad += total(skel, ids[i]) != 1;
	ASSERT_EQ(bad, 0, "totals of groups still to come");
	WRITE_ONCE(skel->bss->stage, HELD_GONE);
	reap(pid);
	ASSERT_EQ(skel->bss->waited, 1, "held to the end");
	ASSERT_EQ(total(skel, parent), TWO_GROUPS, "parent");
	while (i--) {
		snprintf(path, sizeof(path), "h/c/%d", i);
		cg_remove(path);
	}
out:
	unload(skel);
}

/* --- an array, by an add --- */

static int adder(void *skel)
{
	return run(((struct cgroup_stats_held *)skel)->progs.add_inner, child, 0, 7) != 0;
}

/* The map that comes meanwhile takes the array's place by a longer one. */
static void test_array(void)
{
	struct cgroup_stats_held *skel = load("add_inner within_add");
	int fd, other;
	__u32 value;
	pid_t pid;

	if (!skel)
		goto out;
	fd = make_inner();
	set_inner(skel, fd);
	pid = spawn(adder, skel);
	is_held(skel);
	other = make_inner();
	WRITE_ONCE(skel->bss->stage, HELD_GONE);
	reap(pid);
	ASSERT_EQ(skel->bss->waited, 1, "held to the end");
	ASSERT_OK(bpf_map_lookup_elem(fd, &parent, &value), "lookup");
	ASSERT_EQ(value, 7, "parent");
	close(fd);
	close(other);
out:
	unload(skel);
}

/* --- a map, by a flusher --- */

#define FLUSHER_ROUNDS 20

/* Others may flush the cgroup before the map is freed: then nobody folds it afterwards. */
static bool flusher_round(struct cgroup_stats_held *skel)
{
	int fd = make_inner();

	skel->bss->stage = HELD_NOT;
	skel->bss->waited = 0;
	set_inner(skel, fd);
	close(fd);
	ASSERT_OK(run(skel->progs.add_inner, child, 0, 7), "add");
	set_inner(skel, -1);
	if (!is_held(skel))
		return true;
	/* This flushes what the other map has in the cgroup, too. */
	total(skel, child);
	__sync_val_compare_and_swap(&skel->bss->stage, HELD, HELD_GONE);
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->stage) == HELD_FREED), "freed");
	/* Who frees, and who flushes. */
	return READ_ONCE(skel->bss->waited) == 2;
}

static void test_flusher(void)
{
	struct cgroup_stats_held *skel = load("add_inner before_free within_fold after_free");
	bool held = false;
	int i;

	for (i = 0; skel && i < FLUSHER_ROUNDS && !held; i++)
		held = flusher_round(skel);
	ASSERT_TRUE(held, "held by a flusher");
	unload(skel);
}

/* --- cgroup_mutex, by a mkdir(), and the lock of CPU hotplug --- */

/* Neither is to keep the map that is freed meanwhile. */
static int maker(void *fd)
{
	close(*(int *)fd);
	return cg_try_make("h/d");
}

static int unplugger(void *fd)
{
	close(*(int *)fd);
	pin_to(cpus[0]);
	return cpu_set_online(cpus[1], false);
}

static int create(struct cgroup_stats_held *skel)
{
	union bpf_attr *attr = &skel->bss->create_attr;

	attr->map_type = BPF_MAP_TYPE_CGROUP_STATS;
	attr->key_size = sizeof(__u64);
	attr->value_size = bpf_map__value_size(skel->maps.stats);
	attr->map_extra = parent;
	attr->btf_fd = bpf_object__btf_fd(skel->obj);
	attr->btf_key_type_id = bpf_map__btf_key_type_id(skel->maps.stats);
	attr->btf_value_type_id = bpf_map__btf_value_type_id(skel->maps.stats);
	return run(skel->progs.create, 0, 0, 0);
}

/*
 * Who unplugs a CPU waits for programs, and for ->map_free() where that is called with
 * migration disabled. The mutex's owner may wait for hotplug. So they wait for neither.
 */
static void test_within(const char *names, int (*holder)(void *))
{
	const struct array value = { { 8, false, OP_SUM }, 1 };
	struct cgroup_stats_held *skel = load(names);
	pid_t pid;
	int fd;

	if (!skel)
		goto out;
	fd = map_make_of(child, 0, &value, 1);
	skel->bss->freed_root = child;
	pid = spawn(holder, &fd);
	close(fd);
	is_held(skel);
	ASSERT_EQ(create(skel), -EAGAIN, "created while it is held");
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->freed)), "freed while it is held");
	WRITE_ONCE(skel->bss->stage, HELD_GONE);
	reap(pid);
	ASSERT_EQ(skel->bss->waited, 1, "held to the end");
	/* The map that was refused takes the mutex for a moment when it is freed. */
	ASSERT_TRUE(wait_until((fd = create(skel)) != -EAGAIN), "not held any more");
	ASSERT_GT(fd, 0, "created afterwards");
	close(fd);
out:
	unload(skel);
}

static void test_cgroup_mutex(void)
{
	test_within("within_mkdir create after_put", maker);
}

static void test_hotplug(void)
{
	if (nr_cpus < 2 || cpu_set_online(cpus[1], true)) {
		test__skip();
		return;
	}
	/* On a third, if there is: 0 waits in a program, 1 cannot go while one sleeps there. */
	pin_to(cpus[nr_cpus - 1]);
	test_within("within_hotplug create after_put", unplugger);
	unpin();
	ASSERT_OK(cpu_set_online(cpus[1], true), "online");
}

void serial_test_cgroup_stats_held(void)
{
	static const struct subtest tests[] = {
		{ "total", test_total },
		{ "map", test_map },
		{ "groups", test_groups },
		{ "array", test_array },
		{ "flusher", test_flusher },
		{ "cgroup_mutex", test_cgroup_mutex },
		{ "hotplug", test_hotplug },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}
