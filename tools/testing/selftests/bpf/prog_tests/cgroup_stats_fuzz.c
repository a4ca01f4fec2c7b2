// SPDX-License-Identifier: GPL-2.0
/*
 * Random use of cgroup stats maps, each result compared with what a model in plain C
 * says: the attributes of maps, the types of values, and system calls and helpers on
 * maps whose cgroups come and go.
 *
 * Where more than one thing is wrong with a call, any of the errors will do.
 *
 * CGROUP_STATS_FUZZ_SEED is another seed than the usual one, and
 * CGROUP_STATS_FUZZ_SECONDS how long each of the subtests runs, instead of a fixed
 * number of iterations.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <limits.h>
#include <sys/mman.h>
#include "cgroup_stats_helpers.h"
#include "cgroup_stats_fuzz.skel.h"

#define MAX_SIZE	4096
#define MAX_ELEMS	(MAX_SIZE / 4)
#define MAX_DEPTH	8

#define ALL_FLAGS	(BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY)

/* --- chance, and what to say when it finds something --- */

#define SEED		0x1d872b41d0c7a8e5ULL

/* Usual iterations */
#define NR_ATTRIBUTES	4000
#define NR_SHAPES	2500
#define NR_CALLS_MADE	20000

static struct fuzz {
	__u64 seed;		/* of all subtests */
	__u64 random;
	long iteration;
	__u64 deadline;		/* 0: a number of iterations */
	bool failed;
} fuzz;

static __u64 random64(void)
{
	return xrand64(&fuzz.random);
}

/* From 0 to @n - 1 */
static __u32 below(__u32 n)
{
	return (random64() >> 20) % n;
}

static bool one_in(__u32 n)
{
	return !below(n);
}

#define pick(array) ((array)[below(ARRAY_SIZE(array))])

static void fuzz_begin(void)
{
	const char *seed = getenv("CGROUP_STATS_FUZZ_SEED");
	const char *seconds = getenv("CGROUP_STATS_FUZZ_SECONDS");

	memset(&fuzz, 0, sizeof(fuzz));
	fuzz.seed = seed ? strtoull(seed, NULL, 0) : SEED;
	/* 0 is the one number that it would stay with. */
	fuzz.random = fuzz.seed ?: SEED;
	if (seconds)
		fuzz.deadline = get_time_ns() + strtoull(seconds, NULL, 0) * 1000000000ULL;
}

/* One more iteration? */
static bool fuzz_next(long usual)
{
	fuzz.iteration++;
	if (fuzz.failed)
		return false;
	return fuzz.deadline ? get_time_ns() < fuzz.deadline : fuzz.iteration <= usual;
}

/* Enough to ask whether it met with everything? */
static bool fuzz_complete(long usual)
{
	return !fuzz.failed && fuzz.iteration > usual;
}

static __printf(2, 3) bool expect(bool ok, const char *fmt, ...)
{
	va_list args;

	if (ok)
		return true;
	if (!fuzz.failed && !ASSERT_TRUE(false, "fuzz"))
		printf("seed 0x%llx, iteration %ld\n", fuzz.seed, fuzz.iteration);
	fuzz.failed = true;
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	return false;
}

/* The errors of which a call may return any; none: it must succeed. */
struct errors {
	int nr;
	int err[8];	/* each once */
};

static void error_if(struct errors *errors, bool wrong, int err)
{
	int i;

	for (i = 0; i < errors->nr; i++)
		wrong &= errors->err[i] != err;
	if (wrong)
		errors->err[errors->nr++] = err;
}

static bool expect_error(const struct errors *errors, int ret, const char *what)
{
	int i;

	if (!errors->nr)
		return expect(ret >= 0, "%s: %d, not 0", what, ret);
	for (i = 0; i < errors->nr; i++) {
		if (ret == errors->err[i])
			return true;
	}
	return expect(false, "%s: %d, not %d or one of %d others", what, ret, errors->err[0],
		      errors->nr - 1);
}

/* --- system calls, as they are --- */

static int sys_bpf(int cmd, union bpf_attr *attr, __u32 size)
{
	long ret = syscall(__NR_bpf, cmd, attr, size);

	return ret < 0 ? -errno : ret;
}

/* --- elements --- */

static bool expect_value(const struct elem *elems, int nr, const __u64 *want,
			 const void *value, const char *what)
{
	int i;

	for (i = 0; i < nr; i++) {
		if (!expect(elem_get(elems[i], value, i) == want[i],
			    "%s: element %d is 0x%llx, not 0x%llx", what, i,
			    elem_get(elems[i], value, i), want[i]))
			return false;
	}
	return true;
}

/* --- attributes of maps --- */

enum { T_U64 = 1, T_U32, T_S64, T_ARRAY, T_BOOL, T_STRUCT, T_LONG, T_TOO_LONG, T_TYPEDEF, NR_T };

/* What may be a key, and the size of what may be a value. */
static const struct {
	bool key;
	__u32 value_size;
} attr_types[] = {
	[T_U64] = { true, 8 },
	[T_U32] = { false, 4 },
	[T_S64] = { false, 8 },
	[T_ARRAY] = { false, 32 },
	[T_BOOL] = { false, 0 },
	[T_STRUCT] = { false, 12 },
	[T_LONG] = { false, 4096 },
	[T_TOO_LONG] = { false, 0 },
	[T_TYPEDEF] = { true, 8 },
};

static struct btf *attr_btf(void)
{
	struct btf *btf = btf__new_empty();

	if (!ASSERT_OK_PTR(btf, "btf__new_empty"))
		return NULL;
	btf__add_int(btf, "u64", 8, 0);
	btf__add_int(btf, "u32", 4, 0);
	btf__add_int(btf, "s64", 8, BTF_INT_SIGNED);
	btf__add_array(btf, T_U32, T_U64, 4);
	btf__add_int(btf, "bool64", 8, BTF_INT_BOOL);
	btf__add_struct(btf, "s", 12);
	btf__add_field(btf, "a", T_U32, 0, 0);
	btf__add_field(btf, "b", T_U32, 32, 0);
	btf__add_field(btf, "c", T_U32, 64, 0);
	btf__add_array(btf, T_U32, T_U32, 1024);
	btf__add_array(btf, T_U32, T_U64, 513);
	ASSERT_EQ(btf__add_typedef(btf, "t", T_U64), T_TYPEDEF, "typedef");
	ASSERT_OK(btf__load_into_kernel(btf), "btf__load_into_kernel");
	return btf;
}

struct attr_fuzz {
	int btf_fd;
	int other_fd;		/* not of BTF */
	__u64 root;		/* a, with two children */
	__u64 child;
	__u64 gone;
	long accepted, refused;
};

/* Room after the attributes that the kernel knows. */
union long_attr {
	union bpf_attr attr;
	__u8 byte[sizeof(union bpf_attr) + 32];
};

static __u32 any_number(void)
{
	static const __u32 numbers[] = {
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 24, 28, 32, 36, 64, 4088, 4092, 4096,
		4100, 4104, 0x7fffffff, 0x80000000, -8, -4, -1,
	};

	if (one_in(4))
		return random64();
	if (one_in(4))
		return 1U << below(32);
	return pick(numbers);
}

static __u32 any_flags(void)
{
	static const __u32 usual[] = {
		0, BPF_F_NO_PERCPU, BPF_F_NO_HIERARCHY, BPF_F_NUMA_NODE, BPF_F_RDONLY, BPF_F_WRONLY,
	};
	__u32 flags = pick(usual) | pick(usual) | pick(usual);

	if (one_in(4))
		flags ^= 1U << below(32);
	return one_in(32) ? random64() : flags;
}

