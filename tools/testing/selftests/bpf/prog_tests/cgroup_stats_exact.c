// SPDX-License-Identifier: GPL-2.0
/*
 * Whatever happens, nothing is lost and nothing counts twice. Adders in every context,
 * cgroups, tasks, maps, aggregators and a CPU that come and go, and readers of every kind
 * are at work at the same time, with a map for each type, operation and set of flags.
 * Adders count what they were told was added, readers and writers look whether it is there:
 *
 * - what was added before a read began is in it, and nothing that had not begun when it
 *   ended; what was seen once remains;
 * - no element is of two halves, and a copy is of one instant;
 * - at rest, totals are what was added, at each level, to the last sample.
 *
 * All of it at once heals much that is wrong, since the next add makes up for a mark that
 * the last one lost, and it is slow. So there are subtests with less of it, too.
 *
 * Each subtest takes 10 s, or what CGROUP_STATS_EXACT_SECONDS says.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/sched.h>
#include "cgroup_stats_helpers.h"
#include "../progs/cgroup_stats_exact.h"
#include "cgroup_stats_exact.skel.h"

#define SECONDS		10
#define PERIOD		4000000		/* ns, of interrupts */
#define MAX_ENTRIES	512		/* more than there ever are in a map */

/* --- maps --- */

#define KIND_OF(t, op, how, flags) \
	{ #t "_" #op "_" #how, OP_##op, (flags), -(t)1 < 0, sizeof(t) },

enum { OP_sum = OP_SUM, OP_max = OP_MAX, OP_min = OP_MIN };

static const struct kind {
	const char *name;
	enum op op;
	__u32 flags;
	bool is_signed;
	__u32 width;
} kinds[NR_EXACT_MAPS] = {
	EXACT_MAPS(KIND_OF)
	[EXACT_group] = { "group", OP_SUM, 0, false, 8 },
};

static struct elem elem_of(int nr)
{
	struct elem e = { kinds[nr].width, kinds[nr].is_signed, kinds[nr].op };

	return e;
}

static int nr_elems(int nr)
{
	return nr == EXACT_group ? EXACT_CHECK : EXACT_SIZE / kinds[nr].width;
}

/* What an element must be of which @n was told. */
static __u64 value_of(int nr, __u64 n)
{
	struct elem e = elem_of(nr);

	if (e.op == OP_SUM)
		return elem_convert(e, n * EXACT_FACTOR(e.width));
	if (!n)
		return elem_identity(e);
	return elem_convert(e, exact_sample(e.is_signed, e.op == OP_MAX, n) *
			       EXACT_FACTOR(e.width));
}

/* The reverse of it, into @n. False: this is no value at all. */
static bool value_to(int nr, __u64 value, __u64 *n)
{
	struct elem e = elem_of(nr);
	__s64 base = exact_sample(e.is_signed, e.op == OP_MAX, 0);

	if (e.op != OP_SUM && value == elem_identity(e)) {
		*n = 0;
		return true;
	}
	*n = (__s64)value / EXACT_FACTOR(e.width);
	if (e.op == OP_MAX)
		*n -= base;
	else if (e.op == OP_MIN)
		*n = base - *n;
	return value_of(nr, *n) == value;
}

/* --- the tree --- */

static const char * const nodes[EXACT_NODES] = {
	"x", "x/0", "x/1", "x/0/0", "x/0/1", "x/1/0", "x/1/1",
};

static const int parents[EXACT_NODES] = { -1, 0, 0, 1, 1, 2, 2 };

/* A cgroup with one in it, both of which come and go. */
#define NR_PAIRS	((EXACT_SLOTS - EXACT_NODES) / 2)

/* What processes do, beside adding. */
enum {
	WORK_RMDIR,
	WORK_MOVE,
	WORK_FORK,
	WORK_MAP,
	WORK_SWITCH,
	WORK_READ_ONE,
	WORK_READ_PROGRAM,
	WORK_READ_BATCH,
	WORK_READ_ITER,
	WORK_WRITE,
	WORK_UNPLUG,
	NR_WORK,
};

/* Shared by all processes. */
static struct exact {
	struct cgroup_stats_exact *skel;
	struct cgroup_stats_exact__bss *bss;
	bool few, quiet, unplug;
	int fds[NR_EXACT_MAPS];
	int iters[NR_EXACT_MAPS];
	struct map_type types[NR_EXACT_MAPS];
	__u64 ids[EXACT_NODES];
	__u64 elsewhere;
	__u64 writers[EXACT_WRITERS];
	int nr_writers;
	/* Where writers meet, and the number from which on samples are theirs. */
	int arrived;
	__u64 meetings, base;
	bool low, high;		/* have been added */
	/* How often, and what went wrong. */
	__u64 work[NR_WORK];
	int line, error;
	__u64 errors, late, early, backwards, torn, mixed, unseen;
} *exact;

/* What there must not be, where it was first, and the errno of it. */
static void error_at(int line)
{
	if (__sync_fetch_and_add(&exact->errors, 1))
		return;
	exact->line = line;
	exact->error = errno;
}

#define error() error_at(__LINE__)

static bool stopped(void)
{
	return READ_ONCE(exact->bss->stop);
}

/* With few maps a flush is quick, and what is rare gets more chances. */
static bool in_use(int nr)
{
	switch (nr) {
	case EXACT_u64_sum_plain:
	case EXACT_u64_sum_shared:
	case EXACT_s64_max_plain:
	case EXACT_u32_min_both:
	case EXACT_group:
		return true;
	default:
		return !exact->few;
	}
}

static int random_map(unsigned int *seed)
{
	int nr;

	do {
		nr = xrand(seed) % NR_EXACT_MAPS;
	} while (!in_use(nr));
	return nr;
}

/* One that programs find by its number */
static int random_single_map(unsigned int *seed)
{
	int nr;

	do {
		nr = random_map(seed);
	} while (nr == EXACT_group);
	return nr;
}

/* Most often the one that adders have chosen */
static int random_or_focus(unsigned int *seed)
{
	return xrand(seed) % 4 ? READ_ONCE(exact->bss->focus) : random_map(seed);
}

static bool is_below(int node, int top)
{
	while (node > top)
		node = parents[node];
	return node == top;
}

/* Does what is added to @account go to @node's total? */
static bool reaches(int nr, int account, int node)
{
	if (kinds[nr].flags & BPF_F_NO_HIERARCHY)
		return account == node;
	return is_below(account % EXACT_BELOW, node);	/* in x: that is EXACT_COMMON too */
}

/* Sums are counts, maxima and minima numbers of samples: the last one is theirs. */
static __u64 merge(int nr, __u64 a, __u64 b)
{
	return kinds[nr].op == OP_SUM ? a + b : MAX(a, b);
}

static __u64 told_account(int nr, int account, int elem)
{
	__u64 all = 0;
	int cpu;

	for (cpu = 0; cpu < EXACT_CPUS; cpu++) {
		struct exact_counts *counts = &exact->bss->told[cpu][nr * EXACT_ACCOUNTS + account];

		all = merge(nr, all, READ_ONCE(counts->n[elem]));
	}
	return all;
}

/* What was told that an element of @node must have at least; at rest: has. */
static __u64 told(int nr, int node, int elem)
{
	__u64 all = 0;
	int account;

	for (account = 0; account < EXACT_ACCOUNTS; account++) {
		if (reaches(nr, account, node))
			all = merge(nr, all, told_account(nr, account, elem));
	}
	return all;
}

/* What the first element of a cgroup may have at most. */
static __u64 begun(int nr)
{
	__u64 sum = 0;
	int cpu;

	if (kinds[nr].op != OP_SUM)
		return READ_ONCE(exact->bss->last_seq);
	for (cpu = 0; cpu < EXACT_CPUS; cpu++)
		sum += READ_ONCE(exact->bss->began[cpu][nr]);
	return sum;
}

/* --- comings and goings --- */

static void pair_path(char *path, int pair, bool outer)
{
	sprintf(path, "%s/t%d%s", nodes[pair % EXACT_NODES], pair, outer ? "" : "/u");
}

static void random_path(char *path, unsigned int *seed)
{
	unsigned int i = xrand(seed) % (2 * NR_PAIRS + EXACT_NODES - 1);

	if (i < 2 * NR_PAIRS)
		pair_path(path, i / 2, i % 2);
	else
		sprintf(path, "%s", nodes[1 + i - 2 * NR_PAIRS]);
}

/* Make a cgroup, or remove it; false: somebody is in it. */
static bool churn_cgroup(const char *path, int slot, bool *there)
{
	int err = *there ? cg_try_remove(path) : cg_try_make(path);

	if (err) {
		if (err != -EBUSY)
			error();
		return false;
	}
	*there = !*there;
	if (*there)
		WRITE_ONCE(exact->bss->slots[slot].id, cg_id(path));
	else
		inc(&exact->work[WORK_RMDIR]);
	return true;
}

static void churn_pair(int pair, bool (*there)[2], unsigned int *seed)
{
	int slot = EXACT_NODES + 2 * pair;
	char outer[32], inner[32];

	pair_path(outer, pair, true);
	pair_path(inner, pair, false);
	if (there[pair][1] && !churn_cgroup(inner, slot + 1, &there[pair][1]))
		return;
	if (!there[pair][0] || xrand(seed) % 2)
		churn_cgroup(outer, slot, &there[pair][0]);
	if (!there[pair][0])
		churn_cgroup(outer, slot, &there[pair][0]);
	if (there[pair][0])
		churn_cgroup(inner, slot + 1, &there[pair][1]);
}

/* The first of two has the even pairs, the other one the odd ones. */
static int churner(void *arg)
{
	unsigned int seed = 2463534242 + (long)arg;
	bool there[NR_PAIRS][2] = {};

	while (!stopped()) {
		churn_pair(xrand(&seed) % (NR_PAIRS / 2) * 2 + (long)arg, there, &seed);
		/* Let the others have cgroup_mutex too. */
		usleep(200);
	}
	return 0;
}

/* Goes from cgroup to cgroup, with adders that are for tasks. */
static int mover(void *arg)
{
	unsigned int seed = 88172645 + (long)arg;
	char path[32];
	int i;

	while (!stopped()) {
		random_path(path, &seed);
		if (cg_join(path))
			continue;
		inc(&exact->work[WORK_MOVE]);
		for (i = 0; i < 4; i++)
			syscall(__NR_getpgid, 0);
		sched_yield();
	}
	return cg_join("..");
}

/* Children that exit in cgroups that may be removed before they are done. */
static int storm(void *arg)
{
	unsigned int seed = 521288629 + (long)arg;
	struct clone_args args;
	char path[32];
	pid_t pid;
	int fd;

	while (!stopped()) {
		random_path(path, &seed);
		fd = openat(workdir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		args = (struct clone_args) {
			.flags = CLONE_INTO_CGROUP,
			.exit_signal = SIGCHLD,
			.cgroup = fd,
		};
		pid = syscall(__NR_clone3, &args, sizeof(args));
		if (!pid)
			_exit(0);
		close(fd);
		if (pid < 0)
			continue;
		waitpid(pid, NULL, 0);
		inc(&exact->work[WORK_FORK]);
	}
	return 0;
}

/* A new map in the place of @fd, which is number @key, with some adds of its own. */
static int replace_map(int fd, __u32 key, unsigned int *seed)
{
	/* One that fits into the map of maps: without flags. */
	int nr = xrand(seed) % EXACT_NTH * 4;
	__u64 id = exact->ids[1 + xrand(seed) % (EXACT_NODES - 1)];
	__u64 want = kinds[nr].op == OP_SUM ? EXACT_PASSING : 1;
	int maps_fd = bpf_map__fd(exact->skel->maps.passing);
	__u64 value[EXACT_WORDS];

	close(fd);
	fd = map_try_of(&exact->types[nr], exact->ids[0], 0);
	if (bpf_map_update_elem(maps_fd, &key, &fd, 0) ||
	    run(exact->skel->progs.burst_passing, key, id, 0) != EXACT_PASSING ||
	    bpf_map_lookup_elem(fd, &exact->ids[0], value))
		error();
	else if (elem_get(elem_of(nr), value, 0) != want)
		inc(&exact->unseen);
	inc(&exact->work[WORK_MAP]);
	return fd;
}

/* Maps of all types, of which there are now more and now fewer. */
static int mapper(void *arg)
{
	int maps_fd = bpf_map__fd(exact->skel->maps.passing);
	unsigned int seed = 31337;
	int fds[EXACT_CPUS];
	__u32 key;

	memset(fds, -1, sizeof(fds));
	while (!stopped()) {
		key = xrand(&seed) % EXACT_CPUS;
		fds[key] = replace_map(fds[key], key, &seed);
		if (xrand(&seed) % 2)
			continue;
		bpf_map_delete_elem(maps_fd, &key);
		close(fds[key]);
		fds[key] = -1;
	}
	return 0;
}

static void switch_ops(struct bpf_link **link, struct bpf_map *map, bool may_detach,
		       unsigned int *seed)
{
	if (!*link) {
		*link = bpf_map__attach_struct_ops(map);
		if (!*link)
			error();
	} else if (!may_detach || xrand(seed) % 3) {
		if (bpf_link__update_map(*link, map))
			error();
	} else {
		bpf_link__destroy(*link);
		*link = NULL;
	}
	inc(&exact->work[WORK_SWITCH]);
}

static int switcher(void *arg)
{
	struct bpf_map *first[] = {
		exact->skel->maps.fold_first_ops, exact->skel->maps.fold_second_ops,
		exact->skel->maps.fold_third_ops,
	};
	struct bpf_map *group[] = {
		exact->skel->maps.fold_group_first_ops, exact->skel->maps.fold_group_second_ops,
	};
	struct bpf_link *link = NULL;
	struct bpf_link **group_link = arg;
	unsigned int turn = 0, seed = 4711;

	while (!stopped()) {
		/* Each has its turn, however seldom this one runs. */
		switch_ops(&link, first[turn % 3], true, &seed);
		switch_ops(group_link, group[turn % 2], false, &seed);
		turn++;
		usleep(5000);
	}
	bpf_link__destroy(link);
	return 0;
}

/* --- adders that are programs of user space --- */

static int adder(void *arg)
{
	while (!stopped()) {
		/* Again, if it was away. */
		pin_to(cpus[(long)arg % nr_cpus]);
		if (run(exact->skel->progs.burst, 50, 0, 0))
			error();
		/* What is added has to be folded: leave some time for that. */
		if (!exact->few)
			usleep(500);
	}
	return 0;
}

static int interrupter(void *arg)
{
	unsigned int seed = 1597334677;

	int err;

	while (!stopped()) {
		err = run_on(cpus[xrand(&seed) % nr_cpus], exact->skel->progs.on_ipi, 0, 0, 0, 0);
		if (err && err != CPU_IS_AWAY)
			error();
		usleep(1000);
	}
	return 0;
}

static int nmi_trigger(void *arg)
{
	while (!stopped()) {
		if (trigger_nmis())
			error();
		usleep(20000);
	}
	return 0;
}

/* Takes the last CPU away and brings it back. perf events on it are gone for good then. */
static int unplugger(void *arg)
{
	int cpu = cpus[nr_cpus - 1];

	while (!stopped()) {
		if (cpu_set_online(cpu, false))
			error();
		usleep(150000);
		if (cpu_set_online(cpu, true))
			error();
		usleep(150000);
		inc(&exact->work[WORK_UNPLUG]);
	}
	return 0;
}

/* --- writers --- */

struct writer {
	int nr;
	unsigned int seed;
	unsigned int common_seed;	/* the same for all */
	/* Of each map: what there must be in the leaves' parent. */
	__u64 leaves[NR_EXACT_MAPS];
};

/* Looks up the first @elems elements of a cgroup, which must be within bounds. */
static void writer_look(int nr, __u64 id, int elems, const __u64 *low, const __u64 *high)
{
	__u64 value[EXACT_WORDS], n, all = 0;
	int i;

	if (bpf_map_lookup_elem(exact->fds[nr], &id, value)) {
		error();
		return;
	}
	if (!high)
		all = begun(nr);
	for (i = 0; i < elems; i++) {
		if (!value_to(nr, elem_get(elem_of(nr), value, i), &n) || n < low[i] ||
		    n > (high ? high[i] : all))
			inc(&exact->unseen);
	}
}

/* Another leaf in the place of this one, whose counts stay in its parent. */
static void writer_replace(struct writer *w)
{
	int i = xrand(&w->seed) % EXACT_LEAVES;
	char path[32];

	sprintf(path, "x/w%d/%d", w->nr, i);
	if (cg_try_remove(path) || cg_try_make(path))
		error();
	exact->bss->leaves[w->nr * EXACT_LEAVES + i] = cg_id(path);
}

/*
 * Adds on some CPU, and looks at once whether it is there, before it adds again: so what
 * was lost cannot be made up for.
 */
static void writer_leaves(struct writer *w, int nr, __u64 seq)
{
	const struct bpf_program *prog = exact->skel->progs.burst_leaves;
	int cpu, added;
	__u64 want[2];

	/* Where another writer's run is interrupted for it, it may not run: 0. */
	do {
		cpu = cpus[xrand(&w->seed) % nr_cpus];
		added = run_on(cpu, prog, w->nr, nr, seq, 0);
	} while ((!added && !stopped()) || added == CPU_IS_AWAY);
	if (added != 2 * EXACT_LEAVES)
		error();
	want[0] = kinds[nr].op == OP_SUM ? w->leaves[nr] + EXACT_LEAVES : seq;
	want[1] = want[0];
	w->leaves[nr] = want[0];
	writer_look(nr, exact->writers[w->nr], 2, want, want);
}

/* Waits for all writers. False: they do not come any more. */
static bool writers_meet(void)
{
	__u64 meeting = READ_ONCE(exact->meetings);

	if (__sync_add_and_fetch(&exact->arrived, 1) == exact->nr_writers) {
		exact->arrived = 0;
		inc(&exact->meetings);
	}
	while (READ_ONCE(exact->meetings) == meeting) {
		if (stopped())
			return false;
		sched_yield();
	}
	return true;
}

#define NR_LOW		32	/* samples at a time */
#define NR_LOWS		32	/* of these at most */
#define HIGH		(NR_LOW * NR_LOWS)

/* False: they were not added. */
static bool writer_add(int nr, __u64 seq, int n)
{
	return run(exact->skel->progs.burst_common, nr, seq, n) == EXACT_WORDS * n;
}

static bool writer_add_low(int nr)
{
	bool ok = true;
	int i;

	for (i = 0; i < NR_LOWS && !READ_ONCE(exact->high); i++) {
		ok &= writer_add(nr, exact->base + i * NR_LOW, NR_LOW);
		WRITE_ONCE(exact->low, true);
	}
	return ok;
}

static bool writer_add_high(int nr)
{
	bool ok;

	while (!READ_ONCE(exact->low) && !stopped())
		sched_yield();
	ok = writer_add(nr, exact->base + HIGH, 1);
	WRITE_ONCE(exact->high, true);
	return ok;
}

/*
 * All add to the same elements at the same time: the first writer one high sample, the
 * others low ones until it has. If one of these takes the place of the high one, it stays
 * lost.
 */
static void writer_common(struct writer *w, int nr)
{
	__u64 low[EXACT_WORDS];
	int i;

	if (w->nr == 0) {
		exact->base = __sync_fetch_and_add(&exact->bss->last_seq, HIGH + 1) + 1;
		exact->low = false;
		exact->high = false;
	}
	if (!writers_meet())
		return;
	if (!(w->nr ? writer_add_low(nr) : writer_add_high(nr)))
		error();
	if (!writers_meet())
		return;
	for (i = 0; i < EXACT_WORDS; i++)
		low[i] = told_account(nr, EXACT_COMMON, i);
	writer_look(nr, exact->bss->common, EXACT_WORDS, low, NULL);
}

static int writer(void *arg)
{
	struct writer w = {
		.nr = (long)arg,
		.seed = 123456789 + (long)arg,
		.common_seed = 123459876,
	};
	int nr;

	pin_to(cpus[w.nr % nr_cpus]);
	while (!stopped()) {
		if (!exact->quiet)
			writer_common(&w, random_single_map(&w.common_seed));
		nr = random_or_focus(&w.seed);
		if (nr != EXACT_group && !(kinds[nr].flags & BPF_F_NO_HIERARCHY))
			writer_leaves(&w, nr, __sync_add_and_fetch(&exact->bss->last_seq, 1));
		if (xrand(&w.seed) % 8 == 0)
			writer_replace(&w);
		inc(&exact->work[WORK_WRITE]);
	}
	return 0;
}

/* --- readers --- */

struct reader {
	int nr;
	unsigned int seed;
	/* What it saw last of the first element. */
	__u64 last[NR_EXACT_MAPS][EXACT_NODES];
	__u64 keys[MAX_ENTRIES];
	struct exact_value values[MAX_ENTRIES];
};

/* All elements are whole, and of a copy of the group of one instant. */
static void check_whole(int nr, const struct exact_value *value, bool is_copy)
{
	__u64 sum = 0, n;
	int i;

	for (i = 0; i < nr_elems(nr); i++) {
		if (!value_to(nr, elem_get(elem_of(nr), value, i), &n))
			inc(&exact->torn);
		sum += elem_get(elem_of(nr), value, i);
	}
	if (is_copy && nr == EXACT_group && value->n[EXACT_CHECK] != sum)
		inc(&exact->mixed);
}

static void check_node(struct reader *r, int nr, int node, const struct exact_value *value,
		       __u64 low)
{
	__u64 n;

	if (!value_to(nr, elem_get(elem_of(nr), value, 0), &n))
		return;
	if (n < low)
		inc(&exact->late);
	if (n > begun(nr))
		inc(&exact->early);
	if (n < r->last[nr][node])
		inc(&exact->backwards);
	r->last[nr][node] = n;
}

/* How many entries @fd of an iterator gives. */
static int read_iter(int fd, struct reader *r)
{
	struct {
		__u64 key;
		struct exact_value value;
	} *entries = calloc(MAX_ENTRIES, sizeof(*entries));
	ssize_t len = 0, n;
	int i;

	while ((n = read(fd, (void *)entries + len, MAX_ENTRIES * sizeof(*entries) - len)) > 0)
		len += n;
	for (i = 0; i < len / sizeof(*entries); i++) {
		r->keys[i] = entries[i].key;
		r->values[i] = entries[i].value;
	}
	free(entries);
	return n < 0 || len % sizeof(*entries) ? -1 : i;
}

/* Entries of a map, of which one is @id; how many. */
static int read_some(struct reader *r, int nr, int how, __u64 id)
{
	__u32 count = MAX_ENTRIES;
	int fd, err = 0;
	__u64 out;

	r->keys[0] = id;
	switch (how) {
	case WORK_READ_ONE:
		return bpf_map_lookup_elem(exact->fds[nr], &id, &r->values[0]) ? -1 : 1;
	case WORK_READ_PROGRAM:
		err = run(exact->skel->progs.look, nr, id, r->nr);
		r->values[0] = exact->bss->seen[r->nr];
		return err ? -1 : 1;
	case WORK_READ_BATCH:
		err = bpf_map_lookup_batch(exact->fds[nr], NULL, &out, r->keys, r->values, &count,
					   NULL);
		return err && err != -ENOENT ? -1 : count;
	default:
		fd = bpf_iter_create(exact->iters[nr]);
		err = read_iter(fd, r);
		close(fd);
		return err;
	}
}

static int reader(void *arg)
{
	struct reader *r = arg;
	int i, nr, node, how, n;
	bool found;
	__u64 low;

	while (!stopped()) {
		nr = random_or_focus(&r->seed);
		node = xrand(&r->seed) % EXACT_NODES;
		how = WORK_READ_ONE + xrand(&r->seed) % 4;
		low = told(nr, node, 0);
		n = read_some(r, nr, how, exact->ids[node]);
		for (found = false, i = 0; i < n; i++) {
			check_whole(nr, &r->values[i], how != WORK_READ_PROGRAM);
			if (r->keys[i] != exact->ids[node])
				continue;
			check_node(r, nr, node, &r->values[i], low);
			found = true;
		}
		if (!found)
			error();
		inc(&exact->work[how]);
		/* Writers need the same lock. */
		if (!exact->few)
			usleep(2000);
	}
	return 0;
}

/* --- at rest --- */

/* How many elements of a map are not what was told. */
static int wrong_elems(int nr, int node, const struct exact_value *value)
{
	int i, wrong = 0;
	__u64 want, got;

	for (i = 0; i < nr_elems(nr); i++) {
		want = value_of(nr, told(nr, node, i));
		got = elem_get(elem_of(nr), value, i);
		if (got == want)
			continue;
		if (!wrong++)
			printf("%s, %s: element %d is 0x%llx, not 0x%llx\n", kinds[nr].name,
			       nodes[node], i, got, want);
	}
	return wrong;
}

static void check_totals(const char *when)
{
	struct exact_value value;
	int nr, node, wrong = 0;

	for (nr = 0; nr < NR_EXACT_MAPS; nr++) {
		if (!in_use(nr))
			continue;
		for (node = EXACT_NODES - 1; node >= 0; node--) {
			if (!ASSERT_OK(bpf_map_lookup_elem(exact->fds[nr], &exact->ids[node],
							   &value), "lookup"))
				return;
			wrong += wrong_elems(nr, node, &value);
		}
	}
	ASSERT_EQ(wrong, 0, when);
}

/* --- all of it --- */

static bool exact_load(void)
{
	struct cgroup_stats_exact *skel = cgroup_stats_exact__open();
	struct bpf_map *map;
	int i;

	exact->skel = skel;
	if (!ASSERT_OK_PTR(skel, "open"))
		return false;
	/* workdir is below the root. */
	skel->rodata->level = 2;
	skel->rodata->period = PERIOD;
	skel->rodata->few = exact->few;
	for (i = 0; i < NR_EXACT_MAPS; i++) {
		map = bpf_object__find_map_by_name(skel->obj, kinds[i].name);
		/* Those that are not in use have another subtree. */
		bpf_map__set_map_extra(map, in_use(i) ? exact->ids[0] : exact->elsewhere);
	}
	/* Not on all kernels */
	bpf_program__set_autoload(skel->progs.on_updated,
				  libbpf_find_vmlinux_btf_id("__cgroup_rstat_updated",
							     BPF_TRACE_FENTRY) > 0);
	if (!ASSERT_OK(cgroup_stats_exact__load(skel), "load"))
		return false;
	exact->bss = skel->bss;
	for (i = 0; i < NR_EXACT_MAPS; i++)
		exact->fds[i] = bpf_object__find_map_fd_by_name(skel->obj, kinds[i].name);
	return true;
}

/* Of the maps by which programs find others. */
static bool exact_fill(void)
{
	struct cgroup_stats_exact *skel = exact->skel;
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	int outer[] = {
		bpf_map__fd(skel->maps.plain), bpf_map__fd(skel->maps.shared),
		bpf_map__fd(skel->maps.flat), bpf_map__fd(skel->maps.both),
	};
	union bpf_iter_link_info info = {};
	bool ok = true;
	__u32 i, nth;

	for (i = 0; i < EXACT_NODES; i++)
		ok &= !bpf_map_update_elem(bpf_map__fd(skel->maps.accounts), &exact->ids[i], &i, 0);
	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	for (i = 0; i < NR_EXACT_MAPS; i++) {
		struct array array = { elem_of(i), EXACT_SIZE / kinds[i].width };

		ok &= map_type_init(&exact->types[i], &array, 1);
		info.map.map_fd = exact->fds[i];
		exact->iters[i] = bpf_link_create(bpf_program__fd(skel->progs.dump), 0,
						  BPF_TRACE_ITER, &opts);
		ok &= ASSERT_OK_FD(exact->iters[i], "iterator");
		nth = i / 4;
		if (i != EXACT_group)
			ok &= !bpf_map_update_elem(outer[i % 4], &nth, &exact->fds[i], 0);
	}
	return ASSERT_TRUE(ok, "maps");
}

/* A cgroup that programs add to by its id, and what it counts for. */
static void slot_set(int slot, __u64 id, int account)
{
	exact->bss->slots[slot].account = account;
	exact->bss->slots[slot].id = id;
}

static bool tree_make(void)
{
	bool ok = true;
	int i;

	for (i = 0; i < EXACT_NODES; i++) {
		exact->ids[i] = cg_make(nodes[i]);
		ok &= exact->ids[i] != 0;
	}
	exact->elsewhere = cg_make("y");
	return ok;
}

/* What the programs and writers know of the tree, which is there and has its maps. */
static void tree_fill(void)
{
	char path[32];
	int i, j;

	for (i = 0; i < EXACT_NODES; i++)
		slot_set(i, exact->ids[i], i);
	for (i = 0; i < 2 * NR_PAIRS; i++)
		slot_set(EXACT_NODES + i, 0, EXACT_BELOW + i / 2 % EXACT_NODES);
	exact->bss->common = cg_make("x/common");
	exact->nr_writers = MIN(MAX(nr_cpus / 2, 2), EXACT_WRITERS);
	for (i = 0; i < exact->nr_writers; i++) {
		sprintf(path, "x/w%d", i);
		exact->writers[i] = cg_make(path);
		for (j = 0; j < EXACT_LEAVES; j++) {
			sprintf(path, "x/w%d/%d", i, j);
			exact->bss->leaves[i * EXACT_LEAVES + j] = cg_make(path);
		}
	}
}

/* All that comes and goes */
static void tree_prune(void)
{
	char path[32];
	int i, j;

	for (i = 0; i < 2 * NR_PAIRS; i++) {
		/* Of a pair the inner one first. */
		pair_path(path, i / 2, i % 2);
		if (cg_id(path))
			cg_remove(path);
	}
	for (i = 0; i < exact->nr_writers; i++) {
		for (j = 0; j < EXACT_LEAVES; j++) {
			sprintf(path, "x/w%d/%d", i, j);
			cg_remove(path);
		}
		sprintf(path, "x/w%d", i);
		cg_remove(path);
	}
	if (exact->nr_writers)
		cg_remove("x/common");
}

static void tree_remove(void)
{
	int i;

	for (i = EXACT_NODES - 1; i >= 0; i--) {
		if (exact->ids[i])
			cg_remove(nodes[i]);
	}
	if (exact->elsewhere)
		cg_remove("y");
}

static const char * const rstat_tracepoints[] = {
	"cgroup_rstat_locked", "cgroup_rstat_unlock", "cgroup_rstat_lock_contended",
	"cgroup_rstat_cpu_locked", "cgroup_rstat_cpu_unlock", "cgroup_rstat_cpu_lock_contended",
	"cgroup_rstat_cpu_locked_fastpath", "cgroup_rstat_cpu_unlock_fastpath",
};

#define NR_TRACEPOINTS	ARRAY_SIZE(rstat_tracepoints)
#define NR_ATTACHED	10

/* What is attached while the test runs. */
struct attached {
	struct bpf_link *links[NR_ATTACHED];
	struct bpf_link *clocks[EXACT_CPUS], *nmis[EXACT_CPUS];
	struct bpf_link *group;
	int tracepoints[NR_TRACEPOINTS];
	/* In NMIs without a PMU: none is negative. */
	int nmi_handler;
	int console_level;
};

static int nr_timers(void)
{
	return MIN(nr_cpus, EXACT_CPUS);
}

/* Where there are hardware events. */
static struct bpf_link *attach_nmi(int cpu)
{
	int fd = perf_open(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, PERIOD, cpu);
	struct bpf_link *link;

	if (fd < 0)
		return NULL;
	link = bpf_program__attach_perf_event(exact->skel->progs.on_nmi, fd);
	if (!ASSERT_OK_PTR(link, "attach to cycles"))
		close(fd);
	return link;
}

static void attach_interrupts(struct attached *a)
{
	int i;

	for (i = 0; i < nr_timers(); i++) {
		a->clocks[i] = attach_timer(exact->skel->progs.on_clock, PERIOD, cpus[i]);
		a->nmis[i] = attach_nmi(cpus[i]);
		pin_to(cpus[i]);
		ASSERT_OK(run(exact->skel->progs.start_timer, i, 0, 0), "start timer");
	}
	unpin();
}

static bool has_nmis(const struct attached *a)
{
	return a->nmis[0] || a->nmi_handler >= 0;
}

/*
 * Where there are no hardware events, and the tracepoint. With all maps the console is to
 * show everything.
 */
static void attach_nmi_handler(struct attached *a)
{
	const struct bpf_program *prog = exact->skel->progs.on_nmi_handler;

	if (!exact->few || a->nmis[0] || access(SYSRQ, W_OK))
		return;
	a->nmi_handler = bpf_raw_tracepoint_open("nmi_handler", bpf_program__fd(prog));
	if (a->nmi_handler >= 0)
		a->console_level = console_level(ERRORS_ONLY);
}

static void attach_all(struct attached *a)
{
	struct cgroup_stats_exact *skel = exact->skel;
	const struct bpf_program *progs[NR_ATTACHED] = {
		skel->progs.on_getpgid, skel->progs.on_sys_enter, skel->progs.on_switch,
		skel->progs.on_exit, skel->progs.after_exit, skel->progs.on_mkdir,
		skel->progs.on_queue, skel->progs.on_flush, skel->progs.on_fold,
		bpf_program__autoload(skel->progs.on_updated) ? skel->progs.on_updated : NULL,
	};
	int i;

	/* From the first add on: what it has not seen it does not know. */
	a->group = bpf_map__attach_struct_ops(skel->maps.fold_group_first_ops);
	ASSERT_OK_PTR(a->group, "attach aggregator");
	if (exact->quiet)
		return;
	for (i = 0; i < NR_ATTACHED && progs[i]; i++) {
		a->links[i] = bpf_program__attach(progs[i]);
		ASSERT_OK_PTR(a->links[i], bpf_program__name(progs[i]));
	}
	/* Kernels do not have the same ones. */
	for (i = 0; i < NR_TRACEPOINTS; i++)
		a->tracepoints[i] = bpf_raw_tracepoint_open(rstat_tracepoints[i],
							    bpf_program__fd(skel->progs.on_rstat));
	attach_interrupts(a);
	attach_nmi_handler(a);
}

static void detach_all(struct attached *a)
{
	int i;

	if (exact->quiet)
		return;
	if (a->nmi_handler >= 0) {
		close(a->nmi_handler);
		console_level(a->console_level);
	}
	for (i = 0; i < NR_TRACEPOINTS; i++)
		close(a->tracepoints[i]);
	for (i = 0; i < nr_timers(); i++) {
		bpf_link__destroy(a->clocks[i]);
		bpf_link__destroy(a->nmis[i]);
		ASSERT_GE(run(exact->skel->progs.cancel_timer, i, 0, 0), 0, "cancel timer");
	}
	for (i = 0; i < NR_ATTACHED; i++)
		bpf_link__destroy(a->links[i]);
	/* Those that still run have ended when this has returned. */
	kern_sync_rcu();
}

static const char * const kind_names[NR_KINDS] = {
	[KIND_SYSCALL] = "system calls",
	[KIND_SLEEPABLE] = "sleepable programs",
	[KIND_TASK] = "tasks",
	[KIND_SWITCH] = "the scheduler",
	[KIND_EXIT] = "exiting tasks",
	[KIND_MKDIR] = "mkdir()",
	[KIND_SOFTIRQ] = "softirqs",
	[KIND_HARDIRQ] = "hardirqs",
	[KIND_IPI] = "IPIs",
	[KIND_NMI] = "NMIs",
	[KIND_RSTAT] = "tracepoints of rstat",
	[KIND_QUEUE] = "the drain",
	[KIND_FLUSH] = "the flush",
	[KIND_FOLD] = "the fold",
	[KIND_AGGREGATOR] = "an aggregator",
};

static const char * const work_names[NR_WORK] = {
	[WORK_RMDIR] = "cgroups removed",
	[WORK_MOVE] = "moves of tasks",
	[WORK_FORK] = "forks",
	[WORK_MAP] = "maps",
	[WORK_SWITCH] = "aggregators attached or detached",
	[WORK_READ_ONE] = "lookups",
	[WORK_READ_PROGRAM] = "lookups of programs",
	[WORK_READ_BATCH] = "batches",
	[WORK_READ_ITER] = "iterators",
	[WORK_WRITE] = "writes that were looked for",
	[WORK_UNPLUG] = "times that a CPU was away",
};

#define NR_FOLDS	((int)ARRAY_SIZE(((struct cgroup_stats_exact__bss *)NULL)->folds))

/* Is there anything that has not happened? A test of nothing is worth nothing. */
static bool all_happened(const struct attached *a)
{
	int i, missing = !READ_ONCE(exact->bss->missed);

	if (exact->quiet)
		return READ_ONCE(exact->work[WORK_WRITE]);
	for (i = 0; i < NR_KINDS; i++)
		missing += !READ_ONCE(exact->bss->added[i]) && (i != KIND_NMI || has_nmis(a));
	missing += !READ_ONCE(exact->bss->looks[KIND_HARDIRQ]);
	missing += !READ_ONCE(exact->bss->looks[KIND_NMI]) && has_nmis(a);
	for (i = 0; i < NR_FOLDS; i++)
		missing += !READ_ONCE(exact->bss->folds[i]);
	for (i = 0; i < NR_WORK; i++)
		missing += !READ_ONCE(exact->work[i]) && (i != WORK_UNPLUG || exact->unplug);
	return !missing;
}

static void report(const struct attached *a)
{
	int i;

	for (i = 0; i < NR_KINDS; i++)
		printf("%llu adds of %s%s\n", exact->bss->added[i], kind_names[i],
		       i == KIND_NMI && !has_nmis(a) ? ": there are none to be had" : "");
	printf("%llu reads in hardirqs, %llu in NMIs\n", exact->bss->looks[KIND_HARDIRQ],
	       exact->bss->looks[KIND_NMI]);
	for (i = 0; i < NR_FOLDS; i++)
		printf("%llu folds of aggregator %d\n", exact->bss->folds[i], i);
	for (i = 0; i < NR_WORK; i++)
		printf("%llu %s\n", exact->work[i], work_names[i]);
	printf("%llu adds to cgroups that were gone\n", exact->bss->missed);
}

static struct reader *readers[EXACT_READERS];

/* All but readers and writers */
static int spawn_others(struct attached *a, pid_t *pids)
{
	int i, nr = 0;

	for (i = 0; i < 2; i++) {
		pids[nr++] = spawn(churner, (void *)(long)i);
		pids[nr++] = spawn(mover, (void *)(long)i);
	}
	pids[nr++] = spawn(storm, NULL);
	pids[nr++] = spawn(mapper, NULL);
	pids[nr++] = spawn(switcher, &a->group);
	pids[nr++] = spawn(interrupter, NULL);
	if (a->nmi_handler >= 0)
		pids[nr++] = spawn(nmi_trigger, NULL);
	if (exact->unplug)
		pids[nr++] = spawn(unplugger, NULL);
	for (i = 0; i < nr_timers(); i++)
		pids[nr++] = spawn(adder, (void *)(long)i);
	return nr;
}

static void run_all(struct attached *a, int seconds)
{
	unsigned int seed = 1812433253;
	pid_t pids[64];
	int i, nr = 0;
	__u64 end;

	exact->bss->focus = random_single_map(&seed);
	for (i = 0; i < EXACT_READERS; i++)
		pids[nr++] = spawn(reader, readers[i]);
	for (i = 0; i < exact->nr_writers; i++)
		pids[nr++] = spawn(writer, (void *)(long)i);
	if (!exact->quiet)
		nr += spawn_others(a, pids + nr);
	end = get_time_ns() + seconds * 1000000000ULL;
	while (get_time_ns() < end) {
		WRITE_ONCE(exact->bss->focus, random_single_map(&seed));
		usleep(200000);
	}
	ASSERT_TRUE(wait_until(all_happened(a)), "all that there is to happen");
	WRITE_ONCE(exact->bss->stop, true);
	while (nr)
		reap(pids[--nr]);
}

static void check_errors(void)
{
	ASSERT_EQ(exact->bss->failed, 0, "adds and folds that failed");
	ASSERT_EQ(exact->bss->bad_looks, 0, "reads in interrupts that saw what never was");
	if (!ASSERT_EQ(exact->errors, 0, "errors"))
		printf("the first one in line %d, errno %d\n", exact->line, exact->error);
	ASSERT_EQ(exact->late, 0, "reads that missed an add");
	ASSERT_EQ(exact->early, 0, "reads with more than there was");
	ASSERT_EQ(exact->backwards, 0, "values that went back");
	ASSERT_EQ(exact->torn, 0, "elements of two halves");
	ASSERT_EQ(exact->mixed, 0, "copies of more than one instant");
	ASSERT_EQ(exact->unseen, 0, "writes that were not seen");
	/* So long can it run: elements of 4 bytes must not wrap around. */
	ASSERT_LT(exact->bss->last_seq, 0x7fffffff, "samples");
}

static void exact_run(void)
{
	const char *seconds = getenv("CGROUP_STATS_EXACT_SECONDS");
	struct attached a = { .nmi_handler = -1 };
	int i;

	for (i = 0; i < EXACT_READERS; i++) {
		readers[i] = calloc(1, sizeof(*readers[i]));
		readers[i]->nr = i;
		readers[i]->seed = 362436069 + i;
	}
	attach_all(&a);
	run_all(&a, seconds ? atoi(seconds) : SECONDS);
	detach_all(&a);
	check_totals("totals");
	report(&a);
	check_errors();
	/* What nobody has read goes up all the same. */
	ASSERT_OK(run(exact->skel->progs.burst, 1000, 0, 0), "last adds");
	tree_prune();
	ASSERT_TRUE(wait_until(!cg_number("x", "cgroup.stat", "nr_dying_descendants")), "released");
	check_totals("totals when what comes and goes has gone");
	bpf_link__destroy(a.group);
	for (i = 0; i < EXACT_READERS; i++)
		free(readers[i]);
}

static void exact_test(bool few, bool quiet)
{
	int i;

	exact = shared_alloc(sizeof(*exact));
	if (!exact)
		return;
	exact->few = few;
	exact->quiet = quiet;
	exact->unplug = few && !quiet && nr_cpus > 1 && !cpu_set_online(cpus[nr_cpus - 1], true);
	if (!tree_make())
		goto out;
	if (exact_load() && exact_fill()) {
		tree_fill();
		exact_run();
	}
	for (i = 0; i < NR_EXACT_MAPS; i++) {
		if (exact->iters[i] > 0)
			close(exact->iters[i]);
		if (exact->types[i].btf_fd > 0)
			close(exact->types[i].btf_fd);
	}
	cgroup_stats_exact__destroy(exact->skel);
out:
	tree_remove();
	munmap(exact, sizeof(*exact));
}

static void test_all_maps(void)
{
	exact_test(false, false);
}

static void test_few_maps(void)
{
	exact_test(true, false);
}

/* A mark that is lost is there again with the next add: so have long breaks between them. */
static void test_few_adds(void)
{
	exact_test(true, true);
}

void serial_test_cgroup_stats_exact(void)
{
	static const struct subtest tests[] = {
		{ "all_maps", test_all_maps },
		{ "few_maps", test_few_maps },
		{ "few_adds", test_few_adds },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}
