// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations that fail, each one in turn and all from each one on: in creating a cgroup
 * stats map, in mkdir() below maps, in attaching and replacing an aggregator. The call
 * fails with -ENOMEM, or does without what it asked for. What fails leaves nothing
 * behind, and succeeds when it is tried again.
 *
 * This needs a kernel with FAULT_INJECTION, FAULT_INJECTION_DEBUG_FS, FAILSLAB and
 * FAIL_PAGE_ALLOC. Without these, memory cgroups at their limit are what there is. They
 * are also what makes per-CPU allocations fail, which are no slab objects, and take
 * pages only now and then.
 */
#define _GNU_SOURCE
#include <limits.h>
#include "cgroup_stats_helpers.h"
#include "../progs/cgroup_stats_fold.h"
#include "cgroup_stats_fold.skel.h"

#define MAX_ELEMS	512
/* More than any of these calls allocates. */
#define MANY		100000

/* --- failures --- */

#define DEBUG		"/sys/kernel/debug/"
#define SLAB		DEBUG "failslab/"
#define PAGE		DEBUG "fail_page_alloc/"
#define CACHE_FILTER	SLAB "cache-filter"
#define PROBABILITY	SLAB "probability"
#define MIN_ORDER	PAGE "min-order"
#define THIS_TASK	"/proc/thread-self/make-it-fail"

static int fail_nth = -1, fail_task = -1;

static struct setting {
	const char *path;
	const char *value;
	char old[16];
} settings[] = {
	{ SLAB "verbose", "0" },
	{ SLAB "ignore-gfp-wait", "N" },
	{ CACHE_FILTER, "N" },
	{ PROBABILITY, "0" },
	{ SLAB "times", "-1" },
	{ SLAB "space", "0" },
	{ SLAB "task-filter", "Y" },
	{ PAGE "verbose", "0" },
	{ PAGE "ignore-gfp-wait", "N" },
	{ PAGE "ignore-gfp-highmem", "N" },
	{ PAGE "probability", "0" },
	{ PAGE "times", "-1" },
	{ PAGE "space", "0" },
	{ PAGE "task-filter", "Y" },
	{ MIN_ORDER, "0" },
};

static bool setting_write(const char *path, const char *value)
{
	return !write_file(AT_FDCWD, path, value);
}

static bool setting_change(struct setting *s)
{
	int fd = open(s->path, O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, s->old, sizeof(s->old) - 1);

	close(fd);
	s->old[len > 0 ? len : 0] = 0;
	return len > 0 && setting_write(s->path, s->value);
}

static void failures_end(void);

/* Make failures possible; false: this kernel knows none. */
static bool failures_begin(void)
{
	int i;

	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	fail_task = open(THIS_TASK, O_RDWR | O_CLOEXEC);
	if (fail_nth < 0 || fail_task < 0) {
		failures_end();
		return false;
	}
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		if (!setting_change(&settings[i])) {
			failures_end();
			return false;
		}
	}
	return true;
}

static void failures_end(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		if (settings[i].old[0])
			setting_write(settings[i].path, settings[i].old);
		settings[i].old[0] = 0;
	}
	close(fail_nth);
	close(fail_task);
	fail_nth = -1;
	fail_task = -1;
}

/*
 * What runs out, and in which steps; NULL: nothing does, single allocations fail. A
 * single failure is not enough where vmalloc() is tried after kmalloc().
 */
static const struct resource {
	const char *name;
	const char *folder;
	int step;
} slabs = { "slabs", SLAB, 256 }, pages = { "pages", PAGE, 1 }, *scarce;

static const char *what_is_scarce(void)
{
	return scarce ? scarce->name : "nothing";
}

static bool scarce_set(const char *name, int value)
{
	char path[64], text[16];

	sprintf(path, "%s%s", scarce->folder, name);
	sprintf(text, "%d", value);
	return setting_write(path, text);
}

