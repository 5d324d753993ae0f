#!/bin/bash
# kernel_table.sh -- static evidence: registers, shared memory, spills and instructions of every kernel, as a Markdown table.
#   bench/kernel_table.sh [OUT]        default: bench/results/kernels-sm80-sm90.md
# Instructions are counted in the machine code (SASS) where cuobjdump and nvdisasm are found, on the PATH or among Python's packages
# (bench/sass_model.py tools), else in the PTX, which the table and the last lines then say. Needs no GPU. Exit status 1 when a kernel
# does not compile, spills, or uses local memory.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-bench/results/kernels-sm80-sm90.md}
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
archs=(sm_80 sm_90a)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
sass=1
for tool in cuobjdump nvdisasm; do # cuobjdump starts nvdisasm from the PATH
    path=$(command -v $tool || python3 bench/sass_model.py tools 2>/dev/null | awk -v t=$tool '$1 == t && $2 ~ /^\// { print $2 }')
    if [ -n "$path" ]; then PATH=$(dirname "$path"):$PATH; else
        sass=0
        echo "kernel_table.sh: no $tool, neither on the PATH nor in the Python package nvidia-cuda-$tool: instructions are counted in the PTX" >&2
    fi
done

# ---- one line per kernel and architecture in $tmp/facts: arch, file, kernel, then name=value ...
for arch in "${archs[@]}"; do
    for source in kernels/*.cu; do
        [[ $arch != sm_90a && $source == *_sm90.cu ]] && continue
        name=$(basename "$source" .cu)
        base=$tmp/$arch/$name
        mkdir -p "$tmp/$arch"
        "$nvcc" -std=c++17 -Ihost -I. -O3 -arch="$arch" -cubin -keep -keep-dir "$tmp/$arch" -Xptxas -v "$source" -o "$base.cubin" 2>"$base.log" ||
            { cat "$base.log"; exit 1; }
        awk -v head="$arch $(basename "$source")" '
            /Compiling entry function/ { split($0, q, "\x27"); name = q[2] }
            /spill stores/ { n = split($0, f, ","); frame = f[1] + 0; spills = 0; for (i = 2; i <= n; i++) spills += f[i] }
            / Used [0-9]+ registers/ {
                match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5); shared = 0
                if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
                print head, name, "registers=" registers, "shared=" shared, "spills=" spills, "frame=" frame + 0
            }' "$base.log" >>"$tmp/facts"
        # dynamic shared memory: the entries that use an array of unknown size; and instructions, if there is no machine code
        awk -v head="$arch $(basename "$source")" -v count=$((1 - sass)) '
            /^\.extern \.shared/ { sub(/\[.*/, "", $NF); dynamic[$NF] = 1 }
            /\.entry/ { name = $0; sub(/.*\.entry +/, "", name); sub(/\(.*/, "", name); order[++n] = name }
            name == "" { next }
            { for (d in dynamic) if (index($0, d)) dyn[name] = 1 }
            /mma\.sync|wgmma\.mma/ { mma[name]++ } /ldmatrix/ { ldm[name]++ } /cp\.async\.c[ag]/ { cp[name]++ }
            /ld\.global.*\.v4|ld\.global.*\.v2\.b64/ { load[name]++ } /st\.global.*\.v4|st\.global.*\.v2\.b64/ { store[name]++ }
            END { for (i = 1; i <= n; i++) { k = order[i]; printf "%s %s dynamic=%d", head, k, dyn[k]
                  if (count) printf " mma=%d ldmatrix=%d cpasync=%d load=%d store=%d local=0", mma[k], ldm[k], cp[k], load[k], store[k]
                  printf "\n" } }' "$base.ptx" >>"$tmp/facts"
        if [ $sass = 1 ]; then
            cuobjdump -sass "$base.cubin" | awk -v head="$arch $(basename "$source")" '
                /Function :/ { name = $NF; order[++n] = name; next }
                /HMMA|HGMMA|IMMA/ { mma[name]++ } /LDSM/ { ldm[name]++ } /LDGSTS/ { cp[name]++ }
                /LDG\.E[^ ]*\.128/ { load[name]++ } /STG\.E[^ ]*\.128/ { store[name]++ } / (LDL|STL)[. ]/ { local[name]++ }
                END { for (i = 1; i <= n; i++) { k = order[i]; printf "%s %s mma=%d ldmatrix=%d cpasync=%d load=%d store=%d local=%d\n", head, k,
                      mma[k], ldm[k], cp[k], load[k], store[k], local[k] } }' >>"$tmp/facts"
        fi
    done
done

# ---- the table: a row per kernel, "sm_80 / sm_90a" where the two differ
mkdir -p "$(dirname "$out")"
{
    echo "# Kernels: registers, shared memory, spills, instructions"
    echo
    echo "Made by \`bench/kernel_table.sh\` with $("$nvcc" --version | grep -o 'release [^,]*, V[0-9.]*') for ${archs[*]}; nothing here was run on a GPU."
    echo "Instructions are static counts in the $( [ $sass = 1 ] && echo "machine code (cuobjdump -sass)" || echo PTX )," \
         "loops unrolled as compiled: matrix multiply-adds, ldmatrix, cp.async, 16-byte loads and stores of global memory, and any access to local memory."
    echo "Two numbers are ${archs[0]} / ${archs[1]}. Shared memory is in bytes; \`+\`: and more, given by the launcher."
    echo
    echo "| file | kernel | registers | shared | spills | mma | ldmatrix | cp.async | 16 B loads | 16 B stores | local |"
    echo "|---|---|---|---|---|---|---|---|---|---|---|"
    awk -v first="${archs[0]}" -v second="${archs[1]}" '
        { key = $2 " " $3; if (!(key in seen)) { seen[key] = 1; order[++n] = key }
          for (i = 4; i <= NF; i++) { split($i, p, "="); fact[key, $1, p[1]] = p[2] } }
        function both(k, f,   a, b) { b = fact[k, second, f] + 0; a = of_one(k) ? b : fact[k, first, f] + 0; return a == b ? a : a " / " b }
        function of_one(k) { return fact[k, first, "registers"] == "" }
        END { for (i = 1; i <= n; i++) { k = order[i]; split(k, q, " ")
              print q[1] "\t" q[2] "\t" both(k, "registers") " | " both(k, "shared") (fact[k, second, "dynamic"] ? " +" : "") " | " both(k, "spills") " | " \
                    both(k, "mma") " | " both(k, "ldmatrix") " | " both(k, "cpasync") " | " both(k, "load") " | " both(k, "store") " | " both(k, "local") } }
    ' "$tmp/facts" | while IFS=$'\t' read -r file mangled rest; do
        name=$(c++filt "$mangled" 2>/dev/null || echo "$mangled")
        name=${name#void }
        echo "| $file | \`${name%%(*}\` | $rest |"
    done
} >"$tmp/table"
mv "$tmp/table" "$out"
bad=$(grep -cE '(spills|local|frame)=[1-9]' "$tmp/facts" || true)
echo "$out: $(grep -c '^| [a-z_0-9]*\.cu ' "$out") kernels, $bad with spills or local memory"
[ "$bad" = 0 ]
