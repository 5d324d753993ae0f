#!/usr/bin/env bash
# first_light.sh -- the first minutes of this program on a GPU: what is right, how fast it is, and what bounds it.
#   bench/first_light.sh check|profile PACK [OUT]
# PACK: the file that `make pack` wrote, or a folder with the same programs (build). Nothing is compiled. Run it in the project's root.
# OUT (default: $OUT, else build/first-light) receives first.md, first.json and first.tgz, the logs of all steps; what an earlier run
# left there is renamed to previous-first.*. Every step has a limit, and none goes on past the half's time: 290 s, whatever happens.
# Environment: DEVICE=cpu goes through the motions without a GPU, at small sizes; OFFICIAL=checkout of the official code, for profile;
# FIRST_LIGHT_SECONDS: less time. Exit status: 0 when every step was done and right, 1 when not, 2 for a wrong command.
set -u
usage() { echo "first_light.sh: $1 (bench/first_light.sh check|profile PACK [OUT])" >&2; exit 2; }
half=${1:-} pack=${2:-} out=${3:-${OUT:-build/first-light}} device=${DEVICE:-cuda} given=${FIRST_LIGHT_SECONDS:-290}
[[ $half == check || $half == profile ]] || usage "\"$half\" is neither check nor profile"
[ -d tests/golden/nets ] || usage "run it in the project's root: tests/golden/nets is not here"
[ -e "$pack" ] || usage "no PACK \"$pack\": make pack writes build/pack.tar.xz"
mkdir -p "$out" || exit 2
for f in first.md first.json first.tgz; do [ ! -e "$out/$f" ] || mv -f "$out/$f" "$out/previous-$f"; done

RESERVE=10 # seconds at the end: a step that must be killed, and the archive
deadline=$((SECONDS + given - RESERVE))
left() { echo $((deadline - SECONDS)); }
work=$(mktemp -d "${TMPDIR:-/tmp}/first-light.XXXXXX") logs=$work/first programs=$pack gpu="device $device" sampler='' running='' pids=()
mkdir "$logs"
trap 'kill $running $sampler "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
trap 'say "stopped from outside"; keep; exit 143' TERM INT HUP

