#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# picture.sh [LOG]: a terminal picture of what "make run" printed, as SVG on standard output. By default of the last run.

. "$(dirname "$0")/common.sh"
log=${1:-$(find "$BUILD/runs" -path '*-run.*/logs/run.log' | sort | tail -n 1)}
[ -r "$log" ] || die "there is no output of \"make run\" to draw; run it first."
expand "$log" | awk '
	{ sub(/[ \r]+$/, ""); gsub(/\033\[[0-9;]*[A-Za-z]/, ""); line[++n] = $0; if (length > width) width = length }
	END {
		size = 13; step = 17; advance = 7.83
		printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"monospace\" font-size=\"%d\">\n",
			width * advance + 32, (n + 1) * step + 32, size
		print "<title>make run</title>"
		print "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1c2128\"/>"
		text(1, "$ make run", "#8ddb8c")
		for (i = 1; i <= n; i++) text(i + 1, line[i], colour(line[i]))
		print "</svg>"
	}
	function colour(s) {
		if (s ~ /^ *[0-9]+\. /) return "#f0f6fc"
		if (s ~ /^ *ok /) return "#8ddb8c"
		if (s ~ /^ *manager /) return "#f69d50"
		if (s ~ /^ *container /) return "#6cb6ff"
		return "#adbac7"
	}
	function text(row, s, c) {
		gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s)
		if (s != "") printf "<text x=\"16\" y=\"%d\" fill=\"%s\" xml:space=\"preserve\">%s</text>\n", 16 + row * step, c, s
	}'
