#!/usr/bin/env bash
# first_light_test.sh -- bench/first_light.sh where there is no GPU: with the device's names exchanged every step of `check` passes, and
# whatever goes wrong (no device, a wrong driver, steps that hang, crash or lie, no time, an end from outside) leaves results that can
# be read, in time. And that `make pack` made what another machine can run.
#   tests/first_light_test.sh PACK SM_RATES       what make pack wrote; bench/sm_rates.cu over tests/cuda_on_cpu
set -u
passed=0 failed=0 skipped=0
check() { # DESCRIPTION COMMAND...
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAIL $what"
    fi
}
not_run() { echo "NOT RUN: $1" && skipped=$((skipped + 1)); }
done_testing() {
    echo "first_light_test: $passed passed, $failed failed, $skipped not run"
    [ "$failed" -eq 0 ]
    exit
}
command -v python3 >/dev/null || { not_run "no python3 to read the results with" && done_testing; }
pack=$1 sm_rates=$2 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset OUT OFFICIAL DEVICE FIRST_LIGHT_SECONDS

# first NAME WANTED-STATUS ARGUMENTS...: a run into $work/NAME, and what must be true of any: its files are whole, and it ends in time
first() {
    local name=$1 wanted=$2 status=0 begin=$SECONDS
    shift 2
    timeout -k 5 320 bench/first_light.sh "$@" "$work/$name" >"$work/$name.out" 2>&1 || status=$?
    check "$name: exit status $status, $wanted was wanted: $(tail -n 1 "$work/$name.out")" [ "$status" -eq "$wanted" ]
    check "$name: it took $((SECONDS - begin)) s" [ $((SECONDS - begin)) -le $((${FIRST_LIGHT_SECONDS:-290} + 45)) ] # 45: a busy machine's
    whole "$name"
}
whole() {
    check "$1: at most 8 files are left" [ "$(find "$work/$1" -type f | wc -l)" -le 8 ]
    check "$1: first.json is JSON" python3 -m json.tool "$work/$1/first.json" /dev/null
    check "$1: the logs are in first.tgz" grep -q '^first/lines$' <(tar tzf "$work/$1/first.tgz")
    check "$1: first.md says how it ended" grep -qE ' s  (done|stopped)|unpack: ' "$work/$1/first.md"
}
# said NAME STEP PATTERN: the state of a step
said() {
    check "$1: $2: $(state "$1" "$2") is not \"$3\"" grep -qxE "$3" <(state "$1" "$2")
}
state() {
    python3 -c 'import json, sys
print(*[s["state"] for s in json.load(open(sys.argv[1]))["steps"] if s["step"] == sys.argv[2]])' "$work/$1/first.json" "$2"
}

# ---- the pack: small, and of programs that need nothing but glibc --------------------------------------------------------------
mkdir "$work/pack"
check "the pack is smaller than 40 MB" [ "$(stat -c %s "$pack")" -lt 40000000 ]
check "the pack unpacks" tar xJf "$pack" -C "$work/pack"
for f in dg_cuda tests/test_{ops,state,posterior,golden,sampler}; do check "$f is in the pack" [ -x "$work/pack/$f" ]; done
if [ -e "$work/pack/cuda" ] && [ -n "$(ls "$work/pack/cuda")" ]; then
    for f in prims_test prims_test_80 sm_rates ceilings; do check "cuda/$f is in the pack" [ -x "$work/pack/cuda/$f" ]; done
else
    not_run "no nvcc: nothing for a GPU was compiled into the pack"
fi
foreign=$(find "$work/pack" -type f -perm -u+x -exec ldd {} + | grep -oE '^\s[^ ]+' | grep -vE 'linux-vdso|ld-linux|lib(c|m|dl|rt|pthread)\.so' | sort -u)
check "programs of the pack need other libraries: $foreign" [ -z "$foreign" ]

# ---- the microbenchmarks' accesses, on the emulator: every key is there, and nothing is out of bounds or raced -----------------
"$sm_rates" >"$work/rates"
check "sm_rates on the emulator" [ $? -eq 0 ]
for key in hmma_interval_clocks ldmatrix_x4_clocks cp_async_port_clocks l2_bytes_per_clock_sm clock_under_load_mhz; do
    check "sm_rates: $key" python3 -c 'import json, sys; float(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/rates" $key
