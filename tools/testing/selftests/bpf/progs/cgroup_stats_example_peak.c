// SPDX-License-Identifier: GPL-2.0
/*
 * How much read() gets at once, at most and at least, in each cgroup: whoever reads in
 * tiny pieces shows. An example of Documentation/bpf/map_cgroup_stats.rst.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

/*
 * Elements of 4 bytes: no read() gets 2 GiB. @largest is 0 before the first read(), and
 * after one at the end of a file as well: @reads tells which.
 */
struct sizes {
	__u32 reads;
	__u32 largest __cgroup_stats_max;
	__u32 smallest __cgroup_stats_min;
};

/* map_extra, the root of the subtree, is set before the program is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct sizes);
} sizes SEC(".maps");

SEC("fexit/vfs_read")
int BPF_PROG(count_read, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t ret)
{
	if (ret < 0)
		return 0;
	bpf_cgroup_stats_add(&sizes, 0, bpf_cgroup_stats_index(struct sizes, reads), 1, 0);
	bpf_cgroup_stats_add(&sizes, 0, bpf_cgroup_stats_index(struct sizes, largest), ret, 0);
	bpf_cgroup_stats_add(&sizes, 0, bpf_cgroup_stats_index(struct sizes, smallest), ret, 0);
	return 0;
}