static void any_name(char *name)
{
	int i;

	for (i = 0; i < BPF_OBJ_NAME_LEN; i++)
		name[i] = one_in(64) ? below(128) : "abcXYZ019_.abcd\0"[below(16)];
	if (!one_in(8))
		name[BPF_OBJ_NAME_LEN - 1] = 0;
}

static void change_attr(const struct attr_fuzz *f, union bpf_attr *attr)
{
	const int fds[] = { f->btf_fd, f->other_fd, -1, 1 << 20 };
	const __u64 ids[] = {
		0, 1, f->root, f->child, f->gone, random64() | 1ULL << 62, ~0ULL,
	};

	switch (below(16)) {
	case 0:
		attr->key_size = any_number();
		break;
	case 1:
		attr->value_size = any_number();
		break;
	case 2:
		attr->max_entries = any_number();
		break;
	case 3:
	case 4:
		attr->map_flags = any_flags();
		break;
	case 5:
		/* For maps of maps: nobody looks at it. */
		attr->inner_map_fd = any_number();
		break;
	case 6:
		attr->numa_node = any_number();
		break;
	case 7:
		any_name(attr->map_name);
		break;
	case 8:
		attr->map_ifindex = one_in(2) ? 1 : any_number();
		break;
	case 9:
		attr->btf_fd = pick(fds);
		break;
	case 10:
		attr->btf_key_type_id = one_in(8) ? any_number() : below(NR_T);
		break;
	case 11:
		attr->btf_value_type_id = one_in(8) ? any_number() : 1 + below(NR_T - 1);
		if (attr->btf_value_type_id < NR_T && one_in(2))
			attr->value_size = attr_types[attr->btf_value_type_id].value_size;
		break;
	case 12:
		attr->btf_vmlinux_value_type_id = any_number();
		break;
	case 13:
		attr->map_extra = pick(ids);
		break;
	case 14:
		/* For struct_ops, with a flag of its own. */
		attr->value_type_btf_obj_fd = any_number();
		break;
	case 15:
		attr->map_token_fd = pick(fds);
		if (one_in(2))
			attr->map_flags |= BPF_F_TOKEN_FD;
		break;
	}
}

static bool numa_node_exists(__u32 node)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", node);
	/* ~0 is any. */
	return !node || node == ~0U || !access(path, F_OK);
}

static bool is_name(const char *name)
{
	int i;

	for (i = 0; i < BPF_OBJ_NAME_LEN; i++) {
		if (!name[i])
			return true;
		if (!isalnum(name[i]) && name[i] != '_' && name[i] != '.')
			return false;
	}
	return false;
}

/* What is an fd may be that of something else. */
static int other_fd_error(int fd)
{
	return fcntl(fd, F_GETFD) < 0 ? -EBADF : -EINVAL;
}

/* The errors of what the attributes say of types. */
static void attr_errors_of_types(const struct attr_fuzz *f, const union bpf_attr *attr,
				 struct errors *errors)
{
	__u32 key = attr->btf_key_type_id, value = attr->btf_value_type_id;

	__u32 size = value < NR_T ? attr_types[value].value_size : 0;

	error_if(errors, key >= NR_T || !attr_types[key].key, -EINVAL);
	error_if(errors, !size || size != attr->value_size, -EINVAL);
	error_if(errors, attr->btf_vmlinux_value_type_id, -EINVAL);
	error_if(errors, attr->btf_fd != f->btf_fd, other_fd_error(attr->btf_fd));
}

static void attr_errors(const struct attr_fuzz *f, const union bpf_attr *attr,
			struct errors *errors)
{
	__u32 flags = attr->map_flags & ~BPF_F_TOKEN_FD, limits = BPF_F_RDONLY | BPF_F_WRONLY;
	__u64 root = attr->map_extra;

	error_if(errors, attr->key_size != 8, -EINVAL);
	error_if(errors, attr->max_entries, -EINVAL);
	error_if(errors, flags & ~(limits | BPF_F_NUMA_NODE | ALL_FLAGS), -EINVAL);
	error_if(errors, (flags & limits) == limits, -EINVAL);
	error_if(errors, flags & BPF_F_NUMA_NODE && !numa_node_exists(attr->numa_node), -EINVAL);
	error_if(errors, attr->map_ifindex, -EINVAL);
	error_if(errors, !is_name(attr->map_name), -EINVAL);
	error_if(errors, root > 1 && root != f->root && root != f->child, -ENOENT);
	/* No fd here is a token's. */
	error_if(errors, attr->map_flags & BPF_F_TOKEN_FD, other_fd_error(attr->map_token_fd));
	attr_errors_of_types(f, attr, errors);
}

static void check_attr_map(const struct attr_fuzz *f, const union bpf_attr *attr, int fd)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), nr = 0;
	__u64 key, *prev = NULL;
	int err;

	if (!expect(!bpf_map_get_info_by_fd(fd, &info, &len), "info"))
		return;
	expect(info.type == BPF_MAP_TYPE_CGROUP_STATS && info.key_size == 8 &&
	       info.value_size == attr->value_size && !info.max_entries &&
	       info.map_extra == attr->map_extra && !strcmp(info.name, attr->map_name) &&
	       info.btf_key_type_id == attr->btf_key_type_id &&
	       info.btf_value_type_id == attr->btf_value_type_id, "what info says");
	/* (those for this fd are not kept) */
	expect(info.map_flags == (attr->map_flags & ~(BPF_F_RDONLY | BPF_F_WRONLY)),
	       "flags 0x%x, not 0x%x", info.map_flags, attr->map_flags);
	while (!(err = bpf_map_get_next_key(fd, prev, &key))) {
		prev = &key;
		nr++;
	}
	if (attr->map_flags & BPF_F_WRONLY)
		expect(err == -EPERM, "next key of what can only be written: %d", err);
	else if (attr->map_extra == f->root)
		expect(err == -ENOENT && nr == 3, "%d entries, not 3", nr);
	else if (attr->map_extra == f->child)
		expect(err == -ENOENT && nr == 1, "%d entries, not 1", nr);
	else
		expect(err == -ENOENT && nr >= 4, "%d entries of all", nr);
}

static void print_attr(const union bpf_attr *attr, __u32 size)
{
	printf("%u bytes: key_size %u, value_size %u, max_entries %u, flags 0x%x, node %u,\n", size,
	       attr->key_size, attr->value_size, attr->max_entries, attr->map_flags,
	       attr->numa_node);
	printf("name '%.*s', ifindex %u, btf_fd %d, types %u %u %u, extra %llu, fds %d %d\n",
	       BPF_OBJ_NAME_LEN, attr->map_name, attr->map_ifindex, attr->btf_fd,
	       attr->btf_key_type_id, attr->btf_value_type_id, attr->btf_vmlinux_value_type_id,
	       attr->map_extra, attr->value_type_btf_obj_fd, attr->map_token_fd);
}