done

# ---- the devices' names exchanged ------------------------------------------------------------------------------------------------
DEVICE=cpu first dry 0 check "$pack"
for s in unpack ops-fp32 state golden-fp32 replay images-1 images-3 same-images bench-264 bench-64 bench-1; do said dry $s ok; done
check "dry: a figure in first.md" grep -qE '^\| network call, batch 264, ms \| [0-9.]+ \| [0-9]' "$work/dry/first.md"
check "dry: no mistaking it for a GPU's" grep -q 'no figures of a GPU' "$work/dry/first.md"
check "dry: the ops in first.json" python3 -c 'import json, sys; json.load(open(sys.argv[1]))["figures"]["bench-264"]["network ops"][3]' \
    "$work/dry/first.json"

# ---- no device ---------------------------------------------------------------------------------------------------------------------
if nvidia-smi -L >/dev/null 2>&1; then
    not_run "no device: this machine has one"
else
    first none 1 check "$work/pack"
    for s in ops-fp16 ops-tf32 state golden-fp32 replay images-1 same-images bench-264; do said none $s 'failed.*'; done
    said none gpu '(not there|failed.*)'
    check "none: the reason is in first.md" grep -qE 'no CUDA device|not in this build|no device' "$work/none/first.md"
fi

# ---- programs that misbehave, in place of the real ones -----------------------------------------------------------------------------
fake=$work/fake
mkdir -p "$fake/tests" "$fake/cuda" "$work/bin"
program() { # PATH LINE...
    local path=$1
    shift
    { echo '#!/bin/bash' && printf '%s\n' "$@"; } >"$path"
    chmod +x "$path"
}
counts='echo "t: 5 passed, 0 failed, 0 not run"'
for t in tests/test_{ops,state,posterior,golden,sampler} cuda/prims_test cuda/prims_test_80; do program "$fake/$t" "$counts"; done
# shellcheck disable=SC2016 # the program's own variables
program "$fake/dg_cuda" 'while [ $# -gt 1 ]; do [ "$1" = --outdir ] && mkdir -p "$2" && echo images >"$2/samples.npz"; shift; done' 'echo done'
program "$fake/cuda/sm_rates" 'echo "{\"hmma_interval_clocks\": 6.5}"'
program "$fake/cuda/ceilings" 'echo "{\"copy_bytes_per_second\": 3e12}"'
program "$work/bin/nvidia-smi" 'echo "Fake GPU, 580.1, 9.0, 1980 MHz, 700 W, 81559 MiB"'
export PATH=$work/bin:$PATH
program "$fake/tests/test_golden" 'echo "NOT RUN: 24 golden cases of kinds that this version does not know"' 'echo "t: 5 passed, 0 failed, 1 not run"'
first good 0 check "$fake"
check "good: the GPU's name" grep -q '^# First light, check: Fake GPU, 580.1' "$work/good/first.md"
check "good: a rate beside its prediction" grep -q '^| clocks between two HMMA | 6.5 | 6 |' "$work/good/first.md"

program "$work/bin/nvidia-smi" 'echo "Failed to initialize NVML: Driver/library version mismatch"' 'exit 18'
for t in ops state golden; do program "$fake/tests/test_$t" 'echo "NOT RUN: cuda: driver"' 'echo "t: 5 passed, 0 failed, 1 not run"'; done
first driver 1 check "$fake"
said driver gpu 'failed, exit status 18'
for s in ops-fp16 state golden-fp16; do said driver $s 'failed, not all was run'; done
said driver replay ok

program "$fake/tests/test_ops" 'echo "FAIL a.c:1: wrong"' 'echo "t: 5 passed, 1 failed, 0 not run"' # and exit status 0
program "$fake/tests/test_state" 'exit 0'
program "$fake/tests/test_golden" "$counts" 'kill -SEGV $$'
# shellcheck disable=SC2016
program "$fake/dg_cuda" 'while [ $# -gt 1 ]; do [ "$1" = --outdir ] && mkdir -p "$2" && echo $RANDOM >"$2/samples.npz"; shift; done' 'echo done'
rm "$fake/cuda/ceilings"
first crash 1 check "$fake"
said crash ops-fp16 'failed, not all was right or run'
said crash state 'failed, it counted nothing'
said crash golden-fp16 'crashed, signal 11'
said crash same-images 'failed, exit status 1'
said crash ceilings 'not there'
said crash sm_rates ok

