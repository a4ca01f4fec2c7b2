// SPDX-License-Identifier: GPL-2.0
/* What system calls say of a map, and who may do what. */
#define _GNU_SOURCE
#include <sys/mount.h>
#include <linux/capability.h>
#include <linux/compiler.h>
#include <linux/sched.h>
#include "cap_helpers.h"
#include "cgroup_stats_map_helpers.h"

/* --- system calls --- */

static void test_syscalls(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), key = a, value[CGROUP_STATS_ELEMS] = {}, next;
	int fd = map_make(a, CGROUP_STATS_ELEMS);
	void *bad = (void *)8;
	__u32 count = 1;

	ASSERT_OK(bpf_map_lookup_elem(fd, &key, value), "lookup");
	ASSERT_EQ(bpf_map_lookup_elem_flags(fd, &key, value, BPF_F_LOCK), -EINVAL, "BPF_F_LOCK");
	ASSERT_EQ(bpf_map_lookup_elem_flags(fd, &key, value, BPF_EXIST), -EINVAL, "BPF_EXIST");
	ASSERT_EQ(bpf_map_lookup_elem(fd, NULL, value), -EFAULT, "NULL key");
	ASSERT_EQ(bpf_map_lookup_elem(fd, bad, value), -EFAULT, "bad key");
	ASSERT_EQ(bpf_map_lookup_elem(fd, &key, bad), -EFAULT, "bad value");
	ASSERT_EQ(bpf_map_update_elem(fd, &key, value, BPF_ANY), -EOPNOTSUPP, "BPF_ANY");
	ASSERT_EQ(bpf_map_update_elem(fd, &key, value, BPF_EXIST), -EOPNOTSUPP, "BPF_EXIST");
	ASSERT_EQ(bpf_map_delete_elem(fd, &key), -EOPNOTSUPP, "delete");
	ASSERT_EQ(bpf_map_lookup_and_delete_elem(fd, &key, value), -NOT_SUPPORTED,
		  "lookup_and_delete");
	ASSERT_EQ(bpf_map_update_batch(fd, &key, value, &count, NULL), -NOT_SUPPORTED,
		  "update_batch");
	count = 1;
	ASSERT_EQ(bpf_map_delete_batch(fd, &key, &count, NULL), -NOT_SUPPORTED, "delete_batch");
	count = 1;
	ASSERT_EQ(bpf_map_lookup_and_delete_batch(fd, NULL, &next, &key, value, &count, NULL),
		  -NOT_SUPPORTED, "lookup_and_delete_batch");
	ASSERT_EQ((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0), -1, "mmap");

	/* In ascending order, from anywhere. */
	ASSERT_OK(bpf_map_get_next_key(fd, NULL, &next), "NULL");
	ASSERT_EQ(next, MIN(a, b), "first");
	key = 0;
	ASSERT_OK(bpf_map_get_next_key(fd, &key, &next), "0");
	ASSERT_EQ(next, MIN(a, b), "after 0");
	key = next;
	ASSERT_OK(bpf_map_get_next_key(fd, &key, &next), "the first");
	ASSERT_EQ(next, MAX(a, b), "second");
	key = next - 1;
	ASSERT_OK(bpf_map_get_next_key(fd, &key, &next), "nobody's");
	ASSERT_EQ(next, MAX(a, b), "after nobody's");
	key = next;
	ASSERT_EQ(bpf_map_get_next_key(fd, &key, &next), -ENOENT, "the last");
	key = NO_ID;
	ASSERT_EQ(bpf_map_get_next_key(fd, &key, &next), -ENOENT, "beyond");
	key = ~0ULL;
	ASSERT_EQ(bpf_map_get_next_key(fd, &key, &next), -ENOENT, "~0");
	ASSERT_EQ(bpf_map_get_next_key(fd, bad, &next), -EFAULT, "bad key");
	ASSERT_EQ(bpf_map_get_next_key(fd, NULL, bad), -EFAULT, "bad next_key");

	/* Of a cgroup that has just gone. */
	key = MIN(a, b);
	cg_remove("a/b");
	if (key == a) {
		ASSERT_EQ(bpf_map_get_next_key(fd, &b, &next), -ENOENT, "removed");
	} else {
		ASSERT_OK(bpf_map_get_next_key(fd, &b, &next), "removed");
		ASSERT_EQ(next, a, "after removed");
	}

	close(fd);
	cg_remove("a");
}