static void fuzz_one_attr(struct attr_fuzz *f)
{
	union long_attr given = {}, seen = {};
	__u32 size = offsetofend(union bpf_attr, map_token_fd);
	struct errors errors = {};
	int i, fd;

	given.attr.map_type = BPF_MAP_TYPE_CGROUP_STATS;
	given.attr.key_size = 8;
	given.attr.value_size = 32;
	given.attr.btf_fd = f->btf_fd;
	given.attr.btf_key_type_id = T_U64;
	given.attr.btf_value_type_id = T_ARRAY;
	given.attr.map_extra = f->root;
	memcpy(given.attr.map_name, "fuzz", 4);
	for (i = below(4); i > 0; i--)
		change_attr(f, &given.attr);

	/* Some bytes less, or more. */
	if (one_in(8))
		size = offsetof(union bpf_attr, value_size) + below(sizeof(given) - 8 + 1);
	if (one_in(8))
		given.byte[size - 1 - below(8)] ^= 1;
	memcpy(&seen, &given, size);
	for (i = offsetofend(union bpf_attr, map_token_fd); i < sizeof(seen); i++)
		error_if(&errors, seen.byte[i], i < sizeof(union bpf_attr) ? -EINVAL : -E2BIG);
	attr_errors(f, &seen.attr, &errors);

	/* What is not meant to be ours: another type's attributes. */
	if (seen.attr.map_type != BPF_MAP_TYPE_CGROUP_STATS)
		return;
	fd = sys_bpf(BPF_MAP_CREATE, &given.attr, size);
	if (!expect_error(&errors, fd, "create"))
		print_attr(&seen.attr, size);
	if (fd < 0) {
		f->refused++;
		return;
	}
	f->accepted++;
	check_attr_map(f, &seen.attr, fd);
	close(fd);
}

static void test_attributes(void)
{
	struct btf *btf = attr_btf();
	struct attr_fuzz f = {};

	if (!btf)
		return;
	f.btf_fd = btf__fd(btf);
	f.other_fd = workdir;
	f.root = cg_make("a");
	f.child = cg_make("a/b");
	cg_make("a/c");
	f.gone = cg_make("a/d");
	cg_remove("a/d");
	fuzz_begin();
	while (fuzz_next(NR_ATTRIBUTES))
		fuzz_one_attr(&f);
	if (fuzz_complete(NR_ATTRIBUTES)) {
		ASSERT_GT(f.accepted, 100, "accepted");
		ASSERT_GT(f.refused, 100, "refused");
	}
	printf("%ld accepted, %ld refused\n", f.accepted, f.refused);
	btf__free(btf);
	cg_remove("a/c");
	cg_remove("a/b");
	cg_remove("a");
}

/* --- types of values --- */

#define MAX_NODES	64
#define MAX_MEMBERS	6

enum kind { KIND_INT, KIND_ARRAY, KIND_STRUCT, KIND_MODIFIER, KIND_OTHER };

struct member {
	int type;
	__u32 offset;		/* in bytes */
	__u32 bits;		/* 0: no bitfield */
	int max, min, bad;	/* tags of ours */
};

/* A type as it was made: what the model knows of it. */
struct node {
	enum kind kind;
	int id;
	__u32 size;
	__u32 encoding, bits, bit_offset;	/* of an integer */
	int type;				/* of elements, or what is modified */
	__u32 nelems;
	bool tagged;				/* something in it is */
	int nr;
	struct member members[MAX_MEMBERS];
};

/* What may be wrong with a type. */
enum defect {
	WRONG_SIZE, WRONG_ENCODING, WRONG_BITS, WRONG_BIT_OFFSET, WRONG_KIND, WRONG_NELEMS,
	WRONG_HOLE, WRONG_OVERLAP, WRONG_BITFIELD, WRONG_PADDING, NO_MEMBERS, WRONG_TAG,
	WRONG_NESTED_TAG, WRONG_TYPE_TAG, WRONG_VALUE_SIZE, NR_DEFECTS,
	NO_DEFECT = NR_DEFECTS, ANY_DEFECT,
};

struct shape {
	struct btf *btf;
	int index_id;		/* of arrays: an integer */
	struct node nodes[MAX_NODES];
	int nr;
	__u32 width;		/* of most integers */
	enum defect defect;
	int defects;		/* how many are allowed yet */
	bool tagged_type;
	/* What the model makes of it. */
	struct elem elems[MAX_ELEMS];
	__u32 end;
	__u32 elem_size;
};

static bool defect(struct shape *s, enum defect what)
{
	if (s->defect != what && s->defect != ANY_DEFECT)
		return false;
	if (!s->defects || !one_in(s->defect == ANY_DEFECT ? 20 : 3))
		return false;
	s->defects--;
	return true;
}

static struct node *new_node(struct shape *s, enum kind kind)
{
	struct node *node = &s->nodes[s->nr++];

	memset(node, 0, sizeof(*node));
	node->kind = kind;
	return node;
}

static int gen_int(struct shape *s)
{
	static const __u32 sizes[] = { 1, 2, 4, 8, 16 };
	static const __u32 encodings[] = { BTF_INT_CHAR, BTF_INT_BOOL };
	struct node *node = new_node(s, KIND_INT);

	node->size = defect(s, WRONG_SIZE) ? pick(sizes) : s->width;
	node->encoding = one_in(2) ? BTF_INT_SIGNED : 0;
	if (defect(s, WRONG_ENCODING))
		node->encoding = pick(encodings);
	node->bits = node->size * 8;
	if (defect(s, WRONG_BITS))
		node->bits = 1 + below(node->bits);
	/* Where there is no BTF without a place for them, fewer bits. */
	if (defect(s, WRONG_BIT_OFFSET)) {
		node->bit_offset = below(node->size * 8);
		node->bits -= MIN(node->bits - 1, node->bit_offset);
	}
	node->id = btf__add_int(s->btf, "i", node->size, node->encoding);
	*(__u32 *)(btf__type_by_id(s->btf, node->id) + 1) =
		node->encoding << 24 | node->bit_offset << 16 | node->bits;
	return node - s->nodes;
}

static int gen_other(struct shape *s)
{
	struct node *node = new_node(s, KIND_OTHER);

	node->size = one_in(2) ? 4 : 8;
	switch (below(6)) {
	case 0:
		node->id = btf__add_float(s->btf, "f", node->size);
		break;
	case 1:
		node->id = btf__add_enum(s->btf, "e", node->size);
		btf__add_enum_value(s->btf, "one", 1);
		break;
	case 2:
		node->id = btf__add_enum64(s->btf, "e64", node->size, false);
		btf__add_enum64_value(s->btf, "two", 2);
		break;
	case 3:
		node->id = btf__add_ptr(s->btf, s->index_id);
		node->size = 8;
		break;
	case 4:
		node->id = btf__add_union(s->btf, "u", 4);
		btf__add_field(s->btf, "m", s->index_id, 0, 0);
		node->size = 4;
		break;
	default:
		/* Without a size: no more than the value itself can be this. */
		node->id = btf__add_fwd(s->btf, "w", BTF_FWD_STRUCT);
		node->size = 0;
	}
	return node - s->nodes;
}

static const char *any_tag(struct member *m)
{
	static const char * const bad[] = {
		"cgroup_stats:", "cgroup_stats:new", "cgroup_stats:maximum", "cgroup_stats:mi",
		"cgroup_stats:min ",
	};
	static const char * const others[] = { "max", "cgroup_stats", "cgroup_stat:max", "x:min" };

	switch (below(8)) {
	case 0:
		m->bad++;
		return pick(bad);
	case 1:
		return pick(others);
	case 2 ... 4:
		m->min++;
		return "cgroup_stats:min";
	default:
		m->max++;
		return "cgroup_stats:max";
	}
}

