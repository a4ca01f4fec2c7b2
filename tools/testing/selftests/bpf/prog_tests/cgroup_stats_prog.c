// SPDX-License-Identifier: GPL-2.0
/* What programs see of a map, and in which contexts they may use it. */
#include <linux/compiler.h>
#include "cgroup_stats_map_helpers.h"
#include "cgroup_stats_map_fail.skel.h"

/* --- what programs see --- */

/* Whether @prog's lookups flush: then it sees each add that came before. */
static void check_look(struct cgroup_stats_map *skel, const struct bpf_program *prog,
		       __u64 id, bool flushes)
{
	static __u64 sum;
	int i, err, stale = 0, fresh = 0;

	for (i = 0; i < 20; i++) {
		sum++;
		err = run_on(cpus[i % nr_cpus], skel->progs.add, id, 0, 1, 0);
		skel->bss->seen = ~0ULL;
		if (!ASSERT_OK(err, "add") ||
		    !ASSERT_OK(run(prog, id, 0, 0), bpf_program__name(prog)))
			break;
		if (flushes && !ASSERT_EQ(skel->bss->seen, sum, bpf_program__name(prog)))
			break;
		stale += skel->bss->seen < sum;
		fresh += skel->bss->seen == sum;
		ASSERT_LE(skel->bss->seen, sum, "from nowhere");
		if (flushes)
			continue;
		/* After a flush by somebody else it sees all. */
		if (i % 2)
			ASSERT_OK(run(skel->progs.flush, id, 0, 0), "flush");
		else
			ASSERT_EQ(total(bpf_map__fd(skel->maps.stats), id, 0), sum, "total");
		ASSERT_OK(run(prog, id, 0, 0), bpf_program__name(prog));
		if (!ASSERT_EQ(skel->bss->seen, sum, bpf_program__name(prog)))
			break;
	}
	/* The kernel flushes on its own too, now and then, but not 20 times in a row. */
	if (!flushes)
		ASSERT_GT(stale, 0, bpf_program__name(prog));
	if (!id)
		sum = 0;
}

static void test_lookups(void)
{
	struct cgroup_stats_map *skel;
	__u64 a = cg_make("a"), b = cg_make("a/b");
	int i;

	skel = load(a, -1,
		    "add peek look look_by_total look_static look_rcu look_preempt look_global look_loop look_walk look_either flush flush_static");
	if (!skel)
		goto out;
	const struct {
		struct bpf_program *prog;
		bool flushes;
	} progs[] = {
		{ skel->progs.look, true },
		{ skel->progs.look_static, true },
		{ skel->progs.peek, false },
		{ skel->progs.look_rcu, false },
		{ skel->progs.look_preempt, false },
		{ skel->progs.look_loop, false },
		{ skel->progs.look_walk, false },
		{ skel->progs.look_global, false },
		{ skel->progs.look_either, false },
	};

	for (i = 0; i < ARRAY_SIZE(progs); i++) {
		check_look(skel, progs[i].prog, b, progs[i].flushes);
		ASSERT_EQ(run(progs[i].prog, NO_ID, 0, 0), -ENOENT, "no such id");
		ASSERT_EQ(run(progs[i].prog, 0, 0, 0), -ENOENT, "id 0");
	}
	/* A flush of a cgroup is one of all below it. */
	ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, b, 1, 5, 0), "add");
	ASSERT_OK(run(skel->progs.flush_static, a, 0, 0), "flush_static");
	ASSERT_OK(run(skel->progs.peek, b, 1, 0), "peek");
	ASSERT_EQ(skel->bss->seen, 5, "b");
	ASSERT_OK(run(skel->progs.peek, a, 1, 0), "peek");
	ASSERT_EQ(skel->bss->seen, 5, "a");

	/* What is flushed is what is returned. */
	ASSERT_OK(run(skel->progs.look_by_total, b, a, 0), "key in a total");

	ASSERT_EQ(run(skel->progs.flush, NO_ID, 0, 0), -ENOENT, "flush of no such id");
	ASSERT_EQ(run(skel->progs.flush, cg_root_id(), 0, 0), -ENOENT, "flush of outside");
	ASSERT_EQ(run_on(THIS_CPU, skel->progs.flush, a, 0, 0, 1), -EINVAL, "flags");
	ASSERT_EQ(run(skel->progs.flush, 0, 0, 0), -ENOENT, "flush of current, outside");
	ASSERT_OK(cg_join("a/b"), "join");
	ASSERT_OK(run(skel->progs.flush, 0, 0, 0), "flush of current");
	ASSERT_OK(cg_join(".."), "join root");
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