static int scarce_get(const char *name)
{
	char path[64], text[16] = "";
	int fd, value = -1;

	sprintf(path, "%s%s", scarce->folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (read(fd, text, sizeof(text) - 1) > 0)
		value = atoi(text);
	close(fd);
	return value;
}

/* Let this task have so much, and nothing behind it. */
static bool scarce_begin(int steps)
{
	return scarce_set("times", MANY) && scarce_set("space", steps * scarce->step) &&
	       scarce_set("probability", 100) && pwrite(fail_task, "1", 1, 0) == 1;
}

/* Whether it was enough; -1 if that is not known. */
static int scarce_end(void)
{
	int times = pwrite(fail_task, "0", 1, 0) == 1 ? scarce_get("times") : -1;

	scarce_set("probability", 0);
	return times < 0 ? -1 : times == MANY;
}

static bool arm(int n)
{
	char text[16];
	int len = sprintf(text, "%d", n);

	if (scarce && n)
		return scarce_begin(n - 1);
	return pwrite(fail_nth, text, len, 0) == len;
}

/* How many allocations were left before the one that is to fail. */
static int disarm(void)
{
	char text[16] = "";
	int left = -1;

	if (scarce)
		return scarce_end();
	if (pread(fail_nth, text, sizeof(text) - 1, 0) > 0)
		left = atoi(text);
	arm(0);
	return left;
}

/* How often a call that was made again and again failed, and how often it did not. */
struct tally {
	int failed, survived;
};

/*
 * Make a call with its @n-th allocation failing. Its result, in @ret: -ENOMEM, or a
 * success in spite of it. False: it makes no more than @n - 1.
 */
static bool call_failing(int n, int (*call)(void *arg), void *arg, int *ret,
			 struct tally *tally, const char *name)
{
	int left;

	*ret = -EINVAL;
	if (!ASSERT_TRUE(arm(n), "arm"))
		return false;
	*ret = call(arg);
	left = disarm();
	if (!ASSERT_GE(left, 0, "fail-nth"))
		return false;
	if (left) {
		ASSERT_GE(*ret, 0, name);
		return false;
	}
	if (*ret < 0) {
		tally->failed++;
		if (!ASSERT_EQ(*ret, -ENOMEM, name))
			printf("%s: allocation %d\n", name, n);
	} else {
		tally->survived++;
	}
	return true;
}

/* --- cgroups: a, a/b, a/b/c, a/d below the work folder, and new ones --- */

#define NR_TREE	4
#define NEW	NR_TREE		/* in a/b */
#define NR_ALL	(NR_TREE + 1)

static const char * const paths[NR_ALL] = { "t/a", "t/a/b", "t/a/b/c", "t/a/d", "t/a/b/new" };
static const int parents[NR_ALL] = { -1, 0, 1, 0, 1 };
static __u64 ids[NR_ALL];

static int cg_mkdir(void *path)
{
	return cg_try_make(path);
}

static bool cg_exists(const char *path)
{
	return !faccessat(workdir, path, F_OK, 0);
}

static bool tree_make(void)
{
	int i;

	/* The folder t has no controllers for its children: mkdir() is quicker without. */
	if (!ASSERT_OK(cg_mkdir("t"), "t"))
		return false;
	for (i = 0; i < NR_TREE; i++) {
		ids[i] = cg_make(paths[i]);
		if (!ids[i])
			return false;
	}
	return true;
}

static void tree_remove(void)
{
	int i;

	for (i = NR_ALL - 1; i >= 0; i--) {
		if (ids[i])
			cg_remove(paths[i]);
		ids[i] = 0;
	}
	cg_remove("t");
}

/* --- maps --- */

struct kind {
	const char *name;
	__u32 flags;
	int nr;			/* elements of 8 bytes */
	bool tagged;		/* half of them maxima, half of them minima */
};

static const struct kind kinds[] = {
	{ "sums", 0, 8, false },
	{ "no_percpu", BPF_F_NO_PERCPU, 8, false },
	{ "maxmin", 0, 8, true },
	/* So large that there need be no slab object for it. */
	{ "large", 0, MAX_ELEMS, false },
};

struct stats {
	const struct kind *kind;
	int fd, prog;
	__u64 total[NR_ALL];	/* of the first element */
};

static union bpf_attr create_attr;

/* Fills in create_attr; the caller closes its .btf_fd. */
static bool create_prepare(const struct kind *kind)
{
	const struct array sums = { { 8, false, OP_SUM }, kind->nr };
	const struct array tagged[] = {
		{ { 8, false, OP_MAX }, kind->nr / 2 },
		{ { 8, true, OP_MIN }, kind->nr / 2 },
	};
	struct map_type type;

	if (!map_type_init(&type, kind->tagged ? tagged : &sums, kind->tagged ? 2 : 1))
		return false;
	memset(&create_attr, 0, sizeof(create_attr));
	create_attr.map_type = BPF_MAP_TYPE_CGROUP_STATS;
	create_attr.key_size = 8;
	create_attr.value_size = type.size;
	create_attr.map_flags = kind->flags;
	create_attr.map_extra = ids[0];
	create_attr.btf_fd = type.btf_fd;
	create_attr.btf_key_type_id = type.key_id;
	create_attr.btf_value_type_id = type.value_id;
	return true;
}

static int create(void *unused)
{
	long fd = syscall(__NR_bpf, BPF_MAP_CREATE, &create_attr, sizeof(create_attr));

	return fd < 0 ? -errno : fd;
}

static int add(int prog_fd, __u64 id, __u64 index, __u64 value)
{
	__u64 args[] = { id, index, value, 0 };

	return run_args(THIS_CPU, prog_fd, args, ARRAY_SIZE(args));
}

static bool stats_init(struct stats *s, const struct kind *kind, int fd)
{
	memset(s, 0, sizeof(*s));
	s->kind = kind;
	s->fd = fd;
	s->prog = load_add(fd);
	return ASSERT_OK_FD(s->prog, "load");
}

static void stats_close(struct stats *s)
{
	close(s->prog);
	close(s->fd);
}

/* A map of @kind, with nothing failing. */
static bool stats_make(struct stats *s, const struct kind *kind)
{
	int fd;

	if (!create_prepare(kind))
		return false;
	fd = create(NULL);
	close(create_attr.btf_fd);
	return ASSERT_OK_FD(fd, "create") && stats_init(s, kind, fd);
}

/* Adds a positive sample. Minima get it with the other sign. */
static void stats_add(struct stats *s, int cg, __u64 value)
{
	ASSERT_OK(add(s->prog, ids[cg], 0, value), "add");
	ASSERT_OK(add(s->prog, ids[cg], s->kind->nr - 1, s->kind->tagged ? -value : value),
		  "add to the last");
	for (; cg >= 0; cg = parents[cg])
		s->total[cg] = s->kind->tagged ? MAX(s->total[cg], value) : s->total[cg] + value;
}

/* Totals are what the samples make, and there are no other entries. */
static bool stats_exact(const struct stats *s)
{
	__u64 value[MAX_ELEMS], last;
	int i, left = 0;

	for (i = 0; i < NR_ALL; i++) {
		if (!ids[i])
			continue;
		left++;
		if (!ASSERT_OK(bpf_map_lookup_elem(s->fd, &ids[i], value), paths[i]))
			return false;
		last = s->total[i];
		if (s->kind->tagged)
			last = last ? -last : LLONG_MAX;
		if (!ASSERT_EQ(value[0], s->total[i], "first element") ||
		    !ASSERT_EQ(value[s->kind->nr - 1], last, "last element"))
			return false;
	}
	return ASSERT_EQ(count_keys(s->fd), left, "entries");
}

/* The sample is larger than those before. */
static bool stats_work(struct stats *s, __u64 sample)
{
	int i;

	for (i = 0; i < NR_ALL; i++) {
		if (ids[i])
			stats_add(s, i, sample + i);
	}
	return stats_exact(s);
}

/* The youngest map of all. */
static __u32 last_map(void)
{
	__u32 id = 0;

	while (!bpf_map_get_next_id(id, &id))
		;
	return id;
}

/* --- creation --- */

struct creation {
	const struct kind *kind;
	/* Maps that are there before, of other kinds. */
	int nr_before;
	struct stats before[4];
	long long memlock[4];
};

static bool creation_check_before(struct creation *c, __u64 sample)
{
	int i;

	for (i = 0; i < c->nr_before; i++) {
		if (!ASSERT_EQ(map_memory(c->before[i].fd), c->memlock[i], "memory of others") ||
		    !stats_work(&c->before[i], sample))
			return false;
	}
	return true;
}

/* With what failed gone, and a map of the kind in its place or beside it. */
static bool creation_check_new(struct creation *c, int fd, __u64 sample)
{
	struct stats s;
	bool ok;

	ok = stats_init(&s, c->kind, fd) && stats_work(&s, 1) && stats_work(&s, 100) &&
	     creation_check_before(c, sample);
	stats_close(&s);
	return ok;
}

/* On a new tree each time: what went before must not make less to allocate. */
static bool creation_round(struct creation *c, int n, struct tally *tally)
{
	bool more = false;
	int made, fd;
	__u32 last;

	if (!tree_make())
		return false;
	for (made = 0; made < c->nr_before; made++) {
		if (!stats_make(&c->before[made], &kinds[made]))
			goto out;
		c->memlock[made] = map_memory(c->before[made].fd);
	}
	if (!create_prepare(c->kind))
		goto out;
	last = last_map();
	more = call_failing(n, create, NULL, &fd, tally, c->kind->name);
	if (fd < 0) {
		more &= ASSERT_LE(last_map(), last, "no map is left");
		more &= creation_check_before(c, 1);
		fd = create(NULL);
		more &= ASSERT_OK_FD(fd, "create again");
	}
	if (fd >= 0)
		more &= creation_check_new(c, fd, 100);
	close(create_attr.btf_fd);
out:
	while (made)
		stats_close(&c->before[--made]);
	tree_remove();
	return more;
}

static void test_creation(const struct kind *kind, int nr_before)
{
	struct creation c = { .kind = kind, .nr_before = nr_before };
	struct tally tally = {};
	int n = 1;

	while (creation_round(&c, n, &tally))
		n++;
	/*
	 * There are the map, the slots in use, for each cgroup an entry and an array, a file
	 * and a dentry. Not each of them need be hit: what debugging allocates beside them
	 * is not the same in every round.
	 */
	ASSERT_GE(tally.failed, NR_TREE, "failures");
	ASSERT_EQ(tally.failed + tally.survived, n - 1, "rounds");
	printf("%s after %d maps, scarce is %s: %d failures, without effect %d\n", kind->name, nr_before,
	       what_is_scarce(), tally.failed, tally.survived);
}

/* --- mkdir() --- */

#define NR_MAPS	5	/* more than there are slots at first */

struct mkdir_test {
	int nr_maps;
	struct stats maps[NR_MAPS];
	long long memlock[NR_MAPS];
};

/* The new cgroup is gone, and so is, a while after, its memory. */
static bool mkdir_check_gone(struct mkdir_test *m)
{
	int i;

	for (i = 0; i < m->nr_maps; i++) {
		if (!stats_exact(&m->maps[i]) ||
		    !ASSERT_TRUE(wait_until(map_memory(m->maps[i].fd) == m->memlock[i]), "memory"))
			return false;
	}
	return true;
}

static bool mkdir_check_made(struct mkdir_test *m, __u64 sample)
{
	int i;

	ids[NEW] = cg_id(paths[NEW]);
	for (i = 0; i < m->nr_maps; i++) {
		m->maps[i].total[NEW] = 0;
		if (!stats_exact(&m->maps[i]) || !stats_work(&m->maps[i], sample))
			return false;
		ASSERT_GT(map_memory(m->maps[i].fd), m->memlock[i], "memory for one more");
	}
	return true;
}

static bool mkdir_round(struct mkdir_test *m, int n, struct tally *tally)
{
	bool more;
	int ret;

	more = call_failing(n, cg_mkdir, (void *)paths[NEW], &ret, tally, "mkdir");
	if (ret) {
		more &= ASSERT_FALSE(cg_exists(paths[NEW]), "directory");
		more &= mkdir_check_gone(m);
		more &= ASSERT_OK(cg_mkdir((void *)paths[NEW]), "mkdir again");
	}
	more &= mkdir_check_made(m, 100 * n);
	cg_remove(paths[NEW]);
	ids[NEW] = 0;
	more &= mkdir_check_gone(m);
	return more;
}

static struct tally mkdir_rounds(int nr_maps)
{
	struct mkdir_test m = {};
	struct tally tally = {};
	int n = 1;

	for (; m.nr_maps < nr_maps; m.nr_maps++) {
		if (!stats_make(&m.maps[m.nr_maps], &kinds[m.nr_maps % ARRAY_SIZE(kinds)]))
			break;
		m.memlock[m.nr_maps] = map_memory(m.maps[m.nr_maps].fd);
	}
	while (mkdir_round(&m, n, &tally))
		n++;
	ASSERT_EQ(tally.failed + tally.survived, n - 1, "rounds");
	printf("mkdir below %d maps, scarce is %s: %d failures, without effect %d\n", nr_maps,
	       what_is_scarce(), tally.failed, tally.survived);
	while (m.nr_maps)
		stats_close(&m.maps[--m.nr_maps]);
	return tally;
}

static void test_mkdir_scarce(void)
{
	struct tally tally;

	if (!tree_make())
		return;
	for (scarce = &slabs; scarce; scarce = scarce == &slabs ? &pages : NULL) {
		tally = mkdir_rounds(NR_MAPS);
		ASSERT_GT(tally.failed, 0, scarce->name);
	}
	tree_remove();
}

/*
 * Programs of a's, so that new cgroups get lists of programs, before their entries. One list
 * might be missed, as above.
 */
static void a_has_programs(void)
{
	static const struct {
		enum bpf_prog_type prog;
		enum bpf_attach_type attach;
	} types[] = {
		{ BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS },
		{ BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS },
		{ BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE },
		{ BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE },
	};
	const struct bpf_insn insns[] = {
		BPF_MOV64_IMM(BPF_REG_0, 1),
		BPF_EXIT_INSN(),
	};
	int a = openat(workdir, paths[0], O_RDONLY | O_CLOEXEC), i, prog;

	for (i = 0; i < ARRAY_SIZE(types); i++) {
		prog = bpf_prog_load(types[i].prog, "pass", "GPL", insns, ARRAY_SIZE(insns), NULL);
		/* It goes with the cgroup. */
		ASSERT_OK(bpf_prog_attach(prog, a, types[i].attach, 0), "attach program");
		close(prog);
	}
	close(a);
}

static void test_mkdir(void)
{
	struct tally without, with;

	if (!tree_make())
		return;
	a_has_programs();
	/* Pages would be some more failures, now and then. */
	setting_write(MIN_ORDER, "20");
	without = mkdir_rounds(0);
	setting_write(MIN_ORDER, "0");
	with = mkdir_rounds(NR_MAPS);
	/* Entries and their array: hit or not, as above. */
	ASSERT_GT(with.failed, 0, "failures");
	ASSERT_GE(with.failed + with.survived, without.failed + without.survived + NR_MAPS,
		  "allocations that are the maps'");
	tree_remove();
}

/*
 * Numbers of cgroups come in chunks of 512. The one allocation of its size that mkdir()
 * makes seldom is that of another chunk.
 */
#define CHUNK_CACHE	"/sys/kernel/slab/kmalloc-8k/failslab"
#define MAX_CHUNK	1200

static int mkdir_nth(int i)
{
	char path[32];

	sprintf(path, "t/a/%d", i);
	return cg_mkdir(path);
}

static void rmdir_nth(int i)
{
	char path[32];

	sprintf(path, "t/a/%d", i);
	cg_remove(path);
}

static int mkdir_nth_call(void *i)
{
	return mkdir_nth(*(int *)i);
}

/* How many objects of the chunk's size mkdir() takes. */
static int usual_of_size(void)
{
	int i, used, least = MANY;

	for (i = 0; i < 2; i++) {
		arm(MANY);
		ASSERT_OK(mkdir_nth(i), "mkdir");
		used = MANY - disarm();
		least = MIN(least, used);
		rmdir_nth(i);
	}
	return least;
}

static void test_chunk(void)
{
	struct tally tally = {};
	struct stats s;
	int i, usual, ret = 0;

	if (!setting_write(CHUNK_CACHE, "1")) {
		test__skip();
		return;
	}
	if (!tree_make())
		goto out;
	if (!stats_make(&s, &kinds[0]))
		goto out_tree;
	setting_write(CACHE_FILTER, "Y");
	setting_write(MIN_ORDER, "20");
	usual = usual_of_size();
	for (i = 0; i < MAX_CHUNK && !tally.failed; i++) {
		call_failing(usual + 1, mkdir_nth_call, &i, &ret, &tally, "mkdir");
		if (ret < 0)
			break;
	}
	setting_write(MIN_ORDER, "0");
	setting_write(CACHE_FILTER, "N");
	ASSERT_EQ(tally.failed, 1, "failures of a chunk");
	ASSERT_EQ(tally.survived, 0, "failures without effect");
	printf("the chunk was that of cgroup %d, usually %d\n", i, usual);
	if (ret < 0) {
		/* The next one has it. */
		ids[NEW] = cg_make(paths[NEW]);
		ASSERT_OK(add(s.prog, ids[NEW], 0, 5), "add");
		ASSERT_OK(add(s.prog, ids[NEW], 7, 5), "add");
		for (ret = NEW; ret >= 0; ret = parents[ret])
			s.total[ret] += 5;
	}
	while (i)
		rmdir_nth(--i);
	stats_work(&s, 1);
	stats_close(&s);
out_tree:
	tree_remove();
out:
	setting_write(CHUNK_CACHE, "0");
}

/*
 * The index of ids needs nodes now and then, and asks for each a second time: all that
 * this task asks for must fail.
 */
#define NODE_CACHE	"/sys/kernel/slab/radix_tree_node/failslab"

static void nodes_fail(bool fail)
{
	ASSERT_TRUE(setting_write(THIS_TASK, fail ? "1" : "0"), "make-it-fail");
	ASSERT_TRUE(setting_write(CACHE_FILTER, fail ? "Y" : "N"), "cache-filter");
	ASSERT_TRUE(setting_write(PROBABILITY, fail ? "100" : "0"), "probability");
}

static bool index_round(void)
{
	__u32 last = last_map();
	struct stats s;
	int fd, again;
	bool failed;

	if (!create_prepare(&kinds[0]))
		return false;
	nodes_fail(true);
	fd = create(NULL);
	nodes_fail(false);
	failed = fd < 0;
	if (failed) {
		ASSERT_EQ(fd, -ENOMEM, "create without nodes");
		ASSERT_LE(last_map(), last, "no map is left");
	} else {
		close(fd);
	}
	again = create(NULL);
	close(create_attr.btf_fd);
	if (ASSERT_OK_FD(again, "create again") && stats_init(&s, &kinds[0], again)) {
		stats_work(&s, 1);
		stats_close(&s);
	}
	return failed;
}

static void test_index(void)
{
	int i, failed = 0;

	if (!setting_write(NODE_CACHE, "1")) {
		test__skip();
		return;
	}
	for (i = 0; i < 8 && tree_make(); i++) {
		failed += index_round();
		tree_remove();
	}
	setting_write(NODE_CACHE, "0");
	ASSERT_GT(failed, 0, "failures of the index");
	printf("%d of 8 maps failed for want of a node\n", failed);
}

/* --- aggregators --- */

struct attaching {
	struct cgroup_stats_fold *skel;
	int first, second;	/* maps of struct_ops */
	int link;
	struct stats s;
	long long memlock;
};

static const struct kind fold_kind = { "fold", 0, FOLD_ELEMS, false };

static int do_attach(void *arg)
{
	struct attaching *a = arg;

	return bpf_link_create(a->first, 0, BPF_STRUCT_OPS, NULL);
}

static int do_replace(void *arg)
{
	struct attaching *a = arg;

	return bpf_link_update(a->link, a->second, NULL);
}

/* Who folds what is added now: FOLD_SUM, FOLD_SUM_AGAIN, or nobody. */
static int who_folds(struct attaching *a)
{
	const __u64 *folds = a->skel->bss->folds;
	__u64 before[2] = { folds[FOLD_SUM], folds[FOLD_SUM_AGAIN] };
	bool first, second;

	if (!stats_work(&a->s, 1))
		return -1;
	first = folds[FOLD_SUM] > before[0];
	second = folds[FOLD_SUM_AGAIN] > before[1];
	if (first && second)
		return -1;
	return first ? FOLD_SUM : second ? FOLD_SUM_AGAIN : NR_FOLDS;
}

static bool attach_round(struct attaching *a, int n, struct tally *tally)
{
	bool more;

	more = call_failing(n, do_attach, a, &a->link, tally, "attach");
	if (a->link < 0) {
		more &= ASSERT_EQ(who_folds(a), NR_FOLDS, "who folds after a failure");
		more &= ASSERT_EQ(map_memory(a->s.fd), a->memlock, "memory after a failure");
		a->link = do_attach(a);
	}
	more &= ASSERT_OK_FD(a->link, "attach again");
	more &= ASSERT_EQ(who_folds(a), FOLD_SUM, "who folds");
	more &= ASSERT_GT(map_memory(a->s.fd), a->memlock, "memory for it");
	close(a->link);
	more &= ASSERT_EQ(who_folds(a), NR_FOLDS, "who folds at the end");
	more &= ASSERT_EQ(map_memory(a->s.fd), a->memlock, "memory at the end");
	return more;
}

static bool replace_round(struct attaching *a, int n, struct tally *tally)
{
	bool more;
	int ret;

	a->link = do_attach(a);
	if (!ASSERT_OK_FD(a->link, "attach"))
		return false;
	more = call_failing(n, do_replace, a, &ret, tally, "replace");
	if (ret) {
		more &= ASSERT_EQ(who_folds(a), FOLD_SUM, "who folds after a failure");
		more &= ASSERT_OK(do_replace(a), "replace again");
	}
	more &= ASSERT_EQ(who_folds(a), FOLD_SUM_AGAIN, "who folds");
	close(a->link);
	more &= ASSERT_EQ(who_folds(a), NR_FOLDS, "who folds at the end");
	more &= ASSERT_EQ(map_memory(a->s.fd), a->memlock, "memory at the end");
	return more;
}

/* libbpf gives the kernel the struct when it attaches it for the first time. */
static bool attach_once(const struct bpf_map *map)
{
	struct bpf_link *link = bpf_map__attach_struct_ops(map);

	return ASSERT_OK_PTR(link, "attach") && ASSERT_OK(bpf_link__destroy(link), "detach");
}

static bool attaching_init(struct attaching *a)
{
	struct cgroup_stats_fold *skel = cgroup_stats_fold__open();

	a->skel = skel;
	if (!ASSERT_OK_PTR(skel, "open"))
		return false;
	bpf_map__set_map_extra(skel->maps.stats, ids[0]);
	skel->struct_ops.first->fold = skel->progs.sum;
	skel->struct_ops.second->fold = skel->progs.sum_again;
	if (!ASSERT_OK(cgroup_stats_fold__load(skel), "load"))
		return false;
	a->first = bpf_map__fd(skel->maps.first);
	a->second = bpf_map__fd(skel->maps.second);
	a->s.kind = &fold_kind;
	a->s.fd = bpf_map__fd(skel->maps.stats);
	a->s.prog = bpf_program__fd(skel->progs.add);
	a->memlock = map_memory(a->s.fd);
	return attach_once(skel->maps.first) && attach_once(skel->maps.second);
}

static void test_attach(void)
{
	struct attaching a = {};
	struct tally attach = {}, replace = {};
	int n;

	if (!tree_make())
		return;
	if (!attaching_init(&a))
		goto out;
	for (n = 1; attach_round(&a, n, &attach); n++)
		;
	/* Among them the link, its file with a dentry and an inode, and what is the map's. */
	ASSERT_GT(attach.failed, 0, "failures to attach");
	ASSERT_EQ(attach.failed + attach.survived, n - 1, "rounds of attaching");
	for (n = 1; replace_round(&a, n, &replace); n++)
		;
	ASSERT_GT(replace.failed + replace.survived, 0, "allocations to replace");
	ASSERT_EQ(replace.failed + replace.survived, n - 1, "rounds of replacing");
	printf("attach, scarce is %s: %d failures, without effect %d; replace: %d failures, without %d\n",
	       what_is_scarce(), attach.failed, attach.survived, replace.failed, replace.survived);
out:
	cgroup_stats_fold__destroy(a.skel);
	tree_remove();
}

static void test_attach_scarce(void)
{
	scarce = &slabs;
	test_attach();
	scarce = NULL;
}

/* --- charges: the memory cgroup m pays for the maps --- */

#define PAGES_OF_LARGE	4	/* that an entry has without what is per CPU, at most */
#define NR_MORE		32

static bool m_limit(long long bytes)
{
	char text[32];

	sprintf(text, "%lld", bytes);
	return ASSERT_OK(cg_write("m", "memory.max", text), "memory.max");
}

/* Cgroups until one fails, with as much memory as there is. Its number. */
static int mkdir_until_failure(int i)
{
	for (; i < MAX_CHUNK; i++) {
		int err = mkdir_nth(i);

		if (!err)
			continue;
		ASSERT_EQ(err, -ENOMEM, "mkdir without memory");
		break;
	}
	ASSERT_LT(i, MAX_CHUNK, "cgroups until the memory was used up");
	return i;
}

/* The same cgroup with a page more each time. How often it fails. */
static int mkdir_page_by_page(struct stats *s, int i, long long *limit)
{
	long long before[2] = { map_memory(s[0].fd), map_memory(s[1].fd) };
	int err, failures = 0;

	while ((err = mkdir_nth(i)) && failures < 1000) {
		failures++;
		if (!ASSERT_EQ(err, -ENOMEM, "mkdir without memory") ||
		    !ASSERT_EQ(map_memory(s[0].fd), before[0], "memory after a failure") ||
		    !ASSERT_EQ(map_memory(s[1].fd), before[1], "memory after a failure"))
			break;
		*limit += getpagesize();
		if (!m_limit(*limit))
			break;
	}
	ASSERT_OK(err, "mkdir with memory enough");
	return failures;
}

/* A map that m pays for, while nobody is in it. */
static bool make_charged(struct stats *s)
{
	bool ok = ASSERT_OK(cg_join("m"), "join m") &&
		  stats_make(s, &kinds[3]);

	return ASSERT_OK(join_root_cgroup(), "join the root") && ok;
}

/* @s: a map that somebody else pays for, and the one that m does. */
static void charged_mkdir(struct stats *s)
{
	long long limit = cg_read("m", "memory.current");
	int i, j, failures, most = 0;

	limit -= limit % getpagesize();
	if (!m_limit(limit + getpagesize()))
		return;
	limit += getpagesize();
	i = mkdir_until_failure(0);
	/*
	 * What was held ready is used up soon, and then one begins with less than a page. To
	 * fail with more than an entry takes, it must be the per-CPU allocation that fails.
	 */
	for (j = 0; j < 8; j++) {
		failures = mkdir_page_by_page(s, i++, &limit);
		most = MAX(most, failures);
	}
	ASSERT_GT(most, PAGES_OF_LARGE, "failures of per-CPU allocations");
	printf("%d cgroups, up to %d failures of one\n", i, most);
	while (i)
		rmdir_nth(--i);
	for (i = 0; i < 2; i++) {
		stats_work(&s[i], 1);
		stats_work(&s[i], 100);
	}
}

static void test_charged_mkdir(void)
{
	struct stats s[2];

	if (!ASSERT_OK(cg_mkdir("m"), "m"))
		return;
	if (cg_read("m", "memory.current") < 0) {
		test__skip();
	} else if (tree_make()) {
		if (stats_make(&s[0], &kinds[0])) {
			if (make_charged(&s[1])) {
				charged_mkdir(s);
				stats_close(&s[1]);
			}
			stats_close(&s[0]);
		}
		tree_remove();
	}
	cg_remove("m");
}

/* Enough of them that what CPUs hold ready for m, 64 pages each, does not count. */
#define NR_GONE		800	/* maps */
#define NR_PAID		100	/* cgroups */

/* What m pays for cgroups in t/a that its task makes. */
static long long m_pays_for_cgroups(void)
{
	long long pays = -cg_read("m", "memory.current");
	int i;

	ASSERT_OK(cg_join("m"), "join m");
	for (i = 0; i < NR_PAID && ASSERT_OK(mkdir_nth(i), "mkdir"); i++)
		;
	ASSERT_OK(join_root_cgroup(), "join the root");
	pays += cg_read("m", "memory.current");
	while (i)
		rmdir_nth(--i);
	return pays;
}

/* Maps that m pays for, until it does no longer, and for a second nothing more is freed. */
static void m_has_had_maps(void)
{
	long long before = cg_read("m", "memory.current"), with, last;
	int fds[NR_GONE], i;

	ASSERT_OK(cg_join("m"), "join m");
	for (i = 0; i < NR_GONE; i++) {
		fds[i] = create(NULL);
		if (!ASSERT_OK_FD(fds[i], "create"))
			break;
	}
	ASSERT_OK(join_root_cgroup(), "join the root");
	with = cg_read("m", "memory.current");
	ASSERT_GT(with - before, NR_GONE * NR_TREE * sizeof(__u64[8]), "what m pays for maps");
	while (i)
		close(fds[--i]);
	ASSERT_TRUE(wait_until(cg_read("m", "memory.current") < (before + with) / 2),
		    "memory of closed maps");
	do {
		last = cg_read("m", "memory.current");
		sleep(1);
	} while (cg_read("m", "memory.current") != last);
}

/* Who makes a cgroup pays for 32 bytes per map, but not for maps that have gone. */
static void charged_arrays(struct stats *s)
{
	long long without, after;

	without = m_pays_for_cgroups();
	if (!create_prepare(&kinds[0]))
		return;
	m_has_had_maps();
	close(create_attr.btf_fd);
	after = m_pays_for_cgroups();
	ASSERT_LT(after - without, NR_PAID * NR_GONE * 32 / 2, "for maps that have gone");
	printf("%d cgroups: %lld bytes, after %d maps %lld\n", NR_PAID, without, NR_GONE, after);
	stats_work(s, 1);
}

static void test_charged_arrays(void)
{
	struct stats s;

	if (!ASSERT_OK(cg_mkdir("m"), "m"))
		return;
	if (cg_read("m", "memory.current") < 0) {
		test__skip();
	} else if (tree_make()) {
		if (stats_make(&s, &kinds[0])) {
			charged_arrays(&s);
			stats_close(&s);
		}
		tree_remove();
	}
	cg_remove("m");
}

struct creator {
	int step;
	int ret, again;
};

/* In m, which has room for some of the entries, and then for all. */
static void creator(struct creator *c)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c->ret = cg_join("m");
	WRITE_ONCE(c->step, 1);
	while (READ_ONCE(c->step) != 2)
		sched_yield();
	c->ret = create(NULL);
	WRITE_ONCE(c->step, 3);
	while (READ_ONCE(c->step) != 4)
		sched_yield();
	c->again = create(NULL);
	_exit(0);
}

