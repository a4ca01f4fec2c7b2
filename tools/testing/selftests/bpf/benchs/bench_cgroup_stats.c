// SPDX-License-Identifier: GPL-2.0
/*
 * What statistics per cgroup cost: by BPF_MAP_TYPE_CGROUP_STATS, and by what there was
 * before. One benchmark for each kind of work:
 *
 *	cgroup-stats-add	an add to the current task's cgroup
 *	cgroup-stats-add-id	an add to a cgroup by its id
 *	cgroup-stats-flush	the flush of a cgroup that changed on one CPU
 *	cgroup-stats-flush-idle	a flush where nothing has changed, per possible CPU
 *	cgroup-stats-read-all	a read of all cgroups, per cgroup
 *	cgroup-stats-mkdir-rmdir mkdir() and rmdir() of a cgroup
 *	cgroup-stats-release	the map's part in the end of a cgroup that was removed
 *	cgroup-stats-memory	bytes per cgroup
 *
 * All of it is done once, a fixed number of times; --duration only says when to give up.
 * Where a virtual machine counts its time in instructions, the result is the same each
 * time. See benchs/run_bench_cgroup_stats.sh.
 */
#include <argp.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <linux/compiler.h>
#include <bpf/btf.h>
#include "bench.h"
#include "progs/cgroup_stats_bench.h"
#include "cgroup_stats_bench.skel.h"

#define CGROUPS		"/sys/fs/cgroup"
#define ROOT		CGROUPS "/cgroup_stats_bench"
#define NR_ADDS		10000
#define NR_MKDIRS	50
#define NR_MKDIR_ROUNDS	31

static struct {
	const char *variant;
	__u32 elements;
	__u32 dirty;
	__u32 cgroups;
	__u32 fanout;
	__u32 every;
	__u32 maps;
	__u32 past_maps;
	__u32 rounds;
	__u32 first_id;
	bool controllers;
	bool spread;
} args = {
	.variant = "map",
	.elements = 1,
	.dirty = 1,
	.cgroups = 1,
	.fanout = 10,
	.every = 1,
	.maps = 1,
	.rounds = 5,
};

enum {
	ARG_VARIANT = 12000,
	ARG_ELEMENTS,
	ARG_DIRTY,
	ARG_CGROUPS,
	ARG_FANOUT,
	ARG_EVERY,
	ARG_MAPS,
	ARG_PAST_MAPS,
	ARG_ROUNDS,
	ARG_FIRST_ID,
	ARG_CONTROLLERS,
	ARG_SPREAD,
};

static const struct argp_option opts[] = {
	{ "variant", ARG_VARIANT, "NAME", 0,
	  "map, with _max, _min (and _new: an extreme each time), _u32, _shared or _flat behind it, "
	  "or another way" },
	{ "elements", ARG_ELEMENTS, "N", 0, "Elements of a value: 1 to 512" },
	{ "dirty", ARG_DIRTY, "N", 0, "Those of them that change; 0: none" },
	{ "cgroups", ARG_CGROUPS, "N", 0, "Cgroups" },
	{ "fanout", ARG_FANOUT, "N", 0, "Children of each of them" },
	{ "every", ARG_EVERY, "N", 0, "How many of them one is changed of" },
	{ "maps", ARG_MAPS, "N", 0, "Maps that reach the cgroups; 0: none" },
	{ "past-maps", ARG_PAST_MAPS, "N", 0, "Maps that were gone before the cgroups came" },
	{ "rounds", ARG_ROUNDS, "N", 0, "How often to measure; the smallest counts" },
	{ "first-id", ARG_FIRST_ID, "N", 0, "Ids of cgroups are to be N at least" },
	{ "controllers", ARG_CONTROLLERS, NULL, 0, "Have the memory controller in all cgroups" },
	{ "spread", ARG_SPREAD, NULL, 0, "Change cgroups on all CPUs, each on one" },
	{},
};

static __u32 parse_number(const char *arg, __u32 min, __u32 max, struct argp_state *state)
{
	char *end;
	long n = strtol(arg, &end, 10);

	if (*end || n < min || n > max) {
		fprintf(stderr, "invalid number: %s, it must be %u to %u\n", arg, min, max);
		argp_usage(state);
	}
	return n;
}

