#!/usr/bin/env bash
# shapes32_fid.sh -- guidance does its work: 2,000 images of the example model from the same seeds without guidance, with
# w = 1 and with w = 2, and their distance to the data beside what the official code gives (models/shapes32/README.md).
#   bench/shapes32_fid.sh [FOLDER]      DEVICE=cpu THREADS=0
# The images stay in FOLDER (default build/shapes32_fid); a run that was interrupted goes on where it was. Writes
# bench/results/shapes32-fid-DEVICE.md. Real images of a seed that the reference does not hold are the check of the
# measurement itself; they need NumPy.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build/shapes32_fid} device=${DEVICE:-cpu} threads=${THREADS:-0} python=${PYTHON:-python3}
result=bench/results/shapes32-fid-$device.md
make dg_cuda
mkdir -p "$folder" bench/results

sets=()
if [ -f "$folder/real.npz" ] || "$python" -c 'import numpy' 2>/dev/null; then
    [ -f "$folder/real.npz" ] || "$python" bench/shapes32.py 2000 778 "$folder/real.npz"
    sets+=("$folder/real.npz")
else
    echo "NOT RUN: real images: $python has no NumPy"
fi
for w in 0 1 2; do
    ./dg_cuda generate --seeds 0-1999 --batch 50 --steps 18 --dg_weight_1st_order $w --device "$device" --threads "$threads" \
        --format npz --outdir "$folder/w$w"
    sets+=("$folder/w$w/samples.npz")
done
table=$(./dg_cuda eval --images "${sets[@]}" --each --protocol shapes32 --metrics fd,class --bootstrap 100 --output md --device "$device" \
    --threads "$threads")

processor=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1)
[ "$device" = cuda ] && processor=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
{
    echo "# shapes32: distance to the data without and with guidance"
    echo
    echo "Date $(date +%F), device $device ($processor), commit $(git rev-parse --short HEAD)."
    echo "Seeds 0-1999, classes drawn from the seeds, 18 steps, guidance of the first order in the window 0.01 to 1."
    echo "Made by bench/shapes32_fid.sh. sd: over 100 bootstrap samples of the images, the sampling error to expect. Official: 2,000"
    echo "images of other latents by the official code (models/shapes32/README.md). Apart: the difference of the two distances over"
    echo "the standard deviation of it. Class: share of images that the extractor's own classifier takes for the class asked for."
    echo
    echo "$table" | awk -F ' *[|] *' '
        BEGIN { split("0.19 9.20 7.97 6.67", distance, " "); split("0.10 0.35 0.39 0.30", sd, " "); split("1.000 0.576 0.615 0.643", class, " ")
                name[1] = "real, seed 778"; name[2] = "w = 0 (unguided)"; name[3] = "w = 1"; name[4] = "w = 2"
                print "| images | distance | sd | class | official distance | sd | class | apart |\n|---|--:|--:|--:|--:|--:|--:|--:|" }
        /^[|].*npz/ { k = /real/ ? 1 : 2 + substr($2, match($2, /w[012]\/samples/) + 1, 1)
                printf "| %s | %.2f | %.2f | %.3f | %s | %s | %s | %.1f |\n", name[k], $5, $6, $7, distance[k], sd[k], class[k],
                    ($5 - distance[k]) / sqrt($6 ^ 2 + sd[k] ^ 2) }'
} >"$result"
cat "$result"