static void charged_creation(struct creator *c)
{
	__u32 last = last_map();
	int status = -1;
	pid_t pid;

	pid = fork();
	if (!pid)
		creator(c);
	if (!ASSERT_GT(pid, 0, "fork"))
		return;
	ASSERT_TRUE(wait_until(READ_ONCE(c->step) == 1), "creator");
	/* What CPUs hold ready for m comes on top of it: 64 pages. */
	m_limit(cg_read("m", "memory.current") + 64 * getpagesize());
	WRITE_ONCE(c->step, 2);
	ASSERT_TRUE(wait_until(READ_ONCE(c->step) == 3), "creation");
	ASSERT_EQ(c->ret, -ENOMEM, "create without memory");
	ASSERT_LE(last_map(), last, "no map is left");
	ASSERT_OK(cg_write("m", "memory.max", "max"), "memory.max");
	WRITE_ONCE(c->step, 4);
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid");
	ASSERT_OK(status, "status of the creator");
	ASSERT_GE(c->again, 0, "create again");
}

static void test_charged_creation(void)
{
	struct creator *c;
	int i;

	c = shared_alloc(sizeof(*c));
	if (!c || !ASSERT_OK(cg_mkdir("m"), "m"))
		return;
	if (cg_read("m", "memory.current") < 0) {
		test__skip();
	} else if (tree_make()) {
		for (i = 0; i < NR_MORE; i++)
			ASSERT_OK(mkdir_nth(i), "mkdir");
		if (create_prepare(&kinds[3])) {
			charged_creation(c);
			close(create_attr.btf_fd);
		}
		while (i)
			rmdir_nth(--i);
		tree_remove();
	}
	cg_remove("m");
	munmap(c, sizeof(*c));
}

