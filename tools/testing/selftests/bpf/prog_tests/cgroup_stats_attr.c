// SPDX-License-Identifier: GPL-2.0
/* What maps of cgroup stats can be made of, and for which cgroups. */
#define _GNU_SOURCE
#include <sys/mount.h>
#include <linux/capability.h>
#include "cap_helpers.h"
#include "cgroup_stats_map_helpers.h"

/* --- what is refused --- */

static void test_attributes(void)
{
	static const struct {
		const char *name;
		__u32 key_size, value_size, max_entries, flags;
		int err;
	} cases[] = {
		{ "as it should be", 8, 16, 0, 0, 0 },
		{ "no key", 0, 16, 0, 0, -EINVAL },
		{ "key of 4 bytes", 4, 16, 0, 0, -EINVAL },
		{ "key of 16 bytes", 16, 16, 0, 0, -EINVAL },
		{ "no value", 8, 0, 0, 0, -EINVAL },
		{ "value of 1 byte", 8, 1, 0, 0, -EINVAL },
		{ "value of 6 bytes", 8, 6, 0, 0, -EINVAL },
		{ "value of 7 bytes", 8, 7, 0, 0, -EINVAL },
		{ "value of 9 bytes", 8, 9, 0, 0, -EINVAL },
		{ "value of 17 bytes", 8, 17, 0, 0, -EINVAL },
		{ "value of a quarter of its type", 8, 4, 0, 0, -EINVAL },
		{ "value of 3/4 of its type", 8, 12, 0, 0, -EINVAL },
		{ "value smaller than its type", 8, 8, 0, 0, -EINVAL },
		{ "value half an element larger", 8, 20, 0, 0, -EINVAL },
		{ "value larger than its type", 8, 24, 0, 0, -EINVAL },
		{ "value 4 bytes over 4096", 8, 4100, 0, 0, -EINVAL },
		{ "value over 4096 bytes", 8, 4104, 0, 0, -EINVAL },
		{ "value of 2^32 - 8 bytes", 8, -8, 0, 0, -EINVAL },
		{ "value of 2^32 - 4 bytes", 8, -4, 0, 0, -EINVAL },
		{ "max_entries 1", 8, 16, 1, 0, -EINVAL },
		{ "max_entries ~0", 8, 16, ~0, 0, -EINVAL },
		{ "BPF_F_NO_PREALLOC", 8, 16, 0, BPF_F_NO_PREALLOC, -EINVAL },
		{ "BPF_F_NO_COMMON_LRU", 8, 16, 0, BPF_F_NO_COMMON_LRU, -EINVAL },
		{ "BPF_F_STACK_BUILD_ID", 8, 16, 0, BPF_F_STACK_BUILD_ID, -EINVAL },
		{ "BPF_F_ZERO_SEED", 8, 16, 0, BPF_F_ZERO_SEED, -EINVAL },
		{ "BPF_F_RDONLY_PROG", 8, 16, 0, BPF_F_RDONLY_PROG, -EINVAL },
		{ "BPF_F_WRONLY_PROG", 8, 16, 0, BPF_F_WRONLY_PROG, -EINVAL },
		{ "BPF_F_CLONE", 8, 16, 0, BPF_F_CLONE, -EINVAL },
		{ "BPF_F_MMAPABLE", 8, 16, 0, BPF_F_MMAPABLE, -EINVAL },
		{ "BPF_F_PRESERVE_ELEMS", 8, 16, 0, BPF_F_PRESERVE_ELEMS, -EINVAL },
		{ "BPF_F_INNER_MAP", 8, 16, 0, BPF_F_INNER_MAP, -EINVAL },
		{ "BPF_F_SEGV_ON_FAULT", 8, 16, 0, BPF_F_SEGV_ON_FAULT, -EINVAL },
		{ "BPF_F_NO_USER_CONV", 8, 16, 0, BPF_F_NO_USER_CONV, -EINVAL },
		{ "flag 19", 8, 16, 0, 1U << 19, -EINVAL },
		{ "flag 22", 8, 16, 0, 1U << 22, -EINVAL },
		{ "flag 31", 8, 16, 0, 1U << 31, -EINVAL },
		{ "NO_PERCPU and flag 22", 8, 16, 0, BPF_F_NO_PERCPU | 1U << 22, -EINVAL },
		{ "NO_HIERARCHY, NO_PREALLOC", 8, 16, 0, BPF_F_NO_HIERARCHY | BPF_F_NO_PREALLOC,
		  -EINVAL },
		{ "RDONLY and WRONLY", 8, 16, 0, BPF_F_RDONLY | BPF_F_WRONLY, -EINVAL },
		{ "RDONLY", 8, 16, 0, BPF_F_RDONLY, 0 },
		{ "WRONLY", 8, 16, 0, BPF_F_WRONLY, 0 },
		{ "NUMA node 0", 8, 16, 0, BPF_F_NUMA_NODE, 0 },
		{ "NO_PERCPU", 8, 16, 0, BPF_F_NO_PERCPU, 0 },
		{ "NO_HIERARCHY", 8, 16, 0, BPF_F_NO_HIERARCHY, 0 },
		{ "both", 8, 16, 0, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY, 0 },
		{ "both and NUMA node 0, RDONLY", 8, 16, 0,
		  BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY | BPF_F_NUMA_NODE | BPF_F_RDONLY, 0 },
		{ "both and WRONLY", 8, 16, 0,
		  BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY | BPF_F_WRONLY, 0 },
		{ "both, RDONLY and WRONLY", 8, 16, 0,
		  BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY | BPF_F_RDONLY | BPF_F_WRONLY, -EINVAL },
	};
	__u64 a = cg_make("a"), value[2] = {}, old_caps;
	struct map_attr good = map_attr(a, 2), attr;
	struct bpf_map_info info;
	bool ro, wo;
	int i, fd;
	__u32 len;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		attr = good;
		attr.key_size = cases[i].key_size;
		attr.value_size = cases[i].value_size;
		attr.max_entries = cases[i].max_entries;
		attr.opts.map_flags = cases[i].flags;
		fd = map_try(&attr);
		ASSERT_EQ(fd < 0 ? fd : 0, cases[i].err, cases[i].name);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		len = sizeof(info);
		ASSERT_OK(bpf_map_get_info_by_fd(fd, &info, &len), cases[i].name);
		/* (those for this fd are not kept) */
		ASSERT_EQ(info.map_flags, cases[i].flags & ~(BPF_F_RDONLY | BPF_F_WRONLY),
			  cases[i].name);
		/* Access through the fd is as with any map. */
		wo = cases[i].flags & BPF_F_WRONLY;
		ro = cases[i].flags & BPF_F_RDONLY;
		ASSERT_EQ(bpf_map_lookup_elem(fd, &a, value), wo ? -EPERM : 0, cases[i].name);
		ASSERT_EQ(bpf_map_update_elem(fd, &a, value, 0), ro ? -EPERM : -EOPNOTSUPP,
			  cases[i].name);
		close(fd);
	}

	attr = good;
	attr.opts.map_flags = BPF_F_NUMA_NODE;
	attr.opts.numa_node = 1000;
	ASSERT_EQ(map_try(&attr), -EINVAL, "NUMA node 1000");

	/* BTF is a must. */
	attr = good;
	attr.opts.btf_key_type_id = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no type of key");
	attr.opts.btf_value_type_id = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no types");
	attr.opts.btf_fd = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no BTF");
	attr = good;
	attr.opts.btf_value_type_id = 0;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no type of value");
	attr.opts.btf_value_type_id = 1000;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no such type of value");
	attr = good;
	attr.opts.btf_key_type_id = 1000;
	ASSERT_EQ(map_try(&attr), -EINVAL, "no such type of key");
	attr = good;
	attr.opts.btf_fd = -1;
	ASSERT_EQ(map_try(&attr), -EBADF, "bad BTF fd");
	attr = good;
	attr.opts.map_ifindex = 1;
	ASSERT_LT(map_try(&attr), 0, "offload");
	ASSERT_EQ(count_keys(-1), 0, "no map, no keys");

	/* Without CAP_BPF; CAP_SYS_ADMIN implies it. */
	if (ASSERT_OK(cap_disable_effective(1ULL << CAP_BPF | 1ULL << CAP_SYS_ADMIN, &old_caps),
		      "drop caps")) {
		ASSERT_EQ(map_try(&good), -EPERM, "no CAP_BPF");
		ASSERT_OK(cap_enable_effective(old_caps, NULL), "restore caps");
	}
	close(good.opts.btf_fd);
	cg_remove("a");
}

