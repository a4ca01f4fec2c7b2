// SPDX-License-Identifier: GPL-2.0
/* The example of Documentation/bpf/map_cgroup_stats.rst */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char _license[] SEC("license") = "GPL";

struct example_stats {
	__u64 faults;	/* element 0 */
	__u64 written;	/* element 1 */
};

/* map_extra, the root of the subtree, is set before the program is loaded. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STATS);
	__type(key, __u64);
	__type(value, struct example_stats);
} stats SEC(".maps");

/* Page faults; one that has to be retried counts when it is complete. */
SEC("fexit/handle_mm_fault")
int BPF_PROG(count_fault, struct vm_area_struct *vma, unsigned long address,
	     unsigned int flags, struct pt_regs *regs, vm_fault_t ret)
{
	if (!(ret & VM_FAULT_RETRY))
		bpf_cgroup_stats_add(&stats, 0,
				     bpf_cgroup_stats_index(struct example_stats, faults), 1, 0);
	return 0;
}

/* Bytes written by write() */
SEC("fexit/vfs_write")
int BPF_PROG(count_written, struct file *file, const char *buf, size_t count,
	     loff_t *pos, ssize_t ret)
{
	if (ret > 0)
		bpf_cgroup_stats_add(&stats, 0,
				     bpf_cgroup_stats_index(struct example_stats, written), ret, 0);
	return 0;
}
