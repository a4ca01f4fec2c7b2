// SPDX-License-Identifier: GPL-2.0
/* What people see of a cgroup stats map: in bpftool, in bpffs, and through an iterator. */
#include <ctype.h>
#include <limits.h>
#include <test_progs.h>
#include "cgroup_helpers.h"
#include "cgroup_stats_print.skel.h"

#define CGROUP		"/cgroup_stats_print"
#define PIN_WIDE	"/sys/fs/bpf/cgroup_stats_print_wide"
#define PIN_NARROW	"/sys/fs/bpf/cgroup_stats_print_narrow"

/* What the programs fill in: the large number, and what has no sample. */
#define LARGE_WIDE	"9223372036854775809"
#define LOWEST_WIDE	"-9223372036854775808"
#define MOST_WIDE	"18446744073709551615"
#define LARGE_NARROW	"2147483649"
#define LOWEST_NARROW	"-2147483648"
#define MOST_NARROW	"4294967295"

#define JSON(large, lowest, most)							\
	"{\"events\":" large ",\"balance\":-5,"					\
	"\"warmest\":" lowest ",\"coldest\":-40,\"slots\":[0,1,22],"		\
	"\"least\":{\"smallest\":3,\"lowest\":[-6,7]},"				\
	"\"traffic\":[{\"in\":100,\"out\":[0,-101]},{\"in\":200,\"out\":[-201,0]}],"	\
	"\"most\":" most "}"

/* bpffs shows types as well: @w is their width. */
#define BPFFS(name, w, large, lowest, most)						\
	"(struct " name "){.events = (__u" w ")" large ",.balance = (__s" w ")-5,"	\
	".warmest = (__s" w ")" lowest ",.coldest = (__s" w ")-40,"			\
	".slots = (__u" w "[])[0,1,22,],"						\
	".least = (struct){.smallest = (__u" w ")3,.lowest = (__s" w "[])[-6,7,],},"	\
	".traffic = (struct[])[{.in = (__u" w ")100,.out = (__s" w "[])[0,-101,],},"	\
	"{.in = (__u" w ")200,.out = (__s" w "[])[-201,0,],},],"			\
	".most = (__u" w ")" most ",}"

static __u64 id;

static void read_all(FILE *f, char *buf, size_t size)
{
	buf[fread(buf, 1, size - 1, f)] = '\0';
}

/* What bpftool says; test_progs of other flavours run in a folder below it. */
static void run_bpftool(const char *args, char *buf, size_t size)
{
	const char *path = "./tools/sbin/bpftool";
	char cmd[256];
	FILE *f;

	buf[0] = '\0';
	if (access(path, X_OK))
		path = "../tools/sbin/bpftool";
	snprintf(cmd, sizeof(cmd), "%s %s", path, args);
	f = popen(cmd, "r");
	if (!ASSERT_OK_PTR(f, "popen"))
		return;
	read_all(f, buf, size);
	ASSERT_OK(pclose(f), cmd);
}

static void strip_spaces(char *str)
{
	char *to = str;

	for (; *str; str++) {
		if (!isspace(*str))
			*to++ = *str;
	}
	*to = '\0';
}

/* Plain output is the same text, with line breaks and indentation. */
static void check_dump(const char *pin, const char *json)
{
	char args[128], out[8192], expected[1024];

	snprintf(args, sizeof(args), "map dump pinned %s", pin);
	run_bpftool(args, out, sizeof(out));
	strip_spaces(out);
	snprintf(expected, sizeof(expected), "[{\"key\":%llu,\"value\":%s}]", id, json);
	ASSERT_STREQ(out, expected, "plain");

	/* Raw bytes come first. */
	snprintf(args, sizeof(args), "-j map dump pinned %s", pin);
	run_bpftool(args, out, sizeof(out));
	strip_spaces(out);
	snprintf(expected, sizeof(expected), "\"formatted\":{\"key\":%llu,\"value\":%s}}]",
		 id, json);
	ASSERT_HAS_SUBSTR(out, expected, "json");
}

static void test_bpftool_dump(struct cgroup_stats_print *skel)
{
	check_dump(PIN_WIDE, JSON(LARGE_WIDE, LOWEST_WIDE, MOST_WIDE));
	check_dump(PIN_NARROW, JSON(LARGE_NARROW, LOWEST_NARROW, MOST_NARROW));
}

/* One element, by its key */
static void test_bpftool_lookup(struct cgroup_stats_print *skel)
{
	const __u8 *key = (const __u8 *)&id;
	char args[128], out[8192];
	int i, len;

	len = snprintf(args, sizeof(args), "map lookup pinned %s key", PIN_NARROW);
	for (i = 0; i < sizeof(id); i++)
		len += snprintf(args + len, sizeof(args) - len, " %u", key[i]);
	run_bpftool(args, out, sizeof(out));
	strip_spaces(out);
	ASSERT_HAS_SUBSTR(out, JSON(LARGE_NARROW, LOWEST_NARROW, MOST_NARROW), "lookup");
}