/* Key and value types: each function adds its types and returns the value's id. */

static int add_struct(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_struct(btf, name, size);
}

/* Of @nr members of @type. */
static int struct_of(struct btf *btf, int type, __u32 size, int nr)
{
	int i, id = add_struct(btf, "s", size * nr);
	char name[16];

	for (i = 0; i < nr; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		btf__add_field(btf, name, type, i * size * 8, 0);
	}
	return id;
}

static int nested_structs(struct btf *btf, int depth)
{
	int type = T_U64;

	while (depth--)
		type = struct_of(btf, type, 8, 1);
	return type;
}

static int nested_arrays(struct btf *btf, int depth)
{
	int type = T_U64;

	while (depth--)
		type = btf__add_array(btf, T_U32, type, 1);
	return type;
}

static int v_u64(struct btf *btf)
{
	return T_U64;
}

static int v_char64(struct btf *btf)
{
	return btf__add_int(btf, "c64", 8, BTF_INT_CHAR);
}

static int v_typedefs(struct btf *btf)
{
	int s = struct_of(btf, btf__add_const(btf, btf__add_typedef(btf, "t1", T_U64)), 8, 2);

	return btf__add_typedef(btf, "t2", btf__add_volatile(btf, btf__add_const(btf, s)));
}

static int v_array(struct btf *btf)
{
	return btf__add_array(btf, T_U32, T_U64, 2);
}

