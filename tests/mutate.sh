#!/usr/bin/env bash
# mutate.sh -- seeded bugs: each line of tests/mutations/*.txt breaks one place of a copy of the tree, and a test must see it.
#   tests/mutate.sh [TABLE [WORD]]     TABLE: kernels or core (both when left out); WORD: only lines that contain it
#   MUTATE_EVERY=N takes every Nth of them; MUTATE_SECONDS bounds a test's processor time
# A line is   file @@ test program and arguments @@ text @@ replacement @@ what is wrong then
# The test's words may begin with settings, NAME=VALUE, of its environment. The text is taken literally, with ⏎ for the end of a line, and must occur exactly once, so that the tables cannot rot. A test program is a path below the build
# folder. A bug that survives, that does not compile, or whose text is not found is a failure.
set -euo pipefail

if [ $# -eq 0 ]; then # each table on its own
    status=0
    for table in kernels core; do "$0" $table || status=1; done
    exit $status
fi
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
limit=${MUTATE_SECONDS:-100} # of processor time: a bug may hang its test
caught=0 survived=0 unusable=0

# The copies are built so that building and running together take least.
opt=-O1
[ "$1" = core ] || opt=-O0
program_of() { # TEST, without its settings
    local test=$1
    while [[ ${test%% *} == *=* ]]; do test=${test#* }; done
    printf '%s' "$test"
}
run() { # FOLDER TEST
    local test
    test=$(program_of "$2")
    # shellcheck disable=SC2086 # the words of a test are its arguments
    (cd "$1" && ulimit -t "$limit" && timeout -k 5 $((limit * 20)) env ${2%"$test"} build/$test) >"$scratch/test.log" 2>&1
}
build() { # FOLDER TARGET...
    local folder=$1
    shift
    make -C "$folder" --no-print-directory BUILD=build OPT=$opt CUDA=0 "$@" >"$scratch/build.log" 2>&1
}
# Everything but build results, as it is now.
mkdir "$scratch/base"
tar -C "$root" -cf - --exclude=./build --exclude=./.git --exclude='./dg_cuda*' . | tar -C "$scratch/base" -xf -

mapfile -t lines < <(grep -hv -e '^#' -e '^$' "$root"/tests/mutations/"$1".txt | { grep -F -- "${2:-}" || true; } | awk -v n="${MUTATE_EVERY:-1}" 'NR % n == 0')
[ ${#lines[@]} -gt 0 ] || { echo "FAIL mutate.sh: no line in tests/mutations/$1.txt contains '${2:-}'"; exit 1; }
fields() { # LINE -> file, test, old, new, why
    local rest=$1
    file=${rest%% @@ *} rest=${rest#* @@ }
    test=${rest%% @@ *} rest=${rest#* @@ }
    old=${rest%% @@ *} rest=${rest#* @@ }
    new=${rest%% @@ *} why=${rest#* @@ }
    old=${old//⏎/$'\n'} new=${new//⏎/$'\n'}
}

# Unbroken, every test passes: else its failure would prove nothing.
declare -A tests programs
for line in "${lines[@]}"; do
    fields "$line"
    program=$(program_of "$test")
    tests[$test]=1 programs[build/${program%% *}]=1
done
build "$scratch/base" "${!programs[@]}" || { tail -n 20 "$scratch/build.log"; echo "FAIL mutate.sh: the unbroken tree does not build"; exit 1; }
for test in "${!tests[@]}"; do
    run "$scratch/base" "$test" ||
        { tail -n 20 "$scratch/test.log"; echo "FAIL mutate.sh: $test fails unbroken"; exit 1; }
done

for line in "${lines[@]}"; do
    fields "$line"
    text=$(cat "$scratch/base/$file" && echo x) text=${text%x} after=${text#*"$old"}
    if [ "$after" = "$text" ] || [ "${after#*"$old"}" != "$after" ]; then
        echo "FAIL not exactly once in $file: $old"
        unusable=$((unusable + 1))
        continue
    fi
    rm -rf "$scratch/broken"
    cp -al "$scratch/base" "$scratch/broken" # all links, but for what is written to
    rm -rf "$scratch/broken/build" "${scratch:?}/broken/$file"
    cp -a "$scratch/base/build" "$scratch/broken/build"
    printf '%s' "${text/"$old"/"$new"}" >"$scratch/broken/$file"
    program=$(program_of "$test")
    if ! build "$scratch/broken" "build/${program%% *}"; then
        echo "FAIL does not compile: $file: $why: $(grep -m 1 error "$scratch/build.log" || true)"
        unusable=$((unusable + 1))
        continue
    fi
    if run "$scratch/broken" "$test" 2>/dev/null; then
        echo "FAIL SURVIVED $file: $why ($test)"
        survived=$((survived + 1))
    else
        echo "caught $file: $why  [$(grep -aom 1 -e 'FAIL.*' -e 'EMU .*' -e 'dg_cuda: .*' -e '^[a-z_/]*\.c:[0-9]*: .*' "$scratch/test.log" | cut -c 1-100 || true)]"
        caught=$((caught + 1))
    fi
done
echo "$caught caught, $survived survived, $unusable unusable"
echo "mutate: $caught passed, $((survived + unusable)) failed, 0 not run"
[ $((survived + unusable)) -eq 0 ]
