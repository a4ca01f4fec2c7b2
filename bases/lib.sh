# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # some variables are for the scripts that source this
# What the scripts here share: places, errors, the lock, and what a patch says about files.
set -euo pipefail
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
me=${0##*/}
KSRC=${KSRC:-}
BASE=$(BASE=${BASE:-} KSRC=$KSRC "$top/bases/nearest")
export BASE
pin=$top/bases/$BASE
shared=$pin/shared.diff	# of another form of a base: what is different in the files that it shares with that one
dir=$(realpath -m "${OUT:-$top/build}")/$BASE${KSRC:+-ksrc}
T=$dir/linux		# the work tree: tag base, branch cgroup-stats
tmp=$dir/tmp
made=$T/.git/made	# the commit that tree or save made last, and the repository's files as of then
merged=$T/.git/merged	# patches that did not apply to KSRC as they are
moving=$T/.git/moving	# the same while the work tree is on its way there

say() { echo "$me: $*" >&2; }
die() { say "$@"; exit 125; }
locked=
trap 's=$?; [[ ! $locked ]] || ((s > 128)) || rm -rf "$tmp"
	((s == 0 || s == 125)) || say "stopped (status $s): mend what is said above, if anything, and run it again"' EXIT

# step WHAT COMMAND...: says what is done and how long it took
step() {
	local what=$1 start=$SECONDS
	say "$what ..."
	shift
	"$@"
	say "... $((SECONDS - start)) s"
}

need() {	# need TOOL=PACKAGE...
	local t
	for t; do
		command -v "${t%=*}" >/dev/null || die "${t%=*} is missing: apt-get install ${t#*=}"
	done
}

space() {	# space MEGABYTES
	(($(df --output=avail -m "$dir" | tail -n 1) > $1)) ||
		die "less than $1 MB free in $dir: make room there, or set OUT"
}

begin() {
	need git=git flock=util-linux
	[[ -f $pin/base ]] || die "there is no bases/$BASE/base: BASE is one of $(cd "$top/bases" && echo */)"
	# shellcheck disable=SC2046 # a list of names
	unset $(git rev-parse --local-env-vars)
	# The user's taste must not reach the patches.
	local s=(core.quotePath=false core.autocrlf=false apply.whitespace=nowarn apply.ignoreWhitespace=no
		diff.noprefix=false diff.mnemonicPrefix=false log.showSignature=false) i
	export GIT_CONFIG_COUNT=${#s[@]}
	for i in "${!s[@]}"; do
		export "GIT_CONFIG_KEY_$i=${s[i]%=*}" "GIT_CONFIG_VALUE_$i=${s[i]#*=}"
	done
	if ! git -c user.useConfigOnly=true var GIT_COMMITTER_IDENT >/dev/null 2>&1; then
		export GIT_{AUTHOR,COMMITTER}_NAME=nobody GIT_{AUTHOR,COMMITTER}_EMAIL=nobody@localhost
	fi
	mkdir -p "$dir" || die "cannot write to $dir: set OUT"
	exec 9>"$dir/lock"
	flock -n 9 || { say "waiting for another command in $dir"; flock 9; }
	locked=1
	space 100
	if [[ -d $tmp ]]; then	# the last command was killed, or its git was
		rm -f "$T"/.git/{*,refs/heads/*}.lock
		rm -rf "$tmp"
	fi
	mkdir "$tmp"
}

g() { git -C "$T" "$@"; }
gi() { GIT_INDEX_FILE=$tmp/index.$1 git -C "$T" "${@:2}"; }	# gi INDEX COMMAND...: with a temporary index

# list ROOT INDEX <PATHS: puts files below ROOT into a temporary index and lists it, sorted:
# "mode blob 0<tab>path"
list() (
	cd "$1"
	export GIT_DIR=$T/.git GIT_WORK_TREE=$1 GIT_INDEX_FILE=$tmp/index.$2
	git update-index --add --stdin
	git ls-files -s | sort
)

# entries PATCH: "new|del|mod<tab>mode<tab>path" for each file; new is a name alone, with no content
entries() {
	awk '
	function out() { if (path) printf "%s\t%s\t%s\n", kind, mode, path }
	!body { body = /^---$/; next }
	/^diff --git a\// {
		out()
		path = substr($0, 14, (length - 16) / 2)
		kind = "mod"; mode = "-"; head = 1
	}
	head && /^(new|deleted) file mode / { kind = $1 == "new" ? "new" : "del"; mode = $4 }
	head && /^(@@ |GIT binary patch)/ { head = 0; if (kind == "new") kind = "mod" }
	END { out() }' "$1"
}

# owned FOLDER: the new files that the patches there bring and keep
owned() {
	local p
	for p in "$1"/*.patch; do
		[[ ! -f $p ]] || entries "$p"
	done | awk -F '\t' '$1 == "new" { own[$3] } $1 == "del" { delete own[$3] } END { for (f in own) print f }' | sort
}

# The new files that the repository has once for this base and for the one it is another form of.
common() {
	[[ $BASE == "${BASE%-kfuncs}" ]] || comm -12 <(owned "$top/bases/${BASE%-kfuncs}") "$tmp/new"
}

# Files that git does not know and does not ignore. Debian's .gitignore ends by ignoring everything.
untracked() {
	local tops
	mapfile -t tops < <(g ls-tree -d --name-only base)
	{
		g ls-files -o --exclude-standard
		g ls-files -o --exclude-standard --exclude='!/*' -- "${tops[@]}"
	} | sort -u
}

on_branch() {
	[[ $(g symbolic-ref -q HEAD) == refs/heads/cgroup-stats ]] ||
		die "$T is not on branch cgroup-stats: finish the rebase there, or git checkout cgroup-stats"
}

# Is the work tree as tree or save left it?
saved() {
	local head=base
	[[ ! -f $made ]] || head=$(head -n 1 "$made")
	[[ $(g rev-parse HEAD) == $(g rev-parse "$head^0") &&
		-z $(g status --porcelain -uno) && -z $(untracked) ]]
}