/* --- the tests --- */

static void test_creation_sums(void)
{
	test_creation(&kinds[0], 0);
}

static void test_creation_no_percpu(void)
{
	test_creation(&kinds[1], 0);
}

static void test_creation_maxmin(void)
{
	test_creation(&kinds[2], 0);
}

static void test_creation_large(void)
{
	test_creation(&kinds[3], 0);
}

/* Entries of this size have vmalloc() to fall back to. */
static void test_creation_scarce(void)
{
	for (scarce = &slabs; scarce; scarce = scarce == &slabs ? &pages : NULL)
		test_creation(&kinds[3], 0);
}

/* One more than the arrays have slots: they are replaced. */
static void test_creation_fifth(void)
{
	test_creation(&kinds[0], 4);
}

static const struct {
	const char *name;
	void (*fn)(void);
	bool needs_failures;
} tests[] = {
	{ "chunk", test_chunk, true },
	{ "index", test_index, true },
	{ "creation_sums", test_creation_sums, true },
	{ "creation_no_percpu", test_creation_no_percpu, true },
	{ "creation_maxmin", test_creation_maxmin, true },
	{ "creation_large", test_creation_large, true },
	{ "creation_fifth", test_creation_fifth, true },
	{ "creation_scarce", test_creation_scarce, true },
	{ "mkdir", test_mkdir, true },
	{ "mkdir_scarce", test_mkdir_scarce, true },
	{ "attach", test_attach, true },
	{ "attach_scarce", test_attach_scarce, true },
	{ "charged_mkdir", test_charged_mkdir, false },
	{ "charged_arrays", test_charged_arrays, false },
	{ "charged_creation", test_charged_creation, false },
};

static void run_test(int i)
{
	if (!test__start_subtest(tests[i].name))
		return;
	if (!tests[i].needs_failures) {
		tests[i].fn();
	} else if (failures_begin()) {
		tests[i].fn();
		failures_end();
	} else {
		test__skip();
	}
}

/* Settings of failures are everybody's. */
void serial_test_cgroup_stats_faults(void)
{
	int i;

	if (tests_begin()) {
		for (i = 0; i < ARRAY_SIZE(tests); i++)
			run_test(i);
	}
	tests_end();
}
