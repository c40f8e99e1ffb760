#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# unsafe.sh: compares each unsafe site of the kernel side with Documentation/bpf/token-unsafe.rst. Fails when the source
# has one that the document lacks, or the other way round, and when the document names a test that does not exist.

. "$(dirname "$0")/common.sh"
document=Documentation/bpf/token-unsafe.rst
cd "$REPO"

# Source without comments, strings, character literals and lifetimes: what is left of the word unsafe is the keyword.
plain() {
	awk '
	{
		line = $0 "\n"; out = ""
		while (line != "") {
			if (state == "comment") {
				if (!match(line, /\*\/|\/\*/)) { line = ""; break }
				depth += substr(line, RSTART, 2) == "/*" ? 1 : -1
				if (!depth) state = ""
			} else if (state == "string") {
				if (!match(line, /\\.|\\\n|"/)) { line = ""; break }
				if (substr(line, RSTART, 1) == "\"") state = ""
			} else if (state == "raw") {
				if (!(RSTART = index(line, end))) { line = ""; break }
				RLENGTH = length(end); state = ""
			} else {
				if (!match(line, /\/\/.*|\/\*|r#*"|"|\047\\[^\047]*\047|\047\\\047\047|\047[^\047]+\047|\047[A-Za-z_]+/)) {
					out = out line; break
				}
				found = substr(line, RSTART, RLENGTH)
				# A lifetime, followed by another: not a character.
				if (found ~ /^\047[A-Za-z_][^\047]/) match(line, /\047[A-Za-z_]+/)
				out = out substr(line, 1, RSTART - 1) " "
				if (found == "/*") { state = "comment"; depth = 1 }
				else if (found == "\"") state = "string"
				else if (found ~ /^r/) { state = "raw"; end = "\"" substr(found, 2, length(found) - 2) }
			}
			line = substr(line, RSTART + RLENGTH)
		}
		print out
	}' "$1"
}

# The sites of one source, each with its uses: "SITE<tab>export, extern fn, 2 blocks".
sites() {
	plain "$1" | awk '
	function use(where, what) {
		if (!(where in seen)) { seen[where] = 1; order[++count] = where }
		if (!uses[where, what]++) kinds[where] = kinds[where] (kinds[where] ? "\n" : "") what
	}
	# The item that the innermost braces belong to, in its type or trait.
	function scope(    i, name) {
		for (i = 1; i <= depth; i++) if (names[i] != "") name = name (name ? "::" : "") names[i]
		return name
	}
	function within(name,    outer) { outer = scope(); return outer == "" ? name : outer "::" name }
	# "impl<T> Trait<U> for path::Type<T>" without what stands in angle brackets and without paths.
	function header(text) {
		gsub(/->/, "", text)
		while (gsub(/<[^<>]*>/, "", text)) ;
		gsub(/[A-Za-z_0-9]+ *: *: */, "", text); gsub(/[&!]/, "", text); gsub(/ where .*/, "", text)
		gsub(/ +/, " ", text); gsub(/^ | $/, "", text)
		return text
	}
	{ text = text $0 "\n" }
	END {
		while (match(text, /[A-Za-z_][A-Za-z_0-9]*|[0-9][A-Za-z_0-9]*|[^ \t\n]/)) {
			token[++n] = substr(text, RSTART, RLENGTH)
			text = substr(text, RSTART + RLENGTH)
		}
		for (i = 1; i <= n; i++) {
			t = token[i]
			if (t == "#" && token[i + 1] == "[") {
				a = token[i + 2] == "unsafe" ? token[i + 4] : token[i + 2]
				if (a ~ /^(export|no_mangle|export_name|link_section)$/) attribute = a
			} else if (t == "unsafe" && token[i + 1] == "{") {
				use(item == "" ? scope() : within(item), "block")
			} else if (t == "unsafe" && token[i + 1] == "trait") {
				use(within(token[i + 2]), "trait")
			} else if (t == "unsafe" && token[i + 1] == "extern" && token[i + 2] == "{") {
				use(within("extern"), "block")
			} else if (t == "fn" && token[i + 1] ~ /^[A-Za-z_]/) {
				item = token[i + 1]; parens = 0
				if (attribute != "") use(within(item), attribute)
				attribute = ""
				if (token[i - 1] == "extern") use(within(item), "extern fn")
				else if (token[i - 1] == "unsafe") use(within(item), "fn")
			} else if ((t == "static" || t == "const") && item == "" && token[i - 1] !~ /^[*&]$|^raw$/ &&
				   token[i + 1] !~ /^(fn|unsafe|extern|async)$/ && token[i + 1] ~ /^[A-Za-z_]/) {
				mutable = token[i + 1] == "mut"
				item = token[i + 1 + mutable]; parens = 0
				if (attribute != "") use(within(item), attribute)
				attribute = ""
				if (mutable) use(within(item), "static mut")
			} else if ((t == "mod" || t == "trait") && item == "" && token[i + 1] ~ /^[A-Za-z_]/) {
				item = token[i + 1]; parens = 0
			} else if (t == "impl" && item == "") {
				head = ""
				for (j = i + 1; j <= n && token[j] !~ /^[{;]$/; j++) head = head " " token[j]
				head = header(head)
				if (token[i - 1] == "unsafe") use(within(head), "impl")
				item = head; sub(/.* for /, "", item); parens = 0
				i = j - 1
			} else if (t ~ /^[(\[]$/) parens++
			else if (t ~ /^[)\]]$/) parens--
			else if (t == "{") {
				names[++depth] = item; item = ""
			} else if (t == "}") depth--
			else if (t == ";" && parens <= 0) item = ""
		}
		for (i = 1; i <= count; i++) {
			where = order[i]; m = split(kinds[where], what, "\n"); list = ""
			for (j = 1; j <= m; j++) {
				k = uses[where, what[j]]
				list = list (j > 1 ? ", " : "") (k > 1 ? k " " what[j] "s" : what[j])
			}
			print where "\t" list
		}
	}'
}

# Where a source stands in the kernel tree, which is how the document calls it.
in_tree() { echo "${1/#rust\/bpf_token\//kernel/bpf/token/}"; }

from_source() {
	local file
	while read -r file; do
		sites "$file" | sed "s#^#$(in_tree "$file")\t#"
	done < <(find rust -name '*.rs' | sort)
}

# A section of the document is called as its file; a row is a site with its uses, what they rest on, and what finds out.
from_document() {
	awk '
	function finish() {
		if (cell && (cell != 3 || empty)) { print "incomplete row\t" file ": " site; }
		cell = 0
	}
	/^[a-z_\/]+\.rs$/ { finish(); file = $0 }
	/^ +\* - ``/ {
		finish()
		site = $0; sub(/^ +\* - ``/, "", site); sub(/``.*/, "", site)
		uses = $0; sub(/^.*``: */, "", uses)
		print file "\t" site "\t" uses
		cell = 1; empty = 0; next
	}
	cell && /^ +- / { cell++; if ($0 ~ /^ +- *$/) empty = 1 }
	END { finish() }' "$document"
}

complain() { say "$1"; failed=1; }
failed=
[ -r "$document" ] || die "$document is missing."
source_sites=$(from_source)
document_sites=$(from_document)

while IFS=$'\t' read -r status file site source_uses document_uses; do
	case $status in
	new) complain "$file: $site has unsafe code ($source_uses) that $document does not list." ;;
	gone) complain "$document lists $site of $file ($document_uses), where there is no such unsafe code." ;;
	differs) complain "$file: $site has ($source_uses), of which $document says ($document_uses)." ;;
	twice) complain "$document lists $site of $file twice." ;;
	row) complain "$document: $file: a row needs three cells, none empty." ;;
	esac
