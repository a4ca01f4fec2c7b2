// SPDX-License-Identifier: GPL-2.0
/*
 * Adders in every context, which count what they were told was added. Whatever else goes
 * on, totals must show just that: prog_tests/cgroup_stats_exact.c. A program that was not
 * run, because it would have interrupted itself, has not counted either.
 */
#include <vmlinux.h>
#include <errno.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "bpf_misc.h"
#include "cgroup_stats_exact.h"

char _license[] SEC("license") = "GPL";

#define DEFINE_VALUES(t)						\
struct t##_sum { t n[EXACT_SIZE / sizeof(t)]; };			\
struct t##_max { t n[EXACT_SIZE / sizeof(t)] __cgroup_stats_max; };	\
struct t##_min { t n[EXACT_SIZE / sizeof(t)] __cgroup_stats_min; }

DEFINE_VALUES(u32);
DEFINE_VALUES(s32);
DEFINE_VALUES(u64);
DEFINE_VALUES(s64);

#define DEFINE_MAP(t, op, how, flags)					\
struct {								\
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);			\
	__uint(map_flags, flags);					\
	__type(key, __u64);						\
	__type(value, struct t##_##op);					\
} t##_##op##_##how SEC(".maps");

EXACT_MAPS(DEFINE_MAP)

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct exact_value);
} group SEC(".maps");

/* The maps above, of all types and operations with these flags */
#define DEFINE_OUTER(name, flags)				\
struct inner_##name {						\
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);		\
	__uint(map_flags, flags);				\
	__type(key, __u64);					\
	__type(value, struct exact_value);			\
};								\
struct {							\
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);		\
	__uint(max_entries, EXACT_NTH);				\
	__type(key, __u32);					\
	__array(values, struct inner_##name);			\
} name SEC(".maps")

DEFINE_OUTER(plain, 0);
DEFINE_OUTER(shared, BPF_F_NO_PERCPU);
DEFINE_OUTER(flat, BPF_F_NO_HIERARCHY);
DEFINE_OUTER(both, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY);

/* Maps that come and go */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, EXACT_CPUS);
	__type(key, __u32);
	__array(values, struct inner_plain);
} passing SEC(".maps");

/* The accounts of cgroups that stay */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EXACT_NODES);
	__type(key, __u64);
	__type(value, __u32);
} accounts SEC(".maps");

struct timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EXACT_CPUS);
	__type(key, __u32);
	__type(value, struct timer);
} timers SEC(".maps");

/* How deep x is */
const volatile int level;
const volatile __u64 period;

/* Add to the map in focus only, and to the group. */
const volatile bool few;

/* Whom to add to. User space changes the ids at any time. */
struct exact_slot slots[EXACT_SLOTS];
__u64 leaves[EXACT_WRITERS * EXACT_LEAVES];
__u64 common;

/* What was added, by CPU, map, account and element: a sum, or the last sample. */
struct exact_counts told[EXACT_CPUS][NR_EXACT_MAPS * EXACT_ACCOUNTS];

/* Adds to the first element that began, whether or not they found the cgroup. */
__u64 began[EXACT_CPUS][NR_EXACT_MAPS];

__u64 last_seq;
bool stop;

/* The map that most of the work is for, which changes: what is rare needs many attempts. */
__u32 focus;

/* Adds that succeeded, by kind of adder; of all: those that found no cgroup. */
__u64 added[NR_KINDS];
__u64 missed;

/* What there must not be. */
__u64 failed;

/* Lookups in interrupts, and those that saw less than before, or halves of two values. */
__u64 looks[NR_KINDS];
__u64 bad_looks;
__u64 last_look[EXACT_CPUS];

/* What lookups of programs saw. */
struct exact_value seen[EXACT_READERS];

static __always_inline void inc(__u64 *n)
{
	__sync_fetch_and_add(n, 1);
}

static __always_inline __u32 this_slot(void)
{
	return bpf_get_smp_processor_id() % EXACT_CPUS;
}

