# Reads "go test -v" and shows what a person needs: one line for a package that passes, everything
# for one that fails, and at the end how many tests ran and which were skipped, with the reason.
# A skip is also appended to the file that the variable skips names.

# Whose output follows: parallel tests take turns.
/^=== (RUN|NAME|CONT|PAUSE) / { current = $3 }

# What a test logs; the last line before a skip is its reason.
/^ +[^ ]+\.go:[0-9]+: / { reason[current] = $0; sub(/^ +[^ ]+: /, "", reason[current]) }

/^ *--- PASS: / { passed++ }
/^ *--- FAIL: / { failed++ }
/^ *--- SKIP: / { skipped[++n] = $3 }

/^(ok|FAIL|\?) / || /^FAIL\t/ {
	if ($1 == "FAIL") printf "%s", output
	if ($1 != "?") print
	for (i = 1; i <= n; i++) print $2, skipped[i] ": " reason[skipped[i]] >> skips
	skips_total += n
	n = 0; output = ""; current = ""; split("", reason)
	next
}

# Of a package that fails, the tests that do not are of no interest.
!/^=== |^ *--- PASS: |^PASS$/ { output = output $0 "\n" }

END {
	printf "%s", output
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skips_total
}