/* --- who may do what, through which descriptor --- */

#define DESCRIPTOR_PIN	"/sys/fs/bpf/cgroup_stats_descriptor"

struct descriptor {
	__u64 id;		/* a cgroup of the map, which has two */
	int dump;		/* a program that iterates over maps */
	__u64 added;
	const char *name;
};

/* What reads, through any descriptor that may. */
static void check_reads(const struct descriptor *d, int fd)
{
	struct cgroup_stats_value values[2];
	__u64 keys[2], out;
	__u32 count = 2;

	ASSERT_EQ(total(fd, d->id, 0), d->added, d->name);
	ASSERT_OK(bpf_map_get_next_key(fd, NULL, keys), d->name);
	ASSERT_EQ(count_keys(fd), 2, d->name);
	ASSERT_OK(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), d->name);
	ASSERT_EQ(count, 2, d->name);
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, &out, &out, keys, values, &count, NULL), -ENOENT,
		  d->name);
}

static void check_no_reads(const struct descriptor *d, int fd)
{
	struct cgroup_stats_value value;
	__u64 key = d->id, out;
	__u32 count = 1;

	ASSERT_EQ(bpf_map_lookup_elem(fd, &key, &value), -EPERM, d->name);
	ASSERT_EQ(bpf_map_get_next_key(fd, NULL, &key), -EPERM, d->name);
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, &key, &value, &count, NULL), -EPERM,
		  d->name);
}

/* What writes, to which there is nothing: the errors say whether it would be allowed. */
static void check_writes(const struct descriptor *d, int fd, bool may_read, bool may_write)
{
	int batch_err = may_write ? -NOT_SUPPORTED : -EPERM;
	struct cgroup_stats_value value = {};
	__u64 key = d->id, out;
	__u32 count = 1;

	ASSERT_EQ(bpf_map_update_elem(fd, &key, &value, 0), may_write ? -EOPNOTSUPP : -EPERM,
		  d->name);
	ASSERT_EQ(bpf_map_delete_elem(fd, &key), may_write ? -EOPNOTSUPP : -EPERM, d->name);
	ASSERT_EQ(bpf_map_update_batch(fd, &key, &value, &count, NULL), batch_err, d->name);
	ASSERT_EQ(bpf_map_delete_batch(fd, &key, &count, NULL), batch_err, d->name);
	/* These read too. */
	ASSERT_EQ(bpf_map_lookup_and_delete_elem(fd, &key, &value),
		  may_read && may_write ? -NOT_SUPPORTED : -EPERM, d->name);
	ASSERT_EQ(bpf_map_lookup_and_delete_batch(fd, NULL, &out, &key, &value, &count, NULL),
		  may_read && may_write ? -NOT_SUPPORTED : -EPERM, d->name);
}

/* Programs are no system calls: they add, flush and iterate through any descriptor. */
static void check_programs(struct descriptor *d, int fd)
{
	__u64 args[] = { d->id, 0, 3, 0 };
	LIBBPF_OPTS(bpf_link_create_opts, opts);
	union bpf_iter_link_info info = {};
	struct cgroup_stats_map *skel;
	int prog_fd = load_add(fd), link_fd;

	if (ASSERT_OK_FD(prog_fd, d->name) &&
	    ASSERT_OK(run_args(THIS_CPU, prog_fd, args, ARRAY_SIZE(args)), d->name))
		d->added += 3;
	close(prog_fd);
	skel = load(0, fd, "flush");
	if (skel)
		ASSERT_OK(run(skel->progs.flush, d->id, 0, 0), d->name);
	cgroup_stats_map__destroy(skel);
	info.map.map_fd = fd;
	opts.iter_info = &info;
	opts.iter_info_len = sizeof(info);
	link_fd = bpf_link_create(d->dump, 0, BPF_TRACE_ITER, &opts);
	ASSERT_OK_FD(link_fd, d->name);
	close(link_fd);
}

