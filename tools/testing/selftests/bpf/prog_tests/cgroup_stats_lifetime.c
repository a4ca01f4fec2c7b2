// SPDX-License-Identifier: GPL-2.0
/*
 * Maps, programs, cgroups, tasks and CPUs that go, in every order that there is and at
 * the same time. Programs count what they were told was added (told, a lower bound) and
 * what they began to add (began, an upper one); at rest both are what the totals are.
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include "cgroup_stats_helpers.h"
#include "../progs/cgroup_stats_lifetime.h"
#include "cgroup_stats_lifetime.skel.h"
#include "cgroup_stats_lifetime_trace.skel.h"

#define NO_ENTRY ((__u64)-ENOENT)

/* All processes of the test see it. */
static struct shared {
	bool stop;
	bool gone;
	__u64 ids[8];
	__u64 work[8];
	__u64 bad;
} *shared;

/* --- cgroups --- */

/* Removed, but not released. */
static long long cg_dying(const char *path)
{
	return cg_number(path, "cgroup.stat", "nr_dying_descendants");
}

/* --- processes --- */

/* Born in the cgroup, which is faster than to move there. */
static pid_t spawn_into(const char *path, int (*fn)(void *), void *arg)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
	};
	int dir = openat(workdir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pid;

	args.cgroup = dir;
	pid = syscall(__NR_clone3, &args, sizeof(args));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	ASSERT_GT(pid, 0, "clone3");
	close(dir);
	return pid;
}

static bool shared_new(void)
{
	shared = shared_alloc(sizeof(*shared));
	return shared;
}

static void shared_free(void)
{
	munmap(shared, sizeof(*shared));
}

static bool stopped(void)
{
	return READ_ONCE(shared->stop);
}

/* --- maps and programs --- */

/* Like the skeletons' maps, without them. */
static struct map_type map_type;

/* Without assertions, for races. */
static int map_try(__u64 root)
{
	return map_try_of(&map_type, root, 0);
}

static int map_make(__u64 root)
{
	int fd = map_try(root);

	ASSERT_GE(fd, 0, "create map");
	return fd;
}

/* A number that no test counts to: no entry. */
static __u64 total(int map_fd, __u64 id)
{
	struct lifetime_value value;
	int err = bpf_map_lookup_elem(map_fd, &id, &value);

	return err ? (__u64)err : value.n[0];
}

/* The programs for maps by their number. */
static struct cgroup_stats_lifetime *load_nth(void)
{
	struct cgroup_stats_lifetime *skel = cgroup_stats_lifetime__open();

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	autoload(skel->obj, "add_nth burst_nth flush_nth");
	bpf_map__set_autocreate(skel->maps.stats, false);
	if (!ASSERT_OK(cgroup_stats_lifetime__load(skel), "load")) {
		cgroup_stats_lifetime__destroy(skel);
		return NULL;
	}
	return skel;
}

/* With a map of @root, or without one. */
static struct cgroup_stats_lifetime_trace *load_trace(__u64 root, const char *names)
{
	struct cgroup_stats_lifetime_trace *skel = cgroup_stats_lifetime_trace__open();

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	autoload(skel->obj, names);
	bpf_map__set_autocreate(skel->maps.stats, root);
	bpf_map__set_map_extra(skel->maps.stats, root);
	bpf_map__set_autocreate(skel->maps.largest, !!strstr(names, "add_largest"));
	bpf_map__set_map_extra(skel->maps.largest, root);
	if (!ASSERT_OK(cgroup_stats_lifetime_trace__load(skel), "load")) {
		cgroup_stats_lifetime_trace__destroy(skel);
		return NULL;
	}
	return skel;
}

/* Make @map_fd the map of that number; -1: no map. */
static void set_nth(struct cgroup_stats_lifetime *skel, __u32 nth, int map_fd)
{
	int maps_fd = bpf_map__fd(skel->maps.maps);

	if (map_fd < 0)
		ASSERT_OK(bpf_map_delete_elem(maps_fd, &nth), "no map");
	else
		ASSERT_OK(bpf_map_update_elem(maps_fd, &nth, &map_fd, 0), "set map");
}

static int iter_open(int link_fd)
{
	int fd = bpf_iter_create(link_fd);

	ASSERT_GE(fd, 0, "iter_create");
	return fd;
}

/* A link of the program that prints maps, to this one. */
static int iter_link(const struct bpf_program *dump, int map_fd)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	union bpf_iter_link_info info = {};

	info.map.map_fd = map_fd;
	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	return bpf_link_create(bpf_program__fd(dump), 0, BPF_TRACE_ITER, &opts);
}

/* --- every order in which things can go --- */

enum event { CLOSE_MAP, DETACH, EXIT_TASK, RMDIR_CHILD, RMDIR_ROOT, CLOSE_ITER, NR_EVENTS };

#define BIT(nr) (1U << (nr))

/* What each event must come after. */
static const unsigned int prerequisites[NR_EVENTS] = {
	[RMDIR_CHILD] = BIT(EXIT_TASK),
	[RMDIR_ROOT] = BIT(RMDIR_CHILD),
};

#define NR_ORDERS 120	/* 6! / 3! */

struct order {
	typeof(((struct cgroup_stats_lifetime *)NULL)->bss) bss;
	/* A letter for each event, as far as it went. */
	char name[NR_EVENTS + 1];
	unsigned int done;
	__u64 root, child;
	int map_fd, prog_link, iter_link, iter;
	pid_t task;
};

static __u32 order_maps[NR_ORDERS];
static int nr_orders;

static int order_task(void *arg)
{
	while (!stopped()) {
		syscall(__NR_getppid);
		sched_yield();
	}
	return 0;
}

/* All that the skeleton has, but nothing of the skeleton: it holds all of it. */
static bool order_load(struct order *o, const struct bpf_program *dump)
{
	struct cgroup_stats_lifetime *skel = cgroup_stats_lifetime__open();
	struct bpf_link *link;
	bool ok = false;
	int bss_fd;

	if (!ASSERT_OK_PTR(skel, "open"))
		return false;
	autoload(skel->obj, "on_sys_enter");
	bpf_map__set_autocreate(skel->maps.maps, false);
	bpf_map__set_map_extra(skel->maps.stats, o->root);
	if (!ASSERT_OK(cgroup_stats_lifetime__load(skel), "load"))
		goto out;
	link = bpf_program__attach(skel->progs.on_sys_enter);
	if (!ASSERT_OK_PTR(link, "attach"))
		goto out;
	o->prog_link = dup(bpf_link__fd(link));
	bpf_link__destroy(link);
	o->map_fd = dup(bpf_map__fd(skel->maps.stats));
	o->iter_link = iter_link(dump, o->map_fd);
	ASSERT_GE(o->iter_link, 0, "iter link");
	o->iter = iter_open(o->iter_link);
	bss_fd = bpf_map__fd(skel->maps.bss);
	o->bss = mmap(NULL, sizeof(*o->bss), PROT_READ | PROT_WRITE, MAP_SHARED, bss_fd, 0);
	ok = ASSERT_NEQ(o->bss, MAP_FAILED, "mmap");
out:
	cgroup_stats_lifetime__destroy(skel);
	return ok;
}

static bool order_begin(struct order *o, const struct bpf_program *dump)
{
	o->root = cg_make("o/r");
	o->child = cg_make("o/r/c");
	shared->stop = false;
	if (!order_load(o, dump))
		return false;
	order_maps[nr_orders] = map_id(o->map_fd);
	o->task = spawn_into("o/r/c", order_task, NULL);
	WRITE_ONCE(o->bss->target_tgid, o->task);
	/* It is in its cgroup when the child has something. */
	return ASSERT_TRUE(wait_until(total(o->map_fd, o->child) > 0), "first add");
}

