#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What bench_cgroup_stats.c measures: all of it, or the parts named: idle, maps, mkdir_idle, mkdir_maps.
# A line each, tabs between: work, variant, elements, cgroups, other options, and what an operation
# took (ns; instructions, where those are counted).

set -euo pipefail

run() {	# run WORK VARIANT ELEMENTS CGROUPS OPTION...
	local result
	result=$(./bench -q -w1 -d60 "cgroup-stats-${1//_/-}" --variant "$2" --elements "$3" \
		--cgroups "$4" "${@:5}" | sed -nE 's/.*latency +([0-9.]+) .*/\1/p')
	printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "${*:5}" "$result"
}

# Before there is any map, or in a kernel that has none.
idle() {
	run flush_idle none 1 101 --maps 0
	run flush rstat 1 101 --maps 0 --fanout 100
}
mkdir_idle() {
	run mkdir_rmdir none 1 1
	run mkdir_rmdir none 1 1 --controllers
}

add() {
	local variant cgroups maps depth
	for variant in map percpu_hash; do	# first, for the smallest ids
		run add_id $variant 1 10
	done
	run add_id map 1 10000
	run add_id map 1 10 --first-id 1000000

	for variant in map map_max map_min map_max_new map_min_new map_u32 map_shared map_flat \
		map_shared_flat kfunc percpu_hash cgrp_storage percpu_cgroup_storage percpu_array \
		memcg; do
		run add $variant 1 10
	done
	[ "$(nproc)" != 2 ] || run add map_nmi 1 10
	run add map 64 10
	for cgroups in 100 1000 10000; do
		run add map 1 $cgroups
	done
	for maps in 8 64; do
		run add map 1 10 --maps $maps
	done
	for variant in map walk_up; do
		for depth in 1 4 16; do
			run add $variant 1 $depth --fanout 1
		done
	done
}

flush() {
	local variant dirty depth maps
	for variant in map kfunc; do
		for dirty in "1 1" "8 1" "8 8" "64 1" "64 64"; do
			run flush $variant "${dirty% *}" 101 --dirty "${dirty#* }" --fanout 100
		done
		for depth in 1 4 16; do
			run flush $variant 1 $depth --fanout 1
		done
	done
	for dirty in 1 512; do	# (a loop of 512 is too much for the verifier, in the kfuncs' flusher)
		run flush map 512 101 --dirty $dirty --fanout 100
	done
	for dirty in "1 1" "8 1" "8 8" "64 1" "64 64"; do	# without what rstat does
		run flush map_fold "${dirty% *}" 101 --dirty "${dirty#* }" --fanout 100 --maps 9
	done
	for variant in map_max_new map_min_new map_u32 map_shared map_flat map_shared_flat \
		map_aggregator; do
		run flush $variant 8 101 --dirty 8 --fanout 100
	done
	for maps in "0 --past-maps 1" 1 8 64; do	# entries that are visited and have not changed
		# shellcheck disable=SC2086 # options
		run flush rstat 1 101 --maps $maps --fanout 100
		# shellcheck disable=SC2086
		run flush_idle none 1 101 --maps $maps
	done
	run flush_idle none 1 10000 --maps 1
}

read_all() {
	local cgroups variant every
	for cgroups in 100 1000 10000; do
		for variant in map_batch map_single kfunc kfunc_once percpu_hash; do
			run read_all $variant 8 $cgroups --every 100
		done
	done
	for variant in map_batch kfunc_once; do
		run read_all $variant 8 10000 --every 100 --spread
	done
	for every in 16 1; do
		for variant in map_batch kfunc kfunc_once; do
			run read_all $variant 1 1111 --every $every
		done
		run read_all memory_stat 1 1111 --every $every --controllers
	done
}

memory() {
	local elements variant maps
	for elements in 1 8 64; do
		for variant in map map_formula map_shared map_shared_formula kfunc; do
			run memory $variant $elements 1000
		done
	done
	for maps in 8 64; do
		for variant in map map_formula; do
			run memory $variant 8 1000 --maps $maps
		done
	done
	run memory cgrp_storage 1 1000
}

maps() {
	add
	flush
	read_all
	memory
}

mkdir_maps() {
	local maps elements
	for maps in 1 8 64; do
		run mkdir_rmdir map 1 1 --maps $maps
		run mkdir_rmdir map 1 1 --maps $maps --controllers
	done
	for elements in 64 512; do
		run mkdir_rmdir map $elements 1
	done
	release
}

release() {	# of what there is for each CPU and element, and of what has changed
	local dirty
	for dirty in "1 0" "1 1" "64 0" "64 1" "64 64" "512 0" "512 1" "512 512"; do
		run release map "${dirty% *}" 51 --dirty "${dirty#* }" --fanout 50
	done
}

[ $# != 0 ] || set -- idle mkdir_idle maps mkdir_maps
for part; do
	case $part in
	idle | maps | mkdir_idle | mkdir_maps) $part ;;
	*) echo "there is no part $part" >&2; exit 1 ;;
	esac
done
