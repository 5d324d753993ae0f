#!/usr/bin/env bash
# format.sh -- the formatter over every source: `format.sh apply` formats, `format.sh check` says what it would change.
# Its versions differ in what they write, so only the one that the tree was formatted with is asked. `format.sh find` names it.
# What is checked ends with the line `P passed, F failed` of .ci/run.
set -euo pipefail
cd "$(dirname "$0")/.."
version=14

found=
for program in clang-format-$version clang-format; do
    if "$program" --version 2>/dev/null | grep -q "version $version\."; then
        found=$program
        break
    fi
done
mapfile -t sources < <(git ls-files '*.c' '*.h' '*.cu' '*.cpp')
case ${1:-} in
find) echo "$found" ;;
apply)
    [ -n "$found" ] || { echo "format.sh: no clang-format of version $version here: nothing was changed" >&2; exit 1; }
    "$found" -i "${sources[@]}"
    ;;
check)
    if [ -z "$found" ]; then
        echo "NOT RUN: the format of the sources: no clang-format of version $version here"
        echo "0 passed, 0 failed"
        exit 0
    fi
    passed=0 failed=0
    for source in "${sources[@]}"; do
        if "$found" "$source" | cmp -s - "$source"; then passed=$((passed + 1)); else
            failed=$((failed + 1))
            echo "FAIL $source: \`make format\` would change it:"
            "$found" "$source" | diff "$source" - | head -n 6 || true
        fi
    done
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    ;;
*)
    echo "usage: tests/format.sh apply|check|find" >&2
    exit 2
    ;;
esac