static void order_event(struct order *o, enum event event)
{
	switch (event) {
	case CLOSE_MAP:
		close(o->map_fd);
		o->map_fd = -1;
		break;
	case DETACH:
		close(o->prog_link);
		break;
	case EXIT_TASK:
		WRITE_ONCE(shared->stop, true);
		reap(o->task);
		break;
	case RMDIR_CHILD:
		cg_remove("o/r/c");
		break;
	case RMDIR_ROOT:
		cg_remove("o/r");
		break;
	case CLOSE_ITER:
		close(o->iter_link);
		break;
	default:
		break;
	}
	o->done |= BIT(event);
	o->name[strlen(o->name)] = "MPTCRI"[event];
}

static bool order_is_done(const struct order *o, enum event event)
{
	return o->done & BIT(event);
}

/* What was seen is between what was told before and what had begun after; 0: nothing was. */
static void order_check_value(const struct order *o, __u64 told, __u64 value, bool there)
{
	if (!there) {
		ASSERT_EQ(value, NO_ENTRY, o->name);
		return;
	}
	ASSERT_GE(value, told, o->name);
	ASSERT_LE(value, READ_ONCE(o->bss->count.began), o->name);
}

static void order_check_iter(const struct order *o, int iter)
{
	__u64 told = READ_ONCE(o->bss->count.told), id, value;
	bool child = !order_is_done(o, RMDIR_CHILD), root = !order_is_done(o, RMDIR_ROOT);
	char buf[256] = "", *line, *pos;
	int nr = 0;

	ASSERT_GE(read(iter, buf, sizeof(buf) - 1), 0, "read iter");
	for (line = strtok_r(buf, "\n", &pos); line; line = strtok_r(NULL, "\n", &pos)) {
		if (sscanf(line, "%llu %llu", &id, &value) != 2)
			id = 0;
		ASSERT_TRUE(id == o->root || id == o->child, "id");
		order_check_value(o, told, value, true);
		nr++;
	}
	ASSERT_EQ(nr, child + root, o->name);
	close(iter);
}

/* Through all that is left to read with. */
static void order_check(const struct order *o)
{
	bool child = !order_is_done(o, RMDIR_CHILD), root = !order_is_done(o, RMDIR_ROOT);
	__u64 told = READ_ONCE(o->bss->count.told), value;

	if (o->map_fd >= 0) {
		value = total(o->map_fd, o->child);
		order_check_value(o, told, value, child);
		value = total(o->map_fd, o->root);
		order_check_value(o, told, value, root);
		ASSERT_EQ(count_keys(o->map_fd), child + root, o->name);
	}
	if (!order_is_done(o, CLOSE_ITER))
		order_check_iter(o, iter_open(o->iter_link));
	/* Then the bounds are one number. */
	if (order_is_done(o, EXIT_TASK))
		ASSERT_EQ(o->bss->count.told, o->bss->count.began, o->name);
	ASSERT_EQ(o->bss->failed, 0, o->name);
}

static void order_run(const enum event *events, const struct bpf_program *dump)
{
	struct order o = { .map_fd = -1, .prog_link = -1, .iter_link = -1, .iter = -1 };
	int i;

	if (!order_begin(&o, dump))
		return;
	for (i = 0; i < NR_EVENTS; i++) {
		order_event(&o, events[i]);
		/* The link has gone, but not who was reading through it. */
		if (events[i] == CLOSE_ITER)
			order_check_iter(&o, o.iter);
		order_check(&o);
	}
	ASSERT_GT(o.bss->count.told, 0, o.name);
	munmap(o.bss, sizeof(*o.bss));
	nr_orders++;
}

/* All orders that begin with the @nr events in @events. */
static void orders_from(enum event *events, int nr, const struct bpf_program *dump)
{
	unsigned int done = 0;
	int i;

	for (i = 0; i < nr; i++)
		done |= BIT(events[i]);
	if (nr == NR_EVENTS && nr_orders < NR_ORDERS)
		order_run(events, dump);
	for (i = 0; i < NR_EVENTS; i++) {
		if (done & BIT(i) || prerequisites[i] & ~done)
			continue;
		events[nr] = i;
		orders_from(events, nr + 1, dump);
	}
}

static bool orders_gone(void)
{
	int i;

	for (i = 0; i < nr_orders; i++) {
		if (!map_is_gone(order_maps[i]))
			return false;
	}
	return true;
}

/*
 * What is allocated per CPU and charged to that cgroup, which is the task's. First a flush
 * of its numbers: with those of the CPU or, where the memory controller has an rstat tree
 * of its own and does not look for a few changes, by more of them than it lets pass.
 */
static long long percpu_charged(const char *path)
{
	size_t size = nr_cpus << 20;

	munmap(mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0), size);
	cg_number(path, "cpu.stat", "usage_usec");
	return cg_number(path, "memory.stat", "percpu");
}

#define NR_FILLERS	128

/*
 * The kernel does not charge what is in the first chunk of memory per CPU. So fill that
 * one: until maps are charged, one after the other. Returns how many maps it took, 0:
 * nothing is charged here.
 */
static int fill_percpu(const char *path, int *fds)
{
	long long before, charged = percpu_charged(path);
	__u64 id = cg_id(path);
	int nr, in_row = 0;

	for (nr = 0; charged >= 0 && nr < NR_FILLERS && in_row < 4; nr++) {
		before = charged;
		fds[nr] = map_make(id);
		charged = percpu_charged(path);
		in_row = charged >= before + 2 * sizeof(struct lifetime_value) ? in_row + 1 : 0;
	}
	if (charged >= 0)
		ASSERT_EQ(in_row, 4, "maps are charged");
	return nr;
}

static void test_orders(void)
{
	struct cgroup_stats_lifetime_trace *trace;
	enum event events[NR_EVENTS + 1];
	struct bpf_link *links[2];
	int i, nr, fillers[NR_FILLERS];
	long long charged;

	nr_orders = 0;
	trace = load_trace(0, "dump nothing");
	if (!trace || !shared_new())
		return;
	/* From the third program on nobody waits for RCU. */
	for (i = 0; i < ARRAY_SIZE(links); i++) {
		links[i] = bpf_program__attach(trace->progs.nothing);
		ASSERT_OK_PTR(links[i], "nothing");
	}
	cg_make("o");
	/* It pays for the maps and programs, and has nothing else per CPU. */
	cg_make("m");
	ASSERT_OK(cg_join("m"), "join m");
	nr = fill_percpu("m", fillers);
	charged = percpu_charged("m");

	orders_from(events, 0, trace->progs.dump);

	ASSERT_EQ(nr_orders, NR_ORDERS, "orders");
	ASSERT_TRUE(wait_until(orders_gone()), "maps have gone");
	ASSERT_TRUE(wait_until(!cg_dying("o")), "cgroups have gone");
	/* An exited task's mm may be in use yet: it has less than an entry has. */
	ASSERT_TRUE(wait_until(percpu_charged("m") <
			       charged + (long long)sizeof(struct lifetime_value)),
		    "memory has gone");
	while (nr)
		close(fillers[--nr]);
	cg_join("..");
	for (i = 0; i < ARRAY_SIZE(links); i++)
		bpf_link__destroy(links[i]);
	cgroup_stats_lifetime_trace__destroy(trace);
	cg_remove("m");
	cg_remove("o");
	shared_free();
}