static void check_descriptor(struct descriptor *d, int fd, const char *name, __u32 flags)
{
	bool may_read = !(flags & BPF_F_WRONLY), may_write = !(flags & BPF_F_RDONLY);

	d->name = name;
	if (!ASSERT_OK_FD(fd, name))
		return;
	check_programs(d, fd);
	if (may_read)
		check_reads(d, fd);
	else
		check_no_reads(d, fd);
	check_writes(d, fd, may_read, may_write);
	if (!may_write)
		ASSERT_EQ(bpf_map_freeze(fd), -EPERM, name);
	close(fd);
}

/* The same map through descriptors that may less than it does. */
static void check_descriptors(struct descriptor *d, int map_fd)
{
	static const __u32 flags[] = { 0, BPF_F_RDONLY, BPF_F_WRONLY };
	__u32 id = map_id(map_fd);
	int i;

	unlink(DESCRIPTOR_PIN);
	ASSERT_OK(bpf_obj_pin(map_fd, DESCRIPTOR_PIN), "pin");
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		LIBBPF_OPTS(bpf_get_fd_by_id_opts, id_opts, .open_flags = flags[i]);
		LIBBPF_OPTS(bpf_obj_get_opts, get_opts, .file_flags = flags[i]);

		check_descriptor(d, bpf_map_get_fd_by_id_opts(id, &id_opts), "by id", flags[i]);
		check_descriptor(d, bpf_obj_get_opts(DESCRIPTOR_PIN, &get_opts), "pinned",
				 flags[i]);
	}
	unlink(DESCRIPTOR_PIN);
}

static void test_descriptors(void)
{
	static const __u32 limits[] = { 0, BPF_F_RDONLY, BPF_F_WRONLY };
	struct cgroup_stats_map *skel = load(0, -1, "dump");
	struct map_attr attr;
	struct descriptor d;
	int fd, i, j;
	__u64 a, b;

	if (!skel)
		return;
	a = cg_make("a");
	b = cg_make("a/b");
	attr = map_attr(a, CGROUP_STATS_ELEMS);
	for (i = 0; i < ARRAY_SIZE(all_flags); i++) {
		d = (struct descriptor) { b, bpf_program__fd(skel->progs.dump) };
		attr.opts.map_flags = all_flags[i];
		fd = map_try(&attr);
		check_descriptors(&d, fd);
		/* Nobody but programs adds, and what freezing forbids is not there. */
		ASSERT_OK(bpf_map_freeze(fd), "freeze");
		ASSERT_EQ(bpf_map_freeze(fd), -EPERM, "freeze again");
		check_descriptor(&d, fd, "frozen", BPF_F_RDONLY);
		for (j = 0; j < ARRAY_SIZE(limits); j++) {
			attr.opts.map_flags = all_flags[i] | limits[j];
			d.added = 0;
			check_descriptor(&d, map_try(&attr), "created", limits[j]);
		}
	}
	close(attr.opts.btf_fd);
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* Without privilege: nothing new, and all that a descriptor allows. */
static void test_unprivileged(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), old_caps, args[] = { b, 0, 3, 0 };
	int fd = map_make(a, CGROUP_STATS_ELEMS), prog_fd = load_add(fd), filter_fd;
	const struct bpf_insn filter[] = {
		BPF_MOV64_IMM(BPF_REG_2, 0),
		BPF_MOV64_IMM(BPF_REG_3, 0),
		BPF_MOV64_IMM(BPF_REG_4, 1),
		BPF_MOV64_IMM(BPF_REG_5, 0),
		BPF_LD_MAP_FD(BPF_REG_1, fd),
		BPF_EMIT_CALL(BPF_FUNC_cgroup_stats_add),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	struct descriptor d = { .id = b, .name = "unprivileged" };
	struct map_attr attr = map_attr(a, 1);

	/* It is a program that could be loaded. */
	filter_fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "filter", "GPL", filter,
				  ARRAY_SIZE(filter), NULL);
	ASSERT_OK_FD(filter_fd, "filter with CAP_BPF");
	close(filter_fd);
	if (!ASSERT_OK(cap_disable_effective(1ULL << CAP_BPF | 1ULL << CAP_PERFMON |
					     1ULL << CAP_NET_ADMIN | 1ULL << CAP_SYS_ADMIN,
					     &old_caps), "drop caps"))
		goto out;
	ASSERT_EQ(map_try(&attr), -EPERM, "create");
	ASSERT_EQ(bpf_map_get_fd_by_id(map_id(fd)), -EPERM, "by id");
	ASSERT_LT(bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "filter", "GPL", filter,
				ARRAY_SIZE(filter), NULL), 0, "filter");
	/* Who has a program may run it, and who has a map may read it. */
	if (ASSERT_OK(run_args(THIS_CPU, prog_fd, args, ARRAY_SIZE(args)), "add"))
		d.added += 3;
	check_reads(&d, fd);
	check_writes(&d, fd, true, true);
	ASSERT_OK(cap_enable_effective(old_caps, NULL), "restore caps");