/* @tagged: there are tags within it, so that it must not have another. */
static void gen_member_tags(struct shape *s, int id, struct member *m, int i, bool tagged)
{
	if (tagged ? defect(s, WRONG_NESTED_TAG) : one_in(4)) {
		if (one_in(2)) {
			m->max++;
			btf__add_decl_tag(s->btf, "cgroup_stats:max", id, i);
		} else {
			m->min++;
			btf__add_decl_tag(s->btf, "cgroup_stats:min", id, i);
		}
	}
	if (defect(s, WRONG_TAG))
		btf__add_decl_tag(s->btf, any_tag(m), id, i);
	if (one_in(16))
		btf__add_decl_tag(s->btf, "somebody_elses:max", id, i);
}

/* A tag of ours on a type, rather than on a member. */
static void gen_type_tag(struct shape *s, int id)
{
	struct member m = {};

	if (!defect(s, WRONG_TYPE_TAG))
		return;
	btf__add_decl_tag(s->btf, any_tag(&m), id, -1);
	s->tagged_type |= m.max || m.min || m.bad;
}

static int gen_type(struct shape *s, int depth);

static int gen_array(struct shape *s, int depth)
{
	static const __u32 usual[] = { 1, 1, 2, 3, 4, 7, 8, 9, 64, 65 };
	static const __u32 extreme[] = { 0, 511, 512, 513, 1023, 1024, 1025, 1U << 16, 1U << 28 };
	int type = gen_type(s, depth - 1);
	struct node *node = new_node(s, KIND_ARRAY);

	node->type = type;
	node->tagged = s->nodes[type].tagged;
	node->nelems = one_in(32) || defect(s, WRONG_NELEMS) ? pick(extreme) : pick(usual);
	node->size = node->nelems * s->nodes[type].size;
	node->id = btf__add_array(s->btf, s->index_id, s->nodes[type].id, node->nelems);
	return node - s->nodes;
}

/* Offsets never go down: that would be no BTF at all. */
static __u32 gen_member(struct shape *s, struct member *m, __u32 end, int depth)
{
	m->type = gen_type(s, depth - 1);
	m->offset = end;
	if (defect(s, WRONG_HOLE))
		m->offset += one_in(2) ? 4 : 1 + below(8);
	else if (end && defect(s, WRONG_OVERLAP))
		m->offset -= below(MIN(end, 8));
	if (defect(s, WRONG_BITFIELD) && s->nodes[m->type].kind == KIND_INT)
		m->bits = 1 + below(s->nodes[m->type].bits);
	return m->offset + s->nodes[m->type].size;
}

static int gen_struct(struct shape *s, int depth)
{
	struct member members[MAX_MEMBERS] = {};
	struct node *node;
	__u32 end = 0;
	char name[8];
	int i, nr;

	nr = defect(s, NO_MEMBERS) ? 0 : 1 + below(MAX_MEMBERS);
	for (i = 0; i < nr; i++)
		end = gen_member(s, &members[i], end, depth);
	node = new_node(s, KIND_STRUCT);
	node->size = end;
	if (defect(s, WRONG_PADDING))
		node->size += one_in(2) ? 4 : 1 + below(16);
	node->nr = nr;
	node->id = btf__add_struct(s->btf, "s", node->size);
	for (i = 0; i < nr; i++) {
		sprintf(name, "m%d", i);
		btf__add_field(s->btf, name, s->nodes[members[i].type].id, members[i].offset * 8,
			       members[i].bits);
	}
	for (i = 0; i < nr; i++) {
		gen_member_tags(s, node->id, &members[i], i, s->nodes[members[i].type].tagged);
		node->tagged |= s->nodes[members[i].type].tagged ||
				members[i].max || members[i].min || members[i].bad;
	}
	memcpy(node->members, members, sizeof(members));
	gen_type_tag(s, node->id);
	return node - s->nodes;
}

static int gen_modifier(struct shape *s, int depth)
{
	int type = gen_type(s, depth - 1);
	struct node *node = new_node(s, KIND_MODIFIER);

	node->type = type;
	node->tagged = s->nodes[type].tagged;
	node->size = s->nodes[type].size;
	switch (below(4)) {
	case 0:
		node->id = btf__add_const(s->btf, s->nodes[type].id);
		break;
	case 1:
		node->id = btf__add_volatile(s->btf, s->nodes[type].id);
		break;
	default:
		node->id = btf__add_typedef(s->btf, "t", s->nodes[type].id);
		gen_type_tag(s, node->id);
	}
	return node - s->nodes;
}

/* The new type, or one that there was. */
static int gen_type(struct shape *s, int depth)
{
	if (s->nr && (s->nr > MAX_NODES / 2 || one_in(8)))
		return below(s->nr);
	if (defect(s, WRONG_KIND))
		return gen_other(s);
	if (depth <= 0)
		return gen_int(s);
	switch (below(10)) {
	case 0 ... 3:
		return gen_int(s);
	case 4 ... 5:
		return gen_array(s, depth);
	case 6:
		return gen_modifier(s, depth);
	default:
		return gen_struct(s, depth);
	}
}

static int gen_wrapped(struct shape *s, int type, int times)
{
	struct node *node;

	for (; times; times--) {
		node = new_node(s, one_in(2) ? KIND_ARRAY : KIND_STRUCT);
		node->size = s->nodes[type].size;
		node->type = type;
		node->nelems = 1;
		node->nr = 1;
		node->members[0].type = type;
		if (node->kind == KIND_ARRAY) {
			node->id = btf__add_array(s->btf, s->index_id, s->nodes[type].id, 1);
		} else {
			node->id = btf__add_struct(s->btf, "w", node->size);
			btf__add_field(s->btf, "m", s->nodes[type].id, 0, 0);
		}
		type = node - s->nodes;
	}
	return type;
}

/* --- the same types, as the documentation has it: element by element --- */

static bool walk(struct shape *s, int type, __u32 offset, int depth, enum op op);

static bool walk_int(struct shape *s, const struct node *node, enum op op)
{
	bool is_signed = node->encoding == BTF_INT_SIGNED;

	if ((node->size != 4 && node->size != 8) || node->bit_offset ||
	    node->bits != node->size * 8 || (node->encoding && !is_signed))
		return false;
	if (s->elem_size && s->elem_size != node->size)
		return false;
	if (s->end + node->size > MAX_SIZE)
		return false;
	s->elem_size = node->size;
	s->elems[s->end / node->size] = (struct elem){ node->size, is_signed, op };
	s->end += node->size;
	return true;
}

static bool walk_struct(struct shape *s, const struct node *node, __u32 offset, int depth,
			enum op outer)
{
	const struct member *m;
	int tags;

	for (m = node->members; m < node->members + node->nr; m++) {
		tags = m->max + m->min + m->bad;
		if (m->bits || m->bad || tags > 1 || (tags && outer != OP_SUM))
			return false;
		if (!walk(s, m->type, offset + m->offset, depth,
			  m->max ? OP_MAX : m->min ? OP_MIN : outer))
			return false;
	}
	return s->end == offset + node->size;
}

static bool walk(struct shape *s, int type, __u32 offset, int depth, enum op op)
{
	const struct node *node = &s->nodes[type];
	__u32 i;

	while (node->kind == KIND_MODIFIER)
		node = &s->nodes[node->type];
	if (offset != s->end || !node->size)
		return false;
	switch (node->kind) {
	case KIND_INT:
		return walk_int(s, node, op);
	case KIND_STRUCT:
		return depth && walk_struct(s, node, offset, depth - 1, op);
	case KIND_ARRAY:
		for (i = 0; i < node->nelems; i++) {
			if (!depth || !walk(s, node->type, s->end, depth - 1, op))
				return false;
		}
		return true;
	default:
		return false;
	}
}

static bool may_be_value(struct shape *s, int type)
{
	s->end = 0;
	s->elem_size = 0;
	return walk(s, type, 0, MAX_DEPTH, OP_SUM) && !s->tagged_type;
}

