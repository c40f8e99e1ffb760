# SPDX-License-Identifier: GPL-2.0
# What "llvm-objdump -d --no-show-raw-insn" says of arm64 objects, without: a return address that goes to the stack before it
# is signed (PAC) and kept on the shadow call stack; an indirect call whose target's type was not compared (CFI); a function
# that has no landing pad (BTI). Prints them, and how many there were to look at; fails if there were none.

/^[0-9a-f]+ <.*>:$/ {
	name = substr($2, 1, length($2) - 1)
	pushed = signed = checked = 0
	# Not a section, in which the type of the first function stands.
	first = name !~ /^<[$.]/
	next
}
$1 !~ /^[0-9a-f]+:$/ || $2 == ".word" { next }
first {
	first = 0
	functions++
	if ($2 != "bti" && $2 != "paciasp") complain("no landing pad")
}
$2 == "paciasp" { signed = 1 }
/str\tx30, \[x18\], #0x8/ { pushed = 1 }
/\tst[pr]\t(x[0-9]+, )?x30,.*\[sp/ {
	saves++
	if (!signed) complain("a return address is kept without being signed")
	if (!pushed) complain("a return address is kept, and not on the shadow call stack")
}
$2 == "blr" {
	calls++
	if (!checked) complain("an indirect call whose target is not checked")
}
{ checked = $2 == "brk" && $3 ~ /^#0x82/ }

function complain(what) {
	print name ": " what
	failed = 1
}

END {
	print functions + 0 " functions, " saves + 0 " return addresses kept, " calls + 0 " indirect calls"
	exit failed || !functions || !saves || !calls
}