/* --- cgroups that are removed, but pinned --- */

/* What holds the cgroup: its memory controller, its BPF programs, itself. */
enum pin { PIN_MEMORY, PIN_SOCKET, PIN_ITER, NR_PINS };

/* When an older map goes: before the cgroup is released, after, or just then. */
enum turn { MAP_FIRST, CGROUP_FIRST, AT_ONCE, NR_TURNS };

/* Numbers of maps: there all the time, closed on the way, made meanwhile. */
enum { MAP_STAYS, MAP_CLOSED, MAP_NEW };

struct zombies {
	struct cgroup_stats_lifetime *skel;
	const struct bpf_program *visit;
	__u64 x, parent, zombie;
	int stays, closed;
	/* What the totals of x must be. */
	__u64 expected;
};

/*
 * By a process that is gone then: its other memory would be the cgroup's as well. When it
 * exits, the CPU gives up what it holds of the page in a batch.
 */
static int zombie_write(void *arg)
{
	pin_to(cpus[0]);
	if (cg_join("x/p/z"))
		return 1;
	return write((long)arg, "x", 1) != 1;
}

static int zombie_pin_memory(void)
{
	int fd = memfd_create("zombie", MFD_CLOEXEC);

	reap(spawn(zombie_write, (void *)(long)fd));
	return fd;
}

static int zombie_pin_socket(void)
{
	int fd;

	ASSERT_OK(cg_join("x/p/z"), "join");
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_OK(cg_join(".."), "leave");
	return fd;
}

static int zombie_pin_iter(const struct bpf_program *visit)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	union bpf_iter_link_info info = {};
	int dir, fd;

	dir = openat(workdir, "x/p/z", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	info.cgroup.cgroup_fd = dir;
	info.cgroup.order = BPF_CGROUP_ITER_SELF_ONLY;
	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	fd = bpf_link_create(bpf_program__fd(visit), 0, BPF_TRACE_ITER, &opts);
	close(dir);
	return fd;
}

/* An fd that pins the cgroup, which may be removed then. */
static int zombie_pin(struct zombies *z, enum pin how)
{
	int fd;

	if (how == PIN_MEMORY)
		fd = zombie_pin_memory();
	else if (how == PIN_SOCKET)
		fd = zombie_pin_socket();
	else
		fd = zombie_pin_iter(z->visit);
	ASSERT_GE(fd, 0, "pin");
	return fd;
}

/* To the zombie-to-be, its parent, and x, on all CPUs. */
static void zombie_fill(struct zombies *z)
{
	__u64 ids[] = { z->zombie, z->parent, z->x };
	int i, j, nth;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		for (j = 0; j < nr_cpus; j++) {
			for (nth = MAP_STAYS; nth <= MAP_CLOSED; nth++)
				ASSERT_OK(add_on(cpus[j], z->skel->progs.add_nth, nth, ids[i],
						 1 << i), "add");
			z->expected += 1 << i;
		}
	}
}

static void zombie_check(struct zombies *z, int map_fd, int nth, __u64 expected)
{
	const struct bpf_program *add = z->skel->progs.add_nth;

	ASSERT_EQ(total(map_fd, z->x), expected, "x");
	ASSERT_EQ(total(map_fd, z->parent), NO_ENTRY, "parent");
	ASSERT_EQ(total(map_fd, z->zombie), NO_ENTRY, "zombie");
	ASSERT_EQ(count_keys(map_fd), 1, "entries");
	ASSERT_EQ(run(add, nth, z->parent, 1), -ENOENT, "add to parent");
	ASSERT_EQ(run(add, nth, z->zombie, 1), -ENOENT, "add to zombie");
}

/* Maps that are made now have no entry of the zombies, and are exact. */
static void zombie_new_maps(struct zombies *z)
{
	const struct bpf_program *add = z->skel->progs.add_nth;
	__u64 id, expected;
	int i, fd;

	for (i = 0; i < 2; i++) {
		fd = map_make(z->x);
		set_nth(z->skel, MAP_NEW, fd);
		zombie_check(z, fd, MAP_NEW, 0);
		ASSERT_OK(add_on(cpus[i % nr_cpus], add, MAP_NEW, z->x, 5), "add");
		id = cg_make("x/n");
		ASSERT_OK(add_on(cpus[i % nr_cpus], add, MAP_NEW, id, 7), "add");
		/* Now the map goes first, now the cgroup. */
		if (i % 2)
			cg_remove("x/n");
		expected = total(fd, z->x);
		ASSERT_EQ(expected, 12, "new map");
		set_nth(z->skel, MAP_NEW, -1);
		close(fd);
		if (i % 2 == 0)
			cg_remove("x/n");
	}
}

static void zombie_release(struct zombies *z, enum turn first, int pin_fd)
{
	__u32 id = map_id(z->closed);

	if (first == CGROUP_FIRST) {
		close(pin_fd);
		ASSERT_TRUE(wait_until(!cg_dying("x")), "cgroups have gone");
	}
	set_nth(z->skel, MAP_CLOSED, -1);
	close(z->closed);
	if (first == MAP_FIRST) {
		ASSERT_TRUE(wait_until(map_is_gone(id)), "map has gone");
		/* Its work comes behind trace RCU as well, for which nobody here can wait. */
		wait_for_rcu_frees();
		zombie_new_maps(z);
	}
	if (first != CGROUP_FIRST) {
		close(pin_fd);
		ASSERT_TRUE(wait_until(!cg_dying("x")), "cgroups have gone");
	}
}

static void zombie_round(struct zombies *z, enum pin how, enum turn first)
{
	long long memory;
	int pin_fd;

	z->stays = map_make(z->x);
	z->closed = map_make(z->x);
	set_nth(z->skel, MAP_STAYS, z->stays);
	set_nth(z->skel, MAP_CLOSED, z->closed);
	memory = map_memory(z->stays);
	z->expected = 0;
	z->parent = cg_make("x/p");
	/* Only where it is to pin: what the test itself uses in between must not. */
	if (how == PIN_MEMORY) {
		cg_write("x", "cgroup.subtree_control", "+memory");
		cg_write("x/p", "cgroup.subtree_control", "+memory");
	}
	z->zombie = cg_make("x/p/z");
	zombie_fill(z);
	pin_fd = zombie_pin(z, how);
	cg_remove("x/p/z");
	cg_remove("x/p");
	/* Memory alone need not pin a cgroup in every kernel. */
	if (how != PIN_MEMORY) {
		kern_sync_rcu();
		ASSERT_EQ(cg_dying("x"), 2, "zombies");
	}

	zombie_check(z, z->stays, MAP_STAYS, z->expected);
	zombie_new_maps(z);
	zombie_check(z, z->closed, MAP_CLOSED, z->expected);
	zombie_release(z, first, pin_fd);
	zombie_new_maps(z);
	zombie_check(z, z->stays, MAP_STAYS, z->expected);
	ASSERT_TRUE(wait_until(map_memory(z->stays) == memory), "entries have gone");
	set_nth(z->skel, MAP_STAYS, -1);
	close(z->stays);
	cg_write("x", "cgroup.subtree_control", "-memory");
	ASSERT_TRUE(wait_until(!cg_dying("x")), "all cgroups have gone");
}

