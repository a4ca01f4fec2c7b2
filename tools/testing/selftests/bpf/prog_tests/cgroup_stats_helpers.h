/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of cgroup stats maps have in common: cgroups, CPUs and processes,
 * programs that are run, maps with values of any type, and what their elements do, in
 * plain C. Children and threads use it too, so that what does not assert says so by
 * what it returns.
 */
#ifndef __CGROUP_STATS_HELPERS_H
#define __CGROUP_STATS_HELPERS_H

#include <sched.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <test_progs.h>
#include <bpf/btf.h>
#include "cgroup_helpers.h"

#define NO_ID		0x4000000000000000ULL
#define NOT_SUPPORTED	524	/* the kernel's ENOTSUPP */

/* Waits, for what others do, at most 60 s. */
#define wait_until(cond) ({						\
	__u64 __deadline = get_time_ns() + 60000000000ULL;		\
	bool __ok;							\
	while (!(__ok = (cond)) && get_time_ns() < __deadline)		\
		usleep(500);						\
	__ok;								\
})

static inline void inc(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static inline unsigned int xrand(unsigned int *seed)
{
	/* rand_r() is too regular in its low bits. */
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static inline __u64 xrand64(__u64 *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* Memory that child processes share. */
static inline void *shared_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return ASSERT_NEQ(p, MAP_FAILED, "mmap") ? p : NULL;
}

static inline int write_file(int dir, const char *path, const char *text)
{
	int fd = openat(dir, path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/*
 * Time for whatever RCU and nobody else keeps to be freed, step by step. kvfree_rcu() waits
 * for more, for seconds, but not if memory is asked for.
 */
static inline void wait_for_rcu_frees(void)
{
	int i;

	for (i = 0; i < 10; i++) {
		kern_sync_rcu();
		write_file(AT_FDCWD, "/proc/sys/vm/drop_caches", "2");
		usleep(100000);
	}
}

/* --- cgroups, by their path below workdir --- */

/* Not cgroup_helpers.c's paths, which are of the process that asks. */
static int workdir = -1;

static inline __u64 dir_id(int dir, const char *path)
{
	union {
		struct file_handle fh;
		char space[sizeof(struct file_handle) + sizeof(__u64)];
	} u = { .fh.handle_bytes = sizeof(__u64) };
	int mount_id;
	__u64 id;

	if (name_to_handle_at(dir, path, &u.fh, &mount_id, 0))
		return 0;
	memcpy(&id, u.fh.f_handle, sizeof(id));
	return id;
}

static inline __u64 cg_id(const char *path)
{
	return dir_id(workdir, path);
}

static inline int cg_try_make(const char *path)
{
	return mkdirat(workdir, path, 0755) ? -errno : 0;
}

static inline int cg_try_remove(const char *path)
{
	return unlinkat(workdir, path, AT_REMOVEDIR) ? -errno : 0;
}

/* The id of the new cgroup. */
static inline __u64 cg_make(const char *path)
{
	__u64 id;

	if (!ASSERT_OK(cg_try_make(path), path))
		return 0;
	id = cg_id(path);
	ASSERT_NEQ(id, 0, "cgroup id");
	return id;
}

/* A cgroup is populated until its last task has exited for good. */
static inline int cg_remove_when_empty(const char *path)
{
	__u64 deadline = get_time_ns() + 20000000000ULL;
	int err;

	do {
		err = cg_try_remove(path);
	} while (err == -EBUSY && get_time_ns() < deadline && !sched_yield());
	return err;
}

static inline void cg_remove(const char *path)
{
	ASSERT_OK(cg_remove_when_empty(path), path);
}

static inline int cg_write(const char *path, const char *file, const char *text)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/%s", path, file);
	return write_file(workdir, name, text);
}

static inline int cg_join(const char *path)
{
	return cg_write(path, "cgroup.procs", "0");
}

/* The number in a file of a cgroup, -1: there is none. */
static inline long long cg_read(const char *path, const char *file)
{
	char name[128], buf[64] = "";
	int fd;

	snprintf(name, sizeof(name), "%s/%s", path, file);
	fd = openat(workdir, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = 0;
	close(fd);
	return buf[0] ? atoll(buf) : -1;
}

/* The number after @key in a file of lines with a key and a number; -1: there is none. */
static inline long long cg_number(const char *path, const char *file, const char *key)
{
	char name[128], word[64];
	long long number, found = -1;
	FILE *f;
	int fd;

	snprintf(name, sizeof(name), "%s/%s", path, file);
	fd = openat(workdir, name, O_RDONLY | O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	while (f && fscanf(f, "%63s %lld", word, &number) == 2) {
		if (!strcmp(word, key))
			found = number;
	}
	if (f)
		fclose(f);
	return found;
}

/* --- CPUs: those that are online, on which programs may be run --- */

static int cpus[CPU_SETSIZE], nr_cpus;
static cpu_set_t all_cpus;

static inline void find_cpus(void)
{
	int cpu;

	nr_cpus = 0;
	if (!ASSERT_OK(sched_getaffinity(0, sizeof(all_cpus), &all_cpus), "sched_getaffinity"))
		return;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &all_cpus))
			cpus[nr_cpus++] = cpu;
	}
}

static inline int pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static inline void unpin(void)
{
	sched_setaffinity(0, sizeof(all_cpus), &all_cpus);
}

static inline int cpu_set_online(int cpu, bool online)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return write_file(AT_FDCWD, path, online ? "1" : "0");
}

/* --- processes --- */

/* A process, for a cgroup of its own. Its status is what @fn returns. */
static inline pid_t spawn(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(arg));
	}
	ASSERT_GT(pid, 0, "fork");
	return pid;
}

