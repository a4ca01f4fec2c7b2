# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # the variables are for the scripts that source this
# What the scripts of this folder share: where things are, and how to say what goes wrong.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OUT=$(realpath -m "${OUT:-$top/build}")
BASE=$("$top/bases/nearest")	# which kernel: see bases/
export OUT BASE
KERNEL=${KERNEL:-base}		# which configuration: names in machine/config/, joined by "+"
ARCH=${ARCH:-x86_64}	# of the guest
dir=$OUT/$BASE${KSRC:+-ksrc}	# as in bases/
me=machine/$(basename "$0")

say() { echo "$me: $*" >&2; }
quietly() { "${@:2}" >"$1" 2>&1 </dev/null; }	# quietly LOG COMMAND...
die() { say "$*"; exit 125; }

case $ARCH in
x86_64) suffix='' cc=gcc image=vmlinux; export -n ARCH ;;	# (kbuild would take another from the environment)
arm64) suffix=-arm64 cc=clang-22 image=arch/arm64/boot/Image ;;
*) die "ARCH=$ARCH: x86_64 and arm64 are what there is" ;;
esac
[ -z "${PRISTINE:-}" ] || suffix+=-pristine	# PRISTINE=1: the base as it is, to compare with
obj=$dir/obj-$KERNEL$suffix
kvm=$OUT/kvm-$(cat /proc/sys/kernel/random/boot_id)	# "yes" or "no": /dev/kvm may be there and hang

# The git work tree of the kernel: with the series applied, without, or up to COMMIT.
tree() {
	local linux
	linux=$("$top/bases/tree" | tail -n 1)
	if [ "${PRISTINE:-}" ]; then
		[ -d "$dir/pristine" ] || git -C "$linux" worktree add -q --detach "$dir/pristine" base || exit
		linux=$dir/pristine
	elif [ "${COMMIT:-}" ]; then
		[ -d "$dir/commit" ] || git -C "$linux" worktree add -q --detach "$dir/commit" base || exit
		git -C "$dir/commit" checkout -q --detach "$COMMIT" || exit
		linux=$dir/commit
	fi
	echo "$linux"
}

# failed LOG: ends a build with what the compiler said.
failed() {
	grep -E -A 4 '[Ee]rror|ERROR|undefined reference|No space left|\*\*\*' "$1" | head -n 40 >&2 ||
		tail -n 20 "$1" >&2
	die "the build failed after $SECONDS s, see $1"
}

# The compiler, through ccache if there is one, so that another checkout hits too.
if command -v ccache >/dev/null; then
	cc="ccache $cc"
	export CCACHE_BASEDIR=$OUT CCACHE_NOHASHDIR=1
fi