static int v_structs_8(struct btf *btf)
{
	return nested_structs(btf, 8);
}

static int v_structs_9(struct btf *btf)
{
	return nested_structs(btf, 9);
}

static int v_structs_40(struct btf *btf)
{
	return nested_structs(btf, 40);
}

static int v_arrays_8(struct btf *btf)
{
	return nested_arrays(btf, 8);
}

static int v_arrays_9(struct btf *btf)
{
	return nested_arrays(btf, 9);
}

static int v_u32(struct btf *btf)
{
	return T_U32;
}

static int v_bits(struct btf *btf)
{
	int id = btf__add_int(btf, "u64:32", 8, 0);

	*(__u32 *)(btf__type_by_id(btf, id) + 1) = 32;
	return id;
}

static int v_pointer(struct btf *btf)
{
	return btf__add_ptr(btf, T_U64);
}

static int v_padding(struct btf *btf)
{
	int id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	return id;
}

static int v_overlap(struct btf *btf)
{
	int id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", T_U64, 0, 0);
	return id;
}

static int v_unaligned(struct btf *btf)
{
	int id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", T_U64, 32, 0);
	return id;
}

static int v_empty_struct(struct btf *btf)
{
	return add_struct(btf, "s", 0);
}

static int v_no_members(struct btf *btf)
{
	return add_struct(btf, "s", 8);
}

static int v_no_members_nested(struct btf *btf)
{
	return struct_of(btf, v_no_members(btf), 8, 2);
}

static int v_no_elements(struct btf *btf)
{
	return btf__add_array(btf, T_U32, T_U64, 0);
}

static int v_empty_member(struct btf *btf)
{
	int empty = v_empty_struct(btf), id = add_struct(btf, "s", 16);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", empty, 64, 0);
	btf__add_field(btf, "c", T_U64, 64, 0);
	return id;
}

static int v_flexible(struct btf *btf)
{
	int array = v_no_elements(btf), id = add_struct(btf, "s", 8);

	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "b", array, 64, 0);
	return id;
}

/* What all overlaps has one element at most, and no end of members. */
static int v_overlap_many(struct btf *btf)
{
	int inner = v_no_members(btf), id = add_struct(btf, "s", 8), i;
	char name[16];

	for (i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		btf__add_field(btf, name, inner, 0, 0);
	}
	return id;
}

static int v_fwd(struct btf *btf)
{
	return btf__add_fwd(btf, "f", BTF_FWD_STRUCT);
}

static int v_func_pointer(struct btf *btf)
{
	return struct_of(btf, btf__add_ptr(btf, btf__add_func_proto(btf, 0)), 8, 1);
}

static int v_spin_lock(struct btf *btf)
{
	int lock = add_struct(btf, "bpf_spin_lock", 4), id;

	btf__add_field(btf, "val", T_U32, 0, 0);
	id = add_struct(btf, "s", 16);
	btf__add_field(btf, "a", T_U64, 0, 0);
	btf__add_field(btf, "lock", lock, 64, 0);
	btf__add_field(btf, "b", T_U32, 96, 0);
	return id;
}

static int v_timer(struct btf *btf)
{
	int timer = add_struct(btf, "bpf_timer", 16);

	btf__add_field(btf, "__opaque", v_array(btf), 0, 0);
	return struct_of(btf, timer, 16, 1);
}

static int tagged(struct btf *btf, const char *tag, int member)
{
	int id = struct_of(btf, T_U64, 8, 2);

	btf__add_decl_tag(btf, tag, id, member);
	return id;
}

static int v_tag_other(struct btf *btf)
{
	int id = tagged(btf, "somebody_elses:max", 1);

	btf__add_decl_tag(btf, "max", id, 1);
	btf__add_decl_tag(btf, "cgroup_stats", id, 0);
	return id;
}

/* Of a member that the value does not have: whoever has it will say what is wrong. */
static int v_tag_elsewhere(struct btf *btf)
{
	tagged(btf, "cgroup_stats:new", 1);
	return T_U64;
}

static int v_bad_first_of_many(struct btf *btf)
{
	return btf__add_array(btf, T_U32, v_padding(btf), 256);
}

