// SPDX-License-Identifier: GPL-2.0
/*
 * What elements of a cgroup stats map may be: of 4 and 8 bytes, signed or not, sums,
 * maxima and minima, in maps with and without BPF_F_NO_PERCPU and BPF_F_NO_HIERARCHY.
 * Each of these is compared with a model in plain C.
 */
#define _GNU_SOURCE
#include <limits.h>
#include "cgroup_stats_helpers.h"
#include "../progs/cgroup_stats_values.h"
#include "cgroup_stats_values.skel.h"

#define PIN		"/sys/fs/bpf/cgroup_stats_values"
#define MAX_ELEMS	1024
#define MAX_SIZE	4096

/* --- cgroups: three levels, one below the other --- */

#define LEVELS	3
#define LEAF	(LEVELS - 1)

static const char * const paths[LEVELS] = { "a", "a/b", "a/b/c" };

static void tree_make(__u64 *ids)
{
	int i;

	for (i = 0; i < LEVELS; i++)
		ids[i] = cg_make(paths[i]);
}

static void tree_remove(void)
{
	int i;

	for (i = LEAF; i >= 0; i--)
		cg_remove(paths[i]);
}

/* --- the model --- */

struct model {
	struct elem elems[MAX_ELEMS];
	int nr;
	__u32 flags;
	__u64 total[LEVELS][MAX_ELEMS];
};

static void model_clear(struct model *m, int level)
{
	int i;

	for (i = 0; i < m->nr; i++)
		m->total[level][i] = elem_identity(m->elems[i]);
}

static void model_init(struct model *m, struct elem e, int nr, __u32 flags)
{
	int i;

	m->nr = nr;
	m->flags = flags;
	for (i = 0; i < nr; i++)
		m->elems[i] = e;
	for (i = 0; i < LEVELS; i++)
		model_clear(m, i);
}

static void model_add(struct model *m, int level, int i, __s64 sample)
{
	struct elem e = m->elems[i];

	do {
		m->total[level][i] = elem_merge(e, m->total[level][i], elem_convert(e, sample));
	} while (!(m->flags & BPF_F_NO_HIERARCHY) && --level >= 0);
}

/* --- what a test runs with: all elements of one kind, or as its model says --- */

struct run {
	char name[64];
	__u64 ids[LEVELS];
	struct cgroup_stats_values *skel;
	int fd;
	struct model model;
};

/* --- programs and maps --- */

static struct cgroup_stats_values *open_skel(const char *names)
{
	struct cgroup_stats_values *skel = cgroup_stats_values__open();
	struct bpf_map *map;

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	autoload(skel->obj, names);
	bpf_object__for_each_map(map, skel->obj) {
		if (!bpf_map__is_internal(map))
			bpf_map__set_autocreate(map, false);
	}
	return skel;
}

/* The programs of @names, with @fd as their map stats. */
static struct cgroup_stats_values *load(int fd, __u32 width, const char *names)
{
	struct cgroup_stats_values *skel = open_skel(names);

	if (!skel)
		return NULL;
	skel->rodata->width = width;
	bpf_map__set_autocreate(skel->maps.stats, true);
	if (ASSERT_OK(bpf_map__reuse_fd(skel->maps.stats, fd), "reuse_fd") &&
	    ASSERT_OK(cgroup_stats_values__load(skel), "load"))
		return skel;
	cgroup_stats_values__destroy(skel);
	return NULL;
}

static int make_map_of(__u64 root, __u32 flags, struct elem e, __u32 nr)
{
	struct array array = { e, nr };

	return map_make_of(root, flags, &array, 1);
}

/* --- readers: each says whether it sees what the model does --- */

static bool same(const struct run *r, int level, const void *value, const char *reader)
{
	const struct model *m = &r->model;
	char what[256];
	__u64 seen;
	int i;

	for (i = 0; i < m->nr; i++) {
		seen = elem_get(m->elems[i], value, i);
		if (seen == m->total[level][i])
			continue;
		snprintf(what, sizeof(what), "%s, %s: element %d of %s", r->name, reader, i,
			 paths[level]);
		ASSERT_EQ((__s64)seen, (__s64)m->total[level][i], what);
		return false;
	}
	return true;
}