static int copy_flusher(void *arg)
{
	struct cgroup_stats_map *skel = arg;

	pin_to(cpus[1]);
	WRITE_ONCE(skel->bss->flusher_tid, sys_gettid());
	while (READ_ONCE(skel->bss->flusher_tid)) {
		if (READ_ONCE(skel->bss->half_step) != HALF_ADDED)
			continue;
		if (run(skel->progs.flush, skel->bss->target_id, 0, 0))
			return 1;
		__sync_val_compare_and_swap(&skel->bss->half_step, HALF_ADDED, HALF_MISSED);
	}
	return 0;
}

/* A value is copied as of one instant, though it is just being folded on another CPU. */
static void test_copy(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS];
	struct map_attr attr = map_attr(a, CGROUP_STATS_ELEMS);
	struct cgroup_stats_map *skel = NULL;
	int i, fd, round, step, torn = 0;
	pid_t pid = -1;

	/* Arrays that CPUs share are folded by a function that can be traced. */
	attr.opts.map_flags = BPF_F_NO_PERCPU;
	fd = map_try(&attr);
	close(attr.opts.btf_fd);
	if (nr_cpus < 2) {
		test__skip();
		goto out;
	}
	skel = load(a, fd, "flush after_flush half_way");
	if (!skel || !ASSERT_OK(cgroup_stats_map__attach(skel), "attach"))
		goto out;
	skel->bss->target_id = b;
	skel->bss->target_tid = sys_gettid();
	pin_to(cpus[0]);
	pid = spawn(copy_flusher, skel);
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->flusher_tid)), "flusher");

	/* The kernel flushes on its own too, now and then. */
	for (round = 0, step = HALF_IDLE; round < 20 && step != HALF_FOLDED; round++) {
		skel->bss->done = 0;
		WRITE_ONCE(skel->bss->half_step, HALF_READ);
		if (!ASSERT_OK(bpf_map_lookup_elem(bpf_map__fd(skel->maps.stats), &b, value),
			       "lookup"))
			break;
		step = __sync_lock_test_and_set(&skel->bss->half_step, HALF_COPIED);
		for (i = 0; i < CGROUP_STATS_ELEMS; i++)
			torn += value[i] != value[0];
		ASSERT_EQ(torn, 0, "elements of another instant");
	}
	ASSERT_EQ(step, HALF_FOLDED, "read during a fold");
	WRITE_ONCE(skel->bss->flusher_tid, 0);
out:
	reap(pid);
	unpin();
	cgroup_stats_map__destroy(skel);
	close(fd);
	cg_remove("a/b");
	cg_remove("a");
}

/* Lines of the iterator that prints the map. */
static int count_lines(struct cgroup_stats_map *skel)
{
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {};
	int i, len, fd, n = 0;
	struct bpf_link *link;
	char buf[1024];

	linfo.map.map_fd = bpf_map__fd(skel->maps.stats);
	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.dump, &opts);
	if (!ASSERT_OK_PTR(link, "attach_iter"))
		return -1;
	fd = bpf_iter_create(bpf_link__fd(link));
	while ((len = read(fd, buf, sizeof(buf))) > 0) {
		for (i = 0; i < len; i++)
			n += buf[i] == '\n';
	}
	ASSERT_OK(len, "read to the end");
	close(fd);
	bpf_link__destroy(link);
	return n;
}

