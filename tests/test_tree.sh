#!/usr/bin/env bash
# test_tree.sh -- what holds for every file: the first line says what it is for, a source stays below 600 lines, setjmp stands where C
# allows it, and the binary files of the repository, which every clone carries, stay below 30 MB in all.
set -euo pipefail
export LC_ALL=C
passed=0 failed=0 not_run=0
check() { # DESCRIPTION COMMAND...
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAIL $what"
    fi
}

# the first line, or the second after #!: a comment, `name -- purpose` or `name ARGUMENTS -- purpose`
says_purpose() {
    awk -v name="$(basename "$1")" 'NR == 1 && /^#!/ { next } { at = index($0, name " "); dash = index($0, " -- "); exit }
        END { exit !(at && at < 5 && dash >= at) }' "$1"
}
short() { [ "$(wc -l <"$1")" -le 600 ]; }
sources=$(find host models kernels weights_tools bench tests -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cpp' -o -name '*.sh' -o -name '*.mk')
for file in $sources; do
    check "$file: its first line is not \"$(basename "$file") -- what it is for\"" says_purpose "$file"
    check "$file: more than 600 lines" short "$file"
done
check "sources found" [ "$(wc -w <<<"$sources")" -gt 200 ]

# C11 7.13.1.1: setjmp alone decides an if, or is compared with 0 there; its value is never kept
jumps=$(grep -nE '\bsetjmp *\(' $sources | grep -vE 'if \(!?setjmp\([^()]*\)( [!=]= 0)?\)' || true)
check "setjmp where C11 does not allow it: $jumps" [ -z "$jumps" ]

# what git calls binary: a file with a NUL near its start
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    list=$(mktemp)
    trap 'rm -f "$list"' EXIT
    git ls-files -z | xargs -0 grep -LIZ '' >"$list" || true
    bytes=$(xargs -0 cat <"$list" | wc -c)
    echo "binary files: $(tr -dc '\0' <"$list" | wc -c), $((bytes / 1000)) kB"
    check "binary files found" [ "$bytes" -gt 1000000 ]
    check "binary files take $((bytes / 1000)) kB, 30000 are allowed" [ "$bytes" -le 30000000 ]
else
    not_run=$((not_run + 1))
    echo "NOT RUN: the size of the binary files: no git repository here"
fi
echo "test_tree: $passed passed, $failed failed, $not_run not run"
[ "$failed" -eq 0 ]
