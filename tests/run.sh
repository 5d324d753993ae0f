#!/usr/bin/env bash
# run.sh -- runs test programs, several at a time, keeps their output, and sums up what they counted.
#   tests/run.sh [-j JOBS] [-t SECONDS] LOGS "PROGRAM ARGUMENTS"...
# Every program ends with a line `name: P passed, F failed, S not run` (tests/check.h); several such lines are added up.
# A program that crashes, runs out of time, exits non-zero without a failure, or counts nothing is a failure of its own.
# The last line is the sum, `P passed, F failed`; the exit status is 0 when F is 0 and P is not.
set -euo pipefail

jobs=$(nproc) limit=${TEST_SECONDS:-900}
while getopts j:t: option; do
    case $option in
    j) jobs=$OPTARG ;;
    t) limit=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || { echo "usage: tests/run.sh [-j JOBS] [-t SECONDS] LOGS \"PROGRAM ARGUMENTS\"..." >&2; exit 2; }
logs=$1
shift
mkdir -p "$logs"

# Threads that wait must not spin: more of them run than there are processors.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} OMP_WAIT_POLICY=passive OMP_DYNAMIC=false
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}

log_of() { # a file name for a command: "build/emu/tests/test_ops emu fp16" -> emu-test_ops-emu-fp16
    local name=${1//\/tests\//\/}
    name=${name#"${BUILD:-build}"/}
    printf '%s/%s' "$logs" "${name//[^A-Za-z0-9._-]/-}"
}
# Counts of the summary lines of a log: "passed failed not_run".
counts_of() {
    awk '/^[A-Za-z0-9_.-]+: [0-9]+ passed, [0-9]+ failed, [0-9]+ not run$/ { p += $2; f += $4; s += $6 }
         END { printf "%d %d %d\n", p, f, s }' "$1"
}
run_one() {
    local command=$1 log status=0 begin used passed failed not_run note= TIMEFORMAT='%U %S'
    log=$(log_of "$command")
    begin=$(date +%s%N)
    # shellcheck disable=SC2086 # the words of the command are its arguments
    used=$({ time timeout -k 10 "$limit" $command </dev/null >"$log.log" 2>&1; } 2>&1) || status=$?
    read -r passed failed not_run < <(counts_of "$log.log")
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        note="stopped after $limit s" failed=$((failed + 1))
    elif [ "$status" -gt 128 ]; then
        note="killed by signal $((status - 128))" failed=$((failed + 1))
    elif [ $((passed + failed + not_run)) -eq 0 ]; then
        note="counted no check, exit status $status" failed=$((failed + 1))
    elif [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        note="exit status $status" failed=$((failed + 1))
    elif [ "$status" -eq 0 ] && [ "$failed" -ne 0 ]; then
        note="failed, but exit status 0"
    fi
    echo "$passed $failed $not_run" >"$log.count"
    # what bash says of a killed program stands before the line of `time`
    printf '%-52s %6d passed %4d failed %3d not run %7.1f s (processor %.1f s)%s\n' "$command" "$passed" "$failed" "$not_run" \
        "$(awk -v a="$begin" -v b="$(date +%s%N)" 'BEGIN { print (b - a) / 1e9 }')" \
        "$(awk '{ print $1 + $2 }' <<<"${used##*$'\n'}")" "${note:+  ($note)}"
    if [ "$failed" -ne 0 ]; then
        { grep -aE '^(FAIL|==[0-9]+==ERROR|SUMMARY|.*runtime error)' "$log.log" || tail -n 5 "$log.log"; } | head -n 20 | sed 's/^/    /'
        echo "    (all of it: $log.log)"
    fi
}

running=0
for command in "$@"; do
    rm -f "$(log_of "$command").count"
    if [ "$running" -ge "$jobs" ]; then
        wait -n || true
        running=$((running - 1))
    fi
    run_one "$command" &
    running=$((running + 1))
done
wait

passed=0 failed=0
for command in "$@"; do
    log=$(log_of "$command")
    p=0 f=1
    [ ! -s "$log.count" ] || read -r p f _ <"$log.count"
    passed=$((passed + p)) failed=$((failed + f))
done
for command in "$@"; do # what could not run must be seen
    log=$(log_of "$command")
    grep -aE '^NOT RUN' "$log.log" | sort | uniq -c | awk -v c="$command" '{ n = $1; $1 = ""; print c ":" $0 (n > 1 ? " (" n " times)" : "") }' || true
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