/* --- and in the kernel --- */

struct shape_fuzz {
	__u64 root, child;
	__u32 flags;
	long loaded, accepted, refused, tagged;
	long defects[ANY_DEFECT + 1];	/* that were found, when there were no others */
};

static __u64 any_value(void)
{
	static const __u64 values[] = {
		0, 1, 2, -1ULL, INT_MAX, (__u64)INT_MIN, UINT_MAX, 1ULL << 32, LLONG_MAX,
		1ULL << 63,
	};

	return one_in(2) ? pick(values) : one_in(2) ? random64() : below(1000);
}

/* Elements do what they are to do, and there are as many as there should be. */
static void check_shape_map(struct shape *s, const struct shape_fuzz *f, int fd)
{
	__u64 reader = f->flags & BPF_F_NO_HIERARCHY ? f->child : f->root;
	static __u64 want[MAX_ELEMS], value[MAX_SIZE / 8];
	int i, prog_fd, nr = s->end / s->elem_size;
	__u64 args[4] = { f->child };

	for (i = 0; i < nr; i++)
		want[i] = elem_identity(s->elems[i]);
	prog_fd = load_add(fd);
	if (!expect(prog_fd >= 0, "load: %d", prog_fd))
		return;
	for (i = 0; i < 16; i++) {
		args[1] = i ? below(nr) : nr - 1;
		args[2] = any_value();
		if (!expect(!run_args(THIS_CPU, prog_fd, args, 4), "add"))
			break;
		want[args[1]] = elem_merge(s->elems[args[1]], want[args[1]],
				      elem_convert(s->elems[args[1]], args[2]));
	}
	args[1] = nr;
	expect(run_args(THIS_CPU, prog_fd, args, 4) == -E2BIG, "there is an element too many");
	if (expect(!bpf_map_lookup_elem(fd, &reader, value), "lookup"))
		expect_value(s->elems, nr, want, value, "elements of a shape");
	close(prog_fd);
}

static void print_shape(const struct shape *s, int type, int level)
{
	const struct node *node = &s->nodes[type];
	int i;

	printf("%*s%d: kind %d, size %u, int 0x%x %u %u, %u elements\n", 2 * level, "", type,
	       node->kind, node->size, node->encoding, node->bits, node->bit_offset,
	       node->nelems);
	if (node->kind == KIND_ARRAY || node->kind == KIND_MODIFIER)
		print_shape(s, node->type, level + 1);
	for (i = 0; node->kind == KIND_STRUCT && i < node->nr; i++) {
		printf("%*smember at %u, %u bits, tags: max %d, min %d, bad %d\n", 2 * level + 1,
		       "", node->members[i].offset, node->members[i].bits, node->members[i].max,
		       node->members[i].min, node->members[i].bad);
		print_shape(s, node->members[i].type, level + 1);
	}
}

static void try_shape(struct shape *s, struct shape_fuzz *f, int type)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .btf_fd = btf__fd(s->btf), .btf_key_type_id = 1,
		    .btf_value_type_id = s->nodes[type].id, .map_extra = f->root);
	__u32 size = s->nodes[type].size;
	int fd, i;

	if (defect(s, WRONG_VALUE_SIZE))
		size = one_in(2) ? size + 4 : size - 4;
	f->flags = random64() & ALL_FLAGS;
	opts.map_flags = f->flags;
	fd = bpf_map_create(BPF_MAP_TYPE_CGROUP_STATS, "shape", 8, size, 0, &opts);
	if (may_be_value(s, type) && size == s->nodes[type].size) {
		f->accepted++;
		for (i = 0; i < s->end / s->elem_size; i++)
			f->tagged += !i && s->elems[i].op != OP_SUM;
		if (expect(fd >= 0, "refused: %d", fd))
			check_shape_map(s, f, fd);
	} else {
		f->refused++;
		f->defects[s->defect] += !s->defects;
		expect(fd == -EINVAL, "%d, not -EINVAL; size %u", fd, size);
	}
	if (fuzz.failed)
		print_shape(s, type, 0);
	if (fd >= 0)
		close(fd);
}

static void fuzz_one_shape(struct shape_fuzz *f)
{
	static struct shape s;
	int type;

	memset(&s, 0, sizeof(s));
	s.btf = btf__new_empty();
	s.width = one_in(2) ? 4 : 8;
	s.defect = one_in(3) ? NO_DEFECT : below(ANY_DEFECT + 1);
	/* There is a place for it seldom. */
	if (one_in(8))
		s.defect = WRONG_NESTED_TAG;
	s.defects = s.defect == ANY_DEFECT ? 3 : 1;
	if (!expect(s.btf, "btf__new_empty"))
		return;
	btf__add_int(s.btf, "u64", 8, 0);
	s.index_id = btf__add_int(s.btf, "u32", 4, 0);
	type = gen_type(&s, below(5));
	if (one_in(6))
		type = gen_wrapped(&s, type, below(10));
	/* What is no BTF is not our business. */
	if (!btf__load_into_kernel(s.btf)) {
		f->loaded++;
		try_shape(&s, f, type);
	}
	btf__free(s.btf);
}

static void test_shapes(void)
{
	libbpf_print_fn_t print = libbpf_set_print(NULL);
	struct shape_fuzz f = {};
	int i;

	f.root = cg_make("a");
	f.child = cg_make("a/b");
	fuzz_begin();
	while (fuzz_next(NR_SHAPES))
		fuzz_one_shape(&f);
	libbpf_set_print(print);
	for (i = 0; i < NR_DEFECTS && fuzz_complete(NR_SHAPES); i++) {
		if (!ASSERT_GT(f.defects[i], 0, "refused for one reason"))
			printf("reason %d: %ld\n", i, f.defects[i]);
	}
	if (fuzz_complete(NR_SHAPES)) {
		ASSERT_GT(f.accepted, 100, "accepted");
		ASSERT_GT(f.tagged, 20, "with maxima and minima");
	}
	printf("%ld tried, %ld were BTF, %ld accepted, %ld refused\n", fuzz.iteration - 1, f.loaded,
	       f.accepted, f.refused);
	cg_remove("a/b");
	cg_remove("a");
}

/* --- maps at work: a world of cgroups that come and go, and what is in the maps --- */

#define NR_MAPS		5
#define NR_CGROUPS	14	/* the first is the maps' root */
#define NR_GONE		8
#define MAX_WORLD_ELEMS	9
#define NO_CGROUP	-1

/* As in progs/cgroup_stats_fuzz.c */

static const struct elem sums[] = {
	{ 8 }, { 8 }, { 8 }, { 8 }, { 8 }, { 8 }, { 8 }, { 8 }, { 8 },
};

static const struct elem mixed32[] = {
	{ 4, false, OP_SUM }, { 4, true, OP_MAX }, { 4, false, OP_MIN }, { 4, true, OP_SUM },
	{ 4, false, OP_MAX }, { 4, true, OP_MIN }, { 4, true, OP_MIN },
};

static const struct elem mixed64[] = {
	{ 8, false, OP_SUM }, { 8, true, OP_MAX }, { 8, false, OP_MIN }, { 8, true, OP_SUM },
	{ 8, false, OP_MAX }, { 8, true, OP_MIN }, { 8, true, OP_MIN },
};