static const struct shape {
	const char *name;
	int (*value)(struct btf *btf);
	__u32 size;
	int err;
} shapes[] = {
	{ "u64", v_u64, 8, 0 },
	{ "typedefs and qualifiers", v_typedefs, 16, 0 },
	{ "array", v_array, 16, 0 },
	{ "structs 8 deep", v_structs_8, 8, 0 },
	{ "arrays 8 deep", v_arrays_8, 8, 0 },
	{ "tags of others", v_tag_other, 16, 0 },
	{ "tag in another type", v_tag_elsewhere, 8, 0 },
	{ "structs 9 deep", v_structs_9, 8, -EINVAL },
	{ "structs 40 deep", v_structs_40, 8, -EINVAL },
	{ "arrays 9 deep", v_arrays_9, 8, -EINVAL },
	{ "u32 of 8 bytes", v_u32, 8, -EINVAL },
	{ "u64 of 4 bytes", v_u64, 4, -EINVAL },
	{ "array smaller than it is", v_array, 12, -EINVAL },
	{ "32 bits in 64", v_bits, 8, -EINVAL },
	{ "64-bit char", v_char64, 8, -EINVAL },
	{ "pointer", v_pointer, 8, -EINVAL },
	{ "padding", v_padding, 16, -EINVAL },
	{ "overlapping", v_overlap, 16, -EINVAL },
	{ "unaligned", v_unaligned, 16, -EINVAL },
	{ "empty struct", v_empty_struct, 8, -EINVAL },
	{ "struct without members", v_no_members, 8, -EINVAL },
	{ "structs without members", v_no_members_nested, 16, -EINVAL },
	{ "array of nothing", v_no_elements, 8, -EINVAL },
	{ "empty member", v_empty_member, 16, -EINVAL },
	{ "flexible array", v_flexible, 8, -EINVAL },
	{ "members at the same place", v_overlap_many, 8, -EINVAL },
	{ "forward", v_fwd, 8, -EINVAL },
	{ "function pointer", v_func_pointer, 8, -EINVAL },
	{ "spin lock", v_spin_lock, 16, -EOPNOTSUPP },
	{ "timer", v_timer, 16, -EOPNOTSUPP },
	{ "bad, and large", v_bad_first_of_many, 4096, -EINVAL },
};

/*
 * More value types, as text: u64 and what else is in text_types[]; 3* T: an array;
 * { T T }: a struct; ( T T ): a union; _: a hole of 4 bytes; typedef T; u64:5: a
 * bitfield. A member may be followed by tags, as @max, and so may a struct or
 * a typedef itself, as #max: both stand for "cgroup_stats:max".
 */
struct text {
	struct btf *btf;
	char word[16];		/* the next one, "": the end */
	const char *rest;
};

static void text_next(struct text *t)
{
	int len;

	t->rest += strspn(t->rest, " ");
	len = strcspn(t->rest, " ");
	snprintf(t->word, sizeof(t->word), "%.*s", len, t->rest);
	t->rest += len;
}

static int add_bool(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_int(btf, name, size, BTF_INT_BOOL);
}

static int add_unsigned(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_int(btf, name, size, 0);
}

static int add_signed(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_int(btf, name, size, BTF_INT_SIGNED);
}

static int add_float(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_float(btf, name, size);
}

static int add_pointer(struct btf *btf, const char *name, __u32 size)
{
	return btf__add_ptr(btf, T_U64);
}

static int add_enum(struct btf *btf, const char *name, __u32 size)
{
	int id = btf__add_enum(btf, name, size);

	btf__add_enum_value(btf, "e1", 1);
	return id;
}

static int add_enum64(struct btf *btf, const char *name, __u32 size)
{
	int id = btf__add_enum64(btf, name, size, false);

	btf__add_enum64_value(btf, "e1", 1);
	return id;
}

static const struct {
	const char *name;
	int (*add)(struct btf *btf, const char *name, __u32 size);
	__u32 size;
} text_types[] = {
	{ "u8", add_unsigned, 1 },
	{ "u16", add_unsigned, 2 },
	{ "u32", add_unsigned, 4 },
	{ "u64", add_unsigned, 8 },
	{ "u128", add_unsigned, 16 },
	{ "s8", add_signed, 1 },
	{ "s16", add_signed, 2 },
	{ "s32", add_signed, 4 },
	{ "s64", add_signed, 8 },
	{ "s128", add_signed, 16 },
	{ "bool", add_bool, 1 },
	{ "bool32", add_bool, 4 },
	{ "bool64", add_bool, 8 },
	{ "enum", add_enum, 4 },
	{ "enum_of_8", add_enum, 8 },
	{ "enum64", add_enum64, 8 },
	{ "float", add_float, 4 },
	{ "double", add_float, 8 },
	{ "pointer", add_pointer, 8 },
};

static void text_tags(struct text *t, char mark, int type, int member)
{
	char tag[32];

	for (; *t->word == mark; text_next(t)) {
		snprintf(tag, sizeof(tag), "cgroup_stats:%s", t->word + 1);
		btf__add_decl_tag(t->btf, tag, type, member);
	}
}

static int text_type(struct text *t);

#define TEXT_MEMBERS	8

struct text_member {
	__u32 offset, bits;
	int type;
	struct text tags;
};

