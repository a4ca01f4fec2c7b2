# SPDX-License-Identifier: GPL-2.0
# A patch series for the Linux kernel: BPF_MAP_TYPE_CGROUP_STATS. make help

OUT ?= build
override OUT := $(abspath $(OUT))
override CMD := $(value CMD)
export BASE API KSRC OUT KERNEL ARCH CMD V

help: ## this text
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo
	@echo 'BASE=6.12   the kernel: $(filter-out %-kfuncs,$(notdir $(patsubst %/base,%,$(wildcard bases/*/base)))); with KSRC, the nearest'
	@echo 'API=helpers what programs call: helpers, or, on 7.3, kfuncs'
	@echo 'KSRC=       a kernel tree of your own instead of the package of the base'
	@echo 'OUT=build   the folder for trees and objects'
	@echo 'V=1         which time it is that the series is mailed'
	@echo 'ARCH=       of the virtual machine: x86_64 or arm64'
	@echo 'KERNEL=     the configuration of the kernel: names of machine/config/ joined by "+"'
	@echo 'CMD=        what make run runs in the virtual machine'

tree: ## git work tree of the base with the series applied; prints its path
	@bases/tree
save: ## take what was edited in the work tree, committed or not, back into this repository
	@bases/save
carry: ## and what it changed for files that the series brings, to the patches of the other bases
	@bases/carry
series: ## the series as it is mailed, with its cover letter; prints its folder
	@bases/series
build: ## build the kernel of the work tree
	@machine/build
run: ## boot it in a virtual machine and run CMD there
	@machine/run
shell: ## boot it and open a shell there
	@machine/shell
bench: ## measure what the map and its rivals cost, in instructions; writes bench/results.json
	@machine/bench
demo: ## see the map at work
	@machine/demo
check: ## the tests, of other bases as far as there is time
	@machine/check
check-long: ## longer attacks as well, KCSAN, arm64, configurations, mutations: three hours
	@LONG=1 machine/check
check-series: ## what a maintainer's robots would run, on each patch and on the series, of BASE
	@machine/check mailed lists compilers sphinx coccicheck configurations patches
regressions: ## the kernel's whole BPF suite before the series and after; writes bases/*/regressions/
	@machine/regressions
clean: ## remove the trees and objects of the base, if all edits are saved
	@bases/clean

.PHONY: help tree save carry series build run shell bench demo check check-long check-series regressions clean