static void test_zombies(void)
{
	struct cgroup_stats_lifetime_trace *trace;
	struct zombies z = {};
	int pin, turn;

	trace = load_trace(0, "visit");
	z.skel = load_nth();
	if (!z.skel || !trace)
		goto out;
	z.visit = trace->progs.visit;
	z.x = cg_make("x");
	for (pin = 0; pin < NR_PINS; pin++) {
		for (turn = 0; turn < NR_TURNS; turn++)
			zombie_round(&z, pin, turn);
	}
	ASSERT_EQ(z.skel->bss->failed, 0, "adds");
	cg_remove("x");
out:
	cgroup_stats_lifetime__destroy(z.skel);
	cgroup_stats_lifetime_trace__destroy(trace);
}

/* --- forks into cgroups that are being removed --- */

#define FORK_ROUNDS	12
#define FORK_MAX	100	/* of each forker, so that rmdir() has its turn */

struct dying {
	struct cgroup_stats_lifetime_trace *skel;
	/* Of all cgroups that were. */
	__u64 ids[2 * FORK_ROUNDS];
	int nr_ids;
	/* Where tasks are born. */
	int dir;
};

/* Tasks that are born in the cgroup, and exit at once. */
static int forker(void *arg)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = *(int *)arg,
	};
	pid_t pid;
	int i;

	for (i = 0; i < FORK_MAX; i++) {
		pid = syscall(__NR_clone3, &args, sizeof(args));
		if (!pid)
			_exit(0);
		if (pid < 0)
			return errno == ENODEV || errno == ENOENT ? 0 : errno;
		inc(&shared->work[0]);
		if (waitpid(pid, NULL, 0) != pid)
			return 1;
		sched_yield();
	}
	return 0;
}

static __u64 dying_make(struct dying *d, const char *path)
{
	struct lifetime_count zero = {};
	__u64 id = cg_make(path);

	ASSERT_OK(bpf_map_update_elem(bpf_map__fd(d->skel->maps.own), &id, &zero, BPF_NOEXIST),
		  "own");
	d->ids[d->nr_ids++] = id;
	return id;
}

static struct lifetime_count dying_sum(struct dying *d, int first)
{
	struct lifetime_count sum = {}, one = {};
	int i;

	for (i = first; i < d->nr_ids; i++) {
		bpf_map_lookup_elem(bpf_map__fd(d->skel->maps.own), &d->ids[i], &one);
		sum.began += one.began;
		sum.told += one.told;
	}
	return sum;
}

/*
 * All that tasks of the cgroups from @first on were told is in @ancestor. The last add
 * of a task comes when it has been waited for already, so this looks until it is quiet.
 */
static bool dying_is_exact(struct dying *d, int first, __u64 ancestor)
{
	struct lifetime_count sum = dying_sum(d, first);
	int map_fd = bpf_map__fd(d->skel->maps.stats);

	return sum.told && sum.told == sum.began && total(map_fd, ancestor) == sum.told;
}

/* Remove @path while tasks are born in it and exit. */
static void dying_race(struct dying *d, const char *path)
{
	__u64 before = READ_ONCE(shared->work[0]);
	pid_t pids[3];
	int i;

	d->dir = openat(workdir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_GE(d->dir, 0, "open");
	for (i = 0; i < ARRAY_SIZE(pids); i++) {
		pin_to(cpus[(1 + i) % nr_cpus]);
		pids[i] = spawn(forker, &d->dir);
	}
	pin_to(cpus[0]);
	ASSERT_TRUE(wait_until(READ_ONCE(shared->work[0]) - before > 10), "forks");
	cg_remove(path);
	WRITE_ONCE(d->skel->bss->removed, d->skel->bss->removed + 1);
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		reap(pids[i]);
	close(d->dir);
}

static void test_fork_dying(void)
{
	__u64 root = cg_make("f"), parent, child;
	struct dying d = {};
	bool exact = true;
	int i, fd, first;

	d.skel = load_trace(root, "on_exit after_exit on_switch");
	if (!d.skel || !shared_new())
		goto out;
	d.skel->links.on_exit = bpf_program__attach(d.skel->progs.on_exit);
	d.skel->links.on_switch = bpf_program__attach(d.skel->progs.on_switch);
	d.skel->links.after_exit = bpf_program__attach(d.skel->progs.after_exit);
	ASSERT_OK_PTR(d.skel->links.on_exit, "on_exit");
	ASSERT_OK_PTR(d.skel->links.on_switch, "on_switch");
	ASSERT_OK_PTR(d.skel->links.after_exit, "after_exit");
	fd = bpf_map__fd(d.skel->maps.stats);

	for (i = 0; exact && i < FORK_ROUNDS; i++) {
		first = d.nr_ids;
		parent = dying_make(&d, "f/p");
		child = dying_make(&d, "f/p/c");
		dying_race(&d, "f/p/c");
		ASSERT_EQ(total(fd, child), NO_ENTRY, "child");
		/* The parent lives, so that nothing may have gone further up. */
		exact = ASSERT_TRUE(wait_until(dying_is_exact(&d, first, parent)), "parent");
		dying_race(&d, "f/p");
		ASSERT_EQ(total(fd, parent), NO_ENTRY, "parent");
		exact &= ASSERT_TRUE(wait_until(dying_is_exact(&d, 0, root)), "root");
	}
	ASSERT_TRUE(wait_until(!cg_dying("f")), "cgroups have gone");
	cgroup_stats_lifetime_trace__detach(d.skel);
	ASSERT_TRUE(dying_is_exact(&d, 0, root), "root is exact at the end");
	ASSERT_EQ(d.skel->bss->failed, 0, "adds");
	if (nr_cpus > 1)
		ASSERT_GT(d.skel->bss->orphans, 0, "no add of a task whose cgroup is gone");
	printf("%llu forks, %llu adds, %llu of them of tasks without their cgroup\n",
	       shared->work[0], dying_sum(&d, 0).told, d.skel->bss->orphans);
	shared_free();
out:
	unpin();
	cgroup_stats_lifetime_trace__destroy(d.skel);
	cg_remove("f");
}

/* --- the map's root is removed while everybody is at work --- */

#define ROOT_ROUNDS 12

struct root_removed {
	struct cgroup_stats_lifetime *skel;
	const struct bpf_program *dump;
	__u64 root, child;
	int map_fd, iter_link;
};

/* 0: it found the map's cgroups; -ENOENT: none. */
typedef int (*root_fn)(struct root_removed *r);

/* A total is between what was told before and what had begun after. */
static int root_check(struct root_removed *r, __u64 told, __u64 value)
{
	if (value < told || value > READ_ONCE(r->skel->bss->counts[0].began))
		return -ERANGE;
	return 0;
}

static int root_lookup(struct root_removed *r)
{
	__u64 told = READ_ONCE(r->skel->bss->counts[0].told), value;

	value = total(r->map_fd, r->root);
	return value == NO_ENTRY ? -ENOENT : root_check(r, told, value);
}

static int root_batch(struct root_removed *r)
{
	__u64 told = READ_ONCE(r->skel->bss->counts[0].told), keys[4], out = 0;
	struct lifetime_value values[4];
	__u32 count = 4;
	int err;

	err = bpf_map_lookup_batch(r->map_fd, NULL, &out, keys, values, &count, NULL);
	if (err != -ENOENT || count > 2)
		return -EBADMSG;
	if (!count)
		return -ENOENT;
	/* The root was made first, and goes last. */
	return keys[0] == r->root ? root_check(r, told, values[0].n[0]) : -EBADMSG;
}

static int root_next(struct root_removed *r)
{
	__u64 key = 0;
	int err;

	err = bpf_map_get_next_key(r->map_fd, NULL, &key);
	return err || key == r->root ? err : -EBADMSG;
}

static int root_iter(struct root_removed *r)
{
	int n, fd = bpf_iter_create(r->iter_link);
	char buf[256];

	if (fd < 0)
		return fd;
	n = read(fd, buf, sizeof(buf));
	close(fd);
	return n > 0 ? 0 : n ?: -ENOENT;
}

static int root_flush(struct root_removed *r)
{
	return run(r->skel->progs.flush_nth, 0, r->root, 0);
}

static int root_add(struct root_removed *r)
{
	return run(r->skel->progs.add_nth, 0, r->root, 1);
}

static int root_add_child(struct root_removed *r)
{
	return run(r->skel->progs.add_nth, 0, r->child, 1);
}

static const root_fn root_fns[] = {
	root_lookup, root_batch, root_next, root_iter, root_flush, root_add, root_add_child,
};

struct root_worker {
	struct root_removed *r;
	int nr;
};

/* What begins after the root has gone finds nothing. */
static int root_worker(void *arg)
{
	struct root_worker *w = arg;
	bool gone, stop;
	int err;

	do {
		stop = stopped();
		gone = __atomic_load_n(&shared->gone, __ATOMIC_ACQUIRE);
		err = root_fns[w->nr](w->r);
		if ((err && err != -ENOENT) || (gone && !err)) {
			inc(&shared->bad);
			return 1;
		}
		if (!err)
			inc(&shared->work[w->nr]);
	} while (!stop);
	return 0;
}

static bool root_all_at_work(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(root_fns); i++) {
		if (!READ_ONCE(shared->work[i]))
			return false;
	}
	return true;
}

