#!/usr/bin/env bash
# processors.sh -- what shared processors cost: the time of a run with the number of threads that the program chooses, over that of
# --threads 1, beside two busy loops and under a quota of one processor's time.  bench/processors.sh [ROUNDS] [PROGRAM]
# The quota is a control group's where this user may make one, else an affinity to one processor; the line says which.
# The runs of a comparison take turns, and the median of their ratios counts. Above 1.10 the exit status is 1.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
rounds=${1:-9}
program=$(realpath "${2:-dg_cuda}")
dir=$(mktemp -d)
group=
loops=()
failed=0
cleanup() {
    for p in "${loops[@]}"; do kill "$p" 2>/dev/null || true; done
    if [ -n "$group" ]; then rmdir "$group" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap cleanup EXIT

cat >"$dir/run" <<'RUN'
#!/usr/bin/env bash
# run GROUP PROGRAM OPTIONS...: in the control group, if any, as a user's shell would start it
[ -z "$1" ] || echo $$ >"$1/cgroup.procs"
shift
exec env -u OMP_NUM_THREADS -u OMP_WAIT_POLICY "$@" >/dev/null
RUN
chmod +x "$dir/run"
seconds_of() { # OPTIONS...
    local begin=$EPOCHREALTIME
    "${prefix[@]}" "$dir/run" "$group" "$program" generate --device cpu --seeds 0-3 --steps 6 --grid "$dir/grid.png" "$@"
    echo "$begin $EPOCHREALTIME" | awk '{ printf "%.3f\n", $2 - $1 }'
}
compare() { # WHAT
    local i
    : >"$dir/times"
    for ((i = 0; i < rounds; i++)); do # in turns, so that what else runs here meets both
        if ((i % 2)); then
            one=$(seconds_of --threads 1)
            chosen=$(seconds_of)
        else
            chosen=$(seconds_of)
            one=$(seconds_of --threads 1)
        fi
        echo "$chosen $one" >>"$dir/times"
    done
    awk -v what="$1" 'function median(v, n,   i, j, t) {
            for (i = 2; i <= n; i++) { t = v[i]; for (j = i - 1; j > 0 && v[j] > t; j--) v[j + 1] = v[j]; v[j + 1] = t }
            return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
        }
        { a[NR] = $1; b[NR] = $2; r[NR] = $1 / $2 }
        END {
            ratio = median(r, NR)
            printf "%-42s %6.2f s chosen, %6.2f s with one thread, ratio %.2f (%.2f to %.2f) %s\n", what, median(a, NR), median(b, NR),
                   ratio, r[1], r[NR], ratio <= 1.10 ? "ok" : "FAIL"
            exit !(ratio <= 1.10)
        }' "$dir/times" || failed=1
}
make_group() { # a quota of one processor, in a control group of version 1 or 2
    local path
    for path in /sys/fs/cgroup/cpu /sys/fs/cgroup; do
        mkdir "$path/dg_cuda_bench_$$" 2>/dev/null || continue
        group=$path/dg_cuda_bench_$$
        if { echo 100000 >"$group/cpu.cfs_quota_us"; } 2>/dev/null || { echo "100000 100000" >"$group/cpu.max"; } 2>/dev/null; then return 0; fi
        rmdir "$group"
        group=
    done
    return 1
}

echo "$(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg) before, $rounds rounds; wall-clock medians, ratios with their range"
prefix=(env)
compare "as it is"
for _ in 1 2; do
    (while :; do :; done) &
    loops+=($!)
done
compare "beside two busy loops"
for p in "${loops[@]}"; do kill "$p"; done
loops=()
if make_group; then
    compare "a control group of one processor's time"
else
    prefix=(taskset -c 0)
    compare "an affinity to one processor (no quota here)"
fi
exit "$failed"
