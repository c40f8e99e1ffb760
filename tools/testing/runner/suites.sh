# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # used by those that source this, after common.sh
# The test suites: how each is built and run in a guest. A run has a directory of its own, with all that it runs and says,
# so that neither an edit nor another run meanwhile changes it.

# new_run NAME KERNEL...: makes the directory, with the images of these kernels.
new_run() {
	local name=$1 old
	shift
	mkdir -p "$BUILD/runs"
	RUN=$(mktemp -d "$BUILD/runs/$(date -u +%Y%m%d-%H%M%S)-$name.XXXX")
	chmod 755 "$RUN" # what runs in a container is not root there
	exec 6>"$RUN/.lock"
	flock 6
	RESULTS=$RUN/logs bin=$RUN/bin
	mkdir "$RESULTS"
	ln -sfn "${RUN##*/}" "$BUILD/runs/latest"
	# The last ten runs are kept, and those that go on.
	for old in $(find "$BUILD/runs" -mindepth 1 -maxdepth 1 -type d | sort -r | tail -n +11); do
		flock --nonblock "$old/.lock" rm -rf "$old" || true
	done
	take_kernels "$@"
}

# take_kernels KERNEL...: builds these, and takes their images into the run.
take_kernels() {
	local kernel
	for kernel; do
		COPY=$RUN/$kernel.image "$RUNNER/kernel.sh" "$kernel" >/dev/null
	done
}

# choose_kernels WHAT: the array kernels has the one that KERNEL names, or both.
choose_kernels() {
	case ${KERNEL:=} in
	'') kernels=(rust c) ;;
	rust | c) kernels=("$KERNEL") ;;
	*) die "KERNEL=$KERNEL: $1 is for rust and c." ;;
	esac
}

# check_expect: before a run that total ends.
check_expect() {
	case ${EXPECT:=} in
	'' | update) ;;
	*) die "EXPECT=$EXPECT: it is update, or not set." ;;
	esac
	case ${FRESH:=} in
	'' | 1) ;;
	*) die "FRESH=$FRESH: it is 1, or not set." ;;
	esac
}

# build_programs PACKAGE...: builds them and takes them into the run.
build_programs() {
	COPY=$bin step "building the programs" "$LOGS/programs-build.log" \
		"$RUNNER/cargo.sh" build --locked --release "${@/#/--package=}"
	here=$bin
}

# build_here PACKAGE: after build_programs; the directory $here has the programs of this package that this host runs.
build_here() {
	[ "$ARCH" != x86_64 ] || return 0
	here=$RUN/host
	ARCH=x86_64 COPY=$here step "building what this host runs" "$LOGS/here-build.log" \
		"$RUNNER/cargo.sh" build --locked --release --package "$1"
}

take_selftests() {
	(
		local out=$BUILD/selftests sysroot=()
		[ "$ARCH" = x86_64 ] || out+=/$ARCH sysroot=("$GUEST_ROOT")
		lock selftests
		in_root "$RUNNER/selftests.sh" "$BUILD/linux-rust" "$OUT_OF" "$out" "${sysroot[@]}"
		mkdir "$RUN/selftests"
		cp -L --reflink=auto "$out"/{reasons,*.bpf.o} \
			"$out/tree/tools/testing/selftests/bpf/"{test_progs,tools/sbin/bpftool} \
			"$RUNNER/../libbpf/reasons.sh" "$RUN/selftests"
	)
}

# build_suites PACKAGE...: the suites of make test, and these packages.
build_suites() {
	build_programs bpftoken bpftoken-tests clients guest results "$@"
	build_here results
	step "building upstream's test_progs" "$LOGS/selftests.log" take_selftests
	# shellcheck disable=SC2016 # expanded in the guest
	kunit_suites='for suite in /sys/kernel/debug/kunit/bpf_token_*; do echo 1 >$suite/run; cat $suite/results; done'
	libbpf_suite="$RUN/selftests/reasons.sh $bin/bpftoken $RUN/selftests"
	upstream_suite="mount -t bpf bpf /sys/fs/bpf; echo 0 >/proc/sys/kernel/unprivileged_bpf_disabled; cd $RUN/selftests && ./test_progs -t token"
}

