/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol of kernel/bpf/cgroup_stats_map.c: adders that set marks without a lock
 * or a fence, flushers that take them, a cgroup that appears, and one that goes.
 *
 * Children A and B of a parent P share a group of marks, or, APART, have one each. Each
 * CPU has a store buffer: stores become visible one by one, in any order but for those
 * to one place, and a release only after all that were issued before it. An interrupt
 * may add between any two steps of an add. [A] to [E] are the pairs of the file's
 * opening comment.
 *
 * Checked: a flush counts every add of which it had heard when it began (promise 2),
 * and in the end, after a last flush, every add was counted once in its cgroup and once
 * in each of its parents (promise 1). The macros in capitals that are not defined here break one rule
 * each: model/check lists them.
 */
#ifndef CPUS
#define CPUS 1		/* on which something is added */
#endif
#ifndef FLUSHERS
#define FLUSHERS 1	/* besides the last flush */
#endif
#ifndef INTERRUPTS
#define INTERRUPTS 1	/* on each CPU */
#endif

#define A 0
#define B 1
#define P 2
#define G 3

/* DEEP: P has a parent G, and there are flushers of A and of P as well. */
#ifdef DEEP
#define TOP G
#else
#define TOP P
#endif

/* Places that a CPU's adders store to. */
#define RUNNING 0	/* and B's */
#define LINE 2
#define CGRP 4
#define GROUP 6		/* and, APART, B's */
#define OF_CPU 8
#define HEARD 9		/* the adds that are over, in a message to flushers */
#define PLACES 10

#define BUFFER 18

typedef cpu_state {
	byte mem[PLACES];		/* as others see them */
	byte running[2];		/* as the CPU itself does */
	byte n;				/* the store buffer, oldest first */
	byte place[BUFFER];
	byte value[BUFFER];
	bit release[BUFFER];
	byte over[2];			/* adds that have returned */
	bit interrupted;
	/* the flusher's own, under the lock */
	byte folded[2];
	bit up_line, top_line;		/* the marks of P's and G's lines, to which nobody adds */
	bit tree[4];			/* rstat's, of cgroups to visit */
};

cpu_state cpus[CPUS];
bit locked;
byte total[4], pending, top_pending;
byte adding;			/* adders that are not done: also an RCU reader each */
byte flushing;

/* A cgroup's life. A is there from the start unless it is PUBLISHed or RELEASEd. */
#ifdef PUBLISH
bit number, entries, adders;
#else
bit number = 1, entries = 1, adders = 1;
#endif
bit freed;
/* CLOSED: the map goes, and with it what was counted; the marks stay. */
#ifdef CLOSED
#define counts(condition) true
#else
#define counts(condition) (condition)
#endif

#define c cpus[cpu]

#ifdef APART
#define group_of(g) (GROUP + (g))
#else
#define group_of(g) GROUP
#endif

/* Where a place is: without per-CPU arrays all CPUs have one array and its marks. */
#ifdef SHARED
#define at(p) cpus[((p) < CGRP -> 0 : cpu)].mem[p]
#define folded_of(g) cpus[0].folded[g]
#else
#define at(p) c.mem[p]
#define folded_of(g) c.folded[g]
#endif

/* --- memory --- */

inline store(p, v, r) {
	d_step {
		assert(c.n < BUFFER);
		c.place[c.n] = p;
		c.value[c.n] = v;
		c.release[c.n] = r;
		c.n++;
	}
}

/* May the store at @i become visible? */
inline may_commit(i) {
	j = 0;
	ok = i < c.n;
	do
	:: j < i && ok ->
		ok = !c.release[i] && c.place[j] != c.place[i];
		j++
	:: else -> break
	od
}

