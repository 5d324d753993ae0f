#!/usr/bin/env bash
# test_layers.sh -- the house plan: who may include whom. Every #include "..." of the engine is checked against the table below;
# no arrow points up, and no files include each other in a circle.
set -euo pipefail
export LC_ALL=C

# folder: what its files may include beside their own: folders, or single headers. A row names nothing of a row below it.
# weights.h knows the files that weights come from, hence graph above files; providers.h speaks of a convolution in the
# kernels' words; kernels see of the graph its types alone; cuda_on_cpu.h stands in for CUDA's headers where the tests execute
# kernels on the CPU.
table='
base:
files:           base
graph:           base files
models/shapes32:
models/imagenet:
models:          base graph models/imagenet
kernels:         base graph/graph.h cuda_on_cpu.h
weights_tools:   base files graph/weights.h
device:          base files graph kernels/kernels.h
device/cpu:      base graph device
device/cuda:     base graph device kernels/kernels.h
run:             base files graph models device
sample:          base files graph models device run
measure:         base files graph models device run
program:         base files graph models models/shapes32 weights_tools device run sample measure
'

# Of a tree: a line an arrow, `file included-file`; what the tree has wrong, a line `WRONG ...` each.
arrows() ( # ROOT
    cd "$1"
    find host models kernels weights_tools -name '*.[ch]' -o -name '*.cu' | sort |
        xargs grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]+"' | sed -E 's/^([^:]+):.*"([^"]+)"/\1 \2/' |
        while read -r file name; do
            for found in "host/$name" "$name" "tests/cuda_on_cpu/$name" ''; do
                [ -z "$found" ] || [ ! -f "$found" ] || break
            done
            case $name in *..*) found= ;; esac
            if [ -n "$found" ]; then
                echo "${file#host/} ${found#host/}"
            else
                echo "WRONG $file includes \"$name\": headers are named by their folder, as in \"base/error.h\""
            fi
        done
)
judge() { # ROOT: the complaints alone, and last `N includes`
    local list
    list=$(arrows "$1")
    grep '^WRONG' <<<"$list" || true
    { printf '%s\n' "$table" "-"; grep -v '^WRONG' <<<"$list"; } | awk '
        function folder(path) { return path ~ /\// ? substr(path, 1, match(path, /\/[^\/]*$/) - 1) : "" }
        $1 == "-" { rows_end = 1; next }
        !rows_end && NF {
            from = substr($1, 1, length($1) - 1)
            row[from] = 1
            for (i = 2; i <= NF; i++) {
                may[from " " $i] = 1
                above = $i ~ /\.h$/ ? folder($i) : $i
                if (above != "" && !(above in row)) printf "WRONG the table lets %s see %s, which stands below it\n", from, $i
            }
            next
        }
        NF {
            includes++
            from = folder($1)
            sub(/^tests\/cuda_on_cpu\//, "", $2)
            to = folder($2)
            if (!(from in row)) { if (!told[from]++) printf "WRONG %s/ has no row in the table of tests/test_layers.sh\n", from }
            else if (from != to && !((from " " to) in may) && !((from " " $2) in may))
                printf "WRONG %s includes %s: %s/ may not see it\n", $1, $2, from
        }
        END { printf "%d includes\n", includes }'
    # tsort prints the members of a circle, one a line, after its complaint
    grep -v '^WRONG' <<<"$list" | tsort 2>&1 >/dev/null | sed -n 's/^tsort: //p' | grep -v 'input contains a loop' |
        tr '\n' ' ' | sed -E 's/(.*) $/WRONG these files include each other in a circle: \1\n/' || true
}

passed=0 failed=0
check() { # DESCRIPTION FOUND WANTED
    if [ "$2" = "$3" ]; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        printf 'FAIL %s: "%s", wanted "%s"\n' "$1" "$2" "$3"
    fi
}

# the judge is judged: small trees with one thing wrong each
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
seeded() { # NAME WANTED FILE INCLUDED...
    local root=$work/$1 name=$1 wanted=$2
    shift 2
    mkdir -p "$root"/{host/{base,files,graph,device/cpu,device/cuda,program},models,kernels,weights_tools}
    touch "$root"/host/{base/error.h,files/npz.h,graph/graph.h,graph/weights.h,device/device.h,program/cli.h}
    while [ $# -gt 0 ]; do
        mkdir -p "$root/$(dirname "$1")"
        echo "#include \"$2\"" >>"$root/$1"
        shift 2
    done
    check "seeded: $name" "$(judge "$root" | grep -v ' includes$')" "$wanted"
}
seeded sound '' host/files/npz.h base/error.h host/graph/weights.h files/npz.h weights_tools/a.c graph/weights.h models/b.c graph/graph.h
seeded upward 'WRONG base/error.c includes files/npz.h: base/ may not see it' host/base/error.c files/npz.h
seeded sideways 'WRONG models/dit.c includes device/device.h: models/ may not see it' models/dit.c device/device.h
seeded nested 'WRONG device/exec.c includes device/cpu/cpu.h: device/ may not see it' host/device/exec.c device/cpu/cpu.h host/device/cpu/cpu.h device/device.h
seeded one_header 'WRONG weights_tools/a.c includes graph/graph.h: weights_tools/ may not see it' weights_tools/a.c graph/graph.h
seeded unlisted 'WRONG novel/ has no row in the table of tests/test_layers.sh' host/novel/a.c base/error.h
seeded relative 'WRONG models/a.c includes "../host/base/error.h": headers are named by their folder, as in "base/error.h"' models/a.c ../host/base/error.h
seeded own_folder 'WRONG host/graph/a.c includes "graph.h": headers are named by their folder, as in "base/error.h"' host/graph/a.c graph.h
seeded circle 'WRONG these files include each other in a circle: base/a.h base/b.h' host/base/a.h base/b.h host/base/b.h base/a.h
check "seeded: a table that points up" "$(table=$'base: files\nfiles: base' && judge "$work/sound" | grep -c 'stands below it')" 1

# the tree
verdict=$(judge .)
while read -r complaint; do check "${complaint#WRONG }" wrong right; done < <(grep '^WRONG' <<<"$verdict" || true)
includes=$(sed -n 's/ includes$//p' <<<"$verdict")
check "includes found ($includes)" "$((includes > 200))" 1
passed=$((passed + includes - failed))
for folder in $(sed -nE 's/^([a-z_0-9\/]+):.*/\1/p' <<<"$table"); do
    [ -d "host/$folder" ] || [ -d "$folder" ] || continue
    check "CONTRIBUTING.md has a line for $folder/" "$(grep -cE "^ *(host/)?$folder/ +[^ ]" CONTRIBUTING.md)" 1
done
echo "test_layers: $passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