# map_blocks: finds the blocks of the Rust kernel that are ours; from then on, its guests log what QEMU translates of them.
# With KVM, QEMU translates nothing.
map_blocks() {
	local accel
	[ "$ARCH" = x86_64 ] || return 0
	accel=${ACCEL:-$(head -n 1 "$BUILD/accel")}
	[ "$accel" = tcg ] || {
		say "  which blocks run is not measured with KVM; ACCEL=tcg measures it"
		return 0
	}
	step "finding our blocks in the kernel" "$LOGS/blocks.log" write_map
	blocks=$RUN/blocks
}
write_map() {
	(
		# The kernel that is there is that of the run, or no map is written.
		lock kernel-rust
		cd "$BUILD/linux-rust" || exit
		while read -r file; do
			if [ -e ".upstream/$file" ]; then
				diff --unchanged-line-format= --old-line-format= --new-line-format="$file:%dn"$'\n' ".upstream/$file" "$file" || true
			else
				echo "$file"
			fi
		done <.ours >"$RUN/ours"
		in_root "$bin/coverage" map "$PWD/$OUT_OF/vmlinux" "$RUN/rust.image" "$PWD" "$RUN/ours" >"$RUN/blocks"
	)
}

# judge_blocks LOG...: which blocks ran in the guests with these logs.
judge_blocks() {
	local log suites=() status=0
	for log; do
		suites+=("$(basename "$log" .log)=$log.translated")
	done
	in_root "$bin/coverage" judge "$blocks" "$RUNNER/../coverage/unreached" "$RUN/coverage.txt" "${suites[@]}" \
		>"$RESULTS/coverage.log" 2>&1 || status=$?
	echo "$status" >"$RESULTS/coverage.log.status"
	sed 's/^/  /' "$RESULTS/coverage.log" >&2
}

# guest KERNEL LOG COMMAND: boots; the status goes to LOG.status. Has one processor if CPUS does not say otherwise: two
# such guests fit a machine of two, where the processors of larger guests would spend their time waiting for each other.
guest() {
	local status=0 options=${QEMU_OPTS:-}
	[ "$1" != rust ] || [ -z "${blocks:-}" ] || options+=" -d in_asm -dfilter $(head -n 1 "$blocks") -D $2.translated"
	QEMU_OPTS=$options IMAGE=$RUN/$1.image CONSOLES=$RESULTS CMD=$3 CPUS=${CPUS:-1} TIMEOUT=${TIMEOUT:-900} \
		"$RUNNER/vm.sh" "$1" >"$2" 2>&1 || status=$?
	echo "$status" >"$2.status"
}

