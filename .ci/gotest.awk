# Reads "go test -v" and shows what a person needs: one line for a package that passes, everything
# for one that fails, and at the end how many tests ran and which were skipped, with the reason.
# A skip is also appended to the file that the variable skips names, and a package that the race detector
# itself has ended (go.dev/issue/78156, not fixed in Go 1.26: it happens with testing/synctest) to again: its
# tests have not failed, they have not run. What failed is appended to failures, a line or two each, for what is
# printed of it here can lie thousands of lines above the end.

# Whose output follows: parallel tests take turns.
/^=== (RUN|NAME|CONT|PAUSE) / { current = $3 }

# What a test logs; the last line before a skip is its reason.
/^ +[^ ]+\.go:[0-9]+: / { reason[current] = $0; sub(/^ +[^ ]+: /, "", reason[current]) }

# Of a story, which prints all that it did, the line that ended it.
/FAIL: testdata\// { ended_by[current] = $0; sub(/^.*FAIL: /, "", ended_by[current]) }
/^panic: |^WARNING: DATA RACE|^fatal error: / { print "  " $0 >> failures }

/^ *--- PASS: / { passed++ }
/^ *--- FAIL: / {
	failed++; broken = 1
	print $3 ": " ($3 in ended_by ? ended_by[$3] : reason[$3]) >> failures
}
/^ *--- SKIP: / { skipped[++n] = $3 }

/^ThreadSanitizer: CHECK failed/ { ended = 1 }

/^(ok|FAIL|\?) / || /^FAIL\t/ {
	if ($1 == "FAIL" && NF > 1) {
		if (ended && !broken) print $2 >> again
		else { bad = 1; print "  in " $2 >> failures }
		ended = 0; broken = 0
	}
	if ($1 == "FAIL") printf "%s", output
	if ($1 != "?") { print; fflush() } # a run of a quarter of an hour is followed
	for (i = 1; i <= n; i++) print $2, skipped[i] ": " reason[skipped[i]] >> skips
	skips_total += n
	n = 0; output = ""; current = ""; split("", reason); split("", ended_by)
	next
}

# Of a package that fails, the tests that do not are of no interest.
!/^=== |^ *--- PASS: |^PASS$/ { output = output $0 "\n" }

END {
	printf "%s", output
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skips_total
	exit bad
}