done < <(awk -F '\t' '
	$1 == "incomplete row" { print "row\t" $2; next }
	NR == FNR { source[$1 FS $2] = $3; next }
	($1 FS $2) in document { print "twice\t" $1 FS $2; next }
	{ document[$1 FS $2] = $3 }
	END {
		for (key in source) {
			if (!(key in document)) print "new\t" key "\t" source[key]
			else if (document[key] != source[key]) print "differs\t" key "\t" source[key] "\t" document[key]
		}
		for (key in document) if (!(key in source)) print "gone\t" key "\tnone\t" document[key]
	}' <(printf '%s\n' "$source_sites") <(printf '%s\n' "$document_sites") | sort)

# A module of the crate without unsafe code says so to the compiler.
while read -r file; do
	[ -n "$(sites "$file")" ] || grep -qxF '#![forbid(unsafe_code)]' "$file" ||
		complain "$file has no unsafe code, and does not say so: it lacks #![forbid(unsafe_code)]."
done < <(find rust/bpf_token -name '*.rs' | sort)

# What the document names as MODULE::TEST is a test of tools/testing/guest/.
# shellcheck disable=SC2016 # the backquotes are the document's
while IFS=: read -r module test; do
	test=${test##*:}
	grep -qsE "\bfn $test\b" "tools/testing/guest/src/tests/$module.rs" ||
		complain "$document names the test $module::$test, which tools/testing/guest/ does not have."
done < <(grep -oE '``[a-z_]+::(D[0-9]+::)?[a-z0-9_]+``' "$document" | tr -d '`' | sort -u)

[ -z "$failed" ] || die "the unsafe code of the kernel side and $document disagree."
say "unsafe code: $(wc -l <<<"$source_sites") sites, as listed"