static __u32 value_size(const struct model *m)
{
	return m->nr * m->elems[0].width;
}

static bool check_lookup(const struct run *r, int level)
{
	__u8 value[MAX_SIZE + 8];
	__u32 size = value_size(&r->model);

	memset(value, 0x5a, sizeof(value));
	return ASSERT_OK(bpf_map_lookup_elem(r->fd, &r->ids[level], value), "lookup") &&
	       ASSERT_EQ(value[size], 0x5a, "behind the value") &&
	       same(r, level, value, "lookup");
}

static bool check_lookups(const struct run *r)
{
	int i;

	for (i = 0; i < LEVELS; i++) {
		if (!check_lookup(r, i))
			return false;
	}
	return true;
}

/* Of the upper @nr levels, which are all that there are. */
static bool check_batch(const struct run *r, int nr)
{
	__u32 i, j, found = 0, count = LEVELS + 1, size = value_size(&r->model);
	__u64 keys[LEVELS + 1], next;
	bool ok = true;
	__u8 *values;

	values = malloc(count * size);
	ok = ASSERT_EQ(bpf_map_lookup_batch(r->fd, NULL, &next, keys, values, &count, NULL),
		       -ENOENT, "batch") &&
	     ASSERT_EQ(count, nr, "entries of the batch");
	for (i = 0; ok && i < count; i++) {
		for (j = 0; j < nr; j++) {
			if (keys[i] != r->ids[j])
				continue;
			found++;
			ok = same(r, j, values + i * size, "batch");
		}
	}
	free(values);
	return ok && ASSERT_EQ(found, nr, "keys of the batch");
}

static bool check_program(const struct run *r)
{
	__u8 value[VALUES_ELEMS * 8];
	int i, level, width = r->model.elems[0].width;

	for (level = 0; level < LEVELS; level++) {
		memset(r->skel->bss->seen, 0x5a, sizeof(r->skel->bss->seen));
		if (!ASSERT_OK(run(r->skel->progs.look, r->ids[level], 0, 0), "look"))
			return false;
		for (i = 0; i < VALUES_ELEMS; i++)
			memcpy(value + i * width, &r->skel->bss->seen[i], width);
		if (!same(r, level, value, "program"))
			return false;
	}
	return true;
}

/* The numbers in the line of @id of what bpffs prints, at most VALUES_ELEMS + 1. */
static int parse_line(const char *text, __u64 id, struct elem e, __u8 *value)
{
	const char *end, *pos;
	char begin[32], *next;
	__u64 number;
	int nr = 0;

	snprintf(begin, sizeof(begin), "\n%llu: ", id);
	pos = strstr(text, begin);
	if (!pos)
		return -ENOENT;
	pos += strlen(begin);
	end = strchrnul(pos, '\n');
	while (nr <= VALUES_ELEMS && (pos += strcspn(pos, "-0123456789")) < end) {
		number = *pos == '-' ? strtoll(pos, &next, 10) : strtoull(pos, &next, 10);
		/* A signed number that is printed as a large one is wrong. */
		if (elem_convert(e, number) != number)
			return -ERANGE;
		memcpy(value + nr++ * e.width, &number, e.width);
		pos = next;
	}
	return nr;
}

static bool check_bpffs(const struct run *r)
{
	struct elem e = r->model.elems[0];
	__u8 value[(VALUES_ELEMS + 1) * 8];
	char text[16384];
	int fd, n, level;
	bool ok;

	unlink(PIN);
	if (!ASSERT_OK(bpf_obj_pin(r->fd, PIN), "pin"))
		return false;
	fd = open(PIN, O_RDONLY);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	unlink(PIN);
	if (!ASSERT_GT(n, 0, "read"))
		return false;
	text[n] = 0;
	for (ok = true, level = 0; ok && level < LEVELS; level++) {
		n = parse_line(text, r->ids[level], e, value);
		ok = ASSERT_EQ(n, VALUES_ELEMS, "numbers") && same(r, level, value, "bpffs");
	}
	return ok;
}

static bool check_all(const struct run *r)
{
	return check_lookups(r) && check_batch(r, LEVELS) && check_program(r) && check_bpffs(r);
}

/* --- every kind of elements --- */