static error_t parse_arg(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARG_VARIANT:
		args.variant = arg;
		break;
	case ARG_ELEMENTS:
		args.elements = parse_number(arg, 1, BENCH_ELEMS, state);
		break;
	case ARG_DIRTY:
		args.dirty = parse_number(arg, 0, BENCH_ELEMS, state);
		break;
	case ARG_CGROUPS:
		args.cgroups = parse_number(arg, 1, BENCH_CGROUPS, state);
		break;
	case ARG_FANOUT:
		args.fanout = parse_number(arg, 1, BENCH_CGROUPS, state);
		break;
	case ARG_EVERY:
		args.every = parse_number(arg, 1, BENCH_CGROUPS, state);
		break;
	case ARG_MAPS:
		args.maps = parse_number(arg, 0, BENCH_MAPS, state);
		break;
	case ARG_PAST_MAPS:
		args.past_maps = parse_number(arg, 0, BENCH_MAPS, state);
		break;
	case ARG_ROUNDS:
		args.rounds = parse_number(arg, 1, 1000, state);
		break;
	case ARG_FIRST_ID:
		args.first_id = parse_number(arg, 0, INT_MAX, state);
		break;
	case ARG_CONTROLLERS:
		args.controllers = true;
		break;
	case ARG_SPREAD:
		args.spread = true;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

const struct argp bench_cgroup_stats_argp = {
	.options = opts,
	.parser = parse_arg,
};

static struct cgroup_stats_bench *skel;
static int nr_maps;
static int maps[BENCH_MAPS];
/* What an operation took, in ns, and what its unit is. */
static double result;
static const char *unit = "ns/op";

static _Noreturn void fail(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(err));
	exit(1);
}

static bool is_variant(const char *name)
{
	return !strcmp(args.variant, name);
}

static bool is_map(void)
{
	return !strncmp(args.variant, "map", 3);
}

static bool is_kfunc(void)
{
	return !strncmp(args.variant, "kfunc", 5);
}

static bool has_suffix(const char *suffix)
{
	return is_map() && strstr(args.variant, suffix);
}

static int nr_cpus(void)
{
	return libbpf_num_possible_cpus();
}

/* This thread, and those that it will make. */
static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("cannot run on CPU %d", cpu);
}

static void validate(void)
{
	if (env.producer_cnt != 1 || env.consumer_cnt) {
		fprintf(stderr, "benchmark needs one producer and no consumer!\n");
		exit(1);
	}
	if (is_variant("map_fold") && args.maps < 2) {
		fprintf(stderr, "two maps at least!\n");
		exit(1);
	}
	if (is_variant("map_nmi") && nr_cpus() != 2) {
		fprintf(stderr, "two CPUs!\n");
		exit(1);
	}
	if (args.dirty > args.elements) {
		fprintf(stderr, "only elements can be dirty!\n");
		exit(1);
	}
}

/* --- a tree of cgroups: cgroup i is a child of (i - 1) / fanout, and the first is ROOT --- */

static struct node {
	__u64 id;
	char *path;
} *tree;

static bool has_children(__u32 i)
{
	return (__u64)i * args.fanout + 1 < args.cgroups;
}

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, text, strlen(text)) != strlen(text))
		fail("cannot write %s to %s", text, path);
	close(fd);
}

