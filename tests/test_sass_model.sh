#!/usr/bin/env bash
# test_sass_model.sh -- the model that counts and times the kernels' machine code, on a piece of it that is kept here.
set -u
if ! command -v python3 >/dev/null; then
    echo "NOT RUN: no python3"
    echo "test_sass_model: 0 passed, 0 failed, 1 not run"
    exit 0
fi
exec python3 tests/sass_model_test.py