out:
	close(attr.opts.btf_fd);
	close(prog_fd);
	close(fd);
	cg_remove("a/b");
	cg_remove("a");
}

/* --- a user namespace, with and without a token --- */

/* Between the test and a child in a user namespace, which share descriptors as well. */
struct token_test {
	struct map_attr attr;
	__u64 a, b;
	__u64 maps;		/* that are delegated */
	int step, err;
	int fs_fd, mnt_fd;
	/* What came of creating maps. */
	int no_token, no_cap, above, created;
	/* What came of a program that adds. */
	int loaded, added;
	__u64 total;
};

static int map_try_token(const struct token_test *t, __u64 root, int token_fd)
{
	struct map_attr attr = t->attr;

	attr.opts.map_extra = root;
	attr.opts.token_fd = token_fd;
	if (token_fd)
		attr.opts.map_flags |= BPF_F_TOKEN_FD;
	return map_try(&attr);
}

/* In the cgroup namespace of b: a is out of reach, whatever the token says. */
static void use_token(struct token_test *t, int token_fd)
{
	__u64 old_caps, args[] = { t->b, 0, 7, 0 };
	int prog_fd;

	t->no_token = map_try_token(t, 0, 0);
	t->err = cap_disable_effective(1ULL << CAP_BPF | 1ULL << CAP_SYS_ADMIN, &old_caps);
	t->no_cap = map_try_token(t, 0, token_fd);
	t->err = t->err ?: cap_enable_effective(old_caps, NULL);
	t->above = map_try_token(t, t->a, token_fd);
	t->created = map_try_token(t, 0, token_fd);
	if (t->created < 0)
		return;
	prog_fd = load_add_token(t->created, token_fd);
	t->loaded = prog_fd;
	t->added = run_args(THIS_CPU, prog_fd, args, ARRAY_SIZE(args));
	t->total = total(t->created, t->b, 0);
	close(prog_fd);
	close(t->created);
}

static int in_user_namespace(void *arg)
{
	struct token_test *t = arg;
	int dir_fd, token_fd;

	t->err = cg_join("a/b");
	if (t->err || unshare(CLONE_NEWUSER) || unshare(CLONE_NEWNS | CLONE_NEWCGROUP))
		return 1;
	t->fs_fd = syscall(__NR_fsopen, "bpf", 0);
	WRITE_ONCE(t->step, 1);
	if (!wait_until(READ_ONCE(t->step) == 2))
		return 2;
	dir_fd = openat(t->mnt_fd, ".", O_DIRECTORY);
	token_fd = bpf_token_create(dir_fd, NULL);
	close(dir_fd);
	if (token_fd < 0)
		return 3;
	use_token(t, token_fd);
	close(token_fd);
	return 0;
}