static void root_round(struct root_removed *r)
{
	struct root_worker workers[ARRAY_SIZE(root_fns)];
	pid_t pids[ARRAY_SIZE(root_fns)];
	__u64 key, next;
	int i;

	memset(shared, 0, sizeof(*shared));
	memset(r->skel->bss->counts, 0, sizeof(r->skel->bss->counts));
	r->root = cg_make("r");
	r->child = cg_make("r/c");
	r->map_fd = map_make(r->root);
	set_nth(r->skel, 0, r->map_fd);
	r->iter_link = iter_link(r->dump, r->map_fd);
	ASSERT_GE(r->iter_link, 0, "iter link");
	for (i = 0; i < ARRAY_SIZE(root_fns); i++) {
		workers[i] = (struct root_worker) { r, i };
		pids[i] = spawn(root_worker, &workers[i]);
	}
	ASSERT_TRUE(wait_until(root_all_at_work()), "at work");
	cg_remove("r/c");
	cg_remove("r");
	__atomic_store_n(&shared->gone, true, __ATOMIC_RELEASE);

	for (i = 0; i < ARRAY_SIZE(root_fns); i++)
		ASSERT_EQ(root_fns[i](r), -ENOENT, "afterwards");
	ASSERT_EQ(total(r->map_fd, r->child), NO_ENTRY, "lookup of child");
	key = r->root;
	ASSERT_EQ(bpf_map_get_next_key(r->map_fd, &key, &next), -ENOENT, "next key");
	ASSERT_EQ(map_try(r->root), -ENOENT, "new map");
	ASSERT_EQ(map_try(r->child), -ENOENT, "new map of child");

	WRITE_ONCE(shared->stop, true);
	for (i = 0; i < ARRAY_SIZE(root_fns); i++)
		reap(pids[i]);
	ASSERT_EQ(shared->bad, 0, "workers");
	/* The same name is another cgroup, which the map does not have. */
	cg_make("r");
	ASSERT_EQ(root_lookup(r), -ENOENT, "same name");
	ASSERT_EQ(count_keys(r->map_fd), 0, "no entries");
	cg_remove("r");
	set_nth(r->skel, 0, -1);
	close(r->iter_link);
	close(r->map_fd);
}

static void test_root_removed(void)
{
	struct cgroup_stats_lifetime_trace *trace;
	struct root_removed r = {};
	int i;

	trace = load_trace(0, "dump");
	r.skel = load_nth();
	if (!trace || !r.skel || !shared_new())
		goto out;
	r.dump = trace->progs.dump;
	for (i = 0; i < ROOT_ROUNDS; i++)
		root_round(&r);
	ASSERT_EQ(r.skel->bss->failed, 0, "adds");
	shared_free();
out:
	cgroup_stats_lifetime__destroy(r.skel);
	cgroup_stats_lifetime_trace__destroy(trace);
}

/* --- CPUs come and go --- */

#define HOTPLUG_ROUNDS	2
#define HOTPLUG_DIRS	4

struct hotplug {
	struct cgroup_stats_lifetime *skel;
	__u64 x;
	int map_fd;
};

static struct hotplug *hotplug;

/* On its CPU, or elsewhere while that is away; to the map that stays, and to others. */
static int hotplug_adder(void *arg)
{
	unsigned int seed = 2463534242 + (long)arg;
	__u64 id;

	while (!stopped()) {
		pin_to(cpus[(long)arg]);
		id = READ_ONCE(shared->ids[xrand(&seed) % (HOTPLUG_DIRS + 1)]);
		run(hotplug->skel->progs.burst_nth, 0, id, 20);
		run(hotplug->skel->progs.burst_nth, 1, id, 5);
		inc(&shared->work[0]);
	}
	return 0;
}

static int hotplug_dirs(void *arg)
{
	unsigned int seed = 88172645;
	char path[32];
	int i;

	while (!stopped()) {
		i = xrand(&seed) % HOTPLUG_DIRS;
		snprintf(path, sizeof(path), "x/%d", i);
		if (cg_try_remove(path) || cg_try_make(path))
			return 1;
		WRITE_ONCE(shared->ids[i], cg_id(path));
		inc(&shared->work[1]);
	}
	return 0;
}

/* A map of which half of the adds are, as long as it is there. */
static int hotplug_maps(void *arg)
{
	int fd, maps_fd = bpf_map__fd(hotplug->skel->maps.maps);
	__u32 nth = 1;

	while (!stopped()) {
		fd = map_try(hotplug->x);
		if (fd < 0 || bpf_map_update_elem(maps_fd, &nth, &fd, 0))
			return 1;
		if ((__s64)total(fd, hotplug->x) < 0)
			return 2;
		bpf_map_delete_elem(maps_fd, &nth);
		close(fd);
		inc(&shared->work[2]);
	}
	return 0;
}

static int hotplug_reader(void *arg)
{
	struct lifetime_count *count = &hotplug->skel->bss->counts[0];
	__u64 told, value;

	while (!stopped()) {
		told = READ_ONCE(count->told);
		value = total(hotplug->map_fd, hotplug->x);
		if (value < told || value > READ_ONCE(count->began))
			return 1;
		inc(&shared->work[3]);
	}
	return 0;
}