/* To the map and to the model. */
static bool add(struct run *r, int cpu, int level, int i, __s64 sample)
{
	model_add(&r->model, level, i, sample);
	return ASSERT_OK(run_on(cpu, r->skel->progs.add, r->ids[level], i, sample, 0), r->name);
}

static bool run_begin(struct run *r, struct elem e, __u32 flags, const char *programs)
{
	static const char * const ops[] = { "sum", "max", "min" };

	snprintf(r->name, sizeof(r->name), "%c%d %s, %s", e.is_signed ? 's' : 'u', e.width * 8,
		 ops[e.op], flags_name(flags));
	tree_make(r->ids);
	model_init(&r->model, e, VALUES_ELEMS, flags);
	r->fd = make_map_of(r->ids[0], flags, e, VALUES_ELEMS);
	r->skel = load(r->fd, e.width, programs);
	return r->skel;
}

static void run_end(struct run *r)
{
	cgroup_stats_values__destroy(r->skel);
	close(r->fd);
}

/* @check with a map of each kind, loaded @programs, and a tree, which it leaves complete. */
static void check_each_kind(void (*check)(struct run *r), const char *programs)
{
	struct run *r = calloc(1, sizeof(*r));
	struct elem e;
	int i, kind;

	for (kind = 0; kind < 12; kind++) {
		e.width = kind % 2 ? 4 : 8;
		e.is_signed = kind / 2 % 2;
		e.op = kind / 4;
		for (i = 0; i < ARRAY_SIZE(all_flags); i++) {
			if (run_begin(r, e, all_flags[i], programs))
				check(r);
			run_end(r);
			tree_remove();
		}
	}
	free(r);
}

/* What types have at their ends, and samples beyond the ends of some. */
static const __s64 edges[] = {
	0, 1, -1, 1000, -1000, INT_MIN, INT_MAX, UINT_MAX, LLONG_MIN, LLONG_MAX, (__s64)ULLONG_MAX,
	INT_MIN - 1LL, INT_MAX + 1LL, UINT_MAX + 1LL, UINT_MAX + 8LL, -(__s64)UINT_MAX,
	-(__s64)UINT_MAX - 8, LLONG_MIN + 1, LLONG_MAX - 1, 0x123456789abcdef0, 0x7fffffff80000000,
	-0x7fffffff80000000,
};

/* Elements: one for each of the edges, one for all, one for none, the rest for any samples. */
#define ELEM_EDGES	(VALUES_ELEMS - 1)
#define ELEM_NONE	(VALUES_ELEMS - 2)
#define ELEM_RANDOM	ARRAY_SIZE(edges)
#define NR_RANDOM	(ELEM_NONE - ELEM_RANDOM)

/* Each of the edges by itself, then one after the other. */
static bool add_edges(struct run *r)
{
	int i, cpu;

	for (i = 0; i < ARRAY_SIZE(edges); i++) {
		if (!add(r, cpus[i % nr_cpus], LEAF, i, edges[i]))
			return false;
	}
	if (!check_all(r))
		return false;
	for (i = 0; i < ARRAY_SIZE(edges); i++) {
		cpu = cpus[(i + 1) % nr_cpus];
		if (!add(r, cpu, i % LEVELS, ELEM_EDGES, edges[i]) || !check_lookups(r))
			return false;
		/* Twice the largest and twice the smallest wrap around. */
		if (!add(r, cpu, LEAF, ELEM_EDGES, edges[i]) || !check_lookup(r, i % LEVELS))
			return false;
	}
	return check_all(r);
}

/* Anywhere, from anywhere, samples of any size, but small ones for some elements. */
static bool add_random(struct run *r)
{
	__u64 seed = 88172645463325252ULL;
	int i, n;

	for (n = 0; n < 200; n++) {
		i = xrand64(&seed) % NR_RANDOM;
		if (!add(r, cpus[xrand64(&seed) % nr_cpus], xrand64(&seed) % LEVELS,
			 ELEM_RANDOM + i, (__s64)xrand64(&seed) >> (i * 64 / NR_RANDOM)))
			return false;
		if (n % 8 == 0 && !check_lookup(r, xrand64(&seed) % LEVELS))
			return false;
	}
	return check_all(r);
}

