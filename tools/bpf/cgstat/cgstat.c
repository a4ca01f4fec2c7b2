// SPDX-License-Identifier: GPL-2.0
/*
 * cgstat: the cgroup tree with counts of events, own and with descendants, out of
 * a BPF_MAP_TYPE_CGROUP_STATS map.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/magic.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include "cgstat.h"
#include "cgstat.skel.h"

#define NSEC_PER_SEC	1000000000LL

/* memcg adds up its counters every two seconds at the latest. */
#define MEMCG_PERIOD	(2500 * NSEC_PER_SEC / 1000)

const char *argp_program_version = "cgstat 0.1";
const char *argp_program_bug_address = "<bpf@vger.kernel.org>";

static const char argp_doc[] =
"Show a cgroup tree with counts of page faults, of bytes written by write(),\n"
"and of processes and threads created.\n"
"\vCounts begin when cgstat does. \"total\" is for a cgroup and all below it.\n"
"\"own\" is that without the children shown: what the cgroup itself counted,\n"
"and what removed children left. \"memcg\" is the kernel's count of the same\n"
"page faults, pgfault of memory.stat, where the memory controller is on.\n"
"\n"
"With a COMMAND, cgstat runs it, shows the tree on stderr when it ends, and\n"
"exits with its status. Otherwise the tree is shown on stdout until cgstat is\n"
"interrupted.\n";

static const struct argp_option options[] = {
	{ "root", 'r', "CGROUP", 0, "The tree's root, a cgroup v2 directory (/sys/fs/cgroup)" },
	{ "interval", 'i', "SECONDS", 0, "Show the tree every SECONDS (1; with a COMMAND: never)" },
	{ "count", 'n', "N", 0, "End after the tree was shown N times (not with a COMMAND)" },
	{ "verbose", 'v', NULL, 0, "Show libbpf's messages" },
	{},
};

static struct env {
	const char *root;
	long long interval;	/* ns, 0: none */
	unsigned long count;	/* 0: no end */
	bool verbose;
	char **command;		/* NULL: none */
	FILE *out;
	bool memcg_lags;	/* a flush of the map does not flush memcg */
} env = {
	.root = "/sys/fs/cgroup",
};

/* A cgroup of the tree. Parents come before their children. */
struct node {
	char *path;
	const char *name;
	int depth;
	int parent;
	__u64 id;
	bool counted;		/* has an entry in the map */
	struct cgstat total;
	struct cgstat own;
	bool memcg;		/* has a memory.stat, */
	__u64 pgfault;		/* which says this */
};

struct tree {
	struct node *nodes;
	int nr;
	int room;
};

/* What the map held at one time, in ascending order of ids. */
struct values {
	__u64 *ids;
	struct cgstat *values;
	__u32 nr;
	__u32 room;
};

/* By how much memory.stat was ahead of the map in the beginning. */
struct lead {
	__u64 id;
	__u64 pgfault;
};

static struct tree tree;
static struct values values;
static struct lead *leads;
static int nr_leads;

#define complain(fmt, ...) fprintf(stderr, "cgstat: " fmt "\n", ##__VA_ARGS__)

static void out_of_memory(void)
{
	complain("out of memory");
	exit(1);
}

static void *grow(void *array, size_t nr, size_t size)
{
	array = reallocarray(array, nr, size);
	if (!array)
		out_of_memory();
	return array;
}

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static struct timespec to_timespec(long long ns)
{
	struct timespec ts = {};

	if (ns > 0) {
		ts.tv_sec = ns / NSEC_PER_SEC;
		ts.tv_nsec = ns % NSEC_PER_SEC;
	}
	return ts;
}

/* --- the tree --- */

static int only_dirs(const struct dirent *entry)
{
	return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") &&
	       strcmp(entry->d_name, "..");
}

static void free_tree(void)
{
	while (tree.nr)
		free(tree.nodes[--tree.nr].path);
}