/* What was added on a CPU that is away now counts, and so does what is removed then. */
static void hotplug_away(int cpu)
{
	const struct bpf_program *add = hotplug->skel->progs.add_nth;
	__u64 before = total(hotplug->map_fd, hotplug->x), id = cg_make("x/away");
	int fd;

	ASSERT_OK(add_on(cpu, add, 0, id, 3), "add");
	ASSERT_OK(add_on(cpu, add, 0, hotplug->x, 4), "add");
	ASSERT_OK(cpu_set_online(cpu, false), "offline");
	ASSERT_LT(add_on(cpu, add, 0, id, 100), -1000, "no add on a CPU that is away");
	ASSERT_EQ(total(hotplug->map_fd, id), 3, "child");
	ASSERT_EQ(total(hotplug->map_fd, hotplug->x), before + 7, "root");
	cg_remove("x/away");
	ASSERT_TRUE(wait_until(!cg_dying("x")), "released");
	ASSERT_EQ(total(hotplug->map_fd, hotplug->x), before + 7, "without child");

	/* A cgroup and a map that are made without the CPU have room for it. */
	id = cg_make("x/away");
	fd = map_make(hotplug->x);
	set_nth(hotplug->skel, 1, fd);
	ASSERT_OK(cpu_set_online(cpu, true), "online");
	ASSERT_OK(add_on(cpu, add, 0, id, 5), "add to cgroup");
	ASSERT_OK(add_on(cpu, add, 1, id, 6), "add to map");
	ASSERT_EQ(total(hotplug->map_fd, hotplug->x), before + 12, "root");
	ASSERT_EQ(total(fd, hotplug->x), 6, "root of new map");
	set_nth(hotplug->skel, 1, -1);
	close(fd);
	cg_remove("x/away");
}

static void hotplug_storm(void)
{
	struct lifetime_count *count = &hotplug->skel->bss->counts[0];
	pid_t pids[CPU_SETSIZE + 3];
	__u64 expected;
	char path[32];
	int i, j, nr = 0;

	for (i = 0; i < HOTPLUG_DIRS; i++) {
		snprintf(path, sizeof(path), "x/%d", i);
		shared->ids[i] = cg_make(path);
	}
	shared->ids[i] = hotplug->x;
	for (i = 0; i < nr_cpus; i++)
		pids[nr++] = spawn(hotplug_adder, (void *)(long)i);
	pids[nr++] = spawn(hotplug_dirs, NULL);
	pids[nr++] = spawn(hotplug_maps, NULL);
	pids[nr++] = spawn(hotplug_reader, NULL);

	for (i = 0; i < HOTPLUG_ROUNDS; i++) {
		for (j = 1; j < nr_cpus; j++)
			ASSERT_OK(cpu_set_online(cpus[j], false), "offline");
		for (j = 1; j < nr_cpus; j++)
			ASSERT_OK(cpu_set_online(cpus[j], true), "online");
	}
	ASSERT_TRUE(wait_until(shared->work[1] && shared->work[2] && shared->work[3]), "at work");
	/* The last look is without a CPU that has been added on. */
	ASSERT_OK(cpu_set_online(cpus[nr_cpus - 1], false), "offline");
	WRITE_ONCE(shared->stop, true);
	for (i = 0; i < nr; i++)
		reap(pids[i]);
	expected = count->told;
	ASSERT_EQ(count->began, expected, "all that began");
	ASSERT_EQ(total(hotplug->map_fd, hotplug->x), expected, "a CPU is away");
	ASSERT_OK(cpu_set_online(cpus[nr_cpus - 1], true), "online");
	ASSERT_EQ(total(hotplug->map_fd, hotplug->x), expected, "all CPUs are there");
	for (i = 0; i < HOTPLUG_DIRS; i++) {
		snprintf(path, sizeof(path), "x/%d", i);
		cg_remove(path);
	}
	ASSERT_EQ(total(hotplug->map_fd, hotplug->x), expected, "at the end");
	printf("%llu adds, %llu cgroups, %llu maps, %llu reads\n", expected, shared->work[1],
	       shared->work[2], shared->work[3]);
}

static void test_hotplug(void)
{
	struct hotplug h = { .map_fd = -1 };
	int i;

	if (nr_cpus < 2 || cpu_set_online(cpus[1], true)) {
		test__skip();
		return;
	}
	hotplug = &h;
	h.skel = load_nth();
	h.x = cg_make("x");
	if (!h.skel || !shared_new())
		goto out;
	h.map_fd = map_make(h.x);
	set_nth(h.skel, 0, h.map_fd);
	pin_to(cpus[0]);
	hotplug_away(cpus[1]);
	hotplug_away(cpus[nr_cpus - 1]);
	hotplug_storm();
	ASSERT_EQ(h.skel->bss->failed, 0, "adds");
	for (i = 1; i < nr_cpus; i++)
		cpu_set_online(cpus[i], true);
	unpin();
	shared_free();
out:
	cgroup_stats_lifetime__destroy(h.skel);
	close(h.map_fd);
	cg_remove("x");
}

/* --- adds from within the flush --- */

/* Where to be: what is not in this kernel is left out, unless it is of the core. */
static const struct place {
	const char *name;
	enum { ENTRY, EXIT, TRACEPOINT } kind;
	/* Without it the test is worth nothing: it must be there and be passed. */
	bool core;
	/* Programs there add to the maximum, too: where they are within adds to it, or its fold. */
	bool both;
} places[] = {
	/* rstat */
	{ "bpf_rstat_flush", ENTRY, true },
	{ "bpf_rstat_flush", EXIT },
	{ "cgroup_rstat_flush", ENTRY },
	{ "cgroup_rstat_flush_locked", ENTRY },
	{ "cgroup_rstat_updated", ENTRY },
	{ "__cgroup_rstat_updated", ENTRY },
	{ "css_rstat_flush", ENTRY },
	{ "css_rstat_updated", ENTRY },
	{ "__css_process_update_tree", ENTRY },
	{ "mem_cgroup_css_rstat_flush", ENTRY },
	{ "blkcg_rstat_flush", ENTRY },
	{ "contention_begin", TRACEPOINT },
	{ "contention_end", TRACEPOINT },
	{ "cgroup_rstat_locked", TRACEPOINT, true },
	{ "cgroup_rstat_unlock", TRACEPOINT, true },
	{ "cgroup_rstat_lock_contended", TRACEPOINT },
	{ "cgroup_rstat_cpu_locked", TRACEPOINT },
	{ "cgroup_rstat_cpu_unlock", TRACEPOINT },
	{ "cgroup_rstat_cpu_locked_fastpath", TRACEPOINT },
	{ "cgroup_rstat_cpu_unlock_fastpath", TRACEPOINT },
	{ "cgroup_rstat_cpu_lock_contended", TRACEPOINT },
	{ "cgroup_rstat_cpu_lock_contended_fastpath", TRACEPOINT },
	/* the map's side of it */
	{ "__bpf_cgroup_stats_drain", ENTRY, true },
	{ "__bpf_cgroup_stats_drain", EXIT, true },
	{ "cgroup_stats_drain_groups", ENTRY, true },
	{ "__bpf_cgroup_stats_fold", ENTRY, true },
	{ "__bpf_cgroup_stats_fold", EXIT, true },
	{ "cgroup_stats_rstat_queue", ENTRY, true },
	{ "cgroup_stats_rstat_queue", EXIT, true },
	{ "cgroup_stats_rstat_lock", EXIT, true },
	{ "cgroup_stats_rstat_unlock", ENTRY, true },
	{ "cgroup_stats_rstat_flush", ENTRY, true },
	{ "cgroup_stats_fold_slot", ENTRY, true },
	{ "cgroup_stats_fold_any", ENTRY, true, true },
	{ "cgroup_stats_fold_any", EXIT, true, true },
	/* adds, in which these add */
	{ "bpf_cgroup_stats_add", ENTRY, true },
	{ "cgroup_stats_add_slow", ENTRY, true },
	{ "cgroup_stats_add_any", ENTRY, true, true },
	{ "cgroup_stats_sample_shared", ENTRY, true, true },
	{ "cgroup_stats_sample_shared", EXIT, true, true },
	/* reads, and comings and goings */
	{ "bpf_cgroup_stats_copy", ENTRY, true },
	{ "cgroup_stats_copy", ENTRY },
	{ "cgroup_stats_copy_next", ENTRY },
	{ "cgroup_stats_next_id", ENTRY },
	{ "cgroup_stats_map_lookup_batch", ENTRY, true },
	{ "cgroup_stats_publish", EXIT },
	{ "cgroup_stats_array_drop", ENTRY },
	{ "cgroup_stats_number_put", EXIT },
	{ "__bpf_cgroup_stats_inherit", EXIT, true },
	{ "bpf_cgroup_stats_offline", EXIT, true },
	{ "bpf_cgroup_stats_release", ENTRY, true },
	{ "bpf_cgroup_stats_release", EXIT, true },
	{ "cgroup_stats_map_free", ENTRY, true },
	{ "cgroup_stats_map_free_work", ENTRY },
};