static void check_values(struct run *r)
{
	if (check_all(r) && add_edges(r))
		add_random(r);
}

static void test_values(void)
{
	check_each_kind(check_values, "add look");
}

/* --- cgroups that go, and new ones --- */

/* Samples of many sizes to some elements, to the leaf and to any level. */
static bool add_some(struct run *r, __u64 *seed)
{
	int i, level;

	for (i = 0; i < VALUES_ELEMS; i += 4) {
		level = xrand64(seed) % LEVELS;
		if (!add(r, cpus[xrand64(seed) % nr_cpus], level, i, (__s64)xrand64(seed) >> i) ||
		    !add(r, cpus[xrand64(seed) % nr_cpus], LEAF, i, (__s64)xrand64(seed) >> i))
			return false;
	}
	return true;
}

static void check_removed(struct run *r)
{
	__u64 seed = 123456789123456789ULL, gone = r->ids[LEAF];
	__u8 value[MAX_SIZE];

	/* What has been read, and what has not. */
	if (!add_some(r, &seed) || !check_lookups(r) || !add_some(r, &seed))
		return;
	cg_remove(paths[LEAF]);
	if (!ASSERT_EQ(bpf_map_lookup_elem(r->fd, &gone, value), -ENOENT, "removed") ||
	    !ASSERT_EQ(run_on(THIS_CPU, r->skel->progs.add, gone, 0, 1, 0), -ENOENT, "add") ||
	    !check_lookup(r, 0) || !check_lookup(r, 1) || !check_batch(r, LEAF))
		return;

	/* Its successor begins anew, and joins in. */
	r->ids[LEAF] = cg_make(paths[LEAF]);
	model_clear(&r->model, LEAF);
	if (!check_all(r) || !add_some(r, &seed) || !check_all(r) || !add_some(r, &seed))
		return;

	/* From the leaf over the middle, all that ever was ends in the root. */
	cg_remove(paths[LEAF]);
	cg_remove(paths[1]);
	check_lookup(r, 0);
	check_batch(r, 1);
	cg_make(paths[1]);
	cg_make(paths[LEAF]);
	check_lookup(r, 0);
}

static void test_removed(void)
{
	check_each_kind(check_removed, "add look");
}

/* --- arguments --- */

static void check_arguments_of(struct run *r, const struct bpf_program *prog, __u64 id)
{
	ASSERT_EQ(run_on(THIS_CPU, prog, id, VALUES_ELEMS, 5, 0), -E2BIG, r->name);
	ASSERT_EQ(run_on(THIS_CPU, prog, id, 2 * VALUES_ELEMS, 5, 0), -E2BIG, r->name);
	ASSERT_EQ(run_on(THIS_CPU, prog, id, UINT_MAX, 5, 0), -E2BIG, r->name);
	ASSERT_EQ(run_on(THIS_CPU, prog, id, 0, 5, 1), -EINVAL, r->name);
	ASSERT_EQ(run_on(THIS_CPU, prog, id, 0, 5, 1ULL << 63), -EINVAL, r->name);
	/* None of it counts, and the last index does. */
	check_lookups(r);
	model_add(&r->model, LEAF, VALUES_ELEMS - 1, 7);
	ASSERT_OK(run_on(THIS_CPU, prog, id, VALUES_ELEMS - 1, 7, 0), r->name);
	check_lookups(r);
}

static void check_arguments(struct run *r)
{
	const struct bpf_program *progs[] = { r->skel->progs.add, r->skel->progs.add_sleepable };
	int i;

	for (i = 0; i < ARRAY_SIZE(progs); i++) {
		ASSERT_EQ(run_on(THIS_CPU, progs[i], NO_ID, 0, 5, 0), -ENOENT, r->name);
		/* This task is in none of them. */
		ASSERT_EQ(run_on(THIS_CPU, progs[i], 0, 0, 5, 0), -ENOENT, r->name);
		check_arguments_of(r, progs[i], r->ids[LEAF]);
		ASSERT_OK(cg_join(paths[LEAF]), "join");
		check_arguments_of(r, progs[i], 0);
		ASSERT_OK(cg_join(".."), "leave");
	}
}

static void test_arguments(void)
{
	check_each_kind(check_arguments, "add add_sleepable");
}