/* One member and where it ends, if it begins at @offset. */
static __u32 text_member(struct text *t, struct text_member *m, __u32 offset)
{
	const char *bits = strchr(t->word, ':');

	m->offset = offset;
	m->bits = bits ? atoi(bits + 1) : 0;
	m->type = text_type(t);
	/* They need the struct, which in turn needs to be added after their types. */
	m->tags = *t;
	while (*t->word == '@')
		text_next(t);
	return offset + (m->bits ?: btf__resolve_size(t->btf, m->type) * 8);
}

static int text_struct(struct text *t, bool is_union)
{
	struct text_member members[TEXT_MEMBERS], *m;
	__u32 end = 0, size = 0;
	int i, id, nr = 0;
	char name[16];

	for (text_next(t); !strchr("})", *t->word); ) {
		if (*t->word == '_') {
			end += 32;
			text_next(t);
		} else if (ASSERT_LT(nr, TEXT_MEMBERS, "members")) {
			end = text_member(t, &members[nr++], is_union ? 0 : end);
		} else {
			break;
		}
		size = MAX(size, end / 8);
	}
	text_next(t);
	id = is_union ? btf__add_union(t->btf, "u", size) : add_struct(t->btf, "s", size);
	for (i = 0; i < nr; i++) {
		snprintf(name, sizeof(name), "m%d", i);
		btf__add_field(t->btf, name, members[i].type, members[i].offset, members[i].bits);
	}
	for (i = 0, m = members; i < nr; i++, m++)
		text_tags(&m->tags, '@', id, i);
	text_tags(t, '#', id, -1);
	return id;
}

static int text_type(struct text *t)
{
	__u32 i, nr;
	int id;

	if (*t->word == '{' || *t->word == '(')
		return text_struct(t, *t->word == '(');
	if (!strcmp(t->word, "typedef")) {
		text_next(t);
		id = btf__add_typedef(t->btf, "t", text_type(t));
		text_tags(t, '#', id, -1);
		return id;
	}
	nr = strtoul(t->word, NULL, 10);
	if (nr) {
		text_next(t);
		return btf__add_array(t->btf, T_U32, text_type(t), nr);
	}
	for (i = 0; i < ARRAY_SIZE(text_types); i++) {
		if (!strncmp(t->word, text_types[i].name, strcspn(t->word, ":")) &&
		    !text_types[i].name[strcspn(t->word, ":")])
			break;
	}
	if (!ASSERT_LT(i, ARRAY_SIZE(text_types), t->word))
		return 0;
	text_next(t);
	return text_types[i].add(t->btf, text_types[i].name, text_types[i].size);
}

/* Each by itself is a map, or -EINVAL. */
static const char * const good_texts[] = {
	"u64", "s64", "u32", "s32", "1* u32", "3* u32", "2* s64",
	"{ u64 s64 }", "{ u32 }", "{ u32 s32 u32 }", "{ u64 2* u64 u64 }", "5* { u64 u64 u64 }",
	"{ u32 3* s32 2* { u32 s32 } }", "2* 3* u32", "typedef { typedef u32 s32 }",
	"512* u64", "1023* u32", "1024* u32", "1024* s32", "{ 512* u32 2* 256* s32 @max }",
	"{ u64 @max }", "{ s64 @max }", "{ u64 @min }", "{ s64 @min }",
	"{ u32 @max }", "{ s32 @max }", "{ u32 @min }", "{ s32 @min }",
	"{ u64 u64 @max u64 @min s64 s64 @max s64 @min }", "{ s32 @min u32 @max u32 }",
	"{ 16* u64 @max u64 }", "{ u32 2* 3* s32 @min }", "{ 1024* u32 @max }",
	"{ { u64 2* s64 } @min u64 }", "{ u32 3* { u32 s32 } @max }",
	"{ { u64 u64 @max } u64 }", "3* { u64 u64 @max }", "{ 3* { u64 u64 @max } u64 }",
	"{ 2* { { u32 @max } 2* { u32 u32 @min } } u32 @min }",
	"{ typedef u64 @max }", "typedef { u64 typedef u64 @min }",
	"{ { { u64 } { u64 } } @max { u64 @max } { { u64 @min } } }",
	"2* { 2* { 2* { 2* { u32 @max u32 } } } }",
};

