# SPDX-License-Identifier: GPL-2.0
# Draws results.json: add.svg and growth.svg. In this folder: gnuplot draw.gnuplot

# What "points" prints for each point that fits: in instructions, of a kernel as measured everywhere.
points(fits, what) = "< jq -r '.[] | select(.kernel == \"bench\" and .ns == null and " . fits . ") | " . what . "' results.json"
set terminal svg size 900,360 font "sans,12" background "white"
set border 3
set tics nomirror
set key left top
set style line 1 lc rgb "#1a6fb0" lw 2 pt 7 ps 0.5
set style line 2 lc rgb "#c2571a" lw 2 pt 5 ps 0.5
set style line 3 lc rgb "#6d8f3a" lw 2 pt 9 ps 0.6
set style line 4 lc rgb "#888888" lw 2 pt 11 ps 0.6

set output "add.svg"
set title "Instructions of an add, 2 CPUs"
set style fill solid
set boxwidth 0.6
set xtics rotate by -30 noenhanced
set rmargin 9
set bmargin 7
set yrange [0:*]
plot points(".work == \"add\" and .cpus == 2 and .elements == 1 and .cgroups == 10 and .options == \"\"", \
	"\"\\(.variant) \\(.insns)\"") using 0:2:xtic(1) with boxes ls 1 notitle, \
	"" using 0:2:2 with labels offset 0,0.6 notitle

set terminal svg size 900,1100 font "sans,12" background "white"
set output "growth.svg"
set multiplot layout 3,2 title "How cost grows"
set xtics norotate autofreq
set rmargin -1
set bmargin -1

set title "An add, by levels of cgroups"
set xlabel "levels"
set ylabel "instructions"
add(variant) = points(".work == \"add\" and .cpus == 2 and .variant == \"" . variant . "\" and (.options | startswith(\"--fanout 1\"))", \
	"\"\\(.cgroups) \\(.insns)\"")
plot add("map") with linespoints ls 1 title "map", add("walk_up") with linespoints ls 2 title "walk up to the root"

set title "An add, by cgroups and by maps"
set xlabel "cgroups, maps"
set logscale x
set yrange [0:180]
set key right center
adds(variant, which, x) = points(".work == \"add\" and .cpus == 2 and .variant == \"" . variant . "\" and .elements == 1 and " . which, \
	"\"\\(" . x . ") \\(.insns)\"")
plot adds("map", ".options == \"\"", ".cgroups") with linespoints ls 1 title "map, by cgroups", \
	adds("map", ".cgroups == 10 and (.options == \"\" or (.options | startswith(\"--maps\")))", \
		"if .options == \"\" then 1 else .options | ltrimstr(\"--maps \") end") with linespoints ls 3 title "map, by maps", \
	adds("kfunc", ".options == \"\"", ".cgroups") with points ls 2 title "rstat kfuncs"
set yrange [0:*]
set key left top

set title "A flush, by elements: all changed, and one (dashed)"
set xlabel "elements"
set ylabel "instructions per cgroup and CPU"
set logscale y
set yrange [100:*]
flush(variant, dirty) = points(".work == \"flush\" and .cpus == 2 and .variant == \"" . variant . "\" and .elements <= 64 and " . \
	"((" . dirty . ") as $d | .options | startswith(\"--dirty \\($d) \"))", "\"\\(.elements) \\(.insns)\"")
plot flush("map", ".elements") with linespoints ls 1 title "map", flush("map", "1") with linespoints ls 1 dt 2 notitle, \
	flush("kfunc", ".elements") with linespoints ls 2 title "rstat kfuncs", flush("kfunc", "1") with linespoints ls 2 dt 2 notitle, \
	flush("map_fold", ".elements") with linespoints ls 3 title "map, the fold alone", \
	flush("map_fold", "1") with linespoints ls 3 dt 2 notitle

set title "A read of all cgroups, 1% of them changed"
set xlabel "cgroups"
set ylabel "instructions per cgroup"
set yrange [100:10000]
read(variant, cpus) = points(".work == \"read_all\" and .cpus == " . cpus . " and .variant == \"" . variant . "\" and .elements == 8 and " . \
	"(.options | contains(\"spread\") | not)", "\"\\(.cgroups) \\(.insns)\"")
plot read("map_batch", "2") with linespoints ls 1 title "map, batch", \
	read("kfunc", "2") with linespoints ls 2 title "kfuncs, a flush of each", \
	read("kfunc_once", "2") with linespoints ls 4 title "kfuncs, one flush", \
	read("percpu_hash", "2") with linespoints ls 3 title "user space adds up"

set title "A read of 10,000 cgroups, 1% of them changed"
set xlabel "possible CPUs"
set yrange [100:1000000]
cpus(variant) = points(".work == \"read_all\" and .variant == \"" . variant . "\" and .elements == 8 and .cgroups == 10000 and " . \
	"(.options | contains(\"spread\") | not)", "\"\\(.cpus) \\(.insns)\"")
plot cpus("map_batch") smooth unique with linespoints ls 1 title "map, batch", \
	cpus("kfunc") smooth unique with linespoints ls 2 title "kfuncs, a flush of each", \
	cpus("kfunc_once") smooth unique with linespoints ls 4 title "kfuncs, one flush", \
	cpus("percpu_hash") smooth unique with linespoints ls 3 title "user space adds up"

set title "Memory of an entry of 8 elements, by CPUs"
set xlabel "possible CPUs"
set ylabel "bytes"
set yrange [100:*]
memory(variant) = points(".work == \"memory\" and .variant == \"" . variant . "\" and .elements == 8 and .options == \"\"", "\"\\(.cpus) \\(.bytes)\"")
plot memory("map") smooth unique with linespoints ls 1 title "map, as charged", \
	memory("map_formula") smooth unique with lines ls 1 dt 2 title "map, as it says", \
	memory("map_shared") smooth unique with linespoints ls 3 title "without per-CPU arrays", \
	memory("kfunc") smooth unique with linespoints ls 2 title "two hashes, as they say"
unset multiplot
