// SPDX-License-Identifier: GPL-2.0
/*
 * How long the core of an add takes, natively and in user space: where instructions are
 * counted a fence is one of them, and here it is not. A thread is a CPU: it adds to a value
 * of its own, and tells a flusher, who is not there most of the time, by
 *
 *	nothing		no flusher would find it
 *	marks		four stores with release order: the map's way
 *	list		a full fence, then a test whether it is on a lockless list: the least that
 *			loses nothing by a list
 *	late		the same without the fence: rstat's way, where a flush may miss an add that
 *			has returned, until there is another
 *	lock		a lock of the CPU's own around the test and the value
 *	shared		nothing, and all add to one value, atomically: BPF_F_NO_PERCPU
 *
 * cc -O2 -pthread native.c && ./a.out: way, threads, and ns per add, with tabs between.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NR_ADDS		50000000
#define NR_ROUNDS	5
#define NR_CPUS		2
#define ALIGNED		__attribute__((aligned(128)))

struct cpu {
	_Atomic uint64_t running ALIGNED;
	_Atomic uint8_t line_mark;
	_Atomic uint8_t cgrp_mark ALIGNED;
	_Atomic uint8_t group_mark ALIGNED;
	_Atomic uint8_t cpu_mark ALIGNED;
	_Atomic uintptr_t node ALIGNED;
	atomic_flag lock ALIGNED;
};

static struct cpu cpus[NR_CPUS];
static _Atomic uint64_t shared ALIGNED;
static _Atomic uintptr_t head ALIGNED;

/* As on one CPU: an interrupt may come between any two instructions, but not within one. */
static inline void add(struct cpu *cpu, uint64_t value)
{
#ifdef __x86_64__
	asm volatile("addq %1, %0" : "+m" (*(uint64_t *)&cpu->running) : "r" (value));
#else
	atomic_fetch_add_explicit(&cpu->running, value, memory_order_relaxed);
#endif
}

static inline void by_nothing(struct cpu *cpu)
{
	add(cpu, 1);
}

static inline void by_marks(struct cpu *cpu)
{
	add(cpu, 1);
	atomic_store_explicit(&cpu->line_mark, 1, memory_order_release);
	atomic_store_explicit(&cpu->cgrp_mark, 1, memory_order_release);
	atomic_store_explicit(&cpu->group_mark, 1, memory_order_release);
	atomic_store_explicit(&cpu->cpu_mark, 1, memory_order_release);
}

static inline void put_on_list(struct cpu *cpu)
{
	uintptr_t off = 0;

	if (atomic_load_explicit(&cpu->node, memory_order_relaxed))
		return;
	if (atomic_compare_exchange_strong(&cpu->node, &off, 1))
		atomic_store(&cpu->node, atomic_exchange(&head, (uintptr_t)&cpu->node) | 1);
}

static inline void by_list(struct cpu *cpu)
{
	add(cpu, 1);
	atomic_thread_fence(memory_order_seq_cst);
	put_on_list(cpu);
}

static inline void by_late(struct cpu *cpu)
{
	add(cpu, 1);
	put_on_list(cpu);
}

static inline void by_lock(struct cpu *cpu)
{
	while (atomic_flag_test_and_set_explicit(&cpu->lock, memory_order_acquire))
		;
	add(cpu, 1);
	if (!atomic_load_explicit(&cpu->node, memory_order_relaxed))
		atomic_store_explicit(&cpu->node, 1, memory_order_relaxed);
	atomic_flag_clear_explicit(&cpu->lock, memory_order_release);
}

static inline void by_shared(struct cpu *cpu)
{
	atomic_fetch_add_explicit(&shared, 1, memory_order_relaxed);
}

#define WAY(way)						\
static void *way##_adds(void *cpu)				\
{								\
	int i;							\
								\
	for (i = 0; i < NR_ADDS; i++)				\
		by_##way(cpu);					\
	return NULL;						\
}

WAY(nothing)
WAY(marks)
WAY(list)
WAY(late)
WAY(lock)
WAY(shared)

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

/* The best round: others have the machine too. */
static double measure(void *(*adds)(void *), int nr_threads)
{
	pthread_t threads[NR_CPUS];
	double begin, ns, best = 1e99;
	int i, round;

	for (round = 0; round < NR_ROUNDS; round++) {
		begin = now();
		for (i = 0; i < nr_threads; i++) {
			if (pthread_create(&threads[i], NULL, adds, &cpus[i]))
				exit(1);
		}
		for (i = 0; i < nr_threads; i++)
			pthread_join(threads[i], NULL);
		ns = (now() - begin) / NR_ADDS;
		if (ns < best)
			best = ns;
	}
	return best;
}

int main(void)
{
	static const struct {
		const char *name;
		void *(*adds)(void *cpu);
	} ways[] = {
		{ "nothing", nothing_adds },
		{ "marks", marks_adds },
		{ "list", list_adds },
		{ "late", late_adds },
		{ "lock", lock_adds },
		{ "shared", shared_adds },
	};
	unsigned int i;
	int n;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		for (n = 1; n <= NR_CPUS; n++)
			printf("%s\t%d\t%.2f\n", ways[i].name, n, measure(ways[i].adds, n));
	}
	return 0;
}