static void test_bpftool_show(struct cgroup_stats_print *skel)
{
	char out[1024];

	run_bpftool("map show pinned " PIN_WIDE, out, sizeof(out));
	ASSERT_HAS_SUBSTR(out, ": cgroup_stats  name print_wide  flags 0x0\n", "wide");
	ASSERT_HAS_SUBSTR(out, "\tkey 8B  value 136B  max_entries 0  memlock ", "sizes of wide");

	run_bpftool("map show pinned " PIN_NARROW, out, sizeof(out));
	ASSERT_HAS_SUBSTR(out, ": cgroup_stats  name print_narrow  flags 0x300000\n", "narrow");
	ASSERT_HAS_SUBSTR(out, "\tkey 8B  value 68B  max_entries 0  memlock ", "sizes of narrow");

	run_bpftool("-j map show pinned " PIN_NARROW, out, sizeof(out));
	ASSERT_HAS_SUBSTR(out, "\"type\":\"cgroup_stats\",\"name\":\"print_narrow\",", "json");
	ASSERT_HAS_SUBSTR(out, ",\"flags\":3145728,", "flags in json");
}

static void check_bpffs(const char *pin, const char *value)
{
	char out[4096], start[32], *line;
	FILE *f = fopen(pin, "r");

	if (!ASSERT_OK_PTR(f, "open"))
		return;
	read_all(f, out, sizeof(out));
	fclose(f);
	snprintf(start, sizeof(start), "\n%llu: ", id);
	line = strstr(out, start);
	if (!ASSERT_OK_PTR(line, "line of the cgroup"))
		return;
	line += strlen(start);
	line[strcspn(line, "\n")] = '\0';
	ASSERT_STREQ(line, value, "value");
}

static void test_bpffs(struct cgroup_stats_print *skel)
{
	check_bpffs(PIN_WIDE, BPFFS("wide", "64", LARGE_WIDE, LOWEST_WIDE, MOST_WIDE));
	check_bpffs(PIN_NARROW, BPFFS("narrow", "32", LARGE_NARROW, LOWEST_NARROW, MOST_NARROW));
}

static void test_iter(struct cgroup_stats_print *skel)
{
	union bpf_iter_link_info linfo = {};
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts);
	char out[1024] = "", expected[1024];
	struct bpf_link *link;
	int fd, len;

	linfo.map.map_fd = bpf_map__fd(skel->maps.print_narrow);
	opts.link_info = &linfo;
	opts.link_info_len = sizeof(linfo);
	link = bpf_program__attach_iter(skel->progs.dump_narrow, &opts);
	if (!ASSERT_OK_PTR(link, "attach"))
		return;
	fd = bpf_iter_create(bpf_link__fd(link));
	if (ASSERT_OK_FD(fd, "create")) {
		len = read(fd, out, sizeof(out) - 1);
		ASSERT_GT(len, 0, "read");
		close(fd);
	}
	bpf_link__destroy(link);

	snprintf(expected, sizeof(expected),
		 "cgroup %llu: events " LARGE_NARROW " balance -5 warmest " LOWEST_NARROW
		 " coldest -40 most " MOST_NARROW "\n"
		 "slots 0 1 22 smallest 3 lowest -6 7\n"
		 "in 100 out 0 -101\n"
		 "in 200 out -201 0\n", id);
	ASSERT_STREQ(out, expected, "iterator");
}

static bool fill(const struct bpf_program *prog)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);
	__u64 args[1] = { id };

	opts.ctx_in = args;
	opts.ctx_size_in = sizeof(args);
	return ASSERT_OK(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "run") &&
	       ASSERT_OK(opts.retval, "fill");
}

static struct cgroup_stats_print *load_and_fill(void)
{
	struct cgroup_stats_print *skel = cgroup_stats_print__open();

	if (!ASSERT_OK_PTR(skel, "open"))
		return NULL;
	bpf_map__set_map_extra(skel->maps.print_wide, id);
	bpf_map__set_map_extra(skel->maps.print_narrow, id);
	if (ASSERT_OK(cgroup_stats_print__load(skel), "load") &&
	    ASSERT_OK(bpf_map__pin(skel->maps.print_wide, PIN_WIDE), "pin wide") &&
	    ASSERT_OK(bpf_map__pin(skel->maps.print_narrow, PIN_NARROW), "pin narrow") &&
	    fill(skel->progs.fill_wide) && fill(skel->progs.fill_narrow))
		return skel;
	cgroup_stats_print__destroy(skel);
	return NULL;
}

void test_cgroup_stats_print(void)
{
	struct cgroup_stats_print *skel;
	int fd;

	if (!ASSERT_OK(setup_cgroup_environment(), "cgroup environment"))
		return;
	fd = create_and_get_cgroup(CGROUP);
	if (!ASSERT_OK_FD(fd, "cgroup"))
		goto out;
	close(fd);
	id = get_cgroup_id(CGROUP);

	skel = load_and_fill();
	if (!skel)
		goto unpin;
	if (test__start_subtest("bpftool_dump"))
		test_bpftool_dump(skel);
	if (test__start_subtest("bpftool_lookup"))
		test_bpftool_lookup(skel);
	if (test__start_subtest("bpftool_show"))
		test_bpftool_show(skel);
	if (test__start_subtest("bpffs"))
		test_bpffs(skel);
	if (test__start_subtest("iter"))
		test_iter(skel);
	cgroup_stats_print__destroy(skel);
unpin:
	unlink(PIN_WIDE);
	unlink(PIN_NARROW);
out:
	cleanup_cgroup_environment();
}
