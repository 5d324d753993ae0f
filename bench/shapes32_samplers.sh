#!/usr/bin/env bash
# shapes32_samplers.sh -- the samplers at the same cost: 2,000 images of the example model with 17 evaluations of its network, by EDM's
# sampler (9 steps of Heun's method), DDIM and DPM-Solver++ 2M (17 steps), without guidance and with w = 2, and their distance to
# the data.
#   bench/shapes32_samplers.sh [FOLDER]      DEVICE=cpu THREADS=0
# The images stay in FOLDER (default build/shapes32_samplers); a run that was interrupted goes on where it was. Writes
# bench/results/shapes32-samplers-DEVICE.md.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build/shapes32_samplers} device=${DEVICE:-cpu} threads=${THREADS:-0}
result=bench/results/shapes32-samplers-$device.md
make dg_cuda
mkdir -p "$folder" bench/results
sets=()
for sampler in edm ddim dpm++; do
    steps=17
    [ $sampler = edm ] && steps=9
    for w in 0 2; do
        ./dg_cuda generate --seeds 0-1999 --batch 50 --sampler $sampler --steps $steps --dg_weight_1st_order $w --device "$device" \
            --threads "$threads" --format npz --outdir "$folder/$sampler-w$w"
        sets+=("$folder/$sampler-w$w/samples.npz")
    done
done
table=$(./dg_cuda eval --images "${sets[@]}" --each --protocol shapes32 --metrics fd,class --bootstrap 100 --output md --device "$device" \
    --threads "$threads")

processor=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
[ "$device" = cuda ] && processor=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
{
    echo "# shapes32: samplers with 17 evaluations of the network"
    echo
    echo "Date $(date +%F), device $device ($processor), commit $(git rev-parse --short HEAD)."
    echo "Seeds 0-1999, classes drawn from the seeds. edm: 9 steps of Heun's method; ddim: 17 steps of the linear schedule's 1,000, eta 0;"
    echo "dpm++: DPM-Solver++ 2M, 17 steps on EDM's noise levels. Guided: by the discriminator, weight 2, where each sampler guides by"
    echo "default (edm and dpm++: tau from 0.01 on; ddim: above timestep 100). Made by bench/shapes32_samplers.sh. sd: over 100 bootstrap"
    echo "samples of the images. Class: share of images that the extractor's own classifier takes for the class asked for."
    echo
    echo "$table" | awk -F ' *[|] *' '
        BEGIN { print "| sampler | guidance | distance | sd | class |\n|---|---|--:|--:|--:|" }
        /^[|].*npz/ { n = split($2, part, "/"); split(part[n - 1], name, "-w")
                printf "| %s | %s | %.2f | %.2f | %.3f |\n", name[1], name[2] == "0" ? "none" : "w = " name[2], $5, $6, $7 }'
} >"$result"
cat "$result"