static long read_file(const char *dir, const char *name, char *text, size_t size)
{
	char path[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? fd : read(fd, text, size - 1);
	if (n < 0)
		fail("cannot read %s", path);
	close(fd);
	text[n] = 0;
	return n;
}

static long file_number(const char *dir, const char *name, const char *what)
{
	char text[4096], *line;

	read_file(dir, name, text, sizeof(text));
	line = strstr(text, what);
	return line ? strtol(line + strlen(what), NULL, 10) : -1;
}

static void remove_tree(void)
{
	__u32 i;

	write_file(CGROUPS, "cgroup.procs", "0");
	for (i = args.cgroups; tree && i--;) {
		if (tree[i].path)
			rmdir(tree[i].path);
	}
}

/* What earlier benchmarks have removed is freed in the background. */
static void settle(void)
{
	int i;

	for (i = 0; i < 200; i++) {
		/* Pages that were charged to one may keep it. */
		if (file_number(CGROUPS, "cgroup.stat", "nr_dying_descendants ") <= 0)
			break;
		usleep(10000);
	}
	sleep(1);
}

static __u64 make_cgroup(const char *path)
{
	struct stat st;

	if (mkdir(path, 0755) || stat(path, &st))
		fail("cannot make %s", path);
	return st.st_ino;
}

/* Ids are given to all files of cgroups, upwards. */
static void use_ids(void)
{
	while (make_cgroup(ROOT) < args.first_id)
		rmdir(ROOT);
	rmdir(ROOT);
}

static void make_tree(void)
{
	char name[16];
	__u32 i;

	use_ids();
	settle();
	tree = calloc(args.cgroups, sizeof(*tree));
	if (!tree)
		fail("no memory");
	atexit(remove_tree);
	for (i = 0; i < args.cgroups; i++) {
		snprintf(name, sizeof(name), "%u", i);
		if (asprintf(&tree[i].path, "%s/%s", i ? tree[(i - 1) / args.fanout].path : ROOT,
			     i ? name : "") < 0)
			fail("no memory");
		tree[i].id = make_cgroup(tree[i].path);
		if (args.controllers && has_children(i))
			write_file(tree[i].path, "cgroup.subtree_control", "+memory");
	}
}

/* The last one has no children. */
static void join_tree(void)
{
	write_file(tree[args.cgroups - 1].path, "cgroup.procs", "0");
}

/* --- maps and programs --- */

static int make_map(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_extra = tree ? tree[0].id : 0);
	__u32 width = has_suffix("_u32") ? 4 : 8;
	struct btf *btf = btf__new_empty();
	int id, fd;

	if (has_suffix("_shared"))
		opts.map_flags |= BPF_F_NO_PERCPU;
	if (has_suffix("_flat"))
		opts.map_flags |= BPF_F_NO_HIERARCHY;
	opts.btf_key_type_id = btf__add_int(btf, "key", 8, 0);
	id = btf__add_int(btf, "element", width, 0);
	id = btf__add_array(btf, opts.btf_key_type_id, id, args.elements);
	opts.btf_value_type_id = btf__add_struct(btf, "value", args.elements * width);
	btf__add_field(btf, "elements", id, 0, 0);
	if (has_suffix("_max"))
		btf__add_decl_tag(btf, "cgroup_stats:max", opts.btf_value_type_id, 0);
	if (has_suffix("_min"))
		btf__add_decl_tag(btf, "cgroup_stats:min", opts.btf_value_type_id, 0);
	if (btf__load_into_kernel(btf))
		fail("cannot load BTF");
	opts.btf_fd = btf__fd(btf);
	fd = bpf_map_create(BPF_MAP_TYPE_CGROUP_STATS, "bench", sizeof(__u64),
			    args.elements * width, 0, &opts);
	if (fd < 0)
		fail("cannot make a map");
	btf__free(btf);
	return fd;
}

static void close_maps(void)
{
	while (nr_maps)
		close(maps[--nr_maps]);
}

static void make_maps(void)
{
	while (nr_maps < args.maps)
		maps[nr_maps++] = make_map();
}

/* Freed in the background: those who make the tree next wait for that. */
static void make_past_maps(void)
{
	while (nr_maps < args.past_maps)
		maps[nr_maps++] = make_map();
	close_maps();
}

/* Of the tree, down to the last cgroup. ROOT has level 1. */
static __u32 nr_levels(void)
{
	__u32 i, n = 1;

	for (i = args.cgroups - 1; i; i = (i - 1) / args.fanout)
		n++;
	return n;
}

/* Iterators are not, nor what runs on a packet. */
static bool is_attached(const struct bpf_program *prog)
{
	return bpf_program__expected_attach_type(prog) == BPF_TRACE_FENTRY ||
	       bpf_program__expected_attach_type(prog) == BPF_TRACE_FEXIT ||
	       bpf_program__type(prog) == BPF_PROG_TYPE_RAW_TRACEPOINT;
}

/* The function that counts has another name in newer kernels. */
static void find_memcg_counter(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	const char *name = "count_memcg_events";

	if (btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) < 0)
		name = "__count_memcg_events";
	bpf_program__set_attach_target(skel->progs.memcg_begin, 0, name);
	bpf_program__set_attach_target(skel->progs.memcg_end, 0, name);
	btf__free(btf);
}

static void use_hash(struct bpf_map *map, bool use, __u32 elem_size)
{
	bpf_map__set_autocreate(map, use);
	bpf_map__set_value_size(map, args.elements * elem_size);
	bpf_map__set_max_entries(map, args.cgroups);
}

