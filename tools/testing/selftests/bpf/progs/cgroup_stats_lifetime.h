/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_LIFETIME_H
#define __CGROUP_STATS_LIFETIME_H

#define LIFETIME_ELEMS	64	/* a power of two */
#define LIFETIME_MAPS	4	/* a power of two */
#define LIFETIME_IDS	4096
#define LIFETIME_BOTH	0x100	/* in a cookie: add to both maps */

struct lifetime_value {
	__u64 n[LIFETIME_ELEMS];
};

/* Adds that programs began, and those of them that succeeded: at most and at least. */
struct lifetime_count {
	__u64 began;
	__u64 told;
};

#endif
