#!/usr/bin/env bash
# sass_waits.sh -- tests/sass_waits.py where it can run: with python3, and an nvcc that knows griddepcontrol and sm_90a (12 or newer).
# Arguments: the files to look at; default: kernels/*.cu. Without the disassemblers the check itself says NOT RUN.
set -u
not_run() {
    echo "NOT RUN: $1"
    echo "sass_waits: 0 passed, 0 failed, 1 not run"
    exit 0
}
command -v python3 >/dev/null || not_run "no python3"
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || not_run "no nvcc"
version=$("$nvcc" --version | sed -n 's/.*release \([0-9]*\).*/\1/p')
[ "${version:-0}" -ge 12 ] || not_run "nvcc ${version:-of an unknown version}: 12 or newer is wanted"
exec python3 tests/sass_waits.py "$@"
