#!/usr/bin/env bash
# convert_speed.sh -- how fast `dg_cuda convert` turns a large file of torch.save into safetensors, beside `cp` of the same
# file on the same disk: pairs of runs, the file in the page cache, every run ended by a sync of what it wrote.
#   bench/convert_speed.sh [FOLDER] [PAIRS]     FOLDER: where 3 x 2.2 GB are free (default /tmp); PAIRS: default 3
# Needs a PyTorch to write the file. DG_CUDA names the program (default ./dg_cuda).
set -euo pipefail

program=$(realpath "${DG_CUDA:-./dg_cuda}")
folder=$(mktemp -d "${1:-/tmp}/dg_convert_speed_XXXXXX")
pairs=${2:-3}
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
seconds() { # of a command, with the most anonymous memory it was seen to have, in KiB
    local begin end most=0 now pid
    begin=$(date +%s%N)
    "$@" >/dev/null &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
        [ "${now:-0}" -gt "$most" ] && most=$now
        sleep 0.05
    done
    wait "$pid"
    end=$(date +%s%N)
    echo "$(((end - begin) / 1000000)) $most"
}
copy() { cp "$folder/in.pt" "$folder/copy.pt"; }
copy_sync() { cp "$folder/in.pt" "$folder/copy.pt" && sync "$folder/copy.pt"; }
convert() { exec "$program" convert "$folder/in.pt" "$folder/out.safetensors"; }
echo "$bytes bytes, $(nproc) processors, $(awk -F: '/model name/ { print $2; exit }' /proc/cpuinfo), $(grep -qw sha_ni /proc/cpuinfo && echo with || echo without) SHA instructions, $(date -u +%F)"
echo "load average at the start: $(cut -d' ' -f1-3 /proc/loadavg)"
for ((i = 0; i < pairs; i++)); do
    rm -f "$folder/copy.pt" "$folder/out.safetensors"
    read -r plain _ < <(seconds copy)
    rm -f "$folder/copy.pt"
    read -r synced _ < <(seconds copy_sync)
    rm -f "$folder/copy.pt"
    read -r converted memory < <(seconds convert)
    awk -v b="$bytes" -v c="$plain" -v s="$synced" -v d="$converted" -v m="$memory" 'BEGIN {
        printf "cp %.2f s (%.0f MB/s), cp and sync %.2f s (%.0f MB/s), convert with hash and sync %.2f s (%.0f MB/s): %.0f%% of cp, %.0f%% of cp and sync; anonymous memory %.1f MB\n",
            c / 1e3, b / c / 1e3, s / 1e3, b / s / 1e3, d / 1e3, b / d / 1e3, 100 * c / d, 100 * s / d, m / 1024 }'
done