static const struct world_map {
	__u32 flags;
	int nr;
	const struct elem *elems;
} world_maps[NR_MAPS] = {
	{ 0, ARRAY_SIZE(sums), sums },
	{ 0, ARRAY_SIZE(mixed32), mixed32 },
	{ BPF_F_NO_PERCPU, ARRAY_SIZE(mixed64), mixed64 },
	{ BPF_F_NO_HIERARCHY, ARRAY_SIZE(mixed32), mixed32 },
	{ BPF_F_NO_PERCPU | BPF_F_NO_HIERARCHY, ARRAY_SIZE(sums), sums },
};

struct cgroup {
	char path[64];		/* up to 14 levels of 3 characters */
	__u64 id;
	int parent;
	bool alive;
	__u64 total[NR_MAPS][MAX_WORLD_ELEMS];
};

enum { PROG_ADD, PROG_FLUSH, PROG_LOOK, NR_PROGS };

struct world {
	struct cgroup_stats_fuzz *skel;
	int fds[NR_MAPS];
	int progs[NR_MAPS][NR_PROGS];
	struct cgroup cgroups[NR_CGROUPS];
	__u64 gone[NR_GONE], outside;
	int nr_gone;
	int joined;		/* where this task is, NO_CGROUP: outside of the maps */
	/* Of each kind of call, how many went well and how many did not. */
	long good[16], bad[16];
};

/* Memory to and from which nothing can be copied, and some that can be read only. */
static char *pages;
#define PAGE		4096

static bool pages_make(void)
{
	pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!ASSERT_NEQ(pages, MAP_FAILED, "mmap"))
		return false;
	/* The first can be written, the second can not be used, the third can be read. */
	return ASSERT_OK(mprotect(pages + PAGE, PAGE, PROT_NONE), "mprotect") &&
	       ASSERT_OK(mprotect(pages + 2 * PAGE, PAGE, PROT_READ), "mprotect");
}

static __u64 bad_address(bool output)
{
	const void * const bad[] = {
		NULL, (void *)8, pages + PAGE, pages + PAGE - 4, pages + 2 * PAGE - 4,
		(void *)0xffff888000000000UL, (void *)-8UL, (void *)(1UL << 62),
	};

	if (output && one_in(4))
		return (unsigned long)(pages + 2 * PAGE + 8);
	return (unsigned long)pick(bad);
}

/* The address of @good, or seldom another one. */
static __u64 any_address(const void *good, bool output, bool *bad)
{
	*bad = one_in(6);
	return *bad ? bad_address(output) : (unsigned long)good;
}

static int find_cgroup(const struct world *w, __u64 id)
{
	int i;

	for (i = 0; i < NR_CGROUPS; i++) {
		if (w->cgroups[i].alive && w->cgroups[i].id == id)
			return i;
	}
	return NO_CGROUP;
}

static int living_cgroup(const struct world *w)
{
	int i;

	do {
		i = below(NR_CGROUPS);
	} while (!w->cgroups[i].alive);
	return i;
}

static __u64 any_id(const struct world *w)
{
	const __u64 others[] = {
		0, 1, ~0ULL, w->outside, random64(), random64() | 1ULL << 63, below(1U << 20),
	};

	switch (below(8)) {
	case 0:
		return pick(others);
	case 1:
		return pick(w->gone);
	case 2:
		return w->cgroups[living_cgroup(w)].id + below(3) - 1;
	default:
		return w->cgroups[living_cgroup(w)].id;
	}
}

/* The smallest id above @id; 0: there is none. */
static __u64 next_id(const struct world *w, __u64 id)
{
	__u64 next = 0;
	int i;

	for (i = 0; i < NR_CGROUPS; i++) {
		const struct cgroup *cg = &w->cgroups[i];

		if (cg->alive && cg->id > id && (!next || cg->id < next))
			next = cg->id;
	}
	return next;
}

static void world_add(struct world *w, int map, int cg, int index, __u64 value)
{
	const struct world_map *m = &world_maps[map];
	struct elem e = m->elems[index];

	for (; cg != NO_CGROUP; cg = w->cgroups[cg].parent) {
		w->cgroups[cg].total[map][index] = elem_merge(e, w->cgroups[cg].total[map][index],
							      elem_convert(e, value));
		if (m->flags & BPF_F_NO_HIERARCHY)
			break;
	}
}

static bool expect_total(const struct world *w, int map, int cg, const void *value,
			 const char *what)
{
	const struct world_map *m = &world_maps[map];

	if (expect_value(m->elems, m->nr, w->cgroups[cg].total[map], value, what))
		return true;
	printf("map %d, cgroup %d, %s\n", map, cg, w->cgroups[cg].path);
	return false;
}

static __u32 value_size(int map)
{
	return world_maps[map].elems[0].width * world_maps[map].nr;
}

/* --- cgroups of the world --- */

static void world_mkdir(struct world *w, int cg, int parent)
{
	struct cgroup *new = &w->cgroups[cg];
	char path[sizeof(new->path)] = "w";
	int map, i;

	if (parent != NO_CGROUP)
		snprintf(path, sizeof(path), "%.50s/%d", w->cgroups[parent].path, cg);
	memcpy(new->path, path, sizeof(path));
	new->id = cg_make(new->path);
	new->parent = parent;
	new->alive = true;
	for (map = 0; map < NR_MAPS; map++) {
		for (i = 0; i < world_maps[map].nr; i++)
			new->total[map][i] = elem_identity(world_maps[map].elems[i]);
	}
	expect(new->id, "mkdir %s", new->path);
}

static void world_rmdir(struct world *w, int cg)
{
	cg_remove(w->cgroups[cg].path);
	w->cgroups[cg].alive = false;
	w->gone[w->nr_gone++ % NR_GONE] = w->cgroups[cg].id;
}

static bool has_children(const struct world *w, int cg)
{
	int i;

	for (i = 0; i < NR_CGROUPS; i++) {
		if (w->cgroups[i].alive && w->cgroups[i].parent == cg)
			return true;
	}
	return false;
}

static void world_join(struct world *w, int cg)
{
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs",
		 cg == NO_CGROUP ? "outside" : w->cgroups[cg].path);
	fd = openat(workdir, path, O_WRONLY);
	expect(write(fd, "0", 1) == 1, "join %s", path);
	close(fd);
	w->joined = cg;
}

static void world_change(struct world *w)
{
	int cg = below(NR_CGROUPS);

	if (one_in(3))
		world_join(w, one_in(4) ? NO_CGROUP : living_cgroup(w));
	else if (!w->cgroups[cg].alive)
		world_mkdir(w, cg, living_cgroup(w));
	else if (cg && cg != w->joined && !has_children(w, cg))
		world_rmdir(w, cg);
}

/* --- calls: each fills in what must come of it, and compares --- */

enum call {
	CALL_ADD, CALL_FLUSH, CALL_LOOK, CALL_LOOKUP, CALL_NEXT_KEY, CALL_DELETE, CALL_UPDATE,
	CALL_LOOKUP_AND_DELETE, CALL_BATCH, CALL_OTHER_BATCH, NR_CALLS,
};

static const char * const call_names[] = {
	"bpf_cgroup_stats_add()", "bpf_cgroup_stats_flush()", "lookup of a program", "lookup",
	"next key", "delete", "update", "lookup and delete", "lookup of a batch",
	"another batch",
};

static bool called(struct world *w, enum call what, const struct errors *errors, int ret)
{
	if (errors->nr)
		w->bad[what]++;
	else
		w->good[what]++;
	return expect_error(errors, ret, call_names[what]);
}

/* For a program: 0 is the current task's cgroup. */
static int find_or_current(const struct world *w, __u64 id)
{
	return id ? find_cgroup(w, id) : w->joined;
}