#define NR_PLACES	((int)ARRAY_SIZE(places))
#define OWN_INDEX	(LIFETIME_ELEMS - 1)	/* what user space adds */

/* The loaded program once more, for another function. */
static int reload_for(const struct bpf_program *prog, int btf_id)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .expected_attach_type = bpf_program__expected_attach_type(prog),
		    .attach_btf_id = btf_id);

	return bpf_prog_load(BPF_PROG_TYPE_TRACING, "at", "GPL", bpf_program__insns(prog),
			     bpf_program__insn_cnt(prog), &opts);
}

/* A link's fd, or an error. */
static int place_attach(struct cgroup_stats_lifetime_trace *skel, const struct btf *btf, int nr)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	LIBBPF_OPTS(bpf_raw_tp_opts, tp_opts);
	const struct place *place = &places[nr];
	const struct bpf_program *prog;
	int btf_id, prog_fd, fd;

	tp_opts.tp_name = place->name;
	tp_opts.cookie = nr;
	opts.tracing.cookie = nr | (place->both ? LIFETIME_BOTH : 0);
	if (place->kind == TRACEPOINT)
		return bpf_raw_tracepoint_open_opts(bpf_program__fd(skel->progs.at_tracepoint),
						    &tp_opts);
	btf_id = btf__find_by_name_kind(btf, place->name, BTF_KIND_FUNC);
	if (btf_id < 0)
		return btf_id;
	prog = place->kind == ENTRY ? skel->progs.at_entry : skel->progs.at_exit;
	prog_fd = reload_for(prog, btf_id);
	if (prog_fd < 0)
		return prog_fd;
	fd = bpf_link_create(prog_fd, 0, bpf_program__expected_attach_type(prog), &opts);
	close(prog_fd);
	return fd;
}

static bool places_passed(struct cgroup_stats_lifetime_trace *skel)
{
	int i;

	for (i = 0; i < NR_PLACES; i++) {
		if (places[i].core && !READ_ONCE(skel->bss->hits[i].told))
			return false;
	}
	return true;
}

static void place_report(struct cgroup_stats_lifetime_trace *skel, const int *links)
{
	int i, nr = 0;

	for (i = 0; i < NR_PLACES; i++) {
		if (skel->bss->hits[i].told)
			nr++;
		else
			printf("%s %s\n", links[i] < 0 ? "there is no" : "nothing passed",
			       places[i].name);
	}
	printf("%d of %d places were passed\n", nr, NR_PLACES);
}

static void place_attach_all(struct cgroup_stats_lifetime_trace *skel, int *links)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int i;

	ASSERT_OK_PTR(btf, "btf of vmlinux");
	for (i = 0; i < NR_PLACES; i++) {
		links[i] = place_attach(skel, btf, i);
		if (places[i].core)
			ASSERT_GE(links[i], 0, places[i].name);
	}
	btf__free(btf);
}

static int reentrancy_flusher(void *arg)
{
	struct cgroup_stats_lifetime_trace *skel = arg;

	while (!stopped()) {
		if (run(skel->progs.flush, skel->bss->target_id, 0, 0))
			return 1;
		inc(&shared->work[0]);
	}
	return 0;
}

/* Adds to sums and to a maximum, which are read at once. */
static bool reentrancy_add(struct cgroup_stats_lifetime_trace *skel, __u64 a, __u64 b, int n)
{
	int cpu = cpus[n % nr_cpus], fd = bpf_map__fd(skel->maps.stats);
	struct lifetime_value value;
	__u32 largest;

	return ASSERT_OK(add_on(cpu, skel->progs.add, b, OWN_INDEX, 1), "add") &&
	       ASSERT_OK(add_on(cpu, skel->progs.add_largest, b, 0, n), "add to maximum") &&
	       ASSERT_OK(bpf_map_lookup_elem(fd, &a, &value), "lookup") &&
	       ASSERT_EQ(value.n[OWN_INDEX], n, "total") &&
	       ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(skel->maps.largest), &a, &largest),
			 "lookup of maximum") &&
	       ASSERT_EQ(largest, n, "maximum");
}

/* Pass through all of the places. Every add of ours is in the next read, whatever they add. */
static void reentrancy_work(struct cgroup_stats_lifetime_trace *skel, __u64 a, __u64 b)
{
	struct lifetime_value values[8];
	int i, fd, map_fd = bpf_map__fd(skel->maps.stats);
	__u64 keys[8], out;
	__u32 count;

	for (i = 0; i < 60; i++) {
		if (!reentrancy_add(skel, a, b, i + 1))
			break;
		count = ARRAY_SIZE(values);
		bpf_map_lookup_batch(map_fd, NULL, &out, keys, values, &count, NULL);
		ASSERT_GE(count, 2, "batch");
		ASSERT_GE(count_keys(map_fd), 2, "keys");
		if (i % 10)
			continue;
		cg_make("a/c");
		fd = map_make(a);
		cg_remove("a/c");
		close(fd);
	}
}

static void reentrancy_check(struct cgroup_stats_lifetime_trace *skel, __u64 id)
{
	struct lifetime_value value;
	struct lifetime_count *hit;
	int i;

	if (!ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(skel->maps.stats), &id, &value), "lookup"))
		return;
	for (i = 0; i < NR_PLACES; i++) {
		hit = &skel->bss->hits[i];
		ASSERT_EQ(hit->told, hit->began, places[i].name);
		ASSERT_EQ(value.n[i], hit->told, places[i].name);
	}
}