/* Let the namespace have maps of some types, and any program. */
static int delegate(const struct token_test *t)
{
	static const char * const any[] = { "delegate_cmds", "delegate_progs", "delegate_attachs" };
	char maps[32];
	int i;

	for (i = 0; i < ARRAY_SIZE(any); i++) {
		if (syscall(__NR_fsconfig, t->fs_fd, FSCONFIG_SET_STRING, any[i], "any", 0))
			return -errno;
	}
	snprintf(maps, sizeof(maps), "0x%llx", t->maps);
	if (syscall(__NR_fsconfig, t->fs_fd, FSCONFIG_SET_STRING, "delegate_maps", maps, 0) ||
	    syscall(__NR_fsconfig, t->fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	return syscall(__NR_fsmount, t->fs_fd, 0, 0);
}

static void run_token(struct token_test *t)
{
	struct clone_args args = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };
	pid_t pid;

	t->step = 0;
	t->err = 0;
	t->fs_fd = -1;
	t->mnt_fd = -1;
	pid = syscall(__NR_clone3, &args, sizeof(args));
	if (!pid)
		_exit(in_user_namespace(t));
	if (!ASSERT_GT(pid, 0, "clone3"))
		return;
	ASSERT_TRUE(wait_until(READ_ONCE(t->step) == 1 || waitpid(pid, NULL, WNOHANG)),
		    "namespace");
	t->mnt_fd = delegate(t);
	ASSERT_OK_FD(t->mnt_fd, "delegate");
	WRITE_ONCE(t->step, 2);
	reap(pid);
	ASSERT_OK(t->err, "caps");
	close(t->fs_fd);
	close(t->mnt_fd);
}

static void test_token(void)
{
	struct token_test *t = shared_alloc(sizeof(*t));

	if (!t)
		return;
	t->a = cg_make("a");
	t->b = cg_make("a/b");
	t->attr = map_attr(0, 1);

	t->maps = 1ULL << BPF_MAP_TYPE_CGROUP_STATS;
	run_token(t);
	ASSERT_EQ(t->no_token, -EPERM, "CAP_BPF of the namespace");
	ASSERT_EQ(t->no_cap, -EPERM, "token without CAP_BPF");
	ASSERT_EQ(t->above, -ENOENT, "token, above the cgroup namespace");
	ASSERT_OK_FD(t->created, "token");
	ASSERT_OK_FD(t->loaded, "load");
	ASSERT_OK(t->added, "add");
	ASSERT_EQ(t->total, 7, "total");

	/* Of all types but this one. */
	t->maps = ~t->maps;
	run_token(t);
	ASSERT_EQ(t->created, -EPERM, "token for other types");

	close(t->attr.opts.btf_fd);
	cg_remove("a/b");
	cg_remove("a");
	munmap(t, sizeof(*t));
}

static void test_batch(void)
{
	const int nr = 100, elems = CGROUP_STATS_ELEMS;
	__u64 a = cg_make("a"), in, out, *keys, *values, *order, key, *prev = NULL;
	DECLARE_LIBBPF_OPTS(bpf_map_batch_opts, opts);
	struct cgroup_stats_map *skel;
	int i, fd, err, step, bad = 0;
	__u32 count, done;
	char path[16];

	keys = calloc(nr + 2, sizeof(__u64));
	order = calloc(nr + 2, sizeof(__u64));
	values = calloc(nr + 2, sizeof(__u64) * elems);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_make(path);
	}
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	for (i = 0; i <= nr && !bpf_map_get_next_key(fd, prev, &order[i]); i++) {
		prev = &order[i];
		bad += i && order[i - 1] >= order[i];
	}
	ASSERT_EQ(i, nr + 1, "keys");
	ASSERT_EQ(bad, 0, "out of order");
	ASSERT_EQ(order[0], a, "first");

	/* In steps of each size, with fresh adds that no flush has seen yet. */
	for (step = 1; step <= nr + 2; step += step < 9 ? 1 : 31) {
		for (i = 0; i <= nr; i++)
			bad += !!run_on(cpus[i % nr_cpus], skel->progs.add, order[i], 1, i, 0);
		for (done = 0, err = 0; !err && done <= nr; done += count) {
			count = step;
			err = bpf_map_lookup_batch(fd, done ? &in : NULL, &out, keys + done,
						   values + done * elems, &count, NULL);
			in = out;
			if (!ASSERT_LE(done + count, nr + 1, "count"))
				goto out;
		}
		if (!err) {
			count = step;
			err = bpf_map_lookup_batch(fd, &in, &out, keys + done, values, &count,
						   NULL);
			ASSERT_EQ(count, 0, "count behind the end");
		}
		ASSERT_EQ(err, -ENOENT, "the end");
		ASSERT_EQ(done, nr + 1, "all of them");
		ASSERT_OK(memcmp(keys, order, (nr + 1) * sizeof(*keys)), "same order");
		for (i = 1; i <= nr; i++) {
			bad += values[i * elems + 1] != total(fd, order[i], 1) ||
			       values[i * elems + 1] % i;
		}
		if (!ASSERT_EQ(bad, 0, "adds and values"))
			break;
	}

	/* One call for all: a snapshot, its root the sum of the rest and its own. */
	count = nr + 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), -ENOENT,
		  "all at once");
	ASSERT_EQ(count, nr + 1, "count");
	for (i = 1, key = 0; i <= nr; i++)
		key += values[i * elems + 1];
	ASSERT_EQ(values[1], key, "root");

	/* From ids that nobody has. */
	in = order[3] + 1;
	count = 1;
	ASSERT_OK(bpf_map_lookup_batch(fd, &in, &out, keys, values, &count, NULL), "from between");
	ASSERT_EQ(keys[0], order[3] + 1 == order[4] ? order[5] : order[4], "from between");
	in = ~0ULL;
	count = 1;
	ASSERT_EQ(bpf_map_lookup_batch(fd, &in, &out, keys, values, &count, NULL), -ENOENT,
		  "from ~0");

	/* Arguments. */
	count = 0;
	ASSERT_OK(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), "count 0");
	count = 2;
	opts.flags = 1;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, &opts), -EINVAL,
		  "flags");
	opts.flags = 0;
	opts.elem_flags = BPF_F_LOCK;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, &opts), -EINVAL,
		  "elem_flags");