/* --- values of any size --- */

static void check_size(struct run *r, struct elem e, __u32 nr, __u32 flags)
{
	int i;

	snprintf(r->name, sizeof(r->name), "%d elements of %d, %s", nr, e.width,
		 flags_name(flags));
	model_init(&r->model, e, nr, flags);
	r->fd = make_map_of(r->ids[0], flags, e, nr);
	r->skel = load(r->fd, e.width, "add");
	if (!r->skel)
		goto out;
	ASSERT_EQ(run_on(THIS_CPU, r->skel->progs.add, r->ids[LEAF], nr, 1, 0), -E2BIG, r->name);
	for (i = 0; i < nr; i += i % 7 + 1)
		add(r, cpus[i % nr_cpus], i % LEVELS, i, i * 3 + 1);
	add(r, cpus[0], LEAF, nr - 1, -5);
	check_lookups(r);
	check_batch(r, LEVELS);
out:
	run_end(r);
}

static void test_sizes(void)
{
	static const __u32 sizes[] = { 1, 2, 3, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1023, 1024 };
	static const struct elem sum = { 4, false, OP_SUM }, max = { 8, true, OP_MAX };
	struct run *r = calloc(1, sizeof(*r));
	int i, j;

	tree_make(r->ids);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(all_flags); j++) {
			check_size(r, sum, sizes[i], all_flags[j]);
			if (sizes[i] <= MAX_SIZE / 8)
				check_size(r, max, sizes[i], all_flags[j]);
		}
	}
	tree_remove();
	free(r);
}

/* --- a struct with everything --- */

struct member {
	const char *name;
	__u32 index;
	struct elem elem;
};

/* The type says which are signed, as the compiler sees it. */
#define MEMBER(type, bytes, member, operation) {				\
	.name = #member,							\
	.index = offsetof(struct type, member) / (bytes),			\
	.elem = {								\
		.width = (bytes),						\
		.is_signed = (typeof(((struct type *)0)->member))(-1) < 0,	\
		.op = operation,						\
	},									\
},
#define MEMBER_32(member, op) MEMBER(mixed32, 4, member, op)
#define MEMBER_64(member, op) MEMBER(mixed64, 8, member, op)

static const struct member members32[] = { MIXED_MEMBERS(MEMBER_32) };
static const struct member members64[] = { MIXED_MEMBERS(MEMBER_64) };

static const struct mixed {
	__u32 width, size;
	const struct member *members;
	int hist, peaks;	/* indices of their first elements */
} mixed[] = {
	{ 4, sizeof(struct mixed32), members32, offsetof(struct mixed32, hist) / 4,
	  offsetof(struct mixed32, peaks) / 4 },
	{ 8, sizeof(struct mixed64), members64, offsetof(struct mixed64, hist) / 8,
	  offsetof(struct mixed64, peaks) / 8 },
};

static void mixed_model(struct run *r, const struct mixed *mix, __u32 flags)
{
	struct model *m = &r->model;
	int i;

	model_init(m, (struct elem){ mix->width, false, OP_SUM }, mix->size / mix->width, flags);
	for (i = 0; i < ARRAY_SIZE(members32); i++)
		m->elems[mix->members[i].index] = mix->members[i].elem;
	for (i = 0; i < MIXED_BUCKETS; i++)
		m->elems[mix->peaks + i] = m->elems[mix->peaks];
	for (i = 0; i < LEVELS; i++)
		model_clear(m, i);
}

static struct bpf_program *mixed_load(struct run *r, const struct mixed *mix, __u32 flags)
{
	bool wide = mix->width == 8;
	struct bpf_map *map;

	r->skel = open_skel(wide ? "mix64" : "mix32");
	if (!r->skel)
		return NULL;
	map = wide ? r->skel->maps.mixed64 : r->skel->maps.mixed32;
	bpf_map__set_autocreate(map, true);
	bpf_map__set_map_extra(map, r->ids[0]);
	bpf_map__set_map_flags(map, flags);
	if (!ASSERT_OK(cgroup_stats_values__load(r->skel), "load"))
		return NULL;
	r->fd = bpf_map__fd(map);
	return wide ? r->skel->progs.mix64 : r->skel->progs.mix32;
}

