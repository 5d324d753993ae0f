#!/usr/bin/env bash
# sanitized.sh -- builds one test program and dg_cuda with the sanitizers, and runs it.  tests/sanitized.sh test_lines 10000
set -euo pipefail
build=${BUILD:-build} name=$1
shift
make -j2 BUILD="$build" "sanitized-$name" >&2
exec "$build/asan/tests/$name" "$@"
