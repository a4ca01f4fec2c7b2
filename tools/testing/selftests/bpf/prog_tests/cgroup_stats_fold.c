// SPDX-License-Identifier: GPL-2.0
/* Aggregators of BPF_MAP_TYPE_CGROUP_STATS, written in BPF */
#define _GNU_SOURCE
#include <ctype.h>
#include "cgroup_stats_helpers.h"
#include "../progs/cgroup_stats_fold.h"
#include "cgroup_stats_fold.skel.h"
#include "cgroup_stats_fold_fail.skel.h"

#define NO_CAP		(~0ULL)
#define MAX_CPUS	CPU_SETSIZE

/* --- cgroups: those that are and those that were, parents first --- */

struct node {
	char path[32];
	__u64 id;
	int parent;	/* index, -1: the root */
	bool alive;
	/* What was added to it. */
	struct fold_sums own;
};

static struct node nodes[FOLD_IDS];
static int nr_nodes;

/* Without assertions, for threads. Its index; negative: an error. */
static int node_try_make(const char *path, int parent)
{
	struct node *node = &nodes[nr_nodes];
	int err;

	if (nr_nodes == FOLD_IDS)
		return -ENOSPC;
	err = cg_try_make(path);
	if (err)
		return err;
	memset(node, 0, sizeof(*node));
	snprintf(node->path, sizeof(node->path), "%s", path);
	node->id = cg_id(path);
	node->parent = parent;
	node->alive = true;
	return node->id ? nr_nodes++ : -ENOENT;
}

static int node_try_remove(int i)
{
	int err = cg_try_remove(nodes[i].path);

	if (!err)
		nodes[i].alive = false;
	return err;
}

static void node_make(const char *path, int parent)
{
	ASSERT_GE(node_try_make(path, parent), 0, path);
}

static void node_remove(int i)
{
	ASSERT_OK(node_try_remove(i), nodes[i].path);
}

static void nodes_remove(void)
{
	while (nr_nodes) {
		if (nodes[--nr_nodes].alive)
			node_remove(nr_nodes);
	}
}

/* a, with b and c, which have leaves: 0 to 4 are in b, the others in c. */
#define NR_LEAVES 9

static void nodes_make(void)
{
	char path[16];
	int i;

	node_make("a", -1);
	node_make("a/b", 0);
	node_make("a/c", 0);
	for (i = 0; i < NR_LEAVES; i++) {
		sprintf(path, "a/%c/%d", i < 5 ? 'b' : 'c', i);
		node_make(path, i < 5 ? 1 : 2);
	}
}

static bool is_below(int i, int top)
{
	while (i > top)
		i = nodes[i].parent;
	return i == top;
}

/* A living one */
static int random_node(unsigned int *seed)
{
	int i;

	do {
		i = xrand(seed) % nr_nodes;
	} while (!nodes[i].alive);
	return i;
}

/* --- programs and their maps --- */

static struct cgroup_stats_fold *open_skel(__u64 root)
{
	struct cgroup_stats_fold *skel = cgroup_stats_fold__open();

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	bpf_map__set_map_extra(skel->maps.stats, root);
	bpf_map__set_map_extra(skel->maps.other, root);
	bpf_map__set_map_extra(skel->maps.large, root);
	bpf_map__set_map_extra(skel->maps.hottest, root);
	bpf_map__set_map_extra(skel->maps.mixed, root);
	return skel;
}

static bool load(struct cgroup_stats_fold *skel)
{
	return ASSERT_OK(cgroup_stats_fold__load(skel), "load");
}

static struct bpf_link *attach(const struct bpf_map *ops)
{
	struct bpf_link *link = bpf_map__attach_struct_ops(ops);

	ASSERT_OK_PTR(link, "attach");
	return link;
}

/* What comes of trying to attach. */
static int try_attach(const struct bpf_map *ops)
{
	struct bpf_link *link = bpf_map__attach_struct_ops(ops);

	if (!link)
		return -errno;
	bpf_link__destroy(link);
	return 0;
}

/* Adds to a node, on some CPU, and remembers it. */
static void add_to(const struct bpf_program *prog, int node, int index, __u64 value,
		   unsigned int *seed)
{
	int cpu = cpus[xrand(seed) % nr_cpus];

	if (ASSERT_OK(add_on(cpu, prog, nodes[node].id, index, value), "add"))
		nodes[node].own.n[index] += value;
}

/* What a total must be, were it not for a cap. */
static struct fold_sums model(int node)
{
	struct fold_sums sums = {};
	int i, j;

	for (i = node; i < nr_nodes; i++) {
		for (j = 0; is_below(i, node) && j < FOLD_ELEMS; j++)
			sums.n[j] += nodes[i].own.n[j];
	}
	return sums;
}