/* @n was added to a sum, or is the number of a sample. Interrupts come between. */
__noinline int tell(__u32 map, __u32 account, __u32 elem, __u64 n, bool is_sum)
{
	volatile __u64 *p;
	__u64 old;
	int i;

	if (map >= NR_EXACT_MAPS || account >= EXACT_ACCOUNTS || elem >= EXACT_ELEMS) {
		inc(&failed);
		return 0;
	}
	p = &told[this_slot()][map * EXACT_ACCOUNTS + account].n[elem];
	if (is_sum) {
		__sync_fetch_and_add(p, n);
		return 0;
	}
	for (i = 0; i < 64; i++) {
		old = *p;
		if (old >= n || __sync_val_compare_and_swap(p, old, n) == old)
			return 0;
	}
	inc(&failed);
	return 0;
}

enum { op_sum, op_max, op_min };

#define KIND_OF(t, op, how, flags) \
	{ sizeof(t), -(t)1 < 0, op_##op, !!((flags) & BPF_F_NO_HIERARCHY) },

static const struct {
	__u8 width;
	__u8 is_signed;
	__u8 op;
	__u8 is_flat;
} kinds[NR_EXACT_MAPS] = { EXACT_MAPS(KIND_OF) { 8, 0, op_sum, 0 } };

/* Add @n to a sum, or sample @n of a maximum or a minimum. Whether it was added. */
static __always_inline bool add_elem(void *map, __u32 nr, __u32 account, __u64 id, __u32 elem,
				     __u64 n)
{
	bool is_sum = kinds[nr].op == op_sum;
	__s64 sample = n;
	long err;

	if (!is_sum)
		sample = exact_sample(kinds[nr].is_signed, kinds[nr].op == op_max, n);
	sample *= EXACT_FACTOR(kinds[nr].width);
	if (!elem)
		inc(&began[this_slot()][nr]);
	err = bpf_cgroup_stats_add(map, id, elem, sample, 0);
	if (!err)
		tell(nr, account, elem, n, is_sum);
	else
		inc(err == -ENOENT ? &missed : &failed);
	return !err;
}

struct event {
	__u64 id, own_id;
	__u64 seq;
	__u32 account, random;
};

/*
 * Each event goes to two elements: 1 to the first, and some number to another, so that a
 * lost one here and a doubled one there do not make up for it.
 */
static __noinline int add_event(void *map, __u32 nr, struct event *e)
{
	__u32 elem = e->random, last;
	__s64 n = e->random >> 16 & 0xff;
	__u64 id;

	if (nr >= NR_EXACT_MAPS)
		return 0;
	last = nr == EXACT_group ? EXACT_CHECK : EXACT_SIZE / (kinds[nr].width == 8 ? 8 : 4);
	elem = 1 + elem % (last - 1);
	if (kinds[nr].is_signed)
		n -= 0x80;
	id = kinds[nr].is_flat ? e->own_id : e->id;
	if (kinds[nr].op != op_sum)
		n = e->seq;
	return add_elem(map, nr, e->account, id, 0, kinds[nr].op == op_sum ? 1 : e->seq) +
	       add_elem(map, nr, e->account, id, elem, n);
}

/* The map that user space knows by its number. Flags go round fastest. */
static __always_inline void *find_map(__u32 nr)
{
	__u32 nth = nr / 4;

	switch (nr % 4) {
	case 0:
		return bpf_map_lookup_elem(&plain, &nth);
	case 1:
		return bpf_map_lookup_elem(&shared, &nth);
	case 2:
		return bpf_map_lookup_elem(&flat, &nth);
	default:
		return bpf_map_lookup_elem(&both, &nth);
	}
}

static __noinline int add_event_to_focus(struct event *e)
{
	__u32 nr = focus;
	void *map;

	map = find_map(nr);
	return map ? add_event(map, nr, e) : 0;
}

#define ADD_EVENT(t, op, how, flags) \
	add_event(&t##_##op##_##how, EXACT_NR(t, op, how, flags), &e) +

/*
 * To all maps. @id may be 0: then the event may count for an ancestor, which is the same
 * account, but another entry. Where that matters @own_id is the one, or none.
 */
__noinline int add_to_all(__u32 kind, __u32 account, __u64 id, __u64 own_id)
{
	struct event e = { .id = id, .own_id = own_id, .account = account };
	int n = 0;

	if (kind >= NR_KINDS)
		return 0;
	e.seq = __sync_fetch_and_add(&last_seq, 1) + 1;
	e.random = bpf_get_prandom_u32();
	if (few)
		n = add_event_to_focus(&e);
	else
		n = EXACT_MAPS(ADD_EVENT) 0;
	n += add_event(&group, EXACT_group, &e);
	__sync_fetch_and_add(&added[kind], n);
	return 0;
}

/* 1 to a sum, sample @seq to others. */
static __always_inline bool add_nth(void *map, __u32 nr, __u32 account, __u64 id, __u32 elem,
				    __u64 seq)
{
	if (nr >= NR_EXACT_MAPS)
		return false;
	return add_elem(map, nr, account, id, elem, kinds[nr].op == op_sum ? 1 : seq);
}

/* Global: the verifier looks at it once, and not once for each way to get there. */
__noinline int add_nth_to_common(__u32 nr, __u32 elem, __u64 seq)
{
	void *map = find_map(nr);

	return map && add_nth(map, nr, EXACT_COMMON, common, elem, seq);
}

/* To the elements of the cgroup that all have in common, in one map: @nr. */
static __noinline int add_to_common(__u32 nr, __u64 seq)
{
	__u32 i, n = 0;

	if (!find_map(nr))
		return -ENOENT;
	for (i = 0; i < EXACT_WORDS; i++)
		n += add_nth_to_common(nr, i, seq);
	return n;
}

static __always_inline void add_by_id(__u32 kind)
{
	__u32 nr = bpf_get_prandom_u32() % EXACT_SLOTS;
	__u64 id = slots[nr].id;

	if (id)
		add_to_all(kind, slots[nr].account, id, id);
}

/* For tasks in the tree only. */
static __always_inline void add_to_current(__u32 kind)
{
	__u64 id = bpf_get_current_cgroup_id(), up;
	__u32 *account, below = 0;
	int i;

	account = bpf_map_lookup_elem(&accounts, &id);
	for (i = 2; !account && i >= 0; i--) {
		up = bpf_get_current_ancestor_cgroup_id(level + i);
		account = bpf_map_lookup_elem(&accounts, &up);
		below = EXACT_BELOW;
	}
	if (account)
		add_to_all(kind, *account + below, 0, id);
}

static __always_inline void add_to_slot(__u32 kind, __u32 slot)
{
	struct event e = {};

	e.id = slots[slot].id;
	if (!e.id)
		return;
	e.own_id = e.id;
	e.account = slots[slot].account;
	e.seq = __sync_fetch_and_add(&last_seq, 1) + 1;
	e.random = bpf_get_prandom_u32();
	__sync_fetch_and_add(&added[kind], add_event_to_focus(&e));
}

static __always_inline void add_to_focus(__u32 kind)
{
	add_to_slot(kind, bpf_get_prandom_u32() % EXACT_SLOTS);
}

static __always_inline bool one_in(__u32 n)
{
	return bpf_get_prandom_u32() % n == 0;
}

/* --- in process context --- */

static int add_one(__u64 i, void *ctx)
{
	if (i == 0)
		add_by_id(KIND_SYSCALL);
	else
		add_to_focus(KIND_SYSCALL);
	return 0;
}

SEC("syscall")
int burst(__u64 *args)
{
	bpf_loop(args[0], add_one, NULL, 0);
	return 0;
}

SEC("fentry.s/" SYS_PREFIX "sys_getpgid")
int on_getpgid(void *ctx)
{
	add_to_current(KIND_SLEEPABLE);
	return 0;
}

SEC("tp_btf/sys_enter")
int on_sys_enter(void *ctx)
{
	add_to_current(KIND_TASK);
	return 0;
}

/* Under the runqueue's lock; of tasks that exit, the last thing that they do. */
SEC("tp_btf/sched_switch")
int on_switch(void *ctx)
{
	add_to_current(KIND_SWITCH);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int on_exit(void *ctx)
{
	add_to_current(KIND_EXIT);
	return 0;
}

/* Out of its cgroup, which may have gone */
SEC("fentry/flush_ptrace_hw_breakpoint")
int after_exit(void *ctx)
{
	add_to_current(KIND_EXIT);
	return 0;
}

SEC("tp_btf/cgroup_mkdir")
int on_mkdir(void *ctx)
{
	add_by_id(KIND_MKDIR);
	return 0;
}

/* --- in interrupts --- */

/* A total of x, which others may be about to write. */
static __always_inline void look_at_x(__u32 kind)
{
	volatile __u64 *last = &last_look[this_slot()];
	__u64 id = slots[0].id, before = *last, now;
	struct u64_sum *value;

	value = bpf_map_lookup_elem(&u64_sum_plain, &id);
	if (!value) {
		inc(&failed);
		return;
	}
	now = *(volatile __u64 *)&value->n[0];
	if (now < before || now >> 32 != (__u32)now)
		inc(&bad_looks);
	*last = now;
	inc(&looks[kind]);
}

static int on_timer(void *map, __u32 *key, struct timer *timer)
{
	add_by_id(KIND_SOFTIRQ);
	add_to_current(KIND_SOFTIRQ);
	if (!stop)
		bpf_timer_start(&timer->timer, period, BPF_F_TIMER_CPU_PIN);
	return 0;
}

SEC("syscall")
int start_timer(__u64 *args)
{
	__u32 key = args[0];
	struct timer *timer;

	timer = bpf_map_lookup_elem(&timers, &key);
	if (!timer)
		return -ENOENT;
	return bpf_timer_init(&timer->timer, &timers, 1 /* CLOCK_MONOTONIC */) ?:
	       bpf_timer_set_callback(&timer->timer, on_timer) ?:
	       bpf_timer_start(&timer->timer, period, BPF_F_TIMER_CPU_PIN);
}

SEC("syscall")
int cancel_timer(__u64 *args)
{
	__u32 key = args[0];
	struct timer *timer;

	timer = bpf_map_lookup_elem(&timers, &key);
	return timer ? bpf_timer_cancel(&timer->timer) : -ENOENT;
}

SEC("perf_event")
int on_clock(void *ctx)
{
	add_by_id(KIND_HARDIRQ);
	add_to_current(KIND_HARDIRQ);
	/* Whose program it interrupts may be about to add to the same element. */
	add_to_common(bpf_get_prandom_u32() % EXACT_group,
		      __sync_fetch_and_add(&last_seq, 1) + 1);
	look_at_x(KIND_HARDIRQ);
	return 0;
}

static int add_to_nth_slot(__u64 i, void *ctx)
{
	add_to_slot(KIND_NMI, i % EXACT_SLOTS);
	return 0;
}

/* NMIs are few. One of these adds is likely to be to the element that it interrupts. */
static __always_inline void in_nmi(void)
{
	add_by_id(KIND_NMI);
	add_to_current(KIND_NMI);
	bpf_loop(EXACT_SLOTS, add_to_nth_slot, NULL, 0);
	look_at_x(KIND_NMI);
}

SEC("perf_event")
int on_nmi(void *ctx)
{
	in_nmi();
	return 0;
}

/* The NMIs of user space's making, where there is no PMU: a tracepoint within them */
SEC("raw_tp")
int on_nmi_handler(void *ctx)
{
	in_nmi();
	return 0;
}

/* User space has it interrupt other CPUs. */
SEC("raw_tp")
int on_ipi(void *ctx)
{
	add_by_id(KIND_IPI);
	return 0;
}

/* --- in the flush --- */

/* Now and then, so that the flush gets on, and mostly to one map. */
static __always_inline void add_in_flush(__u32 kind)
{
	if (one_in(64))
		add_by_id(kind);
	else if (one_in(4))
		add_to_focus(kind);
}

/* Tracepoints of rstat's locks. */
SEC("raw_tp")
int on_rstat(void *ctx)
{
	add_in_flush(KIND_RSTAT);
	return 0;
}

SEC("fentry/cgroup_stats_rstat_queue")
int on_queue(void *ctx)
{
	add_in_flush(KIND_QUEUE);
	return 0;
}

SEC("?fentry/__cgroup_rstat_updated")
int on_updated(void *ctx)
{
	add_in_flush(KIND_QUEUE);
	return 0;
}

SEC("fentry/bpf_rstat_flush")
int on_flush(void *ctx)
{
	add_in_flush(KIND_FLUSH);
	return 0;
}

SEC("fexit/__bpf_cgroup_stats_fold")
int on_fold(void *ctx)
{
	add_in_flush(KIND_FOLD);
	return 0;
}

/* --- aggregators, which fold as the kernel does --- */

const u8 *bpf_cgroup_stats_fold_ro(struct bpf_cgroup_stats_fold *fold, void *p__map, u32 which,
				   const u32 rdonly_buf_size) __ksym;
u8 *bpf_cgroup_stats_fold_rw(struct bpf_cgroup_stats_fold *fold, void *p__map, u32 which,
			     const u32 rdwr_buf_size) __ksym;

#define RO(f, map, which) \
	((const struct exact_value *)bpf_cgroup_stats_fold_ro(f, map, which, EXACT_SIZE))
#define RW(f, map, which) \
	((struct exact_value *)bpf_cgroup_stats_fold_rw(f, map, which, EXACT_SIZE))

/* Folds by each of the aggregators; under the flush lock, so one at a time. */
__u64 folds[5];

/* The first @nr elements; their sum. */
static __always_inline __u64 add_up(struct bpf_cgroup_stats_fold *f, void *map, int nr)
{
	const struct exact_value *now, *prev, *pending;
	struct exact_value *total, *parent;
	__u64 delta, sum = 0;
	int i;

	now = RO(f, map, BPF_CGROUP_STATS_NOW);
	prev = RO(f, map, BPF_CGROUP_STATS_PREV);
	pending = RO(f, map, BPF_CGROUP_STATS_PENDING);
	total = RW(f, map, BPF_CGROUP_STATS_TOTAL);
	parent = RW(f, map, BPF_CGROUP_STATS_PARENT);
	if (!now || !prev || !pending || !total) {
		inc(&failed);
		return 0;
	}
	for (i = 0; i < nr; i++) {
		delta = now->n[i] - prev->n[i] + pending->n[i];
		total->n[i] += delta;
		sum += total->n[i];
		if (parent)
			parent->n[i] += delta;
	}
	return sum;
}

SEC("struct_ops/fold")
int BPF_PROG(fold_first, struct bpf_cgroup_stats_fold *f)
{
	folds[0]++;
	add_up(f, &u64_sum_plain, EXACT_WORDS);
	return 0;
}

SEC("struct_ops/fold")
int BPF_PROG(fold_second, struct bpf_cgroup_stats_fold *f)
{
	folds[1]++;
	add_up(f, &u64_sum_plain, EXACT_WORDS);
	return 0;
}

/* What is added here is for the next flush, or for whoever folds then. */
SEC("struct_ops/fold")
int BPF_PROG(fold_third, struct bpf_cgroup_stats_fold *f)
{
	__u64 id = f->cgroup_id;
	__u32 *account;

	folds[2]++;
	account = bpf_map_lookup_elem(&accounts, &id);
	if (account && add_elem(&u64_sum_plain, EXACT_u64_sum_plain, *account, id, 0, 1))
		inc(&added[KIND_AGGREGATOR]);
	add_up(f, &u64_sum_plain, EXACT_WORDS);
	return 0;
}

/* Readers get all elements as of one instant: the last one always fits. */
static __always_inline void fold_group(struct bpf_cgroup_stats_fold *f)
{
	struct exact_value *total = RW(f, &group, BPF_CGROUP_STATS_TOTAL);
	__u64 sum = add_up(f, &group, EXACT_CHECK);

	if (total)
		total->n[EXACT_CHECK] = sum;
}

SEC("struct_ops/fold")
int BPF_PROG(fold_group_first, struct bpf_cgroup_stats_fold *f)
{
	folds[3]++;
	fold_group(f);
	return 0;
}

SEC("struct_ops/fold")
int BPF_PROG(fold_group_second, struct bpf_cgroup_stats_fold *f)
{
	folds[4]++;
	fold_group(f);
	return 0;
}

#define DEFINE_OPS(name)						\
SEC(".struct_ops.link")							\
struct bpf_cgroup_stats_ops name##_ops = {				\
	.value_size = EXACT_SIZE,					\
	.fold = (void *)name,						\
}

DEFINE_OPS(fold_first);
DEFINE_OPS(fold_second);
DEFINE_OPS(fold_third);
DEFINE_OPS(fold_group_first);
DEFINE_OPS(fold_group_second);

/* --- writers, each of which reads at once what it has written --- */

/*
 * To each leaf of a writer, in two elements. None is added to again in this burst, so that
 * a mark that was lost stays lost. Returns how many there were; the number of the sample
 * is what the maxima must show.
 */
SEC("raw_tp")
int burst_leaves(__u64 *args)
{
	__u32 writer = args[0], nr = args[1], i, added = 0;
	__u64 seq = args[2];
	void *map;

	map = find_map(nr);
	if (!map || writer >= EXACT_WRITERS)
		return -ENOENT;
	for (i = 0; i < EXACT_LEAVES; i++)
		added += add_nth(map, nr, EXACT_BELOW, leaves[writer * EXACT_LEAVES + i], 0,
				 seq);
	for (i = 0; i < EXACT_LEAVES; i++)
		added += add_nth(map, nr, EXACT_BELOW, leaves[writer * EXACT_LEAVES + i], 1,
				 seq);
	return added;
}

struct samples {
	__u64 seq;
	__u32 nr, added;
};

static int add_sample(__u64 i, struct samples *samples)
{
	samples->added += add_to_common(samples->nr, samples->seq + i);
	return 0;
}

/* To the map @args[0], @args[2] samples from @args[1] on. */
SEC("raw_tp")
int burst_common(__u64 *args)
{
	struct samples samples = { .nr = args[0], .seq = args[1] };

	bpf_loop(args[2], add_sample, &samples, 0);
	return samples.added;
}

/* --- maps that come and go --- */

/* Returns how many were added to the map with the number @args[0]. */
SEC("syscall")
int burst_passing(__u64 *args)
{
	__u32 nr = args[0], i, added = 0;
	void *map;

	map = bpf_map_lookup_elem(&passing, &nr);
	if (!map)
		return -ENOENT;
	for (i = 0; i < EXACT_PASSING; i++)
		added += !bpf_cgroup_stats_add(map, args[1], 0, 1, 0);
	return added;
}

/* --- readers --- */

/* A call for each map, which the compiler must not merge: else they would not flush. */
#define LOOK(t, op, how, flags)						\
	case EXACT_NR(t, op, how, flags):				\
		value = bpf_map_lookup_elem(&t##_##op##_##how, &id);	\
		asm volatile("%0 = %0 # " #t #op #how : "+r"(value));	\
		break;

SEC("syscall")
int look(__u64 *args)
{
	__u32 nr = args[0], reader = args[2], i;
	__u64 id = args[1];
	__u64 *value = NULL;

	switch (nr) {
	EXACT_MAPS(LOOK)
	case EXACT_group:
		value = bpf_map_lookup_elem(&group, &id);
		break;
	}
	if (!value || reader >= EXACT_READERS)
		return -ENOENT;
	for (i = 0; i < EXACT_WORDS; i++)
		seen[reader].n[i] = ((volatile __u64 *)value)[i];
	return 0;
}

/* Any map: ids and values as they are. */
SEC("iter/bpf_map_elem")
int dump(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *key = ctx->key;
	void *value = ctx->value;

	if (!key || !value)
		return 0;
	bpf_seq_write(ctx->meta->seq, key, sizeof(*key));
	bpf_seq_write(ctx->meta->seq, value, EXACT_SIZE);
	return 0;
}