inline commit(i) {
	at(c.place[i]) = c.value[i];
	j = i;
	do
	:: j + 1 < c.n ->
		c.place[j] = c.place[j + 1];
		c.value[j] = c.value[j + 1];
		c.release[j] = c.release[j + 1];
		j++
	:: else -> break
	od;
	c.n--;
	c.place[c.n] = 0;
	c.value[c.n] = 0;
	c.release[c.n] = 0;
	j = 0
}

/* One store becomes visible, whichever. */
proctype buffer(byte cpu)
{
	byte i, j;
	bool ok;

end:	do
	:: atomic {
		c.n > 0 ->
		i = 0;
		do
		:: i + 1 < c.n -> i++
		:: break
		od;
		may_commit(i);
		if
		:: ok -> commit(i)
		:: else
		fi;
		i = 0; ok = false
	   }
	od
}

/* --- add --- */

#ifndef RELEASE_LINE
#define RELEASE_LINE 1
#endif
#ifndef RELEASE_CGRP
#define RELEASE_CGRP 1
#endif
#ifndef RELEASE_GROUP
#define RELEASE_GROUP 1
#endif
#ifndef RELEASE_OF_CPU
#define RELEASE_OF_CPU 1
#endif

/* Does the CPU see a mark at @p? Its own stores first. */
inline seen(p, result) {
	d_step {
		result = at(p);
		k = 0;
		do
		:: k < c.n ->
			if
			:: c.place[k] == p -> result = c.value[k]
			:: else
			fi;
			k++
		:: else -> break
		od;
		k = 0
	}
}

/* 255: never test a mark before it is set */
#ifndef TEST
#define TEST 255
#endif

/* Of these steps none is taken while an interrupt is on the CPU: @mine. */
inline mark(p, r, mine) {
	set = 0;
	if
	:: TEST == p || (p == CGRP + B && TEST == CGRP) || (p == LINE + B && TEST == LINE) ->
		atomic { mine -> seen(p, set) }
	:: else
	fi;
	if
	:: !set -> atomic { mine -> store(p, 1, r) }
	:: else
	fi;
	set = 0
}

inline sum(g, mine) {
#ifdef SHARED
#ifdef NOT_ATOMIC
	atomic { mine -> k = at(RUNNING + g) };
	atomic { mine -> at(RUNNING + g) = k + 1; k = 0 }
#else
	atomic { mine -> at(RUNNING + g) = at(RUNNING + g) + 1 }
#endif
#else
	atomic {
		mine ->
		c.running[g]++;
		store(RUNNING + g, c.running[g], 0)
	}
#endif
}

inline add(g, mine) {
#ifdef LINE_FIRST
	mark(LINE + g, RELEASE_LINE, mine);
	sum(g, mine);
#else
	sum(g, mine);
#ifndef LINE_LATE
	mark(LINE + g, RELEASE_LINE, mine);
#endif
#endif
#ifdef OF_CPU_EARLY
	mark(OF_CPU, RELEASE_OF_CPU, mine);
#endif
#ifdef GROUP_FIRST
	mark(group_of(g), RELEASE_GROUP, mine);
	mark(CGRP + g, RELEASE_CGRP, mine);
#else
	mark(CGRP + g, RELEASE_CGRP, mine);
	mark(group_of(g), RELEASE_GROUP, mine);
#endif
#ifndef OF_CPU_EARLY
	mark(OF_CPU, RELEASE_OF_CPU, mine);
#endif
#ifdef LINE_LATE
	mark(LINE + g, RELEASE_LINE, mine);
#endif
	atomic {
		mine ->
		c.over[g]++;
		store(HEARD, c.over[A] * 16 + c.over[B], 1)
	}
}

/* RCU's grace periods order memory: who waited for an adder sees all that it stored. */
inline adder_ends() { atomic { c.n == 0 -> adding-- } }

proctype task(byte cpu)
{
	byte k;
	bit set;

	if
	:: atomic { !c.interrupted && adders } -> add(A, !c.interrupted)
	:: atomic { !c.interrupted && !adders }
	fi;
	adder_ends()
}