static inline void reap(pid_t pid)
{
	int status = -1;

	if (pid <= 0)
		return;
	ASSERT_EQ(waitpid(pid, &status, 0), pid, "waitpid");
	ASSERT_EQ(status, 0, "status of child");
}

/* --- programs --- */

/* Load those of @names only: the others have a question mark in their sections. */
static inline void autoload(struct bpf_object *obj, const char *names)
{
	char *copy = strdup(names), *name, *pos;
	struct bpf_program *prog;

	for (name = strtok_r(copy, " ", &pos); name; name = strtok_r(NULL, " ", &pos)) {
		prog = bpf_object__find_program_by_name(obj, name);
		if (ASSERT_OK_PTR(prog, name))
			bpf_program__set_autoload(prog, true);
	}
	free(copy);
}

#define THIS_CPU -1

/* What the program returns; @cpu is for raw tracepoints, which interrupt it. */
static inline int run_args(int cpu, int prog_fd, const __u64 *args, __u32 nr)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = args, .ctx_size_in = nr * sizeof(*args));
	int err;

	if (cpu != THIS_CPU) {
		opts.flags = BPF_F_TEST_RUN_ON_CPU;
		opts.cpu = cpu;
	}
	err = bpf_prog_test_run_opts(prog_fd, &opts);
	return err ? -1000 + err : (int)opts.retval;
}

static inline int run_on(int cpu, const struct bpf_program *prog, __u64 a, __u64 b, __u64 c,
			 __u64 d)
{
	__u64 args[] = { a, b, c, d };

	return run_args(cpu, bpf_program__fd(prog), args, ARRAY_SIZE(args));
}

#define CPU_IS_AWAY	(-1000 - ENXIO)	/* run_on() has not run it */

static inline int add_on(int cpu, const struct bpf_program *prog, __u64 id, __u64 index,
			 __u64 value)
{
	return run_on(cpu, prog, id, index, value, 0);
}

static inline int run(const struct bpf_program *prog, __u64 a, __u64 b, __u64 c)
{
	return run_on(THIS_CPU, prog, a, b, c, 0);
}

/* A program that adds to @map_fd what it gets: id, index, value and flags. */
static inline int load_add_token(int map_fd, int token_fd)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts,
		    .prog_flags = token_fd ? BPF_F_TOKEN_FD : 0, .token_fd = token_fd);
	const struct bpf_insn insns[] = {
		BPF_MOV64_REG(BPF_REG_6, BPF_REG_1),
		BPF_LDX_MEM(BPF_DW, BPF_REG_2, BPF_REG_6, 0),
		BPF_LDX_MEM(BPF_DW, BPF_REG_3, BPF_REG_6, 8),
		BPF_LDX_MEM(BPF_DW, BPF_REG_4, BPF_REG_6, 16),
		BPF_LDX_MEM(BPF_DW, BPF_REG_5, BPF_REG_6, 24),
		BPF_LD_MAP_FD(BPF_REG_1, map_fd),
		BPF_EMIT_CALL(BPF_FUNC_cgroup_stats_add),
		BPF_EXIT_INSN(),
	};

	return bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "add", "GPL", insns, ARRAY_SIZE(insns),
			     &opts);
}