static const char * const bad_texts[] = {
	/* sizes */
	"513* u64", "1025* u32", "8192* u64", "{ 1024* u32 u32 }",
	"u8", "s8", "u16", "s16", "u128", "s128", "4* u8", "8* u8", "2* u16", "4* s16",
	"{ u16 u16 }", "{ u32 u16 }", "{ u32 u16 u16 }", "3* u16", "{ u64 u64 u128 }",
	/* both widths */
	"{ u32 u32 u64 }", "{ u64 u32 u32 }", "{ u32 u64 u32 }", "{ u64 u32 }", "{ u32 u64 }",
	"{ u64 2* u32 }", "{ 2* u32 u64 }", "{ 2* u64 { u32 u32 } }", "{ { u32 u32 } { u64 } }",
	"2* { u32 u32 u64 }", "{ u64 4* { s32 s32 } }", "{ 2* u32 @max u64 @max }",
	/* no integers */
	"bool", "4* bool", "8* bool", "bool32", "bool64", "{ u64 bool64 }", "{ u32 bool32 @max }",
	"enum", "enum_of_8", "enum64", "2* enum", "{ u32 enum }", "{ enum u32 }", "{ u64 enum64 }",
	"{ enum @max }", "{ enum64 @min }", "{ u64 enum_of_8 }",
	"float", "double", "{ u32 float }", "{ double u64 }", "2* float", "{ double @max }",
	"pointer", "{ u64 pointer }", "2* pointer", "{ pointer @max }", "4* pointer",
	/* bitfields, unions */
	"{ u32:16 u32:16 }", "{ u64:32 u64:32 }", "{ u32:32 }", "{ u64:64 }", "{ u32 u32:32 }",
	"{ u64:64 @max }", "( u32 )", "( u64 u64 )", "{ u32 ( u32 s32 ) }", "{ ( u64 ) @max }",
	"2* ( u64 )",
	/* holes */
	"{ u32 _ u32 }", "{ _ u32 }", "{ u32 _ }", "{ u64 _ }", "{ u64 _ u64 }", "{ _ u64 }",
	"{ u64 _ _ u64 }", "{ _ _ u64 }", "{ u64 _ _ }", "2* { u32 _ }", "2* { u64 _ _ }",
	"{ u32 { u32 _ } u32 }", "{ u32 @max _ }",
	/* depth */
	"1* { 1* { 1* { 1* { 1* u32 } } } }", "{ { { { { { { { { u32 @max } } } } } } } } }",
	/* tags that mean nothing */
	"{ u64 @ }", "{ u64 @new }", "{ u64 @sum }", "{ u64 @maximum }", "{ u64 @ma }",
	"{ u64 @MAX }", "{ u64 @max:min }", "{ u32 u32 @new }", "2* { u64 u64 @new }",
	"{ { u64 @new } }", "{ { u64 } @new }", "{ 4* u32 @ }", "{ u64 @max u64 @new }",
	/* more than one on a member */
	"{ u64 @max @max }", "{ u64 @min @min }", "{ u64 @max @min }", "{ u64 @min @max }",
	"{ u64 @max @new }", "{ u64 @new @max }", "{ u32 4* u32 @max @min }",
	"{ { u64 } @max @max }",
	/* within a tagged member */
	"{ { u64 @max } @max }", "{ { u64 u64 @min } @max }", "{ { { u64 @max } } @min }",
	"{ 2* { u64 @max } @max }", "{ { u64 2* { u64 @max } } @max }", "{ { u64 @new } @max }",
	"{ u32 { u32 { u32 @min } } @min }",
	/* on types */
	"{ u64 } #max", "{ u64 } #min", "{ u64 } #new", "{ u64 } #", "2* { u64 } #max",
	"{ { u64 } #max }", "{ { u64 } #max @max }", "{ u64 2* { u64 } #min }",
	"{ { u64 @max } #max }", "typedef u64 #max", "typedef typedef u64 #max",
	"{ typedef u64 #max }", "{ typedef u32 #min @min }", "2* typedef u32 #min",
	"{ typedef 2* u64 #max }", "{ u64 typedef u64 #new }", "typedef typedef 2* u64 #max",
};

/* The flags make no difference to what a value may be. */
static void check_value_type(struct map_attr *attr, const char *name, int want)
{
	static const __u32 flags[] = {
		0, BPF_F_NO_PERCPU, BPF_F_NO_HIERARCHY, BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY,
	};
	int i, fd;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		attr->opts.map_flags = flags[i];
		fd = map_try(attr);
		if (!ASSERT_EQ(fd < 0 ? fd : 0, want, name))
			printf("value %s, flags 0x%x\n", name, flags[i]);
		if (fd >= 0)
			close(fd);
	}
}

static void check_texts(struct map_attr *attr, const char * const *texts, int nr, int want)
{
	struct text t;
	int i, id;

	for (i = 0; i < nr; i++) {
		t.btf = btf_ints();
		if (!t.btf)
			break;
		t.rest = texts[i];
		text_next(&t);
		id = text_type(&t);
		ASSERT_STREQ(t.word, "", texts[i]);
		attr->opts.btf_value_type_id = id;
		attr->value_size = btf__resolve_size(t.btf, id);
		attr->opts.btf_fd = btf_load(t.btf);
		check_value_type(attr, texts[i], want);
		close(attr->opts.btf_fd);
	}
}

