#!/usr/bin/env bash
# sass_counts.sh -- the hot loops of kernels/*.cu, counted in their machine code, against the table kept in bench/results: a figure
# that got worse is a failure until the table is renewed (bench/sass_model.py renew). Needs the nvcc that made the table.
set -u
not_run() {
    echo "NOT RUN: $1"
    echo "sass_counts: 0 passed, 0 failed, 1 not run"
    exit 0
}
command -v python3 >/dev/null || not_run "no python3"
output=$(python3 bench/sass_model.py check 2>&1)
status=$?
echo "$output"
[ "$status" -ne 3 ] || not_run "$(sed -n 's/^cannot be told: //p' <<<"$output")"
counted=$(sed -n 's/^\([0-9]*\) launches counted.*/\1/p' <<<"$output")
worse=$(grep -c '^worse: ' <<<"$output")
launches=$(sed -n 's/^worse: \(.*\): [a-z].*/\1/p' <<<"$output" | sort -u | wc -l)
sed -n 's/^worse: /FAIL /p' <<<"$output"
if [ "$status" -ne 0 ] && [ "$worse" -eq 0 ]; then
    worse=1
    echo "FAIL bench/sass_model.py check: exit status $status"
fi
echo "sass_counts: $((${counted:-0} > launches ? counted - launches : 0)) passed, $worse failed, 0 not run"
[ "$worse" -eq 0 ]
