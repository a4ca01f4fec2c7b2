/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __CGSTAT_H
#define __CGSTAT_H

/* What is counted: the value of the map, so every member is one element of it. */
struct cgstat {
	__u64 pgfault;
	__u64 written;
	__u64 forks;
};

#endif /* __CGSTAT_H */
