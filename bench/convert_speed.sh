#!/usr/bin/env bash
# convert_speed.sh -- how fast `dg_cuda convert` turns a large file of torch.save into safetensors, beside `cp` of the same
# file on the same disk: rounds of runs in turn, the file in the page cache. Neither waits for the disk; each is shown
# followed by a sync too.
#   bench/convert_speed.sh [FOLDER] [ROUNDS]     FOLDER: where 3 x 2.2 GB are free (default /tmp); ROUNDS: default 3
# Needs a PyTorch to write the file. DG_CUDA names the program (default ./dg_cuda).
set -euo pipefail

program=$(realpath "${DG_CUDA:-./dg_cuda}")
folder=$(mktemp -d "${1:-/tmp}/dg_convert_speed_XXXXXX")
rounds=${2:-3}
trap 'rm -rf "$folder"' EXIT
python=$(for p in python3 /usr/bin/python3; do "$p" -c 'import torch' 2>/dev/null && echo "$p" && break; done) ||
    { echo "NOT RUN: no python3 with torch"; exit 0; }

"$python" - "$folder/in.pt" <<'PYTHON'
import sys
import torch
torch.manual_seed(0)
# 550 million fp32 values: the linears of 60 transformer blocks, 1152 wide
block = {"attn.qkv": (3456, 1152), "attn.proj": (1152, 1152), "mlp.fc1": (2304, 1152), "mlp.fc2": (1152, 2304)}
state = {"layers.%d.%s.weight" % (i, k): torch.randn(s) for i in range(60) for k, s in block.items()}
torch.save(state, sys.argv[1])
PYTHON
bytes=$(stat -c %s "$folder/in.pt")
sync "$folder/in.pt"
cat "$folder/in.pt" >/dev/null # into the page cache
anonymous() { # of a process while it runs: the most memory it was seen to have, in KiB
    local most=0 now
    while now=$(awk '/^RssAnon/ { print $2 }' "/proc/$1/status" 2>/dev/null) && [ -n "$now" ]; do
        [ "$now" -gt "$most" ] && most=$now
        sleep 0.1
    done
    echo "$most" >"$folder/memory"
}
milliseconds() { # a command takes; and its memory, in $folder/memory
    local begin pid watch
    begin=$(date +%s%N)
    "$@" >/dev/null &
    pid=$!
    anonymous "$pid" &
    watch=$!
    wait "$pid" || return 1
    echo $((($(date +%s%N) - begin) / 1000000))
    wait "$watch"
}
copy() { exec cp "$folder/in.pt" "$folder/out"; }
convert() { exec "$program" convert "$folder/in.pt" "$folder/out.safetensors"; }
settle() { rm -f "$folder"/out*; sync -f "$folder"; } # nothing of an earlier run is written during the next
declare -A total
run() { # WHAT: seconds of it, and until the disk has it
    local begin taken synced
    settle
    taken=$(milliseconds "$1") && [ -n "$taken" ] || { echo "$1 failed" >&2; exit 1; }
    begin=$(date +%s%N)
    sync "$folder"/out*
    synced=$((taken + ($(date +%s%N) - begin) / 1000000))
    total[$1]=$((${total[$1]:-0} + taken)) total[$1_sync]=$((${total[$1_sync]:-0} + synced))
    awk -v what="$1" -v b="$bytes" -v t="$taken" -v s="$synced" 'BEGIN {
        printf "%-8s %6.2f s  %5.0f MB/s   with a sync %6.2f s  %5.0f MB/s\n", what, t / 1e3, b / t / 1e3, s / 1e3, b / s / 1e3 }'
}
echo "$bytes bytes, $(nproc) processors, $(awk -F: '/model name/ { print $2; exit }' /proc/cpuinfo), $(grep -qw sha_ni /proc/cpuinfo && echo with || echo without) SHA instructions, $(date -u +%F)"
echo "load average at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
for ((i = 0; i < rounds; i++)); do
    run copy
    run convert
done
awk -v c="${total[copy]}" -v d="${total[convert]}" -v cs="${total[copy_sync]}" -v ds="${total[convert_sync]}" -v m="$(cat "$folder/memory")" 'BEGIN {
    printf "convert, SHA-256 and CRC-32 included: %.0f%% of the speed of cp, %.0f%% with a sync after each; anonymous memory %.1f MB\n",
        100 * c / d, 100 * cs / ds, m / 1024 }'
