#!/usr/bin/env bash
# test_pytorch_fid.sh -- the FID of the command eval beside pytorch-fid's own (pytorch_fid_case.py), where DG_PYTHON (python3) has it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${DG_PYTHON:-python3} program=$here/../${BUILD:-build}/dg_cuda
[ -x "${BUILD:-}/dg_cuda" ] && program=$BUILD/dg_cuda
if ! "$python" -c 'import pytorch_fid, torch, torchvision' 2>/dev/null; then
    echo "NOT RUN: the FID beside pytorch-fid's: $python has no pytorch_fid and torch (DG_PYTHON names another)"
    echo "test_pytorch_fid: 0 passed, 0 failed, 1 not run"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if "$python" "$here/pytorch_fid_case.py" "$program" "$work"; then
    echo "test_pytorch_fid: 1 passed, 0 failed, 0 not run"
else
    echo "FAIL test_pytorch_fid: the numbers differ, or a program failed"
    echo "test_pytorch_fid: 0 passed, 1 failed, 0 not run"
    exit 1
fi