/* Open the programs; load those that are named, up to NULL, and the maps that they need. */
static void load_programs(const char *name, ...)
{
	bool counts = is_variant("percpu_hash") || is_variant("walk_up");
	struct bpf_program *prog;
	va_list ap;

	setup_libbpf();
	skel = cgroup_stats_bench__open();
	if (!skel)
		fail("cannot open the programs");
	skel->rodata->nr_elems = args.elements;
	skel->rodata->nr_dirty = args.dirty;
	skel->rodata->nr_levels = nr_levels();
	if (!is_map())
		bpf_map__set_autocreate(skel->maps.stats, false);
	else if (bpf_map__reuse_fd(skel->maps.stats, maps[0]))
		fail("cannot use the map");
	use_hash(skel->maps.counts, counts, sizeof(__u64));
	use_hash(skel->maps.running, is_kfunc(), sizeof(struct bench_running));
	use_hash(skel->maps.totals, is_kfunc(), sizeof(struct bench_total));
	bpf_map__set_autocreate(skel->maps.each, is_variant("map_fold"));
	if (is_variant("map_fold"))
		bpf_map__set_inner_map_fd(skel->maps.each, maps[0]);
	bpf_map__set_autocreate(skel->maps.cgrp_storage, is_variant("cgrp_storage"));
	bpf_map__set_autocreate(skel->maps.percpu_cgroup_storage,
				is_variant("percpu_cgroup_storage"));
	bpf_map__set_autocreate(skel->maps.percpu_array, is_variant("percpu_array"));
	if (is_variant("map_aggregator")) {
		bpf_map__set_autocreate(skel->maps.aggregator, true);
		skel->struct_ops.aggregator->value_size = args.elements * sizeof(__u64);
	}

	if (is_variant("memcg"))
		find_memcg_counter();

	va_start(ap, name);
	for (; name; name = va_arg(ap, const char *)) {
		prog = bpf_object__find_program_by_name(skel->obj, name);
		if (!prog) {
			fprintf(stderr, "variant '%s' cannot do this\n", args.variant);
			exit(1);
		}
		bpf_program__set_autoload(prog, true);
	}
	va_end(ap);
	if (cgroup_stats_bench__load(skel))
		fail("cannot load the programs");
	bpf_object__for_each_program(prog, skel->obj) {
		if (bpf_program__autoload(prog) && is_attached(prog) && !bpf_program__attach(prog))
			fail("cannot attach %s", bpf_program__name(prog));
	}
	if (is_variant("map_aggregator") && !bpf_map__attach_struct_ops(skel->maps.aggregator))
		fail("cannot attach the aggregator");
}

/* Entries for all cgroups, of those who have to make them. */
static void make_entries(struct bpf_map *map)
{
	void *zero = calloc(nr_cpus(), args.elements * sizeof(struct bench_running));
	bool storage = map == skel->maps.cgrp_storage;
	int fd = -1, err = 0;
	__u32 i;

	for (i = 0; bpf_map__autocreate(map) && i < args.cgroups && !err; i++) {
		if (storage)
			fd = open(tree[i].path, O_RDONLY);
		err = bpf_map_update_elem(bpf_map__fd(map), storage ? (void *)&fd : &tree[i].id,
					  zero, 0);
		if (storage)
			close(fd);
	}
	free(zero);
	if (err)
		fail("cannot make entries");
}

static void make_all_entries(void)
{
	make_entries(skel->maps.counts);
	make_entries(skel->maps.running);
	make_entries(skel->maps.totals);
	make_entries(skel->maps.cgrp_storage);
}

static struct bpf_program *find_program(const char *what, const char *variant)
{
	char name[64];

	snprintf(name, sizeof(name), "%s_%s", what, variant);
	return bpf_object__find_program_by_name(skel->obj, name);
}

/*
 * NMIs for backtraces of the other CPUs: there is one, and a thread of ours spins on it. The
 * program sees to it that it runs once, and there.
 */
static void run_in_nmi(void)
{
	while (READ_ONCE(skel->bss->turn) != BENCH_NONE) {
		write_file("/proc", "sysrq-trigger", "l");
		usleep(1000);
	}
}

/*
 * Run a program, here and now: a run is of the function that it is attached to, and all
 * programs that are look whose turn it is.
 */
static void run_program(struct bpf_program *prog, __u32 turn)
{
	char packet[64] = {};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);

	if (bpf_program__type(prog) == BPF_PROG_TYPE_CGROUP_SKB) {
		opts.data_in = packet;
		opts.data_size_in = sizeof(packet);
	}
	skel->bss->turn = turn;
	skel->bss->failed = 0;
	/* Larger than all before, or smaller. */
	skel->bss->sample += has_suffix("_min") ? -NR_ADDS : NR_ADDS;
	if (bpf_program__type(prog) == BPF_PROG_TYPE_RAW_TRACEPOINT)
		run_in_nmi();
	else if (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts))
		fail("cannot run %s", bpf_program__name(prog));
	if (skel->bss->failed) {
		errno = 0;
		fail("%s failed %llu times", bpf_program__name(prog), skel->bss->failed);
	}
}