/* How many elements of a node's total are not min(sum, cap). */
static int wrong_elems(int map_fd, int node, __u64 cap)
{
	struct fold_sums got, want = model(node);
	int i, wrong = 0;

	if (bpf_map_lookup_elem(map_fd, &nodes[node].id, &got))
		return FOLD_ELEMS;
	for (i = 0; i < FOLD_ELEMS; i++) {
		if (got.n[i] == MIN(want.n[i], cap))
			continue;
		if (!wrong++)
			printf("%s: element %d is %llu, not %llu\n", nodes[node].path, i,
			       got.n[i], MIN(want.n[i], cap));
	}
	return wrong;
}

/* Of all nodes, from the root to the leaves or the other way. */
static int wrong_totals(int map_fd, __u64 cap, bool root_first)
{
	int i, node, wrong = 0;

	for (i = 0; i < nr_nodes; i++) {
		node = root_first ? i : nr_nodes - 1 - i;
		if (nodes[node].alive)
			wrong += wrong_elems(map_fd, node, cap);
	}
	return wrong;
}

/* --- a sum that saturates --- */

static void test_saturate(void)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;
	unsigned int seed = 2463534242;
	int i, fd, other_fd;

	nodes_make();
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	skel->struct_ops.first->fold = skel->progs.saturate;
	if (!load(skel))
		goto out;
	link = attach(skel->maps.first);
	if (!link)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	other_fd = bpf_map__fd(skel->maps.other);

	for (i = 0; i < 1000; i++) {
		int node = random_node(&seed), elem = xrand(&seed) % FOLD_ELEMS;
		__u64 value = xrand(&seed) % 20;

		/* The same to a map of the same type that has no aggregator. */
		add_to(skel->progs.add, node, elem, value, &seed);
		ASSERT_OK(add_on(cpus[i % nr_cpus], skel->progs.add_other, nodes[node].id, elem,
				 value), "add to the other");
		if (xrand(&seed) % 4 == 0) {
			node = random_node(&seed);
			if (!ASSERT_EQ(wrong_elems(fd, node, FOLD_CAP), 0, "saturated") ||
			    !ASSERT_EQ(wrong_elems(other_fd, node, NO_CAP), 0, "other"))
				break;
		}
		if (i == 400)
			node_remove(3);
		if (i == 700)
			node_remove(nr_nodes - 1);
	}
	ASSERT_EQ(wrong_totals(fd, FOLD_CAP, false), 0, "saturated");
	ASSERT_EQ(wrong_totals(fd, FOLD_CAP, true), 0, "saturated, again");
	ASSERT_EQ(wrong_totals(other_fd, NO_CAP, true), 0, "other");
	ASSERT_EQ(skel->bss->failed, 0, "folds that failed");
	/* Some are at the cap, and some below. */
	ASSERT_GT(model(0).n[0], FOLD_CAP, "root");
	ASSERT_LT(model(4).n[0], FOLD_CAP, "leaf");
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* The same for as many elements as there can be, of 4 bytes. */
static void test_large(void)
{
	static struct fold_large sums[2], got;
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;
	unsigned int seed = 1013904223;
	int i, fd, node;

	node_make("a", -1);
	node_make("a/b", 0);
	memset(sums, 0, sizeof(sums));
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	bpf_map__set_autocreate(skel->maps.large_ops, true);
	if (!load(skel))
		goto out;
	link = attach(skel->maps.large_ops);
	if (!link)
		goto out;
	fd = bpf_map__fd(skel->maps.large);

	for (i = 0; i < 3000; i++) {
		__u32 elem = xrand(&seed) % FOLD_LARGE, value = xrand(&seed) % FOLD_CAP;

		node = xrand(&seed) % 2;
		ASSERT_OK(add_on(cpus[i % nr_cpus], skel->progs.add_large, nodes[node].id, elem,
				 value), "add");
		sums[0].n[elem] += value;
		if (node)
			sums[1].n[elem] += value;
		if (i % 500)
			continue;
		ASSERT_OK(bpf_map_lookup_elem(fd, &nodes[node].id, &got), "lookup");
		ASSERT_EQ(got.n[elem], MIN(sums[node].n[elem], FOLD_CAP), "just added");
	}
	for (node = 0; node < 2; node++) {
		ASSERT_OK(bpf_map_lookup_elem(fd, &nodes[node].id, &got), "lookup");
		for (i = 0; i < FOLD_LARGE; i++) {
			if (!ASSERT_EQ(got.n[i], MIN(sums[node].n[i], FOLD_CAP), "element"))
				break;
		}
	}
	ASSERT_EQ(skel->bss->failed, 0, "folds that failed");
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* --- the descendants that have most --- */

static int by_count(const void *a, const void *b)
{
	const struct fold_record *x = a, *y = b;

	if (x->count != y->count)
		return x->count < y->count ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* What the program must have found, also of descendants that are gone. */
static struct fold_top top_model(int node)
{
	struct fold_record records[3 + NR_LEAVES] = {};
	struct fold_top top = { .own = nodes[node].own.n[0] };
	int i, nr = 0;

	for (i = node + 1; i < nr_nodes; i++) {
		if (!is_below(i, node) || !nodes[i].own.n[0])
			continue;
		records[nr].id = nodes[i].id;
		records[nr++].count = nodes[i].own.n[0];
	}
	qsort(records, nr, sizeof(*records), by_count);
	memcpy(top.top, records, sizeof(top.top));
	return top;
}

static bool top_is_right(int map_fd, int node)
{
	struct fold_top got, want = top_model(node);
	int i;

	if (!ASSERT_OK(bpf_map_lookup_elem(map_fd, &nodes[node].id, &got), "lookup") ||
	    !ASSERT_EQ(got.own, want.own, "own"))
		return false;
	for (i = 0; i < FOLD_TOP; i++) {
		if (!ASSERT_EQ(got.top[i].id, want.top[i].id, "id") ||
		    !ASSERT_EQ(got.top[i].count, want.top[i].count, "count"))
			return false;
	}
	return true;
}

/* The living leaf that has most */
static int hottest_leaf(void)
{
	int i, hottest = -1;

	for (i = 3; i < nr_nodes; i++) {
		if (nodes[i].alive &&
		    (hottest < 0 || nodes[i].own.n[0] > nodes[hottest].own.n[0]))
			hottest = i;
	}
	return hottest;
}

static void test_top(void)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;
	unsigned int seed = 88172645;
	struct fold_top top;
	int i, fd, gone;

	nodes_make();
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	bpf_map__set_autocreate(skel->maps.hottest_ops, true);
	if (!load(skel))
		goto out;
	link = attach(skel->maps.hottest_ops);
	if (!link)
		goto out;
	fd = bpf_map__fd(skel->maps.hottest);

	for (i = 0; i < 1000; i++) {
		/* Small ones, so that they overtake each other and are often equal. */
		add_to(skel->progs.add_hottest, random_node(&seed), 0, xrand(&seed) % 4, &seed);
		if (xrand(&seed) % 4 == 0 && !top_is_right(fd, random_node(&seed)))
			break;
	}
	/* Its record stays, and what it had in the end, which nobody has read yet. */
	gone = hottest_leaf();
	add_to(skel->progs.add_hottest, gone, 0, 1000, &seed);
	node_remove(gone);
	ASSERT_TRUE(top_is_right(fd, 0), "top after rmdir");
	ASSERT_TRUE(top_is_right(fd, nodes[gone].parent), "parent after rmdir");
	ASSERT_OK(bpf_map_lookup_elem(fd, &nodes[0].id, &top), "lookup");
	ASSERT_EQ(top.top[0].id, nodes[gone].id, "the hottest has gone");
	for (i = 0; i < 200; i++)
		add_to(skel->progs.add_hottest, random_node(&seed), 0, xrand(&seed) % 16, &seed);
	for (i = nr_nodes - 1; i >= 0; i--) {
		if (nodes[i].alive)
			ASSERT_TRUE(top_is_right(fd, i), nodes[i].path);
	}
	ASSERT_EQ(skel->bss->failed, 0, "folds that failed");
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* --- what fold() sees --- */

static const struct fold_mixed identity = { .max = INT64_MIN, .min = INT64_MAX };

static bool mixed_equal(const struct fold_mixed *a, const struct fold_mixed *b)
{
	return a->sum == b->sum && a->max == b->max && a->min == b->min;
}

static void mixed_merge(struct fold_mixed *to, __u64 sum, __s64 max, __s64 min)
{
	to->sum += sum;
	to->max = MAX(to->max, max);
	to->min = MIN(to->min, min);
}

/* As many as there are in the path a/b/c */
#define NR_SEEN 3

/* What was added, and how far folds have come with it: by node and CPU. */
struct seen {
	__u32 flags;
	int nr_adds;
	struct fold_mixed added[NR_SEEN][MAX_CPUS], last[NR_SEEN][MAX_CPUS];
	struct fold_mixed pending[NR_SEEN], total[NR_SEEN];
	bool cpu_used[MAX_CPUS];
};

static void seen_init(struct seen *seen, __u32 flags)
{
	int i, j;

	memset(seen, 0, sizeof(*seen));
	seen->flags = flags;
	for (i = 0; i < NR_SEEN; i++) {
		seen->pending[i] = identity;
		seen->total[i] = identity;
		for (j = 0; j < MAX_CPUS; j++) {
			seen->added[i][j] = identity;
			seen->last[i][j] = identity;
		}
	}
}

/* Without percpu values all are where the first CPU's would be. */
static int seen_slot(const struct seen *seen, int cpu)
{
	return seen->flags & BPF_F_NO_PERCPU ? 0 : cpu;
}

static void seen_add(struct seen *seen, struct cgroup_stats_fold *skel, int node, int cpu,
		     unsigned int *seed)
{
	__s64 sum = xrand(seed) % 100, max = xrand(seed) % 1000, min = xrand(seed) % 1000;
	const struct bpf_program *prog = skel->progs.add_mixed;

	/* Maxima that are negative at first, minima that are positive. */
	max += 10 * seen->nr_adds - 2000;
	min += 2000 - 10 * seen->nr_adds;
	ASSERT_OK(add_on(cpu, prog, nodes[node].id, 0, sum), "add sum");
	ASSERT_OK(add_on(cpu, prog, nodes[node].id, 1, max), "add max");
	ASSERT_OK(add_on(cpu, prog, nodes[node].id, 2, min), "add min");
	mixed_merge(&seen->added[node][seen_slot(seen, cpu)], sum, max, min);
	seen->cpu_used[cpu] = true;
	seen->nr_adds++;
}

/*
 * Folds happen when somebody reads, or when the kernel flushes by itself, so it is
 * not known how many there are. Each must go on where the one before has ended.
 */
static bool seen_event(struct seen *seen, const struct fold_event *event)
{
	const struct fold_mixed *now = &event->now;
	struct fold_mixed *last, *pending;
	bool has_parent;
	int node;

	for (node = 0; node < NR_SEEN && nodes[node].id != event->id; node++)
		;
	if (!ASSERT_LT(node, NR_SEEN, "cgroup_id") ||
	    !ASSERT_LT(event->cpu, MAX_CPUS, "cpu") ||
	    !ASSERT_TRUE(seen->cpu_used[event->cpu], "cpu was used"))
		return false;
	last = &seen->last[node][seen_slot(seen, event->cpu)];
	pending = &seen->pending[node];
	has_parent = node && !(seen->flags & BPF_F_NO_HIERARCHY);
	if (!ASSERT_TRUE(mixed_equal(&event->prev, last), "PREV") ||
	    !ASSERT_TRUE(mixed_equal(&event->pending, pending), "PENDING") ||
	    !ASSERT_TRUE(mixed_equal(&event->total, &seen->total[node]), "TOTAL") ||
	    !ASSERT_EQ(event->has_parent, has_parent, "PARENT"))
		return false;
	mixed_merge(&seen->total[node], now->sum - last->sum, now->max, now->min);
	mixed_merge(&seen->total[node], pending->sum, pending->max, pending->min);
	if (has_parent) {
		mixed_merge(&seen->pending[node - 1], now->sum - last->sum, now->max, now->min);
		mixed_merge(&seen->pending[node - 1], pending->sum, pending->max, pending->min);
	}
	*last = *now;
	*pending = identity;
	return true;
}

/* After the last flush: all was seen, for the CPUs that it came from. */
static void seen_end(const struct seen *seen, int map_fd)
{
	struct fold_mixed got;
	int i, j;

	for (i = 0; i < NR_SEEN; i++) {
		for (j = 0; j < MAX_CPUS; j++) {
			if (!ASSERT_TRUE(mixed_equal(&seen->last[i][j], &seen->added[i][j]), "NOW"))
				return;
		}
		ASSERT_TRUE(mixed_equal(&seen->pending[i], &identity), "nothing is left");
		if (!nodes[i].alive)
			continue;
		ASSERT_OK(bpf_map_lookup_elem(map_fd, &nodes[i].id, &got), "lookup");
		ASSERT_TRUE(mixed_equal(&seen->total[i], &got), "total");
	}
}

static void see(__u32 flags)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;
	unsigned int seed = 521288629;
	static struct seen seen;
	struct fold_mixed got;
	int i, fd;

	node_make("a", -1);
	node_make("a/b", 0);
	node_make("a/b/c", 1);
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	bpf_map__set_map_flags(skel->maps.mixed, flags);
	bpf_map__set_autocreate(skel->maps.mixed_ops, true);
	if (!load(skel))
		goto out;
	link = attach(skel->maps.mixed_ops);
	if (!link)
		goto out;
	fd = bpf_map__fd(skel->maps.mixed);

	seen_init(&seen, flags);
	for (i = 0; i < 60; i++) {
		/* b has nothing of its own at first. */
		seen_add(&seen, skel, i < 20 ? 2 * (i % 2) : i % NR_SEEN,
			 cpus[xrand(&seed) % nr_cpus], &seed);
		if (xrand(&seed) % 2)
			ASSERT_OK(bpf_map_lookup_elem(fd, &nodes[xrand(&seed) % NR_SEEN].id, &got),
				  "lookup");
	}
	/* What c leaves, it leaves to b. */
	seen_add(&seen, skel, 2, cpus[nr_cpus - 1], &seed);
	node_remove(2);
	ASSERT_OK(bpf_map_lookup_elem(fd, &nodes[0].id, &got), "lookup");
	bpf_link__destroy(link);
	link = NULL;

	ASSERT_EQ(skel->bss->failed, 0, "folds that failed");
	ASSERT_GT(skel->bss->nr_events, NR_SEEN, "folds");
	if (!ASSERT_LE(skel->bss->nr_events, FOLD_EVENTS, "folds"))
		goto out;
	for (i = 0; i < skel->bss->nr_events; i++) {
		if (!seen_event(&seen, &skel->bss->events[i]))
			goto out;
	}
	seen_end(&seen, fd);
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

static void test_see(void)
{
	see(0);
}

static void test_see_no_percpu(void)
{
	see(BPF_F_NO_PERCPU);
}

static void test_see_no_hierarchy(void)
{
	see(BPF_F_NO_HIERARCHY);
}

static void test_see_neither(void)
{
	see(BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY);
}

/* --- what the kfuncs give --- */

/* In a fold of this node, when its child or the node itself was added to. */
static void probe(struct cgroup_stats_fold *skel, int node, bool has_parent)
{
	int i, want;

	memset(skel->bss->probed, 0, sizeof(skel->bss->probed));
	skel->bss->probe_id = nodes[node].id;
	ASSERT_OK(add_on(cpus[0], skel->progs.add, nodes[1].id, 0, 1), "add");
	nodes[1].own.n[0]++;
	ASSERT_EQ(wrong_elems(bpf_map__fd(skel->maps.stats), 0, NO_CAP), 0, "total");
	for (i = 0; i < NR_PROBES; i++) {
		want = i < NR_MEM_PROBES || (i < NR_PARENT_PROBES && has_parent) ?
		       PROBED_MEM : PROBED_NULL;
		if (!ASSERT_EQ(skel->bss->probed[i], want, "kfunc"))
			printf("%s: call %d of a kfunc\n", nodes[node].path, i);
	}
	ASSERT_EQ(skel->bss->probe_written, model(node).n[0], "total as written");
	ASSERT_EQ(skel->bss->probe_read, model(node).n[0], "total as read");
}

static void test_kfuncs(void)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;

	node_make("a", -1);
	node_make("a/b", 0);
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	skel->struct_ops.first->fold = skel->progs.probe;
	if (!load(skel))
		goto out;
	link = attach(skel->maps.first);
	if (!link)
		goto out;
	probe(skel, 1, true);
	probe(skel, 0, false);
	ASSERT_EQ(skel->bss->failed, 0, "folds that failed");
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* --- attach, replace, detach --- */

/* Adds some everywhere, and looks whether all is there. */
static bool adds_arrive(struct cgroup_stats_fold *skel, unsigned int *seed)
{
	int i;

	for (i = 0; i < 20; i++)
		add_to(skel->progs.add, random_node(seed), xrand(seed) % FOLD_ELEMS,
		       xrand(seed) % 1000, seed);
	return ASSERT_EQ(wrong_totals(bpf_map__fd(skel->maps.stats), NO_CAP, xrand(seed) % 2), 0,
			 "totals");
}

static void test_attach(void)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;
	unsigned int seed = 362436069;
	__u64 *folds, before;
	int i;

	nodes_make();
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	skel->struct_ops.first->fold = skel->progs.sum;
	skel->struct_ops.second->fold = skel->progs.sum_again;
	skel->struct_ops.third->fold = skel->progs.sum_other;
	if (!load(skel))
		goto out;
	folds = skel->bss->folds;

	/* What was added before, and read by nobody, is not for the program. */
	for (i = 0; i < 10 * nr_cpus; i++)
		add_to(skel->progs.add, random_node(&seed), i % FOLD_ELEMS, i, &seed);
	link = attach(skel->maps.first);
	if (!link)
		goto out;
	ASSERT_EQ(wrong_totals(bpf_map__fd(skel->maps.stats), NO_CAP, true), 0, "totals");
	ASSERT_EQ(folds[FOLD_SUM], 0, "flushed before");
	adds_arrive(skel, &seed);
	ASSERT_GT(folds[FOLD_SUM], 0, "folds of the first");

	/* One at a time; another map has one of its own. */
	ASSERT_EQ(try_attach(skel->maps.second), -EBUSY, "second");
	ASSERT_EQ(try_attach(skel->maps.first), -EBUSY, "first again");
	ASSERT_OK(try_attach(skel->maps.third), "of the other map");

	/* What was added before a replacement is still for the first. */
	add_to(skel->progs.add, 3, 0, 1, &seed);
	ASSERT_OK(bpf_link__update_map(link, skel->maps.second), "replace");
	before = folds[FOLD_SUM];
	ASSERT_EQ(wrong_totals(bpf_map__fd(skel->maps.stats), NO_CAP, true), 0, "totals");
	ASSERT_EQ(folds[FOLD_SUM_AGAIN], 0, "flushed before");
	adds_arrive(skel, &seed);
	ASSERT_EQ(folds[FOLD_SUM], before, "folds of the first");
	ASSERT_GT(folds[FOLD_SUM_AGAIN], 0, "folds of the second");
	ASSERT_EQ(try_attach(skel->maps.first), -EBUSY, "first");

	/* A link stays with its map. */
	before = folds[FOLD_SUM_AGAIN];
	ASSERT_EQ(bpf_link__update_map(link, skel->maps.third), -EINVAL, "of the other map");
	adds_arrive(skel, &seed);
	ASSERT_GT(folds[FOLD_SUM_AGAIN], before, "folds of the second");
	ASSERT_EQ(folds[FOLD_SUM_OTHER], 0, "folds of the other map");

	/* What was added before detaching is for the program, later adds are not. */
	before = folds[FOLD_SUM_AGAIN];
	add_to(skel->progs.add, 3, 0, 1, &seed);
	bpf_link__destroy(link);
	link = NULL;
	ASSERT_GT(folds[FOLD_SUM_AGAIN], before, "flushed before");
	before = folds[FOLD_SUM_AGAIN];
	adds_arrive(skel, &seed);
	ASSERT_EQ(folds[FOLD_SUM_AGAIN], before, "folds of the second");

	/* Again, and the other way to detach. */
	link = attach(skel->maps.second);
	if (!link)
		goto out;
	adds_arrive(skel, &seed);
	ASSERT_GT(folds[FOLD_SUM_AGAIN], before, "folds of the second");
	ASSERT_OK(bpf_link__detach(link), "detach");
	ASSERT_EQ(bpf_link__update_map(link, skel->maps.first), -ENOLINK, "link without a map");
	before = folds[FOLD_SUM_AGAIN];
	adds_arrive(skel, &seed);
	ASSERT_EQ(folds[FOLD_SUM_AGAIN], before, "folds of the second");
	ASSERT_OK(try_attach(skel->maps.first), "while the link is there");
	bpf_link__destroy(link);

	/* A map that an attached program is bound to later has no part in it. */
	link = attach(skel->maps.first);
	if (!link)
		goto out;
	ASSERT_OK(bpf_prog_bind_map(bpf_program__fd(skel->progs.sum),
				    bpf_map__fd(skel->maps.other), NULL), "bind");
	ASSERT_OK(try_attach(skel->maps.third), "of the other map");
	ASSERT_EQ(try_attach(skel->maps.second), -EBUSY, "second");
	adds_arrive(skel, &seed);
	bpf_link__destroy(link);
	link = NULL;
	ASSERT_OK(try_attach(skel->maps.second), "after the program of two maps");
	adds_arrive(skel, &seed);
	ASSERT_EQ(skel->bss->failed, 0, "folds that failed");
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* Any sequence, now with adds in between that nobody reads, now with such that are. */
static void test_sequence(void)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;
	unsigned int seed = 123459876;
	bool second = false;
	int i;

	nodes_make();
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	skel->struct_ops.first->fold = skel->progs.sum;
	skel->struct_ops.second->fold = skel->progs.sum_again;
	if (!load(skel))
		goto out;
	for (i = 0; i < 150; i++) {
		switch (xrand(&seed) % 6) {
		case 0:
			if (!link)
				link = attach(skel->maps.first);
			break;
		case 1:
			second = !second;
			if (link)
				ASSERT_OK(bpf_link__update_map(link, second ? skel->maps.second :
									      skel->maps.first),
					  "replace");
			break;
		case 2:
			bpf_link__destroy(link);
			link = NULL;
			break;
		case 3:
			if (!adds_arrive(skel, &seed))
				goto out;
			break;
		default:
			add_to(skel->progs.add, random_node(&seed), xrand(&seed) % FOLD_ELEMS,
			       xrand(&seed), &seed);
		}
		/* Leaves go, while there is an aggregator or not. */
		if (i % 30 == 29)
			node_remove(nr_nodes - 1 - i / 30);
	}
	adds_arrive(skel, &seed);
	ASSERT_GT(skel->bss->folds[FOLD_SUM], 0, "folds of the first");
	ASSERT_GT(skel->bss->folds[FOLD_SUM_AGAIN], 0, "folds of the second");
	ASSERT_EQ(skel->bss->failed, 0, "folds that failed");
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* --- nothing holds itself --- */

static void test_close(void)
{
	struct cgroup_stats_fold *skel;
	struct bpf_link *link;
	struct fold_sums got;
	__u32 stats_id, ops_id;
	int fd;

	node_make("a", -1);
	node_make("a/b", 0);
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	skel->struct_ops.first->fold = skel->progs.sum;
	if (!load(skel))
		goto out;
	link = attach(skel->maps.first);
	if (!link)
		goto out;
	stats_id = map_id(bpf_map__fd(skel->maps.stats));
	ops_id = map_id(bpf_map__fd(skel->maps.first));
	ASSERT_OK(add_on(cpus[0], skel->progs.add, nodes[1].id, 0, 7), "add");

	/* The link holds the program, and the program the map. */
	cgroup_stats_fold__destroy(skel);
	skel = NULL;
	kern_sync_rcu();
	fd = bpf_map_get_fd_by_id(stats_id);
	if (ASSERT_OK_FD(fd, "map of an attached program")) {
		ASSERT_OK(bpf_map_lookup_elem(fd, &nodes[0].id, &got), "lookup");
		ASSERT_EQ(got.n[0], 7, "total");
		close(fd);
	}
	bpf_link__destroy(link);
	ASSERT_TRUE(wait_until(map_is_gone(ops_id)), "struct_ops map");
	ASSERT_TRUE(wait_until(map_is_gone(stats_id)), "stats map");
out:
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* The map's cgroups go, all of them, while it has an aggregator. */
static void test_no_root(void)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;

	node_make("a", -1);
	node_make("a/b", 0);
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	skel->struct_ops.first->fold = skel->progs.sum;
	skel->struct_ops.second->fold = skel->progs.sum_again;
	if (!load(skel))
		goto out;
	link = attach(skel->maps.first);
	if (!link)
		goto out;
	ASSERT_OK(add_on(cpus[0], skel->progs.add, nodes[1].id, 0, 7), "add");
	nodes_remove();
	ASSERT_EQ(add_on(cpus[0], skel->progs.add, nodes[1].id, 0, 7), -ENOENT, "add to none");
	ASSERT_OK(bpf_link__update_map(link, skel->maps.second), "replace");
	ASSERT_EQ(try_attach(skel->maps.first), -EBUSY, "first");
	bpf_link__destroy(link);
	link = NULL;
	ASSERT_OK(try_attach(skel->maps.first), "attach to an empty map");
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* --- a program that does nothing --- */

static void test_ignore(void)
{
	struct bpf_link *link = NULL;
	struct cgroup_stats_fold *skel;
	unsigned int seed = 42;
	int i, fd;

	nodes_make();
	skel = open_skel(nodes[0].id);
	if (!skel)
		goto out;
	skel->struct_ops.first->fold = skel->progs.ignore;
	if (!load(skel))
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	adds_arrive(skel, &seed);
	/* Nobody has read this before the program comes, and it is there nonetheless. */
	for (i = 0; i < 10 * nr_cpus; i++)
		add_to(skel->progs.add, random_node(&seed), i % FOLD_ELEMS, i, &seed);
	link = attach(skel->maps.first);
	if (!link)
		goto out;

	/* From now on totals stay as they are. */
	for (i = 0; i < 10 * nr_cpus; i++)
		ASSERT_OK(add_on(cpus[i % nr_cpus], skel->progs.add, nodes[i % nr_nodes].id,
				 i % FOLD_ELEMS, 5), "add");
	ASSERT_EQ(wrong_totals(fd, NO_CAP, false), 0, "totals with the program");
	ASSERT_GT(skel->bss->folds[FOLD_IGNORE], 0, "folds");
	/* This too is for the program, though nobody has read before it goes. */
	ASSERT_OK(add_on(cpus[0], skel->progs.add, nodes[3].id, 0, 5), "add");
	ASSERT_OK(add_on(cpus[0], skel->progs.add, nodes[4].id, 0, 5), "add");
	node_remove(4);
	bpf_link__destroy(link);
	link = NULL;
	ASSERT_EQ(wrong_totals(fd, NO_CAP, true), 0, "totals without the program");

	/* What it has dropped does not come back. */
	adds_arrive(skel, &seed);
out:
	bpf_link__destroy(link);
	cgroup_stats_fold__destroy(skel);
	nodes_remove();
}

/* --- what is refused --- */

enum refused {
	NO_FOLD,
	NO_SIZE,
	SMALLER,
	LARGER,
	NO_MAP,
	TWO_MAPS,
	BOUND,
	BOUND_TOO,
	NR_REFUSED,
};

static const char * const refused_names[] = {
	[NO_FOLD] = "no fold",
	[NO_SIZE] = "no value_size",
	[SMALLER] = "smaller value_size",
	[LARGER] = "larger value_size",
	[NO_MAP] = "no map",
	[TWO_MAPS] = "two maps",
	[BOUND] = "bound to a map",
	[BOUND_TOO] = "bound to a second map",
};

static void refuse(struct cgroup_stats_fold *skel, enum refused what)
{
	skel->struct_ops.first->fold = skel->progs.sum;
	skel->struct_ops.second->fold = skel->progs.sum_again;
	if (what == NO_FOLD)
		skel->struct_ops.first->fold = NULL;
	else if (what == NO_SIZE)
		skel->struct_ops.first->value_size = 0;
	else if (what == SMALLER)
		skel->struct_ops.first->value_size -= 8;
	else if (what == LARGER)
		skel->struct_ops.first->value_size += 8;
	else if (what == NO_MAP || what == BOUND)
		skel->struct_ops.first->fold = skel->progs.no_map;
	else if (what == TWO_MAPS)
		skel->struct_ops.first->fold = skel->progs.two_maps;
	if (!load(skel))
		return;

	/* A program may be said to refer to a map. */
	if (what == BOUND)
		ASSERT_OK(bpf_prog_bind_map(bpf_program__fd(skel->progs.no_map),
					    bpf_map__fd(skel->maps.stats), NULL), "bind");
	if (what == BOUND_TOO)
		ASSERT_OK(bpf_prog_bind_map(bpf_program__fd(skel->progs.sum),
					    bpf_map__fd(skel->maps.other), NULL), "bind");
	ASSERT_EQ(try_attach(skel->maps.first), what == BOUND ? 0 : -EINVAL,
		  refused_names[what]);
	/* Nothing is left of it. */
	ASSERT_OK(try_attach(skel->maps.second), "second");
}

static void test_refused(void)
{
	struct cgroup_stats_fold *skel;
	int i;

	node_make("a", -1);
	for (i = 0; i < NR_REFUSED; i++) {
		skel = open_skel(nodes[0].id);
		if (!skel)
			break;
		refuse(skel, i);
		cgroup_stats_fold__destroy(skel);
	}
	nodes_remove();
}

/* --- the tests --- */

void serial_test_cgroup_stats_fold(void)
{
	static const struct subtest tests[] = {
		{ "saturate", test_saturate },
		{ "large", test_large },
		{ "top", test_top },
		{ "see", test_see },
		{ "see_no_percpu", test_see_no_percpu },
		{ "see_no_hierarchy", test_see_no_hierarchy },
		{ "see_neither", test_see_neither },
		{ "kfuncs", test_kfuncs },
		{ "attach", test_attach },
		{ "sequence", test_sequence },
		{ "close", test_close },
		{ "no_root", test_no_root },
		{ "ignore", test_ignore },
		{ "refused", test_refused },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}

#define MSG_TAG "test_expect_msg="

/* The text of __msg() in @tag, NULL: it is something else. A number is before or behind the =. */
static const char *msg_of_tag(const char *tag)
{
	const char *msg = strstr(tag, MSG_TAG);

	if (!msg || strncmp(tag, "comment:", 8))
		return NULL;
	msg += strlen(MSG_TAG);
	return isdigit(tag[8]) ? msg : strchr(msg, '=') + 1;
}

/* What __msg() says of a program, NULL: nothing. */
static const char *expected_msg(const struct btf *btf, const char *prog_name)
{
	const struct btf_type *t, *func;
	const char *msg;
	__u32 i;

	for (i = 1; i < btf__type_cnt(btf); i++) {
		t = btf__type_by_id(btf, i);
		if (!btf_is_decl_tag(t) || btf_decl_tag(t)->component_idx != -1)
			continue;
		func = btf__type_by_id(btf, t->type);
		msg = msg_of_tag(btf__name_by_offset(btf, t->name_off));
		if (msg && !strcmp(btf__name_by_offset(btf, func->name_off), prog_name))
			return msg;
	}
	return NULL;
}

/* Is one of @msgs in the log? There are several where kernels say it in other words. */
static bool log_has(const char *log, const char *msgs)
{
	char *copy = strdup(msgs), *save, *msg;
	bool has = false;

	for (msg = strtok_r(copy, "|", &save); msg; msg = strtok_r(NULL, "|", &save))
		has |= !!strstr(log, msg);
	free(copy);
	return has;
}

static void fail_to_load(const char *name)
{
	struct cgroup_stats_fold_fail *skel = cgroup_stats_fold_fail__open();
	struct bpf_program *prog;
	static char log[1 << 16];
	const char *msg;

	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	prog = bpf_object__find_program_by_name(skel->obj, name);
	msg = expected_msg(bpf_object__btf(skel->obj), name);
	if (!ASSERT_OK_PTR(prog, name) || !ASSERT_OK_PTR(msg, "__msg"))
		goto out;
	if (bpf_program__type(prog) == BPF_PROG_TYPE_STRUCT_OPS) {
		skel->struct_ops.ops->fold = prog;
		bpf_map__set_autocreate(skel->maps.ops, true);
	} else {
		bpf_program__set_autoload(prog, true);
	}
	log[0] = '\0';
	bpf_program__set_log_buf(prog, log, sizeof(log));
	ASSERT_ERR(cgroup_stats_fold_fail__load(skel), "load");
	if (!ASSERT_TRUE(log_has(log, msg), msg))
		printf("%s\n", log);
out:
	cgroup_stats_fold_fail__destroy(skel);
}

/*
 * Not by RUN_TESTS(): it creates all struct_ops maps, and libbpf then loads all
 * programs that are in them. Here there is one such map, with one program at a time.
 */
void test_cgroup_stats_fold_fail(void)
{
	struct cgroup_stats_fold_fail *skel = cgroup_stats_fold_fail__open();
	struct bpf_program *prog;

	if (!ASSERT_OK_PTR(skel, "open"))
		return;
	bpf_object__for_each_program(prog, skel->obj) {
		if (test__start_subtest(bpf_program__name(prog)))
			fail_to_load(bpf_program__name(prog));
	}
	cgroup_stats_fold_fail__destroy(skel);
}