/* All walks get over cgroups of another map, however many, between those of theirs. */
static void test_strangers(void)
{
	/* The kernel looks at 64 at a time. */
	enum { NR_STRANGERS = 2 * 64 + 2 };
	__u64 a = cg_make("a"), first = cg_make("a/first"), last, out, prev;
	__u64 keys[4], values[4 * CGROUP_STATS_ELEMS];
	struct cgroup_stats_map *skel;
	int i, fd, other, err;
	char path[16];
	__u32 count;

	other = map_make(cg_make("x"), 1);
	for (i = 0; i < NR_STRANGERS; i++) {
		snprintf(path, sizeof(path), "x/%d", i);
		cg_make(path);
	}
	last = cg_make("a/last");
	ASSERT_EQ(count_keys(other), NR_STRANGERS + 1, "entries of the other map");
	skel = load(a, -1, "walk dump");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);

	count = ARRAY_SIZE(keys);
	err = bpf_map_lookup_batch(fd, NULL, &out, keys, values, &count, NULL);
	ASSERT_EQ(err, -ENOENT, "batch");
	ASSERT_EQ(count, 3, "batch");
	for (i = 0, prev = 0; i < 3; i++, prev = out) {
		count = 1;
		err = bpf_map_lookup_batch(fd, i ? &prev : NULL, &out, keys + i, values, &count,
					   NULL);
		ASSERT_OK(err, "batch of one");
	}
	ASSERT_EQ(keys[0], a, "root");
	ASSERT_EQ(keys[1], first, "first");
	ASSERT_EQ(keys[2], last, "last");

	ASSERT_EQ(count_keys(fd), 3, "get_next_key");
	ASSERT_EQ(run(skel->progs.walk, 0, 0, 0), 3, "for_each");
	ASSERT_EQ(count_lines(skel), 3, "iterator");
out:
	cgroup_stats_map__destroy(skel);
	close(other);
	for (i = 0; i < NR_STRANGERS; i++) {
		snprintf(path, sizeof(path), "x/%d", i);
		cg_remove(path);
	}
	cg_remove("x");
	cg_remove("a/last");
	cg_remove("a/first");
	cg_remove("a");
}