program "$fake/tests/test_ops" "trap '' TERM" 'while :; do sleep 1; done'
FIRST_LIGHT_SECONDS=16 first hang 1 check "$fake"
said hang ops-fp16 'out of time.*'
said hang primitives ok
said hang bench-1 'not reached'
# in the driver, where no signal arrives: what would kill it hangs as well
program "$work/bin/timeout" "case \$* in *prims_test*) echo \$\$ >$work/hangs && exec sleep 120 ;; *) exec $(command -v timeout) \"\$@\" ;; esac"
FIRST_LIGHT_SECONDS=16 first driver-hangs 1 check "$fake"
rm "$work/bin/timeout"
kill "$(cat "$work/hangs")"
said driver-hangs primitives 'hangs: it cannot be killed'
FIRST_LIGHT_SECONDS=10 first late 1 check "$fake"
said late primitives 'not reached'

# the fake that no TERM ends is in it
bench/first_light.sh check "$fake" "$work/stopped" >"$work/stopped.out" 2>&1 &
pid=$!
sleep 3
kill -TERM $pid
wait $pid
check "stopped: exit status $?" [ $? -eq 143 ]
whole stopped
sleep 4
check "stopped: programs are left running: $(pgrep -fl "$fake/tests")" [ -z "$(pgrep -f "$fake/tests")" ]

# ---- the other half ------------------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2016 # the fake expands it: a filter of convolutions takes Hopper's kernel and the portable one
program "$work/bin/ncu" 'case $* in *regex:conv*) filter=$(sed "s/.*regex:\([^ ]*\).*/\1/" <<<"$*")' \
    '    for k in conv_wgmma_kernel conv_mma_kernel; do grep -qE "$filter" <<<$k || exit 1; done ;; esac' 'echo "==PROF== conv_mma_kernel"'
program "$work/bin/compute-sanitizer" "$counts" 'echo "ERROR SUMMARY: 1 error"' 'exit 9'
program "$work/bin/python3" 'case $* in *gpu.py*half*) echo "{\"network_ms\": 12}" ;; *gpu.py*) echo "ModuleNotFoundError: torch"; exit 1 ;; *) exit 1 ;; esac'
status=0
OFFICIAL=/checkout OUT=$work/profile bench/first_light.sh profile "$fake" >"$work/profile.out" 2>&1 || status=$?
rm "$work/bin/python3"
check "profile: exit status $status" [ "$status" -eq 1 ]
whole profile
for s in libraries ncu-conv ncu-norm_apply ncu-attn_mma ncu-attn_grad ncu-norm_bwd_whole torch-half; do said profile $s ok; done
said profile memcheck 'failed, exit status 9'
for s in torch-eager official torch-compile; do said profile $s 'failed, exit status 1'; done
check "profile: the figure of PyTorch" grep -q '"torch-half": {"network_ms": 12}' "$work/profile/first.json"

# ---- wrong commands; results of an earlier run -----------------------------------------------------------------------------------------
refused() { # DESCRIPTION COMMAND...: exit status 2 and a sentence
    local what=$1 status=0 sentence
    shift
    sentence=$("$@" 2>&1) || status=$?
    check "$what: exit status $status: $sentence" [ "$status" -eq 2 ]
    check "$what: $sentence" grep -q '^first_light.sh: ' <<<"$sentence"
}
script=$PWD/bench/first_light.sh
# shellcheck disable=SC2317 # refused calls it
outside() { cd / && "$script" check "$fake" "$work/outside"; }
refused "outside the root" outside
refused "no half" bench/first_light.sh
refused "no pack" bench/first_light.sh check "$work/nothing" "$work/no-pack"
echo "no archive" >"$work/broken.tar.xz"
first broken 1 check "$work/broken.tar.xz"
said broken unpack 'failed.*'
first broken 1 check "$work/broken.tar.xz"
check "the results of an earlier run are kept" [ -s "$work/broken/previous-first.md" ]
done_testing