/* Takes @path over. On a 64-bit kernel an inode number is the cgroup's id. */
static void walk(char *path, const char *name, __u64 id, int parent)
{
	int i, nr, self = tree.nr;
	struct dirent **entries;
	struct node *node;
	char *child;

	nr = scandir(path, &entries, only_dirs, versionsort);
	if (nr < 0) {	/* removed meanwhile */
		free(path);
		return;
	}
	if (tree.nr == tree.room) {
		tree.room = tree.room ? 2 * tree.room : 64;
		tree.nodes = grow(tree.nodes, tree.room, sizeof(*tree.nodes));
	}
	node = &tree.nodes[tree.nr++];
	memset(node, 0, sizeof(*node));
	node->path = path;
	node->name = name;
	node->id = id;
	node->parent = parent;
	node->depth = parent < 0 ? 0 : tree.nodes[parent].depth + 1;

	for (i = 0; i < nr; i++) {
		if (asprintf(&child, "%s/%s", path, entries[i]->d_name) < 0)
			out_of_memory();
		walk(child, strrchr(child, '/') + 1, entries[i]->d_ino, self);
		free(entries[i]);
	}
	free(entries);
}

static int compare_ids(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

/*
 * All entries of the map. Each system call flushes its subtree once; there is room
 * for everything in one, but for the first time or when many cgroups came.
 */
static int read_values(int fd)
{
	__u64 batch;
	__u32 n;
	int err;

	values.nr = 0;
	do {
		if (values.nr == values.room) {
			values.room = values.room ? 2 * values.room : 1024;
			values.ids = grow(values.ids, values.room, sizeof(*values.ids));
			values.values = grow(values.values, values.room,
					     sizeof(*values.values));
		}
		n = values.room - values.nr;
		err = bpf_map_lookup_batch(fd, values.nr ? &batch : NULL, &batch,
					   values.ids + values.nr,
					   values.values + values.nr, &n, NULL);
		if (err && err != -ENOENT) {
			complain("cannot read the counters: %s", strerror(-err));
			return err;
		}
		values.nr += n;
	} while (!err);

	if (!values.nr) {
		complain("%s has been removed", env.root);
		return -ENOENT;
	}
	return 0;
}

static struct cgstat *find_value(__u64 id)
{
	__u64 *found = bsearch(&id, values.ids, values.nr, sizeof(id), compare_ids);

	return found ? &values.values[found - values.ids] : NULL;
}

/* The kernel's own count, for those that have one. */
static bool read_pgfault(const char *path, __u64 *pgfault)
{
	static const char key[] = "\npgfault ";
	static char buf[16384], file[PATH_MAX];
	ssize_t len;
	char *pos;
	int fd;

	snprintf(file, sizeof(file), "%s/memory.stat", path);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return false;
	buf[len] = '\0';
	pos = strstr(buf, key);
	if (!pos)
		return false;
	*pgfault = strtoull(pos + strlen(key), NULL, 10);
	return true;
}

/*
 * A child that is read after its parent may have counted more meanwhile, when
 * there are more cgroups than the kernel copies at one instant.
 */
static __u64 minus(__u64 a, __u64 b)
{
	return a > b ? a - b : 0;
}

static void compute_own(void)
{
	struct node *node, *parent;
	int i;

	for (i = 0; i < tree.nr; i++) {
		node = &tree.nodes[i];
		node->own = node->total;
		if (!node->counted || node->parent < 0)
			continue;
		parent = &tree.nodes[node->parent];
		parent->own.pgfault = minus(parent->own.pgfault, node->total.pgfault);
		parent->own.written = minus(parent->own.written, node->total.written);
		parent->own.forks = minus(parent->own.forks, node->total.forks);
	}
}

/*
 * Read the tree, the map, and memory.stat at once. The last two come next to each
 * other, with all memory there is a need for at hand: cgstat's own page faults
 * would show as a difference.
 */
static int measure(int fd)
{
	struct cgstat *value;
	struct node *node;
	struct stat st;
	char *root;
	int i, err;

	free_tree();
	root = strdup(env.root);
	if (!root)
		out_of_memory();
	if (stat(root, &st)) {
		complain("%s: %s", root, strerror(errno));
		free(root);
		return -ENOENT;
	}
	walk(root, env.root, st.st_ino, -1);

	err = read_values(fd);
	if (err)
		return err;
	for (i = 0; i < tree.nr; i++) {
		node = &tree.nodes[i];
		node->memcg = read_pgfault(node->path, &node->pgfault);
	}
	for (i = 0; i < tree.nr; i++) {
		node = &tree.nodes[i];
		value = find_value(node->id);
		if (value) {
			node->counted = true;
			node->total = *value;
		}
	}
	compute_own();
	return 0;
}

/* --- memory.stat counts from a cgroup's beginning, the map from ours --- */

static int begin(int fd)
{
	struct node *node;
	int i, err;

	/* Not the first time, which is when memory comes. */
	err = measure(fd) ?: measure(fd);
	if (err)
		return err;

	leads = grow(NULL, tree.nr + 1, sizeof(*leads));
	for (i = 0; i < tree.nr; i++) {
		node = &tree.nodes[i];
		if (!node->memcg)
			continue;
		leads[nr_leads].id = node->id;
		leads[nr_leads++].pgfault = node->pgfault - node->total.pgfault;
	}
	qsort(leads, nr_leads, sizeof(*leads), compare_ids);
	return 0;
}

static __u64 pgfaults_since(const struct node *node)
{
	struct lead *lead = bsearch(&node->id, leads, nr_leads, sizeof(*leads), compare_ids);

	return node->pgfault - (lead ? lead->pgfault : 0);
}

/*
 * Where all controllers share one rstat tree, a flush of the map is one of memcg.
 * Elsewhere reading memory.stat flushes only if there is much to flush: wait for
 * the periodic flush.
 */
static void settle(void)
{
	struct timespec ts = to_timespec(MEMCG_PERIOD);

	if (env.memcg_lags)
		nanosleep(&ts, NULL);
}

/* --- output --- */

static void print_name(const struct node *node, int width)
{
	const char *c;

	fprintf(env.out, "%*s", 2 * node->depth, "");
	for (c = node->name; *c; c++)
		fputc(isprint((unsigned char)*c) ? *c : '?', env.out);
	fprintf(env.out, "%*s", width - 2 * node->depth - (int)strlen(node->name), "");
}

static void print_node(const struct node *node, int width)
{
	print_name(node, width);
	fprintf(env.out, " %12llu %12llu", node->total.pgfault, node->own.pgfault);
	if (node->memcg)
		fprintf(env.out, " %12llu", pgfaults_since(node));
	else
		fprintf(env.out, " %12s", "-");
	fprintf(env.out, " %14llu %14llu %10llu %10llu\n",
		node->total.written, node->own.written,
		node->total.forks, node->own.forks);
}

static int print_tree(long long elapsed)
{
	static bool again;
	struct node *node;
	int i, n, width;
	char head[32];

	width = snprintf(head, sizeof(head), "after %lld.%lld s", elapsed / NSEC_PER_SEC,
			 elapsed / (NSEC_PER_SEC / 10) % 10);
	for (i = 0; i < tree.nr; i++) {
		node = &tree.nodes[i];
		n = 2 * node->depth + strlen(node->name);
		if (node->counted && n > width)
			width = n;
	}
	fprintf(env.out, "%s%-*s %38s %29s %21s\n", again ? "\n" : "", width, head, "page faults",
		"bytes written", "forks");
	fprintf(env.out, "%-*s %12s %12s %12s %14s %14s %10s %10s\n", width, "cgroup",
		"total", "own", "memcg", "total", "own", "total", "own");
	for (i = 0; i < tree.nr; i++) {
		/* Not counted: just created, or just removed. */
		if (tree.nodes[i].counted)
			print_node(&tree.nodes[i], width);
	}
	again = true;
	if (fflush(env.out) || ferror(env.out)) {
		complain("cannot write: %s", strerror(errno));
		return -EIO;
	}
	return 0;
}

/* Programs do not run in programs: an event that comes in the middle is missed. */
static void report_misses(struct cgstat_bpf *skel)
{
	struct bpf_prog_info info;
	struct bpf_program *prog;
	__u64 missed = 0;
	__u32 len;

	bpf_object__for_each_program(prog, skel->obj) {
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		if (!bpf_prog_get_info_by_fd(bpf_program__fd(prog), &info, &len))
			missed += info.recursion_misses;
	}
	if (missed)
		complain("%llu events came while another was counted, and were missed", missed);
}

/* --- running --- */

static int start(pid_t *pid)
{
	posix_spawnattr_t attr;
	sigset_t none;
	int err;

	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	err = posix_spawnp(pid, env.command[0], NULL, &attr, env.command, environ);
	posix_spawnattr_destroy(&attr);
	if (err)
		complain("%s: %s", env.command[0], strerror(err));
	return err;
}

static int exit_status(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Wait for a signal until @when, 0: for ever. Returns 0 if it is that time. */
static int wait_until(const sigset_t *set, long long when, siginfo_t *info)
{
	struct timespec ts;
	int sig;

	do {
		ts = to_timespec(when - now());
		sig = sigtimedwait(set, info, when ? &ts : NULL);
	} while (sig < 0 && errno == EINTR);
	return sig < 0 ? 0 : sig;
}

static int show(struct cgstat_bpf *skel, long long elapsed)
{
	return measure(bpf_map__fd(skel->maps.stats)) ?: print_tree(elapsed);
}

/* Until COMMAND ends; returns its exit status. */
static int run_command(struct cgstat_bpf *skel, const sigset_t *set)
{
	long long begun = now(), ended, next = env.interval ? begun + env.interval : 0;
	int sig, err, status;
	siginfo_t info;
	pid_t pid;

	err = start(&pid);
	if (err)
		return err == ENOENT ? 127 : 126;

	while (waitpid(pid, &status, WNOHANG) != pid) {
		sig = wait_until(set, next, &info);
		if (!sig) {
			show(skel, now() - begun);
			next += env.interval;
		} else if (sig != SIGCHLD && info.si_code <= 0) {
			/* The terminal sends its own to COMMAND as well. */
			kill(pid, sig);
		}
	}
	ended = now();
	settle();
	return show(skel, ended - begun) ? 1 : exit_status(status);
}

static int run(struct cgstat_bpf *skel, const sigset_t *set)
{
	long long begun = now(), next = begun;
	unsigned long shown = 0;
	siginfo_t info;
	int sig;

	while (!env.count || shown < env.count) {
		next += env.interval;
		do {
			sig = wait_until(set, next, &info);
		} while (sig == SIGCHLD);
		if (sig)
			break;
		shown++;
		if (show(skel, now() - begun))
			return 1;
	}
	return 0;
}

/* --- setting up --- */

static error_t parse_arg(int key, char *arg, struct argp_state *state)
{
	double seconds;
	char *end;

	switch (key) {
	case 'r':
		env.root = arg;
		break;
	case 'i':
		seconds = strtod(arg, &end);
		if (end == arg || *end || !(seconds >= 0.01 && seconds <= 1e6))
			argp_error(state, "not a number of seconds from 0.01 on: %s", arg);
		env.interval = seconds * NSEC_PER_SEC;
		break;
	case 'n':
		errno = 0;
		env.count = strtoul(arg, &end, 10);
		if (errno || *end || *arg == '-' || !env.count)
			argp_error(state, "not a positive number: %s", arg);
		break;
	case 'v':
		env.verbose = true;
		break;
	case ARGP_KEY_ARG:
		/* The rest is the COMMAND, options of its own included. */
		env.command = &state->argv[state->next - 1];
		state->next = state->argc;
		break;
	case ARGP_KEY_END:
		if (env.command && env.count)
			argp_error(state, "-n is not for use with a COMMAND");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static int print_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return env.verbose ? vfprintf(stderr, fmt, args) : 0;
}

static int find_root(__u64 *id)
{
	struct statfs fs;
	struct stat st;

	if (stat(env.root, &st) || statfs(env.root, &fs)) {
		complain("%s: %s", env.root, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode) || fs.f_type != CGROUP2_SUPER_MAGIC) {
		complain("%s is not a cgroup v2 directory: give one with -r", env.root);
		return -1;
	}
	*id = st.st_ino;
	return 0;
}

static bool has_func(const struct btf *btf, const char *name)
{
	return btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) > 0;
}

/* What depends on the kernel, and its types tell. */
static int adapt(struct cgstat_bpf *skel)
{
	static const char * const names[] = { "__count_memcg_events", "count_memcg_events" };
	struct btf *btf = btf__load_vmlinux_btf();
	int i, err = -ENOENT;

	if (!btf) {
		complain("this kernel has no BTF: CONFIG_DEBUG_INFO_BTF");
		return -errno;
	}
	for (i = 0; i < 2 && err; i++) {
		if (has_func(btf, names[i]))
			err = bpf_program__set_attach_target(skel->progs.pgfault, 0, names[i]);
	}
	if (err)
		complain("this kernel counts no page faults per cgroup: CONFIG_MEMCG");
	env.memcg_lags = has_func(btf, "css_rstat_flush");
	btf__free(btf);
	return err;
}

static struct cgstat_bpf *set_up(__u64 root)
{
	struct cgstat_bpf *skel;
	int err;

	if (libbpf_probe_bpf_map_type(BPF_MAP_TYPE_CGROUP_STATS, NULL) != 1) {
		if (geteuid())
			complain("this needs root, or CAP_BPF and CAP_PERFMON");
		else
			complain("this kernel has no BPF_MAP_TYPE_CGROUP_STATS");
		return NULL;
	}
	skel = cgstat_bpf__open();
	if (!skel) {
		complain("cannot open the BPF programs: %s", strerror(errno));
		return NULL;
	}
	bpf_map__set_map_extra(skel->maps.stats, root);
	if (adapt(skel))
		goto destroy;
	err = cgstat_bpf__load(skel);
	if (err) {
		complain("cannot load the BPF programs: %s (-v says more)", strerror(-err));
		goto destroy;
	}
	err = cgstat_bpf__attach(skel);
	if (err) {
		complain("cannot attach the BPF programs: %s (-v says more)", strerror(-err));
		goto destroy;
	}
	return skel;

destroy:
	cgstat_bpf__destroy(skel);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse_arg,
		.args_doc = "[-- COMMAND...]",
		.doc = argp_doc,
	};
	struct cgstat_bpf *skel;
	sigset_t set;
	__u64 root;
	int ret = 1;

	argp_err_exit_status = 1;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, NULL);
	env.out = env.command ? stderr : stdout;
	if (!env.command && !env.interval)
		env.interval = NSEC_PER_SEC;

	libbpf_set_print(print_libbpf);
	if (find_root(&root))
		return 1;

	/* Taken by sigtimedwait(), and SIGCHLD must not be ignored for that. */
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);

	skel = set_up(root);
	if (!skel)
		return 1;
	settle();
	if (!begin(bpf_map__fd(skel->maps.stats))) {
		ret = env.command ? run_command(skel, &set) : run(skel, &set);
		report_misses(skel);
	}

	cgstat_bpf__destroy(skel);
	free_tree();
	free(tree.nodes);
	free(values.ids);
	free(values.values);
	free(leads);
	return ret;
}