/* All elements in programs: in ascending order, by for_each and by the iterator. */
static void test_for_each(void)
{
	const int nr = 40;
	__u64 a = cg_make("a"), key, value, sum, prev;
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {};
	struct cgroup_stats_map *skel;
	struct bpf_program *progs[2];
	struct bpf_link *link = NULL;
	char path[16], *buf, *pos;
	int i, j, fd, iter_fd, len, n;

	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_make(path);
	}
	buf = calloc(1, 65536);
	skel = load(a, -1, "add walk walk_sleepable dump");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		key = cg_id(path);
		ASSERT_OK(run_on(cpus[i % nr_cpus], skel->progs.add, key, 0, i, 0), "add");
	}
	sum = nr * (nr - 1) / 2;
	ASSERT_EQ(total(fd, a, 0), sum, "total");

	progs[0] = skel->progs.walk;
	progs[1] = skel->progs.walk_sleepable;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(run(progs[i], 0, 0, 0), nr + 1, "for_each");
		ASSERT_EQ(skel->bss->nr_keys, nr + 1, "calls");
		for (j = 1, value = 0; j <= nr; j++) {
			ASSERT_LT(skel->bss->keys[j - 1], skel->bss->keys[j], "order");
			value += skel->bss->values[j];
		}
		ASSERT_EQ(value, sum, "sum of children");
		ASSERT_EQ(skel->bss->values[0], sum, "the root, which is first");
		ASSERT_EQ(run(progs[i], 1, 0, 0), -EINVAL, "flags");
	}

	/* The iterator flushes, once, before the first. */
	ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, a, 0, 1000, 0), "add");
	linfo.map.map_fd = fd;
	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.dump, &opts);
	if (!ASSERT_OK_PTR(link, "attach_iter"))
		goto out;
	for (i = 0; i < 2; i++) {
		iter_fd = bpf_iter_create(bpf_link__fd(link));
		if (!ASSERT_GE(iter_fd, 0, "iter_create"))
			goto out;
		/* In pieces, so that it has to resume. */
		for (len = 0; len < 65000; len += n) {
			n = read(iter_fd, buf + len, 40);
			if (n <= 0)
				break;
		}
		if (!ASSERT_OK(n, "read to the end"))
			goto out;
		ASSERT_EQ(read(iter_fd, buf + len, 40), 0, "read behind the end");
		buf[len] = 0;
		close(iter_fd);
		prev = 0;
		value = 0;
		for (j = 0, pos = buf; *pos; pos = strchr(pos, '\n') + 1, j++) {
			__u64 v;

			n = sscanf(pos, "%llu %llu\n", &key, &v);
			if (!ASSERT_EQ(n, 2, "line"))
				break;
			ASSERT_GT(key, prev, "order");
			prev = key;
			if (key == a)
				ASSERT_EQ(v, sum + 1000, "root");
			else
				value += v;
		}
		ASSERT_EQ(j, nr + 1, "lines");
		ASSERT_EQ(value, sum, "sum of children");
		ASSERT_EQ(skel->bss->done, i + 1, "ends");
	}
	/* It wrote 12345 everywhere, to its own buffer. */
	ASSERT_EQ(total(fd, a, 0), sum + 1000, "root after");
	ASSERT_EQ(total(fd, a, CGROUP_STATS_ELEMS - 1), 0, "last element after");
	ASSERT_EQ(total(fd, prev, CGROUP_STATS_ELEMS - 1), 0, "of a child");

	/* An iterator's file outlives the link, the program, and the map's other fds. */
	iter_fd = bpf_iter_create(bpf_link__fd(link));
	n = read(iter_fd, buf, 20);
	ASSERT_GT(n, 0, "first read");
	bpf_link__destroy(link);
	link = NULL;
	cgroup_stats_map__destroy(skel);
	skel = NULL;
	for (len = 0; len < 65000; len += n) {
		n = read(iter_fd, buf, 4096);
		if (n <= 0)
			break;
	}
	ASSERT_OK(n, "last read");
	close(iter_fd);
out:
	bpf_link__destroy(link);
	cgroup_stats_map__destroy(skel);
	free(buf);
	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "a/%d", i);
		cg_remove(path);
	}
	cg_remove("a");
}

/* A pinned map as a text file. */
/* That what bpffs has printed has a line for @id, with @number in it. */
static void check_printed(const char *text, __u64 id, const char *number)
{
	const char *line, *found;
	char want[64];

	snprintf(want, sizeof(want), "\n%llu: ", id);
	line = strstr(text, want);
	if (!ASSERT_OK_PTR(line, "line"))
		return;
	found = strstr(line + strlen(want), number);
	if (ASSERT_OK_PTR(found, "value"))
		ASSERT_LT(found - line, strcspn(line + 1, "\n"), "value in its line");
}

