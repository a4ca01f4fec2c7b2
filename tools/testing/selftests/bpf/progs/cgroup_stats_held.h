/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGROUP_STATS_HELD_H
#define __CGROUP_STATS_HELD_H

/* How far a test is. Each stage is begun by another party than the one before. */
enum held_stage {
	HELD_NOT,	/* nobody has anything yet */
	HELD,		/* somebody has, and waits; or has begun to free a map */
	HELD_GONE,	/* nothing else keeps it; or a flusher has the map, and waits */
	HELD_FREED,	/* the map is freed */
};

#endif