static __u64 time_adds(struct bpf_program *prog, __u32 turn)
{
	__u64 best = ULLONG_MAX;
	__u32 i;

	for (i = 0; i < args.rounds; i++) {
		run_program(prog, turn);
		if (skel->bss->ns < best)
			best = skel->bss->ns;
	}
	return best;
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* --- adds --- */

/* Of the programs that add: those whose samples are not 1 have their own. */
static const char *sample_variant(void)
{
	if (!has_suffix("_new"))
		return "map";
	return has_suffix("_max") ? "map_max_new" : "map_min_new";
}

static const char *add_variant(void)
{
	return is_map() && !is_variant("map_nmi") ? sample_variant() : args.variant;
}

/* The program with nothing in its loop. */
static const char *empty_variant(void)
{
	if (is_variant("percpu_cgroup_storage"))
		return "add_empty_skb";
	return is_variant("map_nmi") ? "add_empty_nmi" : "add_empty";
}

static void *spin(void *ctx)
{
	pin_to(1);
	for (;;)
		asm volatile("");
	return NULL;
}

static void setup_nmi(void)
{
	pthread_t thread;

	pin_to(0);
	if (pthread_create(&thread, NULL, spin, NULL))
		fail("cannot make a thread");
}

static void setup_add(const char *what)
{
	char name[64];

	make_tree();
	if (is_map())
		make_maps();
	snprintf(name, sizeof(name), "%s_%s", what, add_variant());
	if (is_variant("memcg"))
		load_programs("empty_begin", "empty_end", "memcg_begin", "memcg_end", NULL);
	else
		load_programs(name, empty_variant(), NULL);
	make_all_entries();
	join_tree();
	if (is_variant("map_nmi"))
		setup_nmi();
	skel->bss->target_id = tree[args.cgroups - 1].id;
	skel->bss->nr_loops = NR_ADDS;
	skel->bss->tgid = getpid();
}

static void setup_add_current(void)
{
	setup_add("add");
}

static void setup_add_id(void)
{
	setup_add("add_id");
}

/* Nothing was lost. */
static void check_adds(void)
{
	bool sum = !has_suffix("_max") && !has_suffix("_min");
	__u64 value[BENCH_ELEMS] = {}, id = tree[args.cgroups - 1].id;

	if (bpf_map_lookup_elem(maps[0], &id, value))
		fail("cannot read %s", tree[args.cgroups - 1].path);
	if (sum && value[0] != (__u64)args.rounds * NR_ADDS) {
		errno = 0;
		fail("%llu adds of %u", value[0], args.rounds * NR_ADDS);
	}
}

static double run_add(const char *what)
{
	struct bpf_program *none = bpf_object__find_program_by_name(skel->obj, empty_variant());
	__u64 empty = time_adds(none, BENCH_EMPTY);
	__u64 ns = time_adds(find_program(what, add_variant()), BENCH_ADD);

	if (is_map())
		check_adds();
	return (double)(ns - empty) / NR_ADDS;
}

/* A page fault, which is counted. */
static void touch_page(void)
{
	char *page = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		fail("no memory");
	*page = 1;
	munmap(page, getpagesize());
}

/* What is between two programs at memcg's counter, and not at a function that does nothing. */
static double add_memcg(void)
{
	__u64 empty = time_adds(skel->progs.empty_begin, BENCH_EMPTY), best = ULLONG_MAX;
	__u32 i;

	for (i = 0; i < args.rounds; i++) {
		skel->bss->turn = BENCH_ADD;
		touch_page();
		if (skel->bss->turn != BENCH_NONE) {
			errno = 0;
			fail("nothing is counted");
		}
		if (skel->bss->ns < best)
			best = skel->bss->ns;
	}
	return (double)best - empty;
}

static double add_current(void)
{
	return is_variant("memcg") ? add_memcg() : run_add("add");
}

static double add_id(void)
{
	return run_add("add_id");
}

/* --- flushes --- */

static __u32 nr_changes;

static const char *change_variant(void)
{
	if (is_kfunc())
		return "kfunc";
	return is_map() && !is_variant("map_fold") ? sample_variant() : args.variant;
}

/* A map of ours is there where it is measured, and where it is only to be there. */
static bool wants_maps(void)
{
	return is_map() || is_variant("rstat") || is_variant("none");
}

static void choose_changes(void)
{
	__u32 i;

	nr_changes = 0;
	for (i = 0; i < args.cgroups; i += args.every)
		skel->bss->ids[nr_changes++] = tree[i].id;
}

static void setup_change(const char *reader)
{
	char name[64];

	make_past_maps();
	make_tree();
	if (wants_maps())
		make_maps();
	snprintf(name, sizeof(name), "change_%s", change_variant());
	if (is_variant("none") || is_variant("memory_stat"))
		load_programs("flush", NULL);
	else if (is_kfunc())
		load_programs(name, "flush", "flusher", reader, NULL);
	else if (is_variant("map_aggregator"))
		load_programs(name, "flush", "fold", NULL);
	else
		load_programs(name, "flush", NULL);
	make_all_entries();
	skel->bss->target_id = tree[0].id;
	choose_changes();
}

static void setup_flush(void)
{
	__u32 i;

	setup_change(NULL);
	for (i = 0; is_variant("map_fold") && i < args.maps; i++) {
		if (bpf_map_update_elem(bpf_map__fd(skel->maps.each), &i, &maps[i], 0))
			fail("cannot have each map");
	}
}

/* A page fault for each, but for those with children, which cannot have processes. */
static void change_memory(void)
{
	__u32 i;

	for (i = 0; i < args.cgroups; i += args.every) {
		if (has_children(i))
			continue;
		write_file(tree[i].path, "cgroup.procs", "0");
		touch_page();
	}
	write_file(CGROUPS, "cgroup.procs", "0");
}

static void change(void)
{
	struct bpf_program *prog = find_program("change", change_variant());
	__u32 cpu, n = args.spread ? nr_cpus() : 1;

	if (is_variant("memory_stat"))
		change_memory();
	for (cpu = 0; prog && cpu < n; cpu++) {
		if (args.spread)
			pin_to(cpu);
		skel->bss->first = nr_changes * cpu / n;
		skel->bss->nr_loops = nr_changes * (cpu + 1) / n - skel->bss->first;
		run_program(prog, BENCH_CHANGE);
	}
}

/* The smallest time of a flush, after changes or without any. */
static __u64 time_flush(bool changed)
{
	__u64 best = ULLONG_MAX;
	__u32 i;

	for (i = 0; i < args.rounds; i++) {
		run_program(skel->progs.flush, BENCH_FLUSH);
		if (changed)
			change();
		run_program(skel->progs.flush, BENCH_FLUSH);
		if (skel->bss->ns < best)
			best = skel->bss->ns;
	}
	return best;
}

/* What one map more costs that has changed: its fold, and nothing of rstat's. */
static double flush_fold(void)
{
	__u64 one;

	skel->bss->nr_changed = 1;
	one = time_flush(true);
	skel->bss->nr_changed = args.maps;
	return (double)(time_flush(true) - one) / (args.maps - 1) / nr_changes;
}

static double flush(void)
{
	__u64 idle = time_flush(false);

	if (is_variant("map_fold"))
		return flush_fold();
	return ((double)time_flush(true) - idle) / nr_changes;
}

static double flush_idle(void)
{
	return (double)time_flush(false) / nr_cpus();
}

/* --- reads of all --- */

static __u64 *keys, *values;
/* For the kfuncs' way: what flushes each cgroup. */
static struct bpf_link *flush_all;
/* For user space: a batch, and where a cgroup is in the tree, by how far its id is from ROOT's. */
static __u64 *counts;
static __u32 *places;

static void read_batch(void)
{
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 out, n = args.cgroups;

	if (bpf_map_lookup_batch(maps[0], NULL, &out, keys, values, &n, &opts) && errno != ENOENT)
		fail("cannot read a batch");
	if (n != args.cgroups) {
		errno = 0;
		fail("%u of %u cgroups", n, args.cgroups);
	}
}

static void read_single(void)
{
	__u32 i;

	for (i = 0; i < args.cgroups; i++) {
		if (bpf_map_lookup_elem(maps[0], &tree[i].id, values))
			fail("cannot read %s", tree[i].path);
	}
}

static void read_totals(void)
{
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u32 out, n = args.cgroups;

	if (bpf_map_lookup_batch(bpf_map__fd(skel->maps.totals), NULL, &out, keys, values, &n,
				 &opts) && errno != ENOENT)
		fail("cannot read a batch");
}

/*
 * An iterator that flushes each cgroup, and a batch of what is in the hash. The iterator
 * could write it out, but for no more than 32 KiB: it ends where its buffer does.
 */
static void read_kfunc(void)
{
	int fd = bpf_iter_create(bpf_link__fd(flush_all));
	char c;

	if (fd < 0 || read(fd, &c, sizeof(c)))
		fail("cannot run the iterator");
	close(fd);
	read_totals();
}

/* The same for who knows that a flush of the tree's root is one of all. */
static void read_kfunc_once(void)
{
	run_program(skel->progs.flush, BENCH_FLUSH);
	read_totals();
}

/* Nobody in the kernel adds up: neither CPUs, nor descendants. */
static void read_percpu_hash(void)
{
	__u32 i, e, cpus = nr_cpus(), n = args.cgroups, out;
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	__u64 *one, *sums, *up;

	if (bpf_map_lookup_batch(bpf_map__fd(skel->maps.counts), NULL, &out, keys, counts, &n,
				 &opts) && errno != ENOENT)
		fail("cannot read a batch");
	memset(values, 0, args.cgroups * args.elements * sizeof(*values));
	for (i = 0; i < n; i++) {
		sums = values + places[keys[i] - tree[0].id] * args.elements;
		one = counts + i * cpus * args.elements;
		for (e = 0; e < cpus * args.elements; e++)
			sums[e % args.elements] += one[e];
	}
	for (i = args.cgroups - 1; i; i--) {
		sums = values + i * args.elements;
		up = values + (i - 1) / args.fanout * args.elements;
		for (e = 0; e < args.elements; e++)
			up[e] += sums[e];
	}
}

static void read_memory_stat(void)
{
	char text[8192];
	__u32 i;

	for (i = 0; i < args.cgroups; i++)
		read_file(tree[i].path, "memory.stat", text, sizeof(text));
}

static const struct {
	const char *variant;
	void (*read)(void);
} readers[] = {
	{ "map_single", read_single },
	{ "kfunc", read_kfunc },
	{ "kfunc_once", read_kfunc_once },
	{ "percpu_hash", read_percpu_hash },
	{ "memory_stat", read_memory_stat },
	{},
};

static void attach_flush_all(void)
{
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info info = {};

	info.cgroup.order = BPF_CGROUP_ITER_DESCENDANTS_PRE;
	info.cgroup.cgroup_id = tree[0].id;
	opts.link_info = &info;
	opts.link_info_len = sizeof(info);
	flush_all = bpf_program__attach_iter(skel->progs.flush_all, &opts);
	if (!flush_all)
		fail("cannot attach the iterator");
}

static void setup_read_all(void)
{
	__u32 i;

	setup_change("flush_all");
	if (is_kfunc())
		attach_flush_all();
	keys = calloc(args.cgroups, sizeof(*keys));
	values = calloc(args.cgroups, args.elements * sizeof(struct bench_total));
	/* Ids ascend with the cgroups. */
	places = calloc(tree[args.cgroups - 1].id - tree[0].id + 1, sizeof(*places));
	if (is_variant("percpu_hash"))
		counts = calloc(args.cgroups, nr_cpus() * args.elements * sizeof(*counts));
	if (!keys || !values || !places || (is_variant("percpu_hash") && !counts))
		fail("no memory");
	for (i = 0; i < args.cgroups; i++)
		places[tree[i].id - tree[0].id] = i;
}

static double read_all(void)
{
	__u64 begin, ns, best = ULLONG_MAX;
	void (*read)(void) = read_batch;
	__u32 i;

	for (i = 0; readers[i].variant; i++) {
		if (is_variant(readers[i].variant))
			read = readers[i].read;
	}
	read();
	for (i = 0; i < args.rounds; i++) {
		change();
		begin = now_ns();
		read();
		ns = now_ns() - begin;
		if (ns < best)
			best = ns;
	}
	return (double)best / args.cgroups;
}

/* --- cgroups come and go --- */

static void setup_mkdir(void)
{
	make_tree();
	if (args.controllers)
		write_file(tree[args.cgroups - 1].path, "cgroup.subtree_control", "+memory");
	if (is_map())
		make_maps();
}

static int compare_ns(const void *a, const void *b)
{
	__u64 ns = *(const __u64 *)a, other = *(const __u64 *)b;

	return ns < other ? -1 : ns > other;
}

/* The median: now and then something else has its turn. */
static double make_cgroups(void)
{
	__u64 ns[NR_MKDIR_ROUNDS], begin;
	char path[PATH_MAX];
	__u32 round, i;

	snprintf(path, sizeof(path), "%s/x", tree[args.cgroups - 1].path);
	for (round = 0; round < 2 * NR_MKDIR_ROUNDS; round++) {
		begin = now_ns();
		for (i = 0; i < NR_MKDIRS; i++) {
			if (mkdir(path, 0755) || rmdir(path))
				fail("cannot make %s and remove it", path);
		}
		/* The first half is for caches, allocators and the work behind rmdir(). */
		ns[round % NR_MKDIR_ROUNDS] = now_ns() - begin;
	}
	qsort(ns, NR_MKDIR_ROUNDS, sizeof(ns[0]), compare_ns);
	return (double)ns[NR_MKDIR_ROUNDS / 2] / NR_MKDIRS;
}

/* --- the end of cgroups that were removed --- */

static void setup_release(void)
{
	char name[64];

	if (!is_map() || args.cgroups < 2) {
		fprintf(stderr, "a map, and two cgroups at least!\n");
		exit(1);
	}
	make_tree();
	make_maps();
	snprintf(name, sizeof(name), "change_%s", change_variant());
	load_programs(name, "begin_empty", "end_empty", "begin_offline", "end_offline",
		      "begin_release", "end_release", "begin_free", "end_free", NULL);
}

static void wait_for_parts(__u32 n)
{
	int i;

	for (i = 0; i < 200 && READ_ONCE(skel->bss->nr_parts) < n; i++)
		usleep(10000);
	if (skel->bss->nr_parts == n)
		return;
	errno = 0;
	fail("%u calls in the kernel, not %u", skel->bss->nr_parts, n);
}

/* What is called in the kernel for all cgroups but the first: offline, release, free. */
static __u64 time_release(void)
{
	__u32 i;

	choose_changes();
	change();
	skel->bss->turn = BENCH_RELEASE;
	skel->bss->nr_parts = 0;
	skel->bss->ns = 0;
	for (i = args.cgroups; --i;) {
		if (rmdir(tree[i].path))
			fail("cannot remove %s", tree[i].path);
	}
	wait_for_parts((args.cgroups - 1) * (2 + args.maps));
	for (i = 1; i < args.cgroups; i++)
		tree[i].id = make_cgroup(tree[i].path);
	return skel->bss->ns;
}

static double release(void)
{
	__u64 empty, ns, best = ULLONG_MAX;
	__u32 i;

	run_program(skel->progs.begin_empty, BENCH_RELEASE);
	empty = skel->bss->ns;
	for (i = 0; i < args.rounds; i++) {
		ns = time_release();
		if (ns < best)
			best = ns;
	}
	return (double)best / (args.cgroups - 1) - (2 + args.maps) * empty;
}

/* --- memory --- */

static void setup_memory(void)
{
	make_tree();
	unit = "bytes/op";
}

/* Kernel memory of the payer, to a page, when rstat's periodic flush has come by. */
static long charged(void)
{
	sleep(5);
	return file_number(ROOT "-payer", "memory.stat", "kernel ");
}

static long memlock(int fd)
{
	char name[32];

	snprintf(name, sizeof(name), "fdinfo/%d", fd);
	return file_number("/proc/self", name, "memlock:\t");
}

/* What maps say of themselves. */
static long formula(void)
{
	long bytes = 0;
	int i;

	if (is_kfunc())
		return memlock(bpf_map__fd(skel->maps.running)) +
		       memlock(bpf_map__fd(skel->maps.totals));
	for (i = 0; i < nr_maps; i++)
		bytes += memlock(maps[i]);
	return bytes;
}

/*
 * What memcg has charged, or what the map says, for all cgroups. Of a hash memcg does not know
 * the per-CPU memory, which is taken before there is somebody to charge.
 */
static double measure_memory(void)
{
	long before, bytes;

	if (mkdir(ROOT "-payer", 0755))
		fail("cannot make the cgroup that pays");
	write_file(ROOT "-payer", "cgroup.procs", "0");
	before = charged();
	if (is_map()) {
		make_maps();
	} else {
		load_programs(NULL);
		make_all_entries();
	}
	if (is_kfunc() || has_suffix("_formula"))
		bytes = formula();
	else
		bytes = charged() - before;
	write_file(CGROUPS, "cgroup.procs", "0");
	close_maps();
	rmdir(ROOT "-payer");
	return (double)bytes / args.cgroups;
}

/* --- the tool's side --- */

/* Each second. With a result this is the last one. */
static void measure(struct bench_res *res)
{
	static int second;

	res->hits = result != 0;
	if (res->hits && second >= env.warmup_sec)
		env.duration_sec = second - env.warmup_sec;
	second++;
}

static void report_final(struct bench_res res[], int res_cnt)
{
	if (!res[res_cnt - 1].hits) {
		fprintf(stderr, "not finished: --duration is too short!\n");
		exit(1);
	}
	printf("Summary: latency %8.3lf %s\n", result, unit);
}

#define BENCH(_name, what, _setup, work)			\
static void *_name##_thread(void *ctx)				\
{								\
	result = work();					\
	return NULL;						\
}								\
								\
const struct bench bench_cgroup_stats_##_name = {		\
	.name = "cgroup-stats-" what,				\
	.argp = &bench_cgroup_stats_argp,			\
	.validate = validate,					\
	.setup = _setup,					\
	.producer_thread = _name##_thread,			\
	.measure = measure,					\
	.report_final = report_final,				\
}

BENCH(add, "add", setup_add_current, add_current);
BENCH(add_id, "add-id", setup_add_id, add_id);
BENCH(flush, "flush", setup_flush, flush);
BENCH(flush_idle, "flush-idle", setup_flush, flush_idle);
BENCH(read_all, "read-all", setup_read_all, read_all);
BENCH(mkdir, "mkdir-rmdir", setup_mkdir, make_cgroups);
BENCH(release, "release", setup_release, release);
BENCH(memory, "memory", setup_memory, measure_memory);