static void test_bpffs(void)
{
	const char *pin = "/sys/fs/bpf/cgroup_stats_print";
	__u64 a = cg_make("a"), b = cg_make("a/b");
	struct cgroup_stats_map *skel;
	char buf[8192];
	int fd, n;

	unlink(pin);
	skel = load(a, -1, "add");
	if (!skel)
		goto out;
	ASSERT_OK(run_on(cpus[nr_cpus - 1], skel->progs.add, b, 0, 4321, 0), "add");
	if (!ASSERT_OK(bpf_map__pin(skel->maps.stats, pin), "pin"))
		goto out;
	fd = open(pin, O_RDONLY);
	if (!ASSERT_GE(fd, 0, "open"))
		goto out;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (!ASSERT_GT(n, 0, "read"))
		goto out;
	buf[n] = 0;
	check_printed(buf, a, "4321");
	check_printed(buf, b, "4321");
out:
	unlink(pin);
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* --- kinds of programs --- */

/* What makes the programs run that are attached, at least once each. */
static void trigger(struct cgroup_stats_map *skel)
{
	int sock, val;
	socklen_t len = sizeof(val);

	skel->bss->target_tid = sys_gettid();
	/* Any of bpf()'s commands would do. */
	bpf_prog_get_fd_by_id(0);
	syscall(__NR_getpgid, 0);
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	getsockopt(sock, SOL_SOCKET, SO_TYPE, &val, &len);
	close(sock);
	skel->bss->target_tid = 0;
}

static void read_link(struct bpf_link *link)
{
	char buf[64];
	int fd = bpf_iter_create(bpf_link__fd(link));

	ASSERT_GE(fd, 0, "iter_create");
	ASSERT_EQ(read(fd, buf, sizeof(buf)), 0, "read iter");
	close(fd);
}

static void test_kinds(void)
{
	struct cgroup_stats_map *skel;
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS], deadline;
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	union bpf_iter_link_info linfo = {};
	struct bpf_program *prog;
	int cg_fd, perf_fd, i, fd;
	struct bpf_link *link;

	skel = load(a, -1,
		    "kind_raw_tp kind_tp_btf kind_tp kind_fentry kind_fentry_sleepable kind_fexit kind_kprobe kind_kretprobe kind_lsm kind_lsm_sleepable kind_sockopt kind_sock_create kind_cgroup_skb kind_socket kind_tc kind_xdp kind_perf_event kind_syscall kind_iter start_wq start_timer");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	skel->bss->target_id = b;
	cg_fd = openat(workdir, "a/b", O_RDONLY);

	/* Those that attach by themselves. */
	bpf_object__for_each_program(prog, skel->obj) {
		enum bpf_prog_type type = bpf_program__type(prog);

		if (!bpf_program__autoload(prog))
			continue;
		if (type != BPF_PROG_TYPE_TRACING && type != BPF_PROG_TYPE_KPROBE &&
		    type != BPF_PROG_TYPE_TRACEPOINT && type != BPF_PROG_TYPE_LSM &&
		    prog != skel->progs.kind_raw_tp)
			continue;
		if (prog == skel->progs.kind_iter)
			continue;
		link = bpf_program__attach(prog);
		ASSERT_OK_PTR(link, bpf_program__name(prog));
		trigger(skel);
		bpf_link__destroy(link);
	}

	/* Those that belong to a cgroup. */
	ASSERT_OK(cg_join("a/b"), "join");
	link = bpf_program__attach_cgroup(skel->progs.kind_sockopt, cg_fd);
	ASSERT_OK_PTR(link, "sockopt");
	trigger(skel);
	bpf_link__destroy(link);
	link = bpf_program__attach_cgroup(skel->progs.kind_sock_create, cg_fd);
	ASSERT_OK_PTR(link, "sock_create");
	trigger(skel);
	bpf_link__destroy(link);
	ASSERT_OK(cg_join(".."), "join root");

	/* Those that are run. */
	run_packet(skel->progs.kind_cgroup_skb);
	run_packet(skel->progs.kind_socket);
	run_packet(skel->progs.kind_tc);
	run_packet(skel->progs.kind_xdp);
	ASSERT_EQ(run(skel->progs.kind_syscall, 0, 0, 0), 0, "syscall");

	linfo.cgroup.cgroup_fd = cg_fd;
	linfo.cgroup.order = BPF_CGROUP_ITER_SELF_ONLY;
	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.kind_iter, &opts);
	if (ASSERT_OK_PTR(link, "iter"))
		read_link(link);
	bpf_link__destroy(link);

	/* Timers, of perf (in hard interrupts) and BPF's own. */
	perf_fd = perf_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, 1000000, cpus[0]);
	link = bpf_program__attach_perf_event(skel->progs.kind_perf_event, perf_fd);
	if (ASSERT_OK_PTR(link, "perf_event")) {
		pin_to(cpus[0]);
		deadline = get_time_ns() + 10000000000ULL;
		while (!READ_ONCE(skel->bss->runs[KIND_PERF_EVENT]) && get_time_ns() < deadline)
			;
		unpin();
		bpf_link__destroy(link);
	} else {
		close(perf_fd);
	}
	ASSERT_OK(run(skel->progs.start_timer, 0, 0, 0), "start_timer");
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->runs[KIND_TIMER])), "timer");
	ASSERT_OK(run_packet(skel->progs.start_wq), "start_wq");
	ASSERT_TRUE(wait_until(READ_ONCE(skel->bss->runs[KIND_WQ])), "wq");

	ASSERT_OK(bpf_map_lookup_elem(fd, &a, value), "lookup");
	for (i = 0; i <= KIND_TIMER; i++) {
		if (!ASSERT_GT(skel->bss->runs[i], 0, "runs") ||
		    !ASSERT_OK(skel->bss->errors[i], "add") ||
		    !ASSERT_EQ(value[i], skel->bss->runs[i], "total"))
			printf("kind %d\n", i);
	}
	close(cg_fd);
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* Programs within a flush of the very map they add to: what they add is for the next. */
static void test_in_flush(void)
{
	static const enum kind kinds[] = { KIND_FLUSH, KIND_DRAIN, KIND_RSTAT_LOCKED };
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS];
	struct cgroup_stats_map *skel;
	int i, fd;

	skel = load(a, -1, "add kind_flush kind_drain kind_rstat_locked");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	skel->bss->target_id = b;
	if (!ASSERT_OK(cgroup_stats_map__attach(skel), "attach"))
		goto out;
	skel->bss->target_tid = sys_gettid();
	for (i = 0; i < 100; i++) {
		ASSERT_OK(run_on(cpus[i % nr_cpus], skel->progs.add, b, 31, 1, 0), "add");
		if (!ASSERT_EQ(total(fd, a, 31), i + 1, "total"))
			break;
	}
	skel->bss->target_tid = 0;
	cgroup_stats_map__detach(skel);
	ASSERT_OK(bpf_map_lookup_elem(fd, &a, value), "lookup");
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		ASSERT_GT(skel->bss->runs[kinds[i]], 0, "runs");
		ASSERT_OK(skel->bss->errors[kinds[i]], "add");
		ASSERT_EQ(value[kinds[i]], skel->bss->runs[kinds[i]], "total");
	}