static void test_value_types(void)
{
	struct map_attr attr = map_attr(cg_make("a"), 1);
	struct btf *btf;
	int i;

	close(attr.opts.btf_fd);
	for (i = 0; i < ARRAY_SIZE(shapes); i++) {
		btf = btf_ints();
		if (!btf)
			break;
		attr.opts.btf_value_type_id = shapes[i].value(btf);
		attr.opts.btf_fd = btf_load(btf);
		attr.value_size = shapes[i].size;
		check_value_type(&attr, shapes[i].name, shapes[i].err);
		close(attr.opts.btf_fd);
	}
	check_texts(&attr, good_texts, ARRAY_SIZE(good_texts), 0);
	check_texts(&attr, bad_texts, ARRAY_SIZE(bad_texts), -EINVAL);
	cg_remove("a");
}

static int k_s64(struct btf *btf)
{
	return btf__add_int(btf, "s64", 8, BTF_INT_SIGNED);
}

static int k_double(struct btf *btf)
{
	return btf__add_float(btf, "double", 8);
}

static int k_struct(struct btf *btf)
{
	return struct_of(btf, T_U64, 8, 1);
}

static int k_enum64(struct btf *btf)
{
	int id = btf__add_enum64(btf, "e", 8, false);

	btf__add_enum64_value(btf, "e1", 1);
	return id;
}

static int k_typedef(struct btf *btf)
{
	return btf__add_typedef(btf, "cgroup_id", btf__add_const(btf, T_U64));
}

static int k_array(struct btf *btf)
{
	return btf__add_array(btf, T_U32, T_U32, 2);
}

static void test_key_types(void)
{
	static const struct shape keys[] = {
		{ "u64", v_u64, 8, 0 },
		{ "typedef", k_typedef, 8, 0 },
		{ "s64", k_s64, 8, -EINVAL },
		{ "u32", v_u32, 8, -EINVAL },
		{ "u32 of 4 bytes", v_u32, 4, -EINVAL },
		{ "32 bits in 64", v_bits, 8, -EINVAL },
		{ "struct", k_struct, 8, -EINVAL },
		{ "enum64", k_enum64, 8, -EINVAL },
		{ "u32s", k_array, 8, -EINVAL },
		{ "pointer", v_pointer, 8, -EINVAL },
		{ "double", k_double, 8, -EINVAL },
	};
	struct map_attr attr = map_attr(cg_make("a"), 1);
	struct btf *btf;
	int i, fd;

	close(attr.opts.btf_fd);
	attr.opts.btf_value_type_id = T_U64;
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		btf = btf_ints();
		if (!btf)
			break;
		attr.opts.btf_key_type_id = keys[i].value(btf);
		attr.opts.btf_fd = btf_load(btf);
		attr.key_size = keys[i].size;
		fd = map_try(&attr);
		ASSERT_EQ(fd < 0 ? fd : 0, keys[i].err, keys[i].name);
		if (fd >= 0)
			close(fd);
		close(attr.opts.btf_fd);
	}
	cg_remove("a");
}

/*
 * Types whose walk would take for ever, were it not refused at its first step. They
 * are const, which ends the walk for special fields that all maps have.
 */
static void test_endless_types(void)
{
	const int depth = 7, nr = 3000;
	struct map_attr attr = map_attr(cg_make("a"), 1);
	int i, j, id, outer, size;
	struct btf *btf;
	char name[16];

	close(attr.opts.btf_fd);
	for (size = 0; size <= 8; size += 8) {
		btf = btf_ints();
		if (!btf)
			break;
		id = add_struct(btf, "s", size);
		for (i = 1; i <= depth; i++) {
			id = btf__add_const(btf, id);
			outer = add_struct(btf, "s", i == depth ? 8 : size);
			for (j = 0; j < nr; j++) {
				snprintf(name, sizeof(name), "m%d", j);
				btf__add_field(btf, name, id, 0, 0);
			}
			id = outer;
		}
		attr.opts.btf_value_type_id = id;
		attr.opts.btf_fd = btf_load(btf);
		ASSERT_EQ(map_try(&attr), -EINVAL, size ? "at the same place" : "empty");
		close(attr.opts.btf_fd);
	}
	cg_remove("a");
}

/* --- roots --- */

struct ns_test {
	__u64 a, b, c, d;
	int joined, unshared;
	int outer_fd;		/* a map of all of the hierarchy */
	__u64 outside;
	int parent, sibling, self, child, above;
	__u64 first;
	int nr;
};

static int in_namespace(void *arg)
{
	struct ns_test *t = arg;
	struct map_attr attr;
	int fd;

	t->joined = cg_join("a/b");
	t->unshared = unshare(CLONE_NEWCGROUP);
	if (t->joined || t->unshared)
		return 0;
	attr = map_attr(0, 1);

#define CREATE(id) ({ attr.opts.map_extra = id; fd = map_try(&attr); fd; })
	t->parent = CREATE(t->a);
	t->sibling = CREATE(t->d);
	t->above = CREATE(cg_root_id());
	t->child = CREATE(t->c);
	t->self = CREATE(t->b);
	/* Who has a map of more than its namespace can read it. */
	t->outside = total(t->outer_fd, t->d, 0);

	/* 0 is the namespace's root. */
	fd = CREATE(0);
	t->nr = count_keys(fd);
	bpf_map_get_next_key(fd, NULL, &t->first);
#undef CREATE
	return 0;
}

