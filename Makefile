# SPDX-License-Identifier: GPL-2.0
# The front door. `make` alone lists what there is; each target does all the set-up that it needs.

RUNNER := tools/testing/runner
ARCH ?= x86_64

.PHONY: help run check test integration hostile bench kernel vm shell lint series bisect docs matrix install clean

help:
	@echo 'The BPF token of Linux in Rust. As root, on Debian 12 or 13:'
	@echo
	@echo '  make run      boots a kernel with it; an unprivileged container loads and runs BPF through a token'
	@echo '  make check    seconds, without a guest: unit tests, the policy against C, lint of what changed [BASE=HEAD] [WHOLE=1]'
	@echo '  make test     tests of kernel, library and tool; ends with the line "N passed, N failed" [KERNEL=rust|c] [EXPECT=update] [FRESH=1]'
	@echo '  make test TEST=name [KERNEL=...]     the tests with that in their names, in one guest'
	@echo '  make integration   bpftoken with real container managers and loaders [KERNEL=rust|c] [EXPECT=update] [FRESH=1]'
	@echo '  make hostile  debug kernel, faults, stress, large numbers, C against Rust by fuzzing [SEED=] [STRESS=60]'
	@echo '  make bench    counts guest instructions, C against Rust [BOOTS=5] [CHECK=1]'
	@echo '  make lint     rustfmt, clippy, kernel warnings, shellcheck, checkpatch'
	@echo '  make series   what "git am" takes on an untouched Linux 7.3, with a cover letter [OUT=]'
	@echo '  make bisect   compiles what the series touches after each of its patches'
	@echo '  make matrix   compiles other configurations and architectures, and compares .text with the option off'
	@echo '  make docs     Documentation/bpf as HTML, rustdoc of the crate and of the kernel crate'
	@echo
	@echo '  make kernel KERNEL=rust|c|debug      builds a kernel; the last line is the path of its image'
	@echo "  make vm KERNEL=... CMD='...'         boots it, runs CMD as root in the guest, passes its exit status on"
	@echo "          [DIR=...]                    a directory to share with the guest, at its own path"
	@echo "          [CPUS=2] [MEMORY=2G] [TIMEOUT=900] [ACCEL=kvm|tcg] [QEMU_OPTS='...'] [KERNEL_ARGS='...']"
	@echo '  make shell [KERNEL=...]              an interactive guest'
	@echo '  make install [DESTDIR=] [PREFIX=/usr/local]   bpftoken, built for this host; man pages, completions'
	@echo '  make clean                           removes what was built (BUILD)'
	@echo
	@echo '  BUILD=...       where things are built (now $(or $(BUILD),$${XDG_CACHE_HOME:-~/.cache}/bpf-token))'
	@echo '  ARCH=arm64      kernel, vm, shell, run, test, integration, bench: another architecture, cross-compiled and emulated (now $(ARCH))'
	@echo '  LINUX_SRC=...   your own Linux 7.3, a tree or a tarball, in place of the Debian package of its source'
	@echo '  SNAPSHOT=...    where an archive of Debian has the tested source, once the mirror has it no more'

run:
	@$(RUNNER)/run.sh

check:
	@$(RUNNER)/check.sh

test:
	@$(RUNNER)/test.sh

integration:
	@$(RUNNER)/integration.sh

hostile:
	@$(RUNNER)/hostile.sh

bench:
	@$(RUNNER)/bench.sh

kernel:
	@$(RUNNER)/kernel.sh $(or $(KERNEL),rust)

vm:
	@: $(if $(CMD),,$(error make vm needs CMD='...', the command to run in the guest; for a shell, make shell))
	@$(RUNNER)/vm.sh $(KERNEL)

shell:
	@CMD= $(RUNNER)/vm.sh $(KERNEL)

lint:
	@$(RUNNER)/lint.sh

series:
	@$(RUNNER)/series.sh

bisect:
	@$(RUNNER)/bisect.sh

matrix:
	@$(RUNNER)/matrix.sh

docs:
	@$(RUNNER)/docs.sh

install:
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' $(RUNNER)/install.sh

clean:
	@$(RUNNER)/clean.sh

export KERNEL ARCH BUILD BASE OUT TEST EXPECT FRESH WHOLE BOOTS CHECK LINUX_SRC SNAPSHOT SEED STRESS STRINGS CALLS
export CMD DIR CPUS MEMORY TIMEOUT ACCEL QEMU_OPTS KERNEL_ARGS