static void check_mixed(struct run *r, const struct mixed *mix, __u32 flags)
{
	__u64 seed = 362436069362436069ULL;
	int i, n, level, bucket;
	struct bpf_program *prog;
	const __u32 *index;
	__s64 sample;

	snprintf(r->name, sizeof(r->name), "mixed%d, %s", mix->width * 8, flags_name(flags));
	mixed_model(r, mix, flags);
	prog = mixed_load(r, mix, flags);
	if (!prog)
		goto out;
	index = mix->width == 8 ? r->skel->rodata->index64 : r->skel->rodata->index32;
	for (i = 0; i < ARRAY_SIZE(members32); i++)
		ASSERT_EQ(index[i], mix->members[i].index, mix->members[i].name);
	check_lookups(r);

	for (n = 0; n < 40; n++) {
		level = xrand64(&seed) % LEVELS;
		bucket = xrand64(&seed) % MIXED_BUCKETS;
		sample = (__s64)xrand64(&seed) >> n;
		for (i = 0; i < ARRAY_SIZE(members32); i++)
			model_add(&r->model, level, mix->members[i].index,
				  (__u64)sample * (i + 1));
		model_add(&r->model, level, mix->hist + bucket, 1);
		model_add(&r->model, level, mix->peaks + bucket, sample);
		pin_to(cpus[n % nr_cpus]);
		if (!ASSERT_OK(run_on(THIS_CPU, prog, r->ids[level], sample, bucket, 0), r->name) ||
		    !check_lookups(r))
			break;
	}
	sched_setaffinity(0, sizeof(all_cpus), &all_cpus);
	check_batch(r, LEVELS);
out:
	cgroup_stats_values__destroy(r->skel);
	r->skel = NULL;
}

static void test_mixed(void)
{
	struct run *r = calloc(1, sizeof(*r));
	int i, j;

	tree_make(r->ids);
	for (i = 0; i < ARRAY_SIZE(mixed); i++) {
		for (j = 0; j < ARRAY_SIZE(all_flags); j++)
			check_mixed(r, &mixed[i], all_flags[j]);
	}
	tree_remove();
	free(r);
}

/* --- inner maps --- */

/* A map of maps like @template; whether @fd may go into it. */
static int try_inner(int template, int fd)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .inner_map_fd = template);
	int outer, err, zero = 0;

	outer = bpf_map_create(BPF_MAP_TYPE_ARRAY_OF_MAPS, "outer", 4, 4, 1, &opts);
	if (!ASSERT_GE(outer, 0, "create outer map"))
		return outer;
	err = bpf_map_update_elem(outer, &zero, &fd, 0);
	close(outer);
	return err;
}

/*
 * To a program that was loaded with a template of other elements of the same size: what
 * counts is the map that it meets, its number of elements and their operation.
 */
static void check_add_inner(struct run *r, int template)
{
	struct cgroup_stats_values *skel = open_skel("add_inner");
	int zero = 0;

	if (!skel)
		return;
	bpf_map__set_autocreate(skel->maps.maps, true);
	if (!ASSERT_OK(bpf_map__set_inner_map_fd(skel->maps.maps, template), "inner map") ||
	    !ASSERT_OK(cgroup_stats_values__load(skel), "load") ||
	    !ASSERT_OK(bpf_map_update_elem(bpf_map__fd(skel->maps.maps), &zero, &r->fd, 0),
		       "update outer map"))
		goto out;
	ASSERT_OK(run_on(cpus[0], skel->progs.add_inner, r->ids[LEAF], r->model.nr - 1, -7, 0),
		  r->name);
	ASSERT_OK(add_on(cpus[nr_cpus - 1], skel->progs.add_inner, r->ids[1], r->model.nr - 1, 9),
		  r->name);
	ASSERT_EQ(run_on(THIS_CPU, skel->progs.add_inner, r->ids[1], r->model.nr, 1, 0), -E2BIG,
		  r->name);
	model_add(&r->model, LEAF, r->model.nr - 1, -7);
	model_add(&r->model, 1, r->model.nr - 1, 9);
	check_lookups(r);
out:
	cgroup_stats_values__destroy(skel);
}