out:
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* From NMIs, in the middle of anything: a PMU's, or those for backtraces of all CPUs. */
static void test_nmi(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), value[CGROUP_STATS_ELEMS];
	struct bpf_link *link = NULL;
	struct cgroup_stats_map *skel;
	int i, fd, perf_fd, adds = 0, level = 0;
	bool triggers = false;

	skel = load(a, -1, "add_sleepable kind_perf_event kind_nmi");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	skel->bss->target_id = b;

	perf_fd = perf_open(PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, 100000, cpus[0]);
	if (perf_fd >= 0) {
		link = bpf_program__attach_perf_event(skel->progs.kind_perf_event, perf_fd);
		if (!link)
			close(perf_fd);
		pin_to(cpus[0]);
	}
	if (!link) {
		link = bpf_program__attach(skel->progs.kind_nmi);
		if (!link || access(SYSRQ, W_OK)) {
			test__skip();
			goto out;
		}
		triggers = true;
		level = console_level(ERRORS_ONLY);
	}
	for (i = 0; i < 20; i++) {
		int n;

		if (triggers)
			ASSERT_OK(trigger_nmis(), "sysrq");
		for (n = 0; n < 500; n++)
			adds += !run(skel->progs.add_sleepable, b, 31, 1);
		total(fd, i % 2 ? a : b, 0);
	}
	bpf_link__destroy(link);
	link = NULL;
	if (triggers)
		console_level(level);

	ASSERT_OK(bpf_map_lookup_elem(fd, &a, value), "lookup");
	i = perf_fd >= 0 ? KIND_PERF_EVENT : KIND_NMI;
	if (skel->bss->runs[i] == 0)
		test__skip();
	ASSERT_OK(skel->bss->errors[i], "add");
	ASSERT_EQ(value[i], skel->bss->runs[i], "total of NMIs");
	ASSERT_EQ(value[31], adds, "total of the interrupted");
	ASSERT_EQ(adds, 20 * 500, "adds");
