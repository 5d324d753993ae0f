#!/usr/bin/env bash
# test_run.sh -- tests of run.sh itself: programs that lie, crash, hang or count nothing are failures.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# expect NAME STATUS SUMMARY LINE-OF-PROGRAM...: a program that runs the given shell lines, and what run.sh must make of it
expect() {
    local name=$1 status=$2 summary=$3 found=0 output
    shift 3
    { echo '#!/bin/sh'; printf '%s\n' "$@"; } >"$work/$name"
    chmod +x "$work/$name"
    output=$("$here/run.sh" -t "${limit:-20}" "$work/logs" "$work/$name" 2>&1) || found=$?
    if [ "$found" -eq "$status" ] && [ "$(tail -n 1 <<<"$output")" = "$summary" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s: exit status %d, wanted %d; last line "%s", wanted "%s"\n' "$name" "$found" "$status" \
            "$(tail -n 1 <<<"$output")" "$summary"
    fi
    last=$output
}
saw() { # the last output contains a line that matches
    if grep -qE "$1" <<<"$last"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAIL no line matches '$1' in: $last"
    fi
}

good='echo "good: 3 passed, 0 failed, 0 not run"'
expect passes 0 '3 passed, 0 failed' "$good"
expect adds_up 1 '5 passed, 2 failed' "$good" 'echo "more: 2 passed, 2 failed, 0 not run"' 'exit 1'
expect lies 1 '3 passed, 2 failed' 'echo "lies: 3 passed, 2 failed, 0 not run"' 'exit 0'
saw 'exit status 0'
expect fails_unsaid 1 '3 passed, 1 failed' "$good" 'exit 7'
saw 'exit status 7'
expect crashes 1 '3 passed, 1 failed' "$good" 'kill -SEGV $$'
saw 'signal 11'
expect silent 1 '0 passed, 1 failed' 'echo all is well'
saw 'counted no check'
expect zero_checks 1 '0 passed, 1 failed' 'echo "none: 0 passed, 0 failed, 0 not run"'
expect not_numbers 1 '0 passed, 1 failed' 'echo "odd: nan passed, 0 failed, 0 not run"'
expect in_a_sentence 1 '0 passed, 1 failed' 'echo "we say good: 3 passed, 0 failed, 0 not run, maybe"'
expect leading_zeros 0 '8 passed, 0 failed' 'echo "octal: 08 passed, 00 failed, 0 not run"'
expect only_skipped 1 '0 passed, 0 failed' 'echo "NOT RUN: no device"' 'echo "skips: 0 passed, 0 failed, 1 not run"'
saw 'only_skipped: NOT RUN: no device$'
expect skips 0 '3 passed, 0 failed' 'echo "NOT RUN: no device"' 'echo "NOT RUN: no device"' 'echo "skips: 3 passed, 0 failed, 2 not run"'
saw 'NOT RUN: no device \(2 times\)'
limit=1 expect hangs 1 '3 passed, 1 failed' "$good" 'exec sleep 60'
saw 'stopped after 1 s'
last=$("$here/run.sh" "$work/logs" "$work/missing" 2>&1) || true
saw '^0 passed, 1 failed$'
last=$("$here/run.sh" -j 2 "$work/logs" "$work/passes" "$work/passes again" "$work/crashes" 2>&1) || true
saw '^9 passed, 1 failed$'
echo "test_run: $passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
