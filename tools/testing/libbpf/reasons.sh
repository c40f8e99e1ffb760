#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# reasons.sh BPFTOKEN DIRECTORY: runs in a guest; each line that begins with "ok" is a refusal that the libbpf of the
# kernel tree, with which DIRECTORY/reasons was built, told the reason of; the objects that it loads are there too. Ends with the totals as KUnit prints them.

bpftoken=$1 objects=$2 reasons=$2/reasons load=map_create:prog_load:btf_load
ok=0 bad=0
echo 2 >/proc/sys/kernel/unprivileged_bpf_disabled

# refused CMDS MAPS PROGS ATTACHS COMMAND...: runs COMMAND in a container with this delegation.
refused() {
	"$bpftoken" run --cmds "$1" --maps "$2" --progs "$3" --attachs "$4" -- "${@:5}" && ok=$((ok + 1)) || bad=$((bad + 1))
}

refused "$load" array socket_filter any "$reasons" load "$objects/packets.bpf.o" \
	'the token does not delegate program type xdp (delegate_progs=socket_filter)'
refused "$load" array socket_filter:xdp any setpriv --bounding-set -net_admin,-sys_admin \
	"$reasons" load "$objects/packets.bpf.o" \
	'program type xdp needs CAP_NET_ADMIN in the user namespace that owns the token'
refused "$load" array:ringbuf socket_filter:tracing any setpriv --bounding-set -perfmon,-sys_admin \
	"$reasons" load "$objects/exec.bpf.o" \
	'program type tracing needs CAP_PERFMON in the user namespace that owns the token'
refused map_create array any any "$reasons" map \
	'the token does not delegate map type ringbuf (delegate_maps=array)'
refused map_create any any any "$reasons" btf \
	'the token does not delegate bpf() command btf_load (delegate_cmds=map_create)'

# The tree's bpftool sees what is mounted.
listed=$("$bpftoken" run --cmds map_create --maps array:hash -- "$objects/bpftool" token list | xargs)
if [[ $listed == "token_info /sys/fs/bpf allowed_cmds: map_create allowed_maps: hash array "* ]]; then
	echo "ok: bpftool: token list shows what is mounted"
	ok=$((ok + 1))
else
	echo "not ok: bpftool: token list: $listed"
	bad=$((bad + 1))
fi

echo "# Totals: pass:$ok fail:$bad skip:0 total:$((ok + bad))"
[ "$bad" = 0 ]