# inputs_c COMMAND: a hash of all that decides what COMMAND says on the C kernel: the image, the programs, the guest and how it
# boots, and the checkout, whose pages the tests read, but for what the Rust kernel alone is made of.
inputs_c() {
	local part leave=(-path ./.git -o -path "./${BUILD#"$REPO"/}")
	for part in "${KERNEL_SIDE[@]}"; do leave+=(-o -path "./$part"); done
	{
		echo "${1//"$RUN"/} ${CPUS:-} ${MEMORY:-} ${ACCEL:-$(cat "$BUILD/accel" 2>/dev/null || true)} ${QEMU_OPTS:-} ${KERNEL_ARGS:-}"
		cat "$ROOT/.made-from" "$GUEST_ROOT/.made-from"
		cd "$RUN" || exit
		find c.image bin -type f -print0 | sort -z | xargs -0 sha256sum
		cd "$REPO" || exit
		find . \( "${leave[@]}" \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
	} | sha256sum | cut -c 1-32
}

# guest_c LOG COMMAND: as guest c does it. The C kernel is what ours is compared with: what passed on it is not asked again while
# its inputs are the same, but taken from the run that saw it, which LOG.from names. FRESH=1 asks again.
guest_c() {
	local inputs kept new run
	inputs=$(inputs_c "$2")
	kept=$BUILD/passed/$inputs
	# One file, opened once and replaced by renaming: another run may do the same.
	if [ -z "${FRESH:-}" ] && { read -r run && cat >"$1"; } 2>/dev/null <"$kept"; then
		echo "$run" >"$1.from"
		echo 0 >"$1.status"
		touch -c "$kept"
		return
	fi
	guest c "$@"
	# A checkout that was edited meanwhile is not what was asked about.
	[ "$(cat "$1.status")" = 0 ] && [ "$(inputs_c "$2")" = "$inputs" ] || return 0
	mkdir -p "$BUILD/passed"
	new=$(mktemp "$BUILD/passed/new.XXXX")
	{ echo "${RUN##*/}" && cat "$1"; } >"$new"
	mv "$new" "$kept"
	# The last twenty are kept: the suites of both architectures, some edits back.
	find "$BUILD/passed" -type f -printf '%T@ %p\n' | sort -rn | sed '1,20d; s/^[^ ]* //' | xargs -r rm -f
}

# guest_on KERNEL LOG COMMAND: on the C kernel, by guest_c.
guest_on() { if [ "$1" = c ]; then guest_c "${@:2}"; else guest "$@"; fi; }

# What make test runs of our tests and of those of the library and bpftoken. The tests in which somebody contends with what is
# tested need a second processor; the others are quicker on one. Time passes in the tool's tests, so they have a limit of their own.
rules_contests=(contest:: race::)
tool_contests=(hostile:: narrow::mounts_that_move narrow::new_instances)
rules() {
	local skip=("${rules_contests[@]}")
	[ "$1" = rust ] || skip+=(defects::)
	local ours="$bin/guest ${skip[*]/#/--skip }"
	case $1 in
	c) guest_c "$RESULTS/guest-c.log" "$ours" ;;
	rust) TIMEOUT=${TIMEOUT:-1800} one_guest rust "$RESULTS/suites-rust.log" guest-rust="$ours" \
		libbpf-rust="$libbpf_suite" kunit-rust="$kunit_suites" upstream-rust="$upstream_suite" ;;
	esac
}
tool() {
	TIMEOUT=${TIMEOUT:-1800} guest_on "$1" "$RESULTS/bpftoken-$1.log" \
		"$RUNNER/into-memory.sh; $bin/bpftoken-tests --skip integration:: ${tool_contests[*]/#/--skip }"
}
contests() {
	local runs=("${tool_contests[@]/#/"$bin/bpftoken-tests --skip integration:: "}" "${rules_contests[@]/#/"$bin/guest "}")
	CPUS=2 TIMEOUT=${TIMEOUT:-1800} guest_on "$1" "$RESULTS/contests-$1.log" \
		"$RUNNER/into-memory.sh; failed=0; $(printf '%s || failed=1; ' "${runs[@]}")exit \$failed"
}

# In the guest, suite LOG COMMAND: its output goes to LOG, its status to LOG.status. The kernel's log has its name, for
# suites whose tests do not write theirs.
suite() {
	local status=0
	echo "<3>test ${1##*/}" >/dev/kmsg
	(eval "$2") >"$1" 2>&1 || status=$?
	echo "$status" >"$1.status"
}

# one_guest KERNEL LOG SUITE=COMMAND...: one after the other in one guest, as booting takes as long as the smaller of them. What
# each says goes to RESULTS. UNDER, if set, is a program that runs and watches the command that follows it.
one_guest() {
	local kernel=$1 log=$2 script it name
	shift 2
	script=$(declare -f suite)
	for it; do
		name=${it%%=*}
		# What a guest that did not survive leaves of the suites that it did not come to.
		echo "it was not begun" | tee "$RESULTS/$name.log" >"$RESULTS/$name.log.status"
		script+=$'\n'"suite $RESULTS/$name.log $(printf %q "${it#*=}")"
	done
	DIR=$RESULTS guest "$kernel" "$log" "exec ${UNDER:-} bash -c $(printf %q "$script")"
}

# two_at_a_time JOB...: runs these commands, two at a time, in their order.
two_at_a_time() {
	local job words
	for job; do
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n || true; done
		read -ra words <<<"$job"
		"${words[@]}" &
	done
	wait
}

# total SUITE...: the table, results.ktap, and the last line "N passed, N failed"; a SUITE is FORMAT:ID:TITLE:LOG.
total() {
	local status=0 update=()
	[ "${EXPECT:-}" != update ] || update=(--update)
	in_root "$here/results" "$RUNNER/../expected" "$RUN/results.ktap" "${update[@]}" "$@" || status=$?
	say "  this run: $RUN"
	return "$status"
}