out:
	unpin();
	bpf_link__destroy(link);
	cgroup_stats_map__destroy(skel);
	cg_remove("a/b");
	cg_remove("a");
}

/* A task that exits when its cgroup has already gone counts for the nearest ancestor. */
static void test_exiting(void)
{
	__u64 a = cg_make("a"), b = cg_make("a/b"), c = cg_make("a/b/c"), deadline;
	struct cgroup_stats_map *skel;
	int round, fd, own_fd, err, go[2];
	pid_t pid;
	char x;

	skel = load(a, -1, "add after_cgroup_exit");
	if (!skel)
		goto out;
	fd = bpf_map__fd(skel->maps.stats);
	own_fd = bpf_map__fd(skel->maps.own);
	/* It waits with preemption off, for somebody on another CPU. */
	if (nr_cpus < 2 || cgroup_stats_map__attach(skel)) {
		test__skip();
		goto out;
	}
	pin_to(cpus[0]);
	/* First its own cgroup is gone, then its parent too. */
	for (round = 0; round < 2; round++) {
		skel->bss->at_exit = false;
		skel->bss->removed = false;
		if (!ASSERT_OK(pipe(go), "pipe"))
			break;
		pid = fork();
		if (!pid) {
			close(go[1]);
			pin_to(cpus[1]);
			err = cg_join("a/b/c");
			err = read(go[0], &x, 1) < 0 || err;
			_exit(err);
		}
		close(go[0]);
		skel->bss->exit_tgid = pid;
		ASSERT_EQ(write(go[1], "x", 1), 1, "write");
		close(go[1]);
		deadline = get_time_ns() + 10000000000ULL;
		while (!READ_ONCE(skel->bss->at_exit) && get_time_ns() < deadline)
			sched_yield();
		err = cg_remove_when_empty("a/b/c");
		if (!err && round == 1)
			err = cg_remove_when_empty("a/b");
		WRITE_ONCE(skel->bss->removed, true);
		ASSERT_OK(err, "rmdir under the exiting task");
		reap(pid);
		ASSERT_EQ(skel->bss->done, round + 1, "programs");
		ASSERT_EQ(skel->bss->exit_id, c, "cgroup of the task");
		ASSERT_EQ(skel->bss->exit_by_id_err, -ENOENT, "by id");
		ASSERT_OK(skel->bss->exit_err, "add");
		ASSERT_OK(skel->bss->exit_own_err, "add, no hierarchy");
		/* Nothing stays in what has gone. */
		ASSERT_EQ(total(own_fd, round == 0 ? b : a, 0), 7, "nearest ancestor's own");
		if (round == 0) {
			ASSERT_EQ(total(fd, b, 0), 7, "parent");
			ASSERT_EQ(total(fd, a, 0), 7, "root");
			c = cg_make("a/b/c");
		}
	}
	ASSERT_EQ(total(fd, a, 0), 14, "root");
out:
	unpin();
	cgroup_stats_map__destroy(skel);
	cg_try_remove("a/b/c");
	cg_try_remove("a/b");
	cg_remove("a");
}

/* --- the test --- */

void serial_test_cgroup_stats_prog(void)
{
	static const struct subtest tests[] = {
		{ "lookups", test_lookups },
		{ "copy", test_copy },
		{ "strangers", test_strangers },
		{ "for_each", test_for_each },
		{ "bpffs", test_bpffs },
		{ "kinds", test_kinds },
		{ "in_flush", test_in_flush },
		{ "nmi", test_nmi },
		{ "exiting", test_exiting },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}

void test_cgroup_stats_map_fail(void)
{
	RUN_TESTS(cgroup_stats_map_fail);
}