# ---- results ------------------------------------------------------------------------------------------------------------------
say() { printf '%4d s  %s\n' "$SECONDS" "$*" | tee -a "$logs/lines"; }
plain() { tr '\t\n' '  ' | LC_ALL=C tr -dc '[:print:]' | sed 's/["\\]//g; s/ *$//' | cut -c1-220; } # fit for JSON
# The three files, from what there is. Called after every wait, never by steps that run side by side.
keep() {
    find "$logs" -type f -size +4M -exec truncate -s 4M {} +
    {
        printf '# First light, %s: %s\n\n%s, revision %s\n\n' "$half" "$gpu" "$(date -u +%Y-%m-%dT%H:%MZ)" \
            "$(cat "$programs/revision" 2>/dev/null || echo unknown)"
        [ "$device" = cuda ] || printf '**A dry run on the device %s: these are no figures of a GPU.**\n\n' "$device"
        sed 's/^/    /' "$logs/lines"
        figures
        for f in bench-264 libraries; do [ ! -s "$logs/$f.log" ] || { printf '\n## %s\n\n' $f && head -n 120 "$logs/$f.log" | sed 's/^/    /'; }; done
    } >"$out/first.md"
    {
        printf '{"half": "%s", "device": "%s", "gpu": "%s", "seconds": %d, "steps": [' "$half" "$device" "$gpu" "$SECONDS"
        paste -sd, "$logs/steps" 2>/dev/null
        printf '], "figures": {'
        local comma=
        for f in "$logs"/*.json; do
            [ -s "$f" ] && printf '%s"%s": ' "$comma" "$(basename "$f" .json)" && cat "$f" && comma=,
        done
        printf '}}\n'
    } >"$out/first.json"
    tar czf "$out/first.tgz.new" -C "$work" first && mv "$out/first.tgz.new" "$out/first.tgz"
}
# row NAME FILE KEY PREDICTED: a figure of FILE.json beside what was predicted of an H100 before any run
row() {
    local value
    value=$(grep -oE "\"$3[^0-9{}]*[0-9.e+]+" "$logs/$2.json" 2>/dev/null | head -n 1 | grep -oE '[0-9.e+]+$')
    printf '| %s | %s | %s |\n' "$1" "${value:-not measured}" "$4"
}
figures() {
    [ "$half" = check ] || return 0
    printf '\n| figure | measured | predicted (H100) |\n|---|--:|--:|\n'
    row "network call, batch 264, ms" bench-264 'network call": {"ms' 39
    row "guide call, batch 264, ms" bench-264 'guide call": {"ms' 42
    row "guided images/s, batch 264" bench-264 images_per_second '132 (115 to 155)'
    row "guided images/s, batch 64" bench-64 images_per_second ''
    row "network call, batch 1, ms" bench-1 'network call": {"ms' 3.5
    row "guided images/s with features and statistics, batch 264" fid images_per_second ''
    row "copy, bytes/s" ceilings copy_bytes_per_second 3.0e12
    row "cuBLAS fp16, flop/s" ceilings matmul_fp16_flops 7.5e14
    row "clocks between two HMMA" sm_rates hmma_interval_clocks 6
    row "port clocks of ldmatrix.x4" sm_rates ldmatrix_x4_clocks 4
    row "port clocks of cp.async" sm_rates cp_async_port_clocks '4 to 8'
    row "bytes/clock from L2 to a multiprocessor" sm_rates l2_bytes_per_clock_sm 38.8
    row "clock under load, MHz" sm_rates clock_under_load_mhz '1600 to 1755'
}

# ---- steps --------------------------------------------------------------------------------------------------------------------
# judge STATUS LOG LIMIT SECONDS: in one word or two, what became of a step
judge() {
    local counts
    [ "$4" -lt "$3" ] || case $1 in 124 | 137) echo "out of time, $3 s" && return ;; esac
    case $1 in
    0) ;;
    126 | 127) echo "not there" && return ;;
    999) echo "hangs: it cannot be killed" && return ;;
    *) if [ "$1" -gt 128 ]; then echo "crashed, signal $(($1 - 128))"; else echo "failed, exit status $1"; fi && return ;;
    esac
    [ "${counted:-0}" = 1 ] || { echo ok && return; }
    counts=$(grep -aoE '^[A-Za-z0-9_]+: [0-9]+ passed, [0-9]+ failed, [0-9]+ not run$' "$2" | tail -n 1)
    case $counts in
    "" | *": 0 passed"*) echo "failed, it counted nothing" ;;
    *" 0 failed, 0 not run") echo ok ;;
    *" 0 failed, 1 not run") # golden cases for a later version are no failure; a device that could not be opened is one
        if grep -qa '^NOT RUN: .* of kinds that this version does not know$' "$2"; then echo ok; else echo "failed, not all was run"; fi
        ;;
    *) echo "failed, not all was right or run" ;;
    esac
}
# step NAME LIMIT COMMAND...: the output is NAME.log; a line of JSON in it is NAME.json
step() {
    local name=$1 limit=$2 begin=$SECONDS status=999 pid state said log=$logs/$1.log
    shift 2
    [ "$limit" -le "$(left)" ] || limit=$(left)
    if [ "$limit" -lt 2 ]; then
        state="not reached" limit=0
        : >"$log"
    else
        timeout -k 2 "$limit" "$@" >"$log" 2>&1 </dev/null &
        pid=$! running=$pid
        while kill -0 $pid 2>/dev/null && [ $((SECONDS - begin)) -le $((limit + 4)) ]; do sleep 0.1; done
        kill -0 $pid 2>/dev/null || { wait $pid && status=0 || status=$?; }
        running=''
        state=$(judge "$status" "$log" "$limit" $((SECONDS - begin)))
    fi
    grep -a '^{' "$log" | tail -n 1 | grep -a '}$' >"$logs/$name.line" && [ ! -e "$logs/$name.json" ] && mv "$logs/$name.line" "$logs/$name.json"
    rm -f "$logs/$name.line"
    said=$(grep -aE 'passed, |images +[0-9.e+]+ /s|^\{|[0-9] TFLOP|SUMMARY' "$log" | tail -n 1 | plain)
    [ "$state" = ok ] || said="$(grep -aE '^FAIL|^NOT RUN|rror|CUDA|dg_cuda:' "$log" | head -n 3 | plain)"
    [ -n "$said" ] || said=$(tail -n 1 "$log" | plain)
    printf '{"step": "%s", "state": "%s", "seconds": %d, "said": "%s"}\n' "$name" "$state" $((SECONDS - begin)) "$said" >>"$logs/steps"
    [ "$state" = ok ] || name="** $name"
    say "$name: $state in $((SECONDS - begin)) s: $said"
    [ "$state" = ok ]
}
# a step whose program counts checks (tests/check.h): none, or one that was not run, is a failure
tests() { counted=1 step "$@"; }
beside() { # the same beside others: in a shell of its own, which takes its program along when it is ended
    trap 'kill $running 2>/dev/null; exit 1' TERM
    tests "$@"
}
join() { # waits for them; not for the sampler of clocks
    local pid
    for pid in "${pids[@]}"; do wait "$pid"; done
    pids=()
    keep
}

# ---- the machine and the programs -----------------------------------------------------------------------------------------------
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1 XDG_CACHE_HOME=$work/cache
# cuDNN, cuBLAS and cuBLASLt, where they came with Python's packages
wheels=$(timeout 10 python3 -c 'import glob, nvidia; print(":".join(glob.glob(list(nvidia.__path__)[0] + "/*/lib")))' 2>/dev/null)
[ -z "$wheels" ] || export LD_LIBRARY_PATH=$wheels${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [ "$device" = cuda ]; then
    if step gpu 15 nvidia-smi --query-gpu=name,driver_version,compute_cap,clocks.max.sm,power.limit,memory.total --format=csv,noheader; then
        gpu=$(head -n 1 "$logs/gpu.log" | plain)
    fi
    timeout "$given" nvidia-smi --query-gpu=timestamp,clocks.sm,power.draw,temperature.gpu \
        --format=csv,noheader,nounits -lms 200 >"$logs/clocks.csv" 2>&1 </dev/null &
    sampler=$!
fi
if [ ! -d "$pack" ]; then
    programs=$work/programs
    # shellcheck disable=SC2016 # the inner shell's arguments
    step unpack 40 bash -c 'mkdir "$1" && { tar xJf "$0" -C "$1" || python3 -m tarfile -e "$0" "$1"; }' "$pack" "$programs" || { keep; exit 1; }
fi
network=tests/golden/nets/edm_cifar10_uncond.safetensors guide=tests/golden/guidance/disc_cifar10_uncond.safetensors
case $gpu in # its name, driver, compute capability, ...
*", 9.0, "* | "device "*) prims=prims_test ;;
*) prims=prims_test_80 ;; # of what the other one tests, this device lacks some
esac
if [ "$device" = cuda ]; then
    precisions=(fp16 fp32 bf16 tf32) verified=(fp32 fp16) replayed=fp16 batches=(264 64 1) images=(--seeds 0-5)
    bench=("$programs/dg_cuda" bench --device cuda --synthetic "$network" --synthetic-guide "$guide" --dtype fp16 --repeats 5 --runs 1 --warmup 2)
else # the same motions: bench-264 keeps its name
    precisions=(fp32) verified=(fp32) replayed=fp32 batches=(2 1 1) images=(--seeds 0-2 --steps 1)
    bench=("$programs/dg_cuda" bench --device "$device" --synthetic tests/golden/guidance/sample_dg.safetensors --steps 1 --repeats 1 --warmup 0)
fi

# ---- the halves -----------------------------------------------------------------------------------------------------------------
check() {
    local p n cases
    [ "$device" != cuda ] || tests primitives 30 "$programs/cuda/$prims" # the hardware judges the PTX: first
    for p in "${precisions[@]}"; do beside "ops-$p" 60 "$programs/tests/test_ops" "$device" "$p" & pids+=($!); done
    join
    tests state 30 "$programs/tests/test_state" "$device"
    tests posterior 30 "$programs/tests/test_posterior" "$device"
    for p in "${verified[@]}"; do
        [ "$p" = fp32 ] && cases=(quick cifar10_uncond) || cases=(edm_tiny disc_tiny. cifar10_uncond)
        beside "golden-$p" 90 "$programs/tests/test_golden" "$device=$p" "${cases[@]}" & pids+=($!)
    done
    join
    tests replay 40 "$programs/tests/test_sampler" "$device=$replayed" window second
    for n in 1 3; do
        step "images-$n" 60 "$programs/dg_cuda" generate --device "$device" "${images[@]}" --batch $n --format npz --outdir "$logs/images-$n"
    done
    step same-images 5 cmp "$logs/images-1/samples.npz" "$logs/images-3/samples.npz" # to the byte, whatever the batch
    keep
    step bench-264 60 "${bench[@]}" --batch "${batches[0]}" --ops --json "$logs/bench-264.json"
    ! grep -qs '^20' "$logs/clocks.csv" || say "at the highest power (time, MHz, W, C): $(sort -t, -k3,3g "$logs/clocks.csv" | tail -n 1)"
    [ "$device" != cuda ] || step clocks 10 nvidia-smi -q -d PERFORMANCE,CLOCK,POWER # and what holds them down
    step bench-64 30 "${bench[@]}" --batch "${batches[1]}" --json "$logs/bench-64.json"
    step fid 60 "${bench[@]}" fid --batch "${batches[0]}" --runs 1 --warmup 1 --json "$logs/fid.json"
    step bench-1 30 "${bench[@]}" --batch "${batches[2]}" --json "$logs/bench-1.json"
    keep
    [ "$device" = cuda ] || return 0
    step sm_rates 20 "$programs/cuda/sm_rates"
    step ceilings 30 "$programs/cuda/ceilings"
}
profile() {
    local kernel mode n=${batches[0]} peer=(python3 bench/peers/gpu.py --network "$network" --guide "$guide")
    if [ "$device" = cuda ]; then peer+=(--batch "$n"); else peer+=(--device cpu --repeats 1 --batch 1); fi
    step libraries 70 "${bench[@]}" --batch "$n" --ops --provider auto --json "$logs/libraries.json"
    keep
    for kernel in 'conv_(wgmma|mma)' norm_apply attn_mma attn_grad norm_bwd_whole; do # the five hottest
        step "ncu-${kernel%%_(*}" 30 ncu --kernel-name "regex:$kernel" --launch-skip 4 --launch-count 2 --clock-control none --section SpeedOfLight \
            --section WarpStateStats --section MemoryWorkloadAnalysis_Tables --section SchedulerStats --section Occupancy \
            "${bench[@]}" --batch "$n" --runs 0 --warmup 0 --repeats 1
        keep
    done
    for mode in half eager; do step "torch-$mode" 50 "${peer[@]}" --mode $mode; done
    keep
    tests memcheck 45 compute-sanitizer --tool memcheck --error-exitcode 9 "$programs/tests/test_ops" "$device" "$replayed" conv3_odd
    [ -z "${OFFICIAL:-}" ] || step official 50 "${peer[@]}" --mode eager --official "$OFFICIAL"
    keep
    step torch-compile 200 "${peer[@]}" --mode compile # takes what is left
}
"$half"
bad=$(grep -cv '"state": "ok"' "$logs/steps")
say "done: $bad of $(grep -c . "$logs/steps") steps are not ok"
keep
[ "$bad" -eq 0 ]