proctype interrupt(byte cpu)
{
	byte k;
	bit set;

	atomic { !c.interrupted -> c.interrupted = 1 }
	if
	:: add(B, true)
	:: adders -> add(A, true)
	fi;
	c.interrupted = 0;
	adder_ends()
}

/* --- flush --- */

inline lock() { atomic { !locked -> locked = 1 } }
inline unlock() { locked = 0 }

inline queue(g) {
	d_step {
		/* An empty number leads nowhere. */
		if
		:: g == A && !number
		:: else ->
			assert(!(g == A && freed));
			c.tree[g] = 1;
			c.tree[P] = 1;
			c.tree[TOP] = 1;
		fi
	}
}

/* Half-way: whoever gets the lock now must not pass by the groups that are still to come. */
inline drop_lock() {
#ifndef NOT_PUT_BACK
	c.mem[OF_CPU] = 1;
#endif
	unlock();
	lock()
}

inline take_group(g) {
	d_step {
		d = c.mem[group_of(g)];
#ifndef CGRP_FIRST
		c.mem[group_of(g)] = 0
#endif
	}
}

/* [D], then [C]: a word of marks at once. */
inline drain_groups() {
	take_group(A);
	if
	:: d ->
		d_step {
			a = c.mem[CGRP + A];
			c.mem[CGRP + A] = 0;
#ifndef APART
			b = c.mem[CGRP + B];
			c.mem[CGRP + B] = 0
#endif
		}
#ifdef CGRP_FIRST
		c.mem[GROUP] = 0
#endif
	:: else
	fi;
	if
	:: a -> queue(A)
	:: else
	fi;
#ifdef DROP_WITHIN_GROUP
	drop_lock();
#endif
#ifdef APART
	if
	:: d -> drop_lock()
	:: else
	fi;
	take_group(B);
	if
	:: d -> d_step { b = c.mem[CGRP + B]; c.mem[CGRP + B] = 0 }
	:: else
	fi;
#endif
	if
	:: b -> queue(B)
	:: else
	fi;
	if
	:: d -> drop_lock()
	:: else
	fi
}

/* [E] first: where it is not set, nothing else is looked at. */
inline drain() {
	d_step {
		d = c.mem[OF_CPU];
#ifndef OF_CPU_LAST
		c.mem[OF_CPU] = 0
#endif
	}
	if
	:: d ->
		drain_groups();
#ifdef OF_CPU_LAST
		c.mem[OF_CPU] = 0
#endif
	:: else
	fi;
	d_step { a = 0; b = 0; d = 0; }
}

/* [B], then [A] */
inline fold_child(g) {
#ifdef READ_FIRST
	now = at(RUNNING + g);
#endif
	d_step { d = at(LINE + g); at(LINE + g) = 0; }
#ifndef READ_FIRST
	if
	:: d -> now = at(RUNNING + g)
	:: else
	fi;
#endif
	d_step {
		if
		:: d && (g == B || entries) ->
			total[g] = total[g] + now - folded_of(g);
			pending = pending + now - folded_of(g);
			c.up_line = 1;
			folded_of(g) = now;
		:: else
		fi;
		d = 0; now = 0;
	}
}

inline fold_parent() {
	d_step {
		if
		:: c.up_line ->
			total[P] = total[P] + pending;
#ifdef DEEP
			top_pending = top_pending + pending;
#ifdef IDLE_STAYS
			c.top_line = c.top_line || pending;
#else
			c.top_line = 1;
#endif
#endif
			pending = 0;
			c.up_line = 0
		:: else
		fi
	}
}

inline fold_top() {
	d_step {
		if
		:: c.top_line ->
			total[G] = total[G] + top_pending;
			top_pending = 0;
			c.top_line = 0
		:: else
		fi
	}
}