#define BAD(n) ((void *)(long)(n))
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, BAD(8), &out, keys, values, &count, NULL), -EFAULT,
		  "in_batch");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, BAD(8), keys, values, &count, NULL), -EFAULT,
		  "out_batch");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, BAD(8), values, &count, NULL), -EFAULT,
		  "keys");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, BAD(8), &count, NULL), -EFAULT,
		  "values");
	count = 2;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, NULL, &count, NULL), -EFAULT,
		  "no values");
#undef BAD
	/* The count is that of elements, not of room in bytes. */
	count = ~0;
	ASSERT_EQ(bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL), -ENOENT,
		  "count ~0");
	ASSERT_EQ(count, nr + 1, "count ~0");
out:
	cgroup_stats_map__destroy(skel);
	free(keys);
	free(values);
	free(order);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_remove(path);
	}
	cg_remove("a");
}

/* What user space is told of the map, and its reuse through a pin. */
static void test_info(void)
{
	const char *pin = "/sys/fs/bpf/cgroup_stats_map";
	__u64 a = cg_make("a"), d = cg_make("d");
	struct cgroup_stats_map *skel = NULL, *again = NULL;
	struct bpf_map_info info = {};
	__u32 id, len = sizeof(info);
	int fd = map_make(a, 3);

	if (!ASSERT_OK(bpf_map_get_info_by_fd(fd, &info, &len), "info"))
		goto out;
	ASSERT_EQ(info.type, BPF_MAP_TYPE_CGROUP_STATS, "type");
	ASSERT_EQ(info.key_size, 8, "key_size");
	ASSERT_EQ(info.value_size, 24, "value_size");
	ASSERT_EQ(info.max_entries, 0, "max_entries");
	ASSERT_EQ(info.map_flags, 0, "flags");
	ASSERT_EQ(info.map_extra, a, "map_extra");
	ASSERT_STREQ(info.name, "stats", "name");
	ASSERT_EQ(map_fdinfo(fd, "map_type:"), BPF_MAP_TYPE_CGROUP_STATS, "fdinfo type");
	ASSERT_EQ(map_fdinfo(fd, "map_extra:"), a, "fdinfo map_extra");
	ASSERT_EQ(map_fdinfo(fd, "max_entries:"), 0, "fdinfo max_entries");

	/* By libbpf: the second object takes over the map of the first. */
	unlink(pin);
	skel = cgroup_stats_map__open();
	again = cgroup_stats_map__open();
	if (!ASSERT_OK_PTR(skel, "open") || !ASSERT_OK_PTR(again, "open"))
		goto out;
	bpf_map__set_map_extra(skel->maps.stats, a);
	bpf_map__set_map_extra(again->maps.stats, a);
	bpf_map__set_pin_path(skel->maps.stats, pin);
	bpf_map__set_pin_path(again->maps.stats, pin);
	bpf_program__set_autoload(again->progs.add, true);
	bpf_map__set_autocreate(skel->maps.maps, false);
	bpf_map__set_autocreate(again->maps.maps, false);
	if (!ASSERT_OK(cgroup_stats_map__load(skel), "load"))
		goto out;
	if (!ASSERT_OK(bpf_map_get_info_by_fd(bpf_map__fd(skel->maps.stats), &info, &len), "info"))
		goto out;
	id = info.id;
	if (!ASSERT_OK(cgroup_stats_map__load(again), "load again"))
		goto out;
	if (!ASSERT_OK(bpf_map_get_info_by_fd(bpf_map__fd(again->maps.stats), &info, &len), "info"))
		goto out;
	ASSERT_EQ(info.id, id, "the same map");
	ASSERT_OK(run(again->progs.add, a, 0, 4), "add");
	ASSERT_EQ(total(bpf_map__fd(skel->maps.stats), a, 0), 4, "seen by the first");

	/* But not with another root. */
	cgroup_stats_map__destroy(again);
	again = cgroup_stats_map__open();
	if (!ASSERT_OK_PTR(again, "open"))
		goto out;
	bpf_map__set_map_extra(again->maps.stats, d);
	bpf_map__set_pin_path(again->maps.stats, pin);
	ASSERT_EQ(cgroup_stats_map__load(again), -EINVAL, "another root");
out:
	unlink(pin);
	cgroup_stats_map__destroy(skel);
	cgroup_stats_map__destroy(again);
	close(fd);
	cg_remove("d");
	cg_remove("a");
}

