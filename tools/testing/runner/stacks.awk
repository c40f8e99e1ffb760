# SPDX-License-Identifier: GPL-2.0
# stacks.awk: "BYTES FUNCTION" for each function that llvm-objdump -d shows, of x86-64, arm64 or arm.

/^[0-9a-f]+ <.*>:$/ {
	name = $0
	sub(/^[0-9a-f]+ </, "", name)
	sub(/>:$/, "", name)
	bytes[name] = 0
	next
}

# x86-64: pushq %rbx; subq $0x68, %rsp
/\tpushq?\t%/ { bytes[name] += 8 }
match($0, /\tsubq\t\$(0x[0-9a-f]+), %rsp/, by) { bytes[name] += strtonum(by[1]) }

# arm64: stp x29, x30, [sp, #-0x60]!; sub sp, sp, #0x1, lsl #12
match($0, /\tst[rp]\t.*\[sp, #-(0x[0-9a-f]+|[0-9]+)\]!/, by) { bytes[name] += strtonum(by[1]) }
match($0, /\tsub\tsp, sp, #(0x[0-9a-f]+|[0-9]+)(, lsl #12)?/, by) { bytes[name] += strtonum(by[1]) * (by[2] ? 4096 : 1) }

# arm: push {r4, r5, r11, lr}
match($0, /\tpush\t\{(.*)\}/, by) { bytes[name] += 4 * split(by[1], registers, ",") }

END {
	for (name in bytes)
		print bytes[name], name
}
