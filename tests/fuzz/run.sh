#!/usr/bin/env bash
# run.sh -- runs one libFuzzer target from its committed inputs: tests/fuzz/run.sh BUILD/fuzz/fuzz_NAME SECONDS
# Without arguments: says that there is no libFuzzer. Ends with the line that tests/run.sh adds up.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "NOT RUN: the fuzzers: no clang with libFuzzer (Debian: apt-get install clang)"
    echo "fuzz: 0 passed, 0 failed, 1 not run"
    exit 0
fi
program=$1 seconds=$2
name=${program##*/fuzz_}
folder=${program%/*}
found=$folder/found/$name
mkdir -p "$found"
status=0
"$program" -max_total_time="$seconds" -max_len=16384 -timeout=5 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
    -artifact_prefix="$folder/$name-" "$found" "tests/fuzz/corpus/$name" 2>&1 || status=$?
if [ "$status" -ne 0 ]; then
    echo "FAIL fuzz_$name: the input is $folder/$name-*"
    echo "fuzz_$name: 0 passed, 1 failed, 0 not run"
    exit 1
fi
echo "fuzz_$name: 1 passed, 0 failed, 0 not run"