static void call_add(struct world *w)
{
	int map = below(NR_MAPS), nr = world_maps[map].nr, cg, ret;
	__u64 args[4] = { any_id(w), below(nr), any_value(), 0 };
	struct errors errors = {};

	if (one_in(8))
		args[0] = 0;
	if (one_in(8))
		args[1] = one_in(2) ? nr + below(4) : (__u32)random64() | 1U << 31;
	if (one_in(8))
		args[3] = one_in(2) ? 1ULL << below(64) : random64() | 1;
	cg = find_or_current(w, args[0]);
	error_if(&errors, args[1] >= nr, -E2BIG);
	error_if(&errors, cg == NO_CGROUP, -ENOENT);
	error_if(&errors, args[3], -EINVAL);
	ret = run_args(THIS_CPU, w->progs[map][PROG_ADD], args, 4);
	if (!called(w, CALL_ADD, &errors, ret))
		printf("map %d, id %llu, index %llu, flags 0x%llx\n", map, args[0], args[1],
		       args[3]);
	if (!errors.nr)
		world_add(w, map, cg, args[1], args[2]);
}

static void call_flush(struct world *w)
{
	__u64 args[2] = { any_id(w), one_in(8) ? random64() | 1 : 0 };
	struct errors errors = {};
	int ret;

	error_if(&errors, find_or_current(w, args[0]) == NO_CGROUP, -ENOENT);
	error_if(&errors, args[1], -EINVAL);
	ret = run_args(THIS_CPU, w->progs[below(NR_MAPS)][PROG_FLUSH], args, 2);
	called(w, CALL_FLUSH, &errors, ret);
}

static void call_look(struct world *w)
{
	int map = below(NR_MAPS), ret;
	struct errors errors = {};
	__u64 id = any_id(w);
	int cg = find_cgroup(w, id);

	error_if(&errors, cg == NO_CGROUP, -ENOENT);
	ret = run_args(THIS_CPU, w->progs[map][PROG_LOOK], &id, 1);
	if (called(w, CALL_LOOK, &errors, ret) && !errors.nr)
		expect_total(w, map, cg, w->skel->bss->seen, "lookup of a program");
}

#define UNTOUCHED 0xa5

static bool untouched(const void *p, size_t begin, size_t end)
{
	for (; begin < end; begin++) {
		if (((const __u8 *)p)[begin] != UNTOUCHED)
			return false;
	}
	return true;
}

static __u64 elem_flags(void)
{
	return one_in(8) ? (one_in(2) ? BPF_F_LOCK : 1ULL << below(64)) : 0;
}

static void call_lookup(struct world *w)
{
	int map = below(NR_MAPS), cg;
	union bpf_attr attr = {};
	struct errors errors = {};
	bool bad_key, bad_value;
	__u64 id = any_id(w);
	__u8 value[128];

	memset(value, UNTOUCHED, sizeof(value));
	cg = find_cgroup(w, id);
	attr.map_fd = w->fds[map];
	attr.key = any_address(&id, false, &bad_key);
	attr.value = any_address(value, true, &bad_value);
	attr.flags = elem_flags();
	error_if(&errors, attr.flags, -EINVAL);
	error_if(&errors, bad_key || bad_value, -EFAULT);
	error_if(&errors, !bad_key && cg == NO_CGROUP, -ENOENT);
	called(w, CALL_LOOKUP, &errors, sys_bpf(BPF_MAP_LOOKUP_ELEM, &attr, sizeof(attr)));
	if (!errors.nr)
		expect_total(w, map, cg, value, "lookup");
	expect(untouched(value, errors.nr ? 0 : value_size(map), sizeof(value)),
	       "lookup wrote where it must not");
}

static void call_next_key(struct world *w)
{
	__u64 id = any_id(w), from = id, next[2] = { 42, 42 };
	union bpf_attr attr = {};
	struct errors errors = {};
	bool bad_key, bad_next;

	attr.map_fd = w->fds[below(NR_MAPS)];
	attr.key = any_address(&id, false, &bad_key);
	/* A NULL pointer is good: from the beginning. */
	if (!attr.key || one_in(8)) {
		attr.key = 0;
		from = 0;
		bad_key = false;
	}
	attr.next_key = any_address(next, true, &bad_next);
	attr.flags = one_in(16) ? 1ULL << below(64) : 0;
	error_if(&errors, attr.flags, -EINVAL);
	error_if(&errors, bad_key || bad_next, -EFAULT);
	error_if(&errors, !bad_key && !next_id(w, from), -ENOENT);
	called(w, CALL_NEXT_KEY, &errors, sys_bpf(BPF_MAP_GET_NEXT_KEY, &attr, sizeof(attr)));
	expect(next[0] == (errors.nr ? 42 : next_id(w, from)) && next[1] == 42,
	       "after %llu comes %llu, not %llu", from, next[0], next_id(w, from));
}

/* What the map does not do. */
static void call_unsupported(struct world *w)
{
	static const struct {
		enum call call;
		int cmd, err;
	} cmds[] = {
		{ CALL_UPDATE, BPF_MAP_UPDATE_ELEM, -EOPNOTSUPP },
		{ CALL_DELETE, BPF_MAP_DELETE_ELEM, -EOPNOTSUPP },
		{ CALL_LOOKUP_AND_DELETE, BPF_MAP_LOOKUP_AND_DELETE_ELEM, -NOT_SUPPORTED },
	};
	int i = below(ARRAY_SIZE(cmds)), map = below(NR_MAPS);
	bool bad_key, bad_value = false;
	union bpf_attr attr = {};
	struct errors errors = {};
	__u8 value[128] = {};
	__u64 id = any_id(w);

	attr.map_fd = w->fds[map];
	attr.key = any_address(&id, false, &bad_key);
	if (cmds[i].call != CALL_DELETE) {
		attr.value = any_address(value, false, &bad_value);
		attr.flags = elem_flags();
	}
	error_if(&errors, true, cmds[i].err);
	error_if(&errors, bad_key || bad_value, -EFAULT);
	error_if(&errors, attr.flags, -EINVAL);
	called(w, cmds[i].call, &errors, sys_bpf(cmds[i].cmd, &attr, sizeof(attr)));
}

/* --- batches --- */

struct batch {
	int map;
	__u64 in, out, keys[NR_CGROUPS + 1];
	__u8 values[(NR_CGROUPS + 1) * MAX_WORLD_ELEMS * 8];
	bool bad_in, bad_out, bad_keys, bad_values;
	union bpf_attr *attr;
	__u32 count;		/* what was asked for */
};

static void batch_init(struct world *w, struct batch *b)
{
	static const __u32 counts[] = { 0, 1, 2, 3, 5, 8, NR_CGROUPS, 1000, ~0U };
	static union bpf_attr attr;

	memset(b, 0, sizeof(*b));
	memset(b->values, UNTOUCHED, sizeof(b->values));
	memset(&attr, 0, sizeof(attr));
	b->map = below(NR_MAPS);
	b->in = any_id(w);
	b->out = 42;
	b->count = pick(counts);
	attr.batch.map_fd = w->fds[b->map];
	attr.batch.count = b->count;
	attr.batch.in_batch = any_address(&b->in, false, &b->bad_in);
	if (one_in(3) || !attr.batch.in_batch) {
		attr.batch.in_batch = 0;
		b->in = 0;
		b->bad_in = false;
	}
	attr.batch.out_batch = any_address(&b->out, true, &b->bad_out);
	attr.batch.keys = any_address(b->keys, true, &b->bad_keys);
	attr.batch.values = any_address(b->values, true, &b->bad_values);
	if (one_in(16))
		attr.batch.flags = 1ULL << below(64);
	if (one_in(16))
		attr.batch.elem_flags = 1ULL << below(64);
	b->attr = &attr;
}