/* rstat's visits on one CPU, children first. */
inline visit(root) {
#ifdef PARENT_FIRST
	if
	:: root >= P && c.tree[P] -> c.tree[P] = 0; fold_parent()
	:: else
	fi;
#endif
	if
	:: c.tree[A] -> c.tree[A] = 0; fold_child(A)
	:: else
	fi;
	if
	:: root >= P && c.tree[B] -> c.tree[B] = 0; fold_child(B)
	:: else
	fi;
	if
	:: root >= P && c.tree[P] -> c.tree[P] = 0; fold_parent()
	:: else
	fi;
	if
	:: root == G && c.tree[G] -> c.tree[G] = 0; fold_top()
	:: else
	fi
}

/* Between two CPUs the lock may be dropped. */
inline flush(root) {
	cpu = 0;
	do
	:: cpu < CPUS -> lock(); drain(); visit(root); unlock(); cpu++
	:: else -> break
	od;
	cpu = 0
}

inline hear() {
	d_step {
		cpu = 0;
		do
		:: cpu < CPUS ->
			heard_a = heard_a + c.mem[HEARD] / 16;
			heard_b = heard_b + c.mem[HEARD] % 16;
			cpu++
		:: else -> break
		od;
		cpu = 0
	}
}

proctype flusher()
{
	byte cpu, now, heard_a, heard_b;
	bit a, b, d;

	hear();
	flush(TOP);
	d_step {
		assert(counts(total[A] >= heard_a));
		assert(counts(total[B] >= heard_b));
		assert(counts(total[TOP] >= heard_a + heard_b));
		flushing--;
	}
}

/* Flushes a part, and has nothing to say of it. */
proctype partial(byte root)
{
	byte cpu, now;
	bit a, b, d;

	flush(root);
	flushing--
}

/* --- A comes and goes --- */

proctype maker()
{
#ifdef ADDERS_FIRST
	adders = 1; number = 1; entries = 1;
#else
#ifdef NUMBER_LAST
	entries = 1; adders = 1; number = 1;
#else
	number = 1; entries = 1; adders = 1;
#endif
#endif
	flushing--
}

proctype remover()
{
	byte cpu, now;
	bit a, b, d;

#ifdef CLOSED
	entries = 0;
#endif
	adders = 0;
#ifndef NO_GRACE_PERIOD
	adding == 0;
#endif
#if !defined(NO_FLUSH) && !defined(CLOSED)
#ifdef PRIVATE_FOLD
	lock();
	do
	:: cpu < CPUS -> fold_child(A); cpu++
	:: else -> break
	od;
	cpu = 0;
	c.tree[P] = 1;
	unlock();
#else
	flush(A);
#endif
#endif
	lock();
#ifndef NUMBER_STAYS
	number = 0;
#endif
	entries = 0;
	unlock();
	freed = 1;
	flushing--
}

init {
	byte cpu, now, heard_a, heard_b, i;
	bit a, b, d;

	atomic {
		do
		:: cpu < CPUS ->
			run buffer(cpu);
			adding++;
			run task(cpu);
			i = 0;
			do
			:: i < INTERRUPTS -> adding++; run interrupt(cpu); i++
			:: else -> break
			od;
			cpu++
		:: else -> break
		od;
		cpu = 0;
		i = 0;
		do
		:: i < FLUSHERS -> flushing++; run flusher(); i++
		:: else -> break
		od;
		i = 0;
#ifdef DEEP
		flushing = flushing + 2;
		run partial(A);
		run partial(P);
#endif
#ifdef PUBLISH
		flushing++;
		run maker();
#endif
#ifdef RELEASE
		flushing++;
		run remover();
#endif
	}
	adding == 0 && flushing == 0;
	hear();
	flush(TOP);
	d_step {
		assert(counts(total[A] == heard_a));
		assert(counts(total[B] == heard_b));
		assert(counts(total[P] == heard_a + heard_b));
		assert(counts(total[TOP] == heard_a + heard_b));
	}
}