/* Whether v2 has a cgroup of this id. */
static bool v2_has(__u64 id)
{
	union {
		struct file_handle fh;
		char space[sizeof(struct file_handle) + sizeof(__u64)];
	} u = { .fh.handle_bytes = sizeof(id), .fh.handle_type = 0xfe /* FILEID_KERNFS */ };
	struct stat st;
	bool dir;
	int fd;

	memcpy(u.fh.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(workdir, &u.fh, O_RDONLY);
	if (fd < 0)
		return false;
	dir = fstat(fd, &st) || S_ISDIR(st.st_mode);
	close(fd);
	return dir;
}

/* Ids of a hierarchy of v1 are not for us. */
static void check_v1(struct map_attr *attr)
{
	char dir[] = "/tmp/cgroup_stats_v1_XXXXXX", path[64];
	int i, checked = 0;
	__u64 id;

	if (!ASSERT_OK_PTR(mkdtemp(dir), "mkdtemp"))
		return;
	if (mount("none", dir, "cgroup", 0, "none,name=cgroup_stats_map")) {
		printf("no cgroup v1\n");
		goto out;
	}
	for (i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		if (!ASSERT_OK(mkdir(path, 0755), "mkdir v1"))
			break;
		id = dir_id(AT_FDCWD, path);
		if (id && !v2_has(id)) {
			attr->opts.map_extra = id;
			ASSERT_EQ(map_try(attr), -ENOENT, "v1");
			checked++;
		}
		ASSERT_OK(rmdir(path), "rmdir v1");
	}
	ASSERT_GT(checked, 0, "ids of v1");
	umount(dir);
out:
	rmdir(dir);
}

static void test_roots(void)
{
	struct ns_test *t;
	struct map_attr attr;
	__u64 gone;
	int fd;

	t = shared_alloc(sizeof(*t));
	if (!t)
		return;
	t->a = cg_make("a");
	t->b = cg_make("a/b");
	t->c = cg_make("a/b/c");
	t->d = cg_make("d");
	gone = cg_make("e");
	cg_remove("e");
	attr = map_attr(0, 1);

	attr.opts.map_extra = gone;
	ASSERT_EQ(map_try(&attr), -ENOENT, "removed");
	attr.opts.map_extra = NO_ID;
	ASSERT_EQ(map_try(&attr), -ENOENT, "no such id");
	attr.opts.map_extra = ~0ULL;
	ASSERT_EQ(map_try(&attr), -ENOENT, "id ~0");
	attr.opts.map_extra = cg_id("cgroup.procs");
	ASSERT_EQ(map_try(&attr), -ENOENT, "a file's id");
	attr.opts.map_extra = t->a | 1ULL << 32;
	ASSERT_EQ(map_try(&attr), -ENOENT, "another generation");

	check_v1(&attr);

	/* 0 is all of the hierarchy, here. */
	attr.opts.map_extra = 0;
	fd = map_try(&attr);
	ASSERT_EQ(total(fd, cg_root_id(), 0), 0, "root");
	ASSERT_EQ(total(fd, cg_id("."), 0), 0, "workdir");
	ASSERT_EQ(total(fd, t->c, 0), 0, "c");
	close(fd);

	t->outer_fd = map_try(&attr);
	reap(spawn(in_namespace, t));
	close(t->outer_fd);
	ASSERT_OK(t->joined, "join");
	ASSERT_OK(t->unshared, "unshare");
	ASSERT_EQ(t->parent, -ENOENT, "parent of namespace");
	ASSERT_EQ(t->sibling, -ENOENT, "outside of namespace");
	ASSERT_EQ(t->above, -ENOENT, "above namespace");
	ASSERT_GE(t->self, 0, "root of namespace");
	ASSERT_GE(t->child, 0, "in namespace");
	ASSERT_EQ(t->nr, 2, "entries of namespace");
	ASSERT_EQ(t->outside, 0, "inherited descriptor");
	ASSERT_TRUE(t->first == t->b || t->first == t->c, "the namespace's");

	close(attr.opts.btf_fd);
	cg_remove("d");
	cg_remove("a/b/c");
	cg_remove("a/b");
	cg_remove("a");
	munmap(t, sizeof(*t));
}

/* --- the test --- */

void serial_test_cgroup_stats_attr(void)
{
	static const struct subtest tests[] = {
		{ "attributes", test_attributes },
		{ "value_types", test_value_types },
		{ "key_types", test_key_types },
		{ "endless_types", test_endless_types },
		{ "roots", test_roots },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}