/* How many entries the batch is to get. */
static __u32 batch_size(const struct world *w, const struct batch *b)
{
	__u64 id = b->in;
	__u32 n = 0;

	while (n < b->count && (id = next_id(w, id)))
		n++;
	return n;
}

static void check_batch(const struct world *w, const struct batch *b, __u32 n)
{
	__u32 i, size = value_size(b->map);
	__u64 id = b->in;

	expect(b->attr->batch.count == n, "count %u, not %u", b->attr->batch.count, n);
	for (i = 0; i < n; i++) {
		id = next_id(w, id);
		if (!expect(b->keys[i] == id, "key %u is %llu, not %llu", i, b->keys[i], id))
			return;
		expect_total(w, b->map, find_cgroup(w, id), b->values + i * size,
			     "lookup of a batch");
	}
	expect(b->out == (n ? id : 42), "out_batch is %llu, not %llu", b->out, id);
	expect(!b->keys[n] && untouched(b->values, n * size, sizeof(b->values)),
	       "a batch wrote where it must not");
}

static void call_batch(struct world *w)
{
	struct errors errors = {};
	static struct batch b;
	__u32 n;
	int ret;

	batch_init(w, &b);
	n = batch_size(w, &b);
	error_if(&errors, b.attr->batch.flags || b.attr->batch.elem_flags, -EINVAL);
	if (b.count) {
		error_if(&errors, b.bad_in || (n && (b.bad_out || b.bad_keys || b.bad_values)),
			 -EFAULT);
		error_if(&errors, !b.bad_in && n < b.count, -ENOENT);
	}
	ret = sys_bpf(BPF_MAP_LOOKUP_BATCH, b.attr, sizeof(*b.attr));
	called(w, CALL_BATCH, &errors, ret);
	/* These are no ends of the walk. */
	if (b.bad_in || b.bad_out || b.bad_keys || b.bad_values ||
	    b.attr->batch.flags || b.attr->batch.elem_flags)
		expect(!n || !b.count || ret == -EFAULT || ret == -EINVAL, "batch: %d", ret);
	else
		check_batch(w, &b, n);
}

static void call_other_batch(struct world *w)
{
	static const int cmds[] = {
		BPF_MAP_UPDATE_BATCH, BPF_MAP_DELETE_BATCH, BPF_MAP_LOOKUP_AND_DELETE_BATCH,
	};
	struct errors errors = {};
	static struct batch b;

	batch_init(w, &b);
	error_if(&errors, true, -NOT_SUPPORTED);
	error_if(&errors, b.attr->batch.flags || b.attr->batch.elem_flags, -EINVAL);
	error_if(&errors, b.bad_in || b.bad_out || b.bad_keys || b.bad_values, -EFAULT);
	called(w, CALL_OTHER_BATCH, &errors, sys_bpf(pick(cmds), b.attr, sizeof(*b.attr)));
}

/* --- the world's days --- */

static void world_step(struct world *w)
{
	static void (* const calls[])(struct world *w) = {
		call_add, call_add, call_add, call_add, call_add, call_add, call_flush, call_look,
		call_lookup, call_lookup, call_next_key, call_next_key, call_unsupported,
		call_batch, call_batch, call_other_batch,
	};

	if (one_in(24))
		world_change(w);
	pick(calls)(w);
}

/* Everything is as the model says. */
static void world_check(const struct world *w)
{
	__u64 value[MAX_WORLD_ELEMS];
	int map, cg;

	for (map = 0; map < NR_MAPS; map++) {
		for (cg = 0; cg < NR_CGROUPS; cg++) {
			if (w->cgroups[cg].alive &&
			    expect(!bpf_map_lookup_elem(w->fds[map], &w->cgroups[cg].id, value),
				   "lookup at the end"))
				expect_total(w, map, cg, value, "at the end");
		}
	}
}

static struct bpf_map *map_of(const struct world *w, int nr)
{
	char name[16];

	sprintf(name, "map%d", nr);
	return bpf_object__find_map_by_name(w->skel->obj, name);
}

static int prog_of(const struct world *w, int map, const char *what)
{
	const struct bpf_program *prog;
	char name[16];

	sprintf(name, "%s_map%d", what, map);
	prog = bpf_object__find_program_by_name(w->skel->obj, name);
	return ASSERT_OK_PTR(prog, name) ? bpf_program__fd(prog) : -1;
}

static bool world_load(struct world *w)
{
	struct bpf_map *map;
	int i;

	w->skel = cgroup_stats_fuzz__open();
	if (!ASSERT_OK_PTR(w->skel, "open"))
		return false;
	for (i = 0; i < NR_MAPS; i++)
		bpf_map__set_map_extra(map_of(w, i), w->cgroups[0].id);
	if (!ASSERT_OK(cgroup_stats_fuzz__load(w->skel), "load"))
		return false;
	for (i = 0; i < NR_MAPS; i++) {
		map = map_of(w, i);
		ASSERT_EQ(bpf_map__value_size(map), value_size(i), "value size");
		ASSERT_EQ(bpf_map__map_flags(map), world_maps[i].flags, "flags");
		w->fds[i] = bpf_map__fd(map);
		w->progs[i][PROG_ADD] = prog_of(w, i, "add");
		w->progs[i][PROG_FLUSH] = prog_of(w, i, "flush");
		w->progs[i][PROG_LOOK] = prog_of(w, i, "look");
	}
	return true;
}

static void world_end(struct world *w)
{
	int cg;

	/* Out of the way. */
	ASSERT_OK(join_root_cgroup(), "join the root");
	/* A cgroup may have a larger number than its parent, and a smaller one. */
	while (w->cgroups[0].alive) {
		for (cg = 0; cg < NR_CGROUPS; cg++) {
			if (w->cgroups[cg].alive && !has_children(w, cg))
				world_rmdir(w, cg);
		}
	}
	cg_remove("outside");
	munmap(pages, 3 * PAGE);
}

static void test_calls(void)
{
	static struct world w;
	int i;

	memset(&w, 0, sizeof(w));
	fuzz_begin();
	if (!pages_make())
		return;
	w.outside = cg_make("outside");
	world_mkdir(&w, 0, NO_CGROUP);
	world_join(&w, NO_CGROUP);
	if (!world_load(&w))
		goto out;
	while (fuzz_next(NR_CALLS_MADE)) {
		world_step(&w);
		if (one_in(1000))
			world_check(&w);
	}
	world_check(&w);
	for (i = 0; i < NR_CALLS && fuzz_complete(NR_CALLS_MADE); i++) {
		printf("%s: %ld good, %ld bad\n", call_names[i], w.good[i], w.bad[i]);
		if (i < CALL_DELETE || i == CALL_BATCH)
			ASSERT_GT(w.good[i], 50, call_names[i]);
		ASSERT_GT(w.bad[i], 50, call_names[i]);
	}
	if (fuzz_complete(NR_CALLS_MADE))
		ASSERT_GT(w.nr_gone, 20, "rmdir");
out:
	cgroup_stats_fuzz__destroy(w.skel);
	world_end(&w);
}

/* --- the tests --- */

void serial_test_cgroup_stats_fuzz(void)
{
	static const struct subtest tests[] = {
		{ "attributes", test_attributes },
		{ "shapes", test_shapes },
		{ "calls", test_calls },
	};

	run_subtests(tests, ARRAY_SIZE(tests));
}