static inline int load_add(int map_fd)
{
	return load_add_token(map_fd, 0);
}

static inline int perf_open(int type, __u64 config, __u64 period, int cpu)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.type = type,
		.config = config,
		.sample_period = period,
	};

	return syscall(__NR_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* @prog in a hardirq of @cpu, every @period ns. */
static inline struct bpf_link *attach_timer(const struct bpf_program *prog, __u64 period, int cpu)
{
	int fd = perf_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, period, cpu);
	struct bpf_link *link;

	if (!ASSERT_OK_FD(fd, "perf_event_open"))
		return NULL;
	link = bpf_program__attach_perf_event(prog, fd);
	if (!ASSERT_OK_PTR(link, "attach timer"))
		close(fd);
	return link;
}

/*
 * NMIs on all other CPUs, where there is no PMU: for backtraces, which are printed as
 * warnings. A console should not show those meanwhile.
 */
#define SYSRQ		"/proc/sysrq-trigger"
#define ERRORS_ONLY	4

static inline int trigger_nmis(void)
{
	return write_file(AT_FDCWD, SYSRQ, "l");
}

/* The console shows what is more urgent than @level from here on. What it was. */
static inline int console_level(int level)
{
	FILE *f = fopen("/proc/sys/kernel/printk", "r");
	int was = 7;	/* by default, and where nobody can ask */

	if (f) {
		if (fscanf(f, "%d", &was) != 1)
			was = 7;
		fclose(f);
	}
	klogctl(8 /* SYSLOG_ACTION_CONSOLE_LEVEL */, NULL, level);
	return was;
}

/* --- elements: values are kept as 64 bits, as their type is converted to them in C --- */

enum op { OP_SUM, OP_MAX, OP_MIN };

struct elem {
	__u32 width;
	bool is_signed;
	enum op op;
};

static inline __u64 elem_convert(struct elem e, __u64 value)
{
	if (e.width == 8)
		return value;
	return e.is_signed ? (__u64)(__s32)value : (__u32)value;
}

/* What an element without a sample is. */
static inline __u64 elem_identity(struct elem e)
{
	__u64 sign = 1ULL << (e.width * 8 - 1);

	if (e.op == OP_SUM)
		return 0;
	if (e.op == OP_MAX)
		return e.is_signed ? elem_convert(e, sign) : 0;
	return elem_convert(e, e.is_signed ? sign - 1 : ~0ULL);
}

static inline __u64 elem_merge(struct elem e, __u64 a, __u64 b)
{
	bool a_less = e.is_signed ? (__s64)a < (__s64)b : a < b;

	if (e.op == OP_SUM)
		return elem_convert(e, a + b);
	return a_less == (e.op == OP_MAX) ? b : a;
}

/* Element @i of a value as the map has it. */
static inline __u64 elem_get(struct elem e, const void *value, int i)
{
	__u64 n = e.width == 8 ? ((const __u64 *)value)[i] : ((const __u32 *)value)[i];

	return elem_convert(e, n);
}

static inline const char *flags_name(__u32 flags)
{
	if (flags & BPF_F_NO_PERCPU)
		return flags & BPF_F_NO_HIERARCHY ? "NO_PERCPU | NO_HIERARCHY" : "NO_PERCPU";
	return flags & BPF_F_NO_HIERARCHY ? "NO_HIERARCHY" : "no flags";
}

static const __u32 all_flags[] = {
	0, BPF_F_NO_PERCPU, BPF_F_NO_HIERARCHY, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY,
};

/* --- maps --- */

struct array {
	struct elem elem;
	__u32 nr;
};

/* What maps are made of, for as long as .btf_fd is open. */
struct map_type {
	int btf_fd;
	__u32 key_id, value_id, size;
};