static void test_inner_maps(void)
{
	static const struct elem u64_sum = { 8, false, OP_SUM }, s32_min = { 4, true, OP_MIN };
	struct run *r = calloc(1, sizeof(*r));
	int i, j, outer, short_fd, templates[ARRAY_SIZE(all_flags)];

	tree_make(r->ids);
	for (i = 0; i < ARRAY_SIZE(all_flags); i++)
		templates[i] = make_map_of(r->ids[0], all_flags[i], u64_sum, 4);
	short_fd = make_map_of(r->ids[0], 0, u64_sum, 3);
	ASSERT_EQ(try_inner(templates[0], short_fd), -EINVAL, "another size");
	close(short_fd);

	for (i = 0; i < ARRAY_SIZE(all_flags); i++) {
		for (j = 0; j < ARRAY_SIZE(all_flags); j++) {
			outer = try_inner(templates[i], templates[j]);
			ASSERT_EQ(outer, i == j ? 0 : -EINVAL, flags_name(all_flags[j]));
		}
		snprintf(r->name, sizeof(r->name), "inner, %s", flags_name(all_flags[i]));
		model_init(&r->model, s32_min, 8, all_flags[i]);
		r->fd = make_map_of(r->ids[0], all_flags[i], s32_min, 8);
		ASSERT_OK(try_inner(templates[i], r->fd), "other elements of the same size");
		check_add_inner(r, templates[i]);
		close(r->fd);
	}
	for (i = 0; i < ARRAY_SIZE(all_flags); i++)
		close(templates[i]);
	tree_remove();
	free(r);
}

/* --- memory --- */

#define NR_MORE		5
#define MEMORY_FIXED	24	/* of an entry, whatever the elements */

/* Memory of one more entry: that of @fd grows with the cgroups by nothing else. */
static long long memory_per_entry(int fd, const char *name)
{
	long long one, sizes[NR_MORE + 1];
	char path[32];
	int i;

	sizes[0] = map_memory(fd);
	for (i = 0; i < NR_MORE; i++) {
		snprintf(path, sizeof(path), "a/more%d", i);
		cg_make(path);
		sizes[i + 1] = map_memory(fd);
	}
	one = (sizes[NR_MORE] - sizes[0]) / NR_MORE;
	for (i = 0; i < NR_MORE; i++) {
		ASSERT_EQ(sizes[i + 1] - sizes[i], one, name);
		snprintf(path, sizeof(path), "a/more%d", i);
		cg_remove(path);
	}
	return one;
}

/*
 * As documented: two arrays of elements and a mark for each 8 of them, both in whole
 * words, for what was added, and two arrays for the totals. With BPF_F_NO_PERCPU
 * the former is there once, and not for each CPU that there may be.
 */
static void check_memory(__u64 root, struct elem e, __u32 nr)
{
	long long arrays = 2 * ((nr * e.width + 7) / 8), marks = (nr + 63) / 64;
	int i, fd, copies;
	char name[64];

	for (i = 0; i < ARRAY_SIZE(all_flags); i++) {
		copies = all_flags[i] & BPF_F_NO_PERCPU ? 1 : libbpf_num_possible_cpus();
		snprintf(name, sizeof(name), "memory of %d elements of %d, %s", nr, e.width,
			 flags_name(all_flags[i]));
		fd = make_map_of(root, all_flags[i], e, nr);
		ASSERT_EQ(memory_per_entry(fd, name),
			  MEMORY_FIXED + 8 * (arrays + (arrays + marks) * copies), name);
		close(fd);
	}
}

static void test_memory(void)
{
	static const __u32 sizes[] = { 1, 2, 3, 64, 65, 500 };
	static const struct elem sum64 = { 8, false, OP_SUM }, min32 = { 4, true, OP_MIN };
	__u64 a = cg_make("a");
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		check_memory(a, sum64, sizes[i]);
		check_memory(a, min32, sizes[i]);
	}
	cg_remove("a");
}

void serial_test_cgroup_stats_values(void)
{
	static const struct subtest tests[] = {
		{ "values", test_values },
		{ "removed", test_removed },
		{ "arguments", test_arguments },
		{ "sizes", test_sizes },
		{ "mixed", test_mixed },
		{ "inner_maps", test_inner_maps },
		{ "memory", test_memory },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}