/* The memory that fdinfo shows: a fixed part, and so much per entry. */
static void test_memlock(void)
{
	static const int sizes[] = { 1, 64, 65, 512 };
	int i, j, fd, nr_possible = libbpf_num_possible_cpus();
	long long base, one[ARRAY_SIZE(sizes)], fixed[ARRAY_SIZE(sizes)];
	__u64 a = cg_make("a");
	char path[16];

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = map_make(a, sizes[i]);
		base = map_memory(fd);
		cg_make("a/0");
		one[i] = map_memory(fd) - base;
		fixed[i] = base - one[i];
		for (j = 1; j < 5; j++) {
			snprintf(path, sizeof(path), "a/%d", j);
			cg_make(path);
			ASSERT_EQ(map_memory(fd), base + (j + 1) * one[i], "grows");
		}
		for (j = 0; j < 5; j++) {
			snprintf(path, sizeof(path), "a/%d", j);
			cg_remove(path);
		}
		/* Entries go when their cgroups are released. */
		ASSERT_TRUE(wait_until(map_memory(fd) == base), "shrinks");
		close(fd);
	}
	/*
	 * Two arrays of elements, for all CPUs together and for each one, and a byte per
	 * 8 of them in whole words for each CPU. The map has a byte for every 4 of the value.
	 */
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		int arrays = 2 * (sizes[i] - 1), marks = (sizes[i] + 63) / 64 - 1;

		ASSERT_EQ(one[i] - one[0], 8 * (arrays + (arrays + marks) * nr_possible),
			  "per entry");
		ASSERT_EQ(fixed[i], fixed[0] + 2 * (sizes[i] - sizes[0]), "fixed");
	}
	ASSERT_GT(one[0], 8 * (2 + 3 * nr_possible), "smallest entry");
	ASSERT_LT(one[0], 8 * (2 + 3 * nr_possible) + 256, "smallest entry");
	ASSERT_GT(fixed[0], 0, "fixed part");
	ASSERT_LT(fixed[0], 4096, "fixed part");
	cg_remove("a");
}

/* --- the test --- */

void serial_test_cgroup_stats_syscall(void)
{
	static const struct subtest tests[] = {
		{ "syscalls", test_syscalls },
		{ "descriptors", test_descriptors },
		{ "unprivileged", test_unprivileged },
		{ "token", test_token },
		{ "batch", test_batch },
		{ "info", test_info },
		{ "memlock", test_memlock },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}