static void test_reentrancy(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b");
	struct cgroup_stats_lifetime_trace *skel;
	int i, links[NR_PLACES];
	pid_t pids[2];

	ASSERT_LE(NR_PLACES, OWN_INDEX, "elements");
	skel = load_trace(a, "at_entry at_exit at_tracepoint add add_largest flush");
	if (!skel || !shared_new())
		goto out;
	skel->bss->target_id = b;
	place_attach_all(skel, links);
	/* Three who want the lock: the last one waits in a queue. */
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		pids[i] = spawn(reentrancy_flusher, skel);
	reentrancy_work(skel, a, b);
	ASSERT_TRUE(wait_until(!cg_dying("a")), "released");
	WRITE_ONCE(shared->stop, true);
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		reap(pids[i]);
	/* The work of maps and cgroups that have gone comes later. */
	ASSERT_TRUE(wait_until(places_passed(skel)), "all of the core");
	for (i = 0; i < NR_PLACES; i++) {
		if (links[i] >= 0)
			close(links[i]);
	}
	place_report(skel, links);
	/* Those that still run have ended when this has returned. */
	kern_sync_rcu();
	reentrancy_check(skel, b);
	reentrancy_check(skel, a);
	ASSERT_EQ(skel->bss->failed, 0, "adds");
	ASSERT_GT(shared->work[0], 0, "flushes of others");
	shared_free();
out:
	cgroup_stats_lifetime_trace__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* --- mkdir() that fails when the entries are there --- */

/* Every file that mkdir() makes is one that it may fail at. */
static void mkdir_fails_at_nodes(void)
{
	struct cgroup_stats_lifetime_trace *skel;
	__u64 told = 0, a = cg_make("a");
	int i, err = -1, map_fd;
	long long memory;

	/* Files of controllers come after these have been made. */
	cg_write("a", "cgroup.subtree_control", "+memory +pids");
	skel = load_trace(a, "on_node");
	if (!skel)
		goto out;
	map_fd = bpf_map__fd(skel->maps.stats);
	memory = map_memory(map_fd);
	skel->links.on_node = bpf_program__attach(skel->progs.on_node);
	if (!ASSERT_OK_PTR(skel->links.on_node, "attach"))
		goto out;
	for (i = 0; err && i < 1000; i++) {
		skel->bss->new_id = 0;
		skel->bss->nodes = 0;
		skel->bss->fail_node = i;
		skel->bss->target_tid = sys_gettid();
		err = cg_try_make("a/n");
		skel->bss->target_tid = 0;
		/* The directory is made before the entries, files after them. */
		told += i;
		if (!err)
			told = skel->bss->new_told;
		else
			/* kernfs makes this of whatever a security module says. */
			ASSERT_EQ(err, -ENOMEM, "mkdir");
		ASSERT_EQ(skel->bss->new_told, told, "adds");
		ASSERT_EQ(!skel->bss->new_id, !i, "id");
		ASSERT_EQ(total(map_fd, a), told, "parent");
		if (!err || !i)
			continue;
		ASSERT_EQ(total(map_fd, skel->bss->new_id), NO_ENTRY, "no cgroup");
		ASSERT_EQ(count_keys(map_fd), 1, "entries");
	}
	ASSERT_OK(err, "mkdir in the end");
	ASSERT_GT(i, 10, "failures");
	/* The one that was made has what was added to it, not what its forerunners had. */
	ASSERT_EQ(skel->bss->new_id, cg_id("a/n"), "id");
	ASSERT_EQ(total(map_fd, skel->bss->new_id), skel->bss->nodes - 1, "own");
	ASSERT_EQ(skel->bss->failed, 0, "adds that failed");
	ASSERT_EQ(count_keys(map_fd), 2, "entries");
	cg_remove("a/n");
	ASSERT_TRUE(wait_until(!cg_dying("a")), "released");
	ASSERT_EQ(map_memory(map_fd), memory, "entries have gone");
	ASSERT_EQ(total(map_fd, a), told, "parent in the end");
	printf("%d failures\n", i - 1);
out:
	cgroup_stats_lifetime_trace__destroy(skel);
	cg_remove("a");
}

/* The second of two maps belongs to a cgroup that has no memory left. */
static void mkdir_fails_for_memory(void)
{
	struct cgroup_stats_lifetime *skel;
	int i, rich, poor, failures = 0;
	long long rich_memory, poor_memory;
	char path[32];
	__u64 x, id;

	x = cg_make("x");
	cg_make("m");
	skel = load_nth();
	if (!skel)
		goto out;
	rich = map_make(x);
	ASSERT_OK(cg_join("m"), "join m");
	poor = map_make(x);
	ASSERT_OK(cg_join(".."), "leave m");
	set_nth(skel, 0, rich);
	set_nth(skel, 1, poor);
	rich_memory = map_memory(rich);
	poor_memory = map_memory(poor);
	/* No more than is used: what is taken in advance of that lasts for a few. */
	if (cg_write("m", "memory.max", "0")) {
		test__skip();
		goto close;
	}
	for (i = 0; i < 2000 && !failures; i++) {
		snprintf(path, sizeof(path), "x/%d", i);
		failures = cg_try_make(path) == -ENOMEM;
	}
	ASSERT_EQ(failures, 1, "mkdir fails");
	i -= failures;
	ASSERT_EQ(cg_id(path), 0, "no cgroup");
	ASSERT_EQ(count_keys(rich), 1 + i, "entries of the first");
	ASSERT_EQ(count_keys(poor), 1 + i, "entries of the second");
	ASSERT_OK(cg_write("m", "memory.max", "max"), "memory.max");
	id = cg_make(path);
	ASSERT_OK(run(skel->progs.add_nth, 0, id, 3), "add");
	ASSERT_OK(run(skel->progs.add_nth, 1, id, 4), "add");
	ASSERT_EQ(total(rich, x), 3, "root of the first");
	ASSERT_EQ(total(poor, x), 4, "root of the second");
	for (; i >= 0; i--) {
		snprintf(path, sizeof(path), "x/%d", i);
		cg_remove(path);
	}
	ASSERT_TRUE(wait_until(!cg_dying("x")), "released");
	ASSERT_EQ(map_memory(rich), rich_memory, "memory of the first");
	ASSERT_EQ(map_memory(poor), poor_memory, "memory of the second");
	ASSERT_EQ(total(rich, x), 3, "root of the first later");
close:
	close(rich);
	close(poor);
out:
	cgroup_stats_lifetime__destroy(skel);
	cg_remove("x");
	cg_remove("m");
}

/* Those that are refused before there is a cgroup. */
static void mkdir_fails_for_limits(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b");
	int fd = map_make(a);
	long long memory = map_memory(fd);

	ASSERT_OK(cg_write("a", "cgroup.max.depth", "1"), "max.depth");
	ASSERT_EQ(cg_try_make("a/b/c"), -EAGAIN, "too deep");
	ASSERT_OK(cg_write("a", "cgroup.max.descendants", "1"), "max.descendants");
	ASSERT_EQ(cg_try_make("a/c"), -EAGAIN, "too many");
	ASSERT_EQ(cg_try_make("a/b"), -EEXIST, "exists");
	ASSERT_EQ(count_keys(fd), 2, "entries");
	ASSERT_EQ(total(fd, b), 0, "b");
	ASSERT_EQ(map_memory(fd), memory, "memory");
	close(fd);
	cg_remove("a/b");
	cg_remove("a");
}

static void test_mkdir_fails(void)
{
	mkdir_fails_at_nodes();
	mkdir_fails_for_memory();
	mkdir_fails_for_limits();
}

/* --- the test --- */

void serial_test_cgroup_stats_lifetime(void)
{
	static const struct subtest tests[] = {
		{ "orders", test_orders },
		{ "zombies", test_zombies },
		{ "fork_dying", test_fork_dying },
		{ "root_removed", test_root_removed },
		{ "hotplug", test_hotplug },
		{ "reentrancy", test_reentrancy },
		{ "mkdir_fails", test_mkdir_fails },
	};
	const struct array value = { { 8, false, OP_SUM }, LIFETIME_ELEMS };
	__u64 begin;
	int i;

	if (!tests_begin() || !map_type_init(&map_type, &value, 1))
		goto out;
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (!test__start_subtest(tests[i].name))
			continue;
		begin = get_time_ns();
		tests[i].fn();
		printf("%s: %llu ms\n", tests[i].name, (get_time_ns() - begin) / 1000000);
	}
out:
	if (map_type.btf_fd > 0)
		close(map_type.btf_fd);
	tests_end();
}