/* A struct of @nr arrays, each with the tag of its operation. */
static inline int add_arrays(struct btf *btf, const struct array *arrays, int nr)
{
	static const char * const tags[] = {
		[OP_MAX] = "cgroup_stats:max",
		[OP_MIN] = "cgroup_stats:min",
	};
	int i, id, u64_id, types[8];
	__u32 size = 0, off = 0;
	char name[2] = "a";	/* no digits, so that bpffs' only ones are values */

	u64_id = btf__find_by_name(btf, "u64");
	for (i = 0; i < nr; i++) {
		id = btf__add_int(btf, "int", arrays[i].elem.width,
				  arrays[i].elem.is_signed ? BTF_INT_SIGNED : 0);
		types[i] = btf__add_array(btf, u64_id, id, arrays[i].nr);
		size += arrays[i].elem.width * arrays[i].nr;
	}
	id = btf__add_struct(btf, "value", size);
	for (i = 0; i < nr; i++) {
		btf__add_field(btf, name, types[i], off * 8, 0);
		name[0]++;
		off += arrays[i].elem.width * arrays[i].nr;
	}
	for (i = 0; i < nr; i++) {
		if (tags[arrays[i].elem.op])
			btf__add_decl_tag(btf, tags[arrays[i].elem.op], id, i);
	}
	return id;
}

static inline bool map_type_init(struct map_type *type, const struct array *arrays, int nr)
{
	struct btf *btf = btf__new_empty();
	int i;

	memset(type, 0, sizeof(*type));
	type->btf_fd = -1;
	if (!ASSERT_OK_PTR(btf, "btf__new_empty"))
		return false;
	type->key_id = btf__add_int(btf, "u64", 8, 0);
	type->value_id = add_arrays(btf, arrays, nr);
	for (i = 0; i < nr; i++)
		type->size += arrays[i].elem.width * arrays[i].nr;
	if (ASSERT_OK(btf__load_into_kernel(btf), "btf__load_into_kernel"))
		type->btf_fd = dup(btf__fd(btf));
	btf__free(btf);
	return type->btf_fd >= 0;
}

static inline int map_try_of(const struct map_type *type, __u64 root, __u32 flags)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts,
		    .btf_fd = type->btf_fd,
		    .btf_key_type_id = type->key_id,
		    .btf_value_type_id = type->value_id,
		    .map_flags = flags,
		    .map_extra = root);

	return bpf_map_create(BPF_MAP_TYPE_CGROUP_STATS, "stats", sizeof(__u64), type->size, 0,
			      &opts);
}

/* A map whose value is a struct of @nr arrays. */
static inline int map_make_of(__u64 root, __u32 flags, const struct array *arrays, int nr)
{
	struct map_type type;
	int fd = -1;

	if (!map_type_init(&type, arrays, nr))
		return -1;
	fd = map_try_of(&type, root, flags);
	ASSERT_OK_FD(fd, "create map");
	close(type.btf_fd);
	return fd;
}

static inline int count_keys(int map_fd)
{
	__u64 key, *prev = NULL;
	int nr = 0;

	for (; nr < 100000 && !bpf_map_get_next_key(map_fd, prev, &key); nr++)
		prev = &key;
	return nr;
}

static inline __u32 map_id(int map_fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	ASSERT_OK(bpf_map_get_info_by_fd(map_fd, &info, &len), "map info");
	return info.id;
}

static inline bool map_is_gone(__u32 id)
{
	int fd = bpf_map_get_fd_by_id(id);

	if (fd >= 0)
		close(fd);
	return fd == -ENOENT;
}

/* A field of the map's fdinfo. */
static inline long long map_fdinfo(int map_fd, const char *field)
{
	char path[64], line[256];
	long long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", map_fd);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, field, strlen(field)))
			value = strtoll(line + strlen(field), NULL, 0);
	}
	fclose(f);
	return value;
}

/* A fixed part, and so much per entry. */
static inline long long map_memory(int map_fd)
{
	return map_fdinfo(map_fd, "memlock:");
}

/* --- the tests --- */

struct subtest {
	const char *name;
	void (*fn)(void);
};

static inline bool tests_begin(void)
{
	find_cpus();
	if (!ASSERT_OK(setup_cgroup_environment(), "setup_cgroup_environment"))
		return false;
	workdir = create_and_get_cgroup("");
	return ASSERT_OK_FD(workdir, "workdir");
}

static inline void tests_end(void)
{
	if (workdir >= 0)
		close(workdir);
	workdir = -1;
	cleanup_cgroup_environment();
}

/* In a cgroup environment of their own. */
static inline void run_subtests(const struct subtest *tests, int nr)
{
	int i;

	if (!tests_begin())
		goto out;
	for (i = 0; i < nr; i++) {
		if (test__start_subtest(tests[i].name))
			tests[i].fn();
	}
out:
	tests_end();
}

#endif
