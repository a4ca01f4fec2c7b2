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

set terminal svg size 900,760 font "sans,12" background "white"
set output "growth.svg"
set multiplot layout 2,2 title "How cost grows"
set xtics norotate autofreq
set rmargin -1
set bmargin -1

set title "An add, by levels of cgroups"
set xlabel "levels"
set ylabel "instructions"
add(variant) = points(".work == \"add\" and .cpus == 2 and .variant == \"" . variant . "\" and (.options | startswith(\"--fanout 1\"))", \
	"\"\\(.cgroups) \\(.insns)\"")
plot add("map") with linespoints ls 1 title "map", add("walk_up") with linespoints ls 2 title "walk up to the root"

set title "A flush, by elements that changed"
set xlabel "elements, all of them changed"
set ylabel "instructions per cgroup and CPU"
flush(variant) = points(".work == \"flush\" and .cpus == 2 and .variant == \"" . variant . "\" and .elements <= 64 and " . \
	"(.elements as $e | .options | startswith(\"--dirty \\($e) \"))", "\"\\(.elements) \\(.insns)\"")
plot flush("map") with linespoints ls 1 title "map", flush("kfunc") with linespoints ls 2 title "rstat kfuncs", \
	flush("map_fold") with linespoints ls 3 title "map, the fold alone"

set title "A read of all cgroups, 1% of them changed"
set xlabel "cgroups"
set ylabel "instructions per cgroup"
set logscale x
set key right top
read(variant, cpus) = points(".work == \"read_all\" and .cpus == " . cpus . " and .variant == \"" . variant . "\" and .elements == 8", \
	"\"\\(.cgroups) \\(.insns)\"")
set yrange [0:12000]
plot read("map_batch", "2") with linespoints ls 1 title "map, batch, 2 CPUs", \
	read("map_batch", "8") with linespoints ls 1 dt 2 title "8 CPUs", \
	read("kfunc", "2") with linespoints ls 2 title "iterator and kfuncs, 2 CPUs", \
	read("kfunc", "8") with linespoints ls 2 dt 2 title "8 CPUs", \
	read("percpu_hash", "2") with linespoints ls 3 title "user space adds up, 2 CPUs", \
	read("percpu_hash", "8") with linespoints ls 3 dt 2 title "8 CPUs"

set title "Memory of an entry of 8 elements, by CPUs"
set xlabel "possible CPUs"
set ylabel "bytes"
set logscale y
set yrange [100:*]
set key left top
memory(variant) = points(".work == \"memory\" and .variant == \"" . variant . "\" and .elements == 8", "\"\\(.cpus) \\(.bytes)\"")
plot memory("map") smooth unique with linespoints ls 1 title "map, as charged", \
	memory("map_formula") smooth unique with lines ls 1 dt 2 title "map, as it says", \
	memory("map_shared") smooth unique with linespoints ls 3 title "without per-CPU arrays", \
	memory("kfunc") smooth unique with linespoints ls 2 title "two hashes, as they say"
unset multiplot
