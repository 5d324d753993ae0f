#!/usr/bin/env bash
# test_gpu_report.sh -- bench/gpu_report.py in its dry mode: every step runs and is read, the files are whole, and a run that is
# cut off leaves what it had; and with programs that could not open the device, which is a failure.
set -u
passed=0 failed=0
check() { # DESCRIPTION COMMAND...
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "FAIL $what"
    fi
}
if ! command -v python3 >/dev/null; then
    echo "NOT RUN: no python3"
    echo "test_gpu_report: 0 passed, 0 failed, 1 not run"
    exit 0
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
build=${BUILD:-build}
python3 bench/gpu_report.py "$out/whole" --dry --seconds 400 --build "$build" --work "$out/work" >"$out/log" 2>&1
status=$?
check "exit status" [ "$status" -eq 0 ]
python3 - "$out/whole" <<'PY'
import json, sys
steps = json.load(open(sys.argv[1] + "/report.json"))["steps"]
text = open(sys.argv[1] + "/report.md").read()
allowed = {"ok", "not run"}
wrong = [n for n, s in steps.items() if s["state"] not in allowed and not n.startswith("PyTorch") and n not in ("GPU", "nvcc", "revision")]
print("\n".join("%s: %s %s" % (n, steps[n]["state"], steps[n].get("tail", "")) for n in wrong))
figures = [s for s in steps.values() if s["state"] == "ok" and isinstance(s.get("result"), dict) and "network call" in s["result"]]
sys.exit(bool(wrong or "Dry run" not in text or "bit-identical" not in text or "## Speed" not in text or len(figures) < 3))
PY
status=$?
check "every step of a dry run ($(tail -n 1 "$out/log"))" [ "$status" -eq 0 ]
check "nothing but the report is in the folder: $(ls "$out/whole")" [ "$(find "$out/whole" -mindepth 1 | wc -l)" -eq 3 ]
check "the logs are in the archive" grep -q 'report/ops.*log$' <(tar tzf "$out/whole/report.tgz")
{ timeout -s KILL 8 python3 bench/gpu_report.py "$out/cut" --dry --part speed --build "$build" --work "$out/work"; } >/dev/null 2>&1
check "a run cut off after 8 seconds leaves a report that can be read" python3 -c "import json, sys; sys.exit(not json.load(open('$out/cut/report.json'))['steps'])"
# programs in place of the real ones: a wrong driver, where all tests pass that need no device
mkdir -p "$out/fake/tests" "$out/fake/cuda" "$out/bin"
program() { # PATH LINE
    printf '#!/bin/sh\n%s\n' "$2" >"$1"
    chmod +x "$1"
}
for t in ops state golden sampler batch extremes posterior; do program "$out/fake/tests/test_$t" 'echo "t: 5 passed, 0 failed, 1 not run"'; done
program "$out/fake/tests/test_sampler" 'echo "NOT RUN: 2 golden cases of kinds that this version does not know"; echo "t: 5 passed, 0 failed, 1 not run"'
program "$out/fake/cuda/prims_test" 'echo "t: 5 passed, 0 failed, 0 not run"'
program "$out/fake/dg_cuda" 'exit 1'
program "$out/bin/nvidia-smi" 'echo "Fake GPU, 580.1, 9.0, 81559 MiB, 1980 MHz"'
program "$out/bin/compute-sanitizer" 'echo "t: 0 passed, 0 failed, 0 not run"; echo "ERROR SUMMARY: 0 errors"'
# shellcheck disable=SC2016 # the program's own variable
program "$out/bin/make" 'case $* in *prims*) exit $PRIMS_STATUS ;; esac'
driver() { # FOLDER STATUS-OF-MAKE: a run, and its steps' states
    PRIMS_STATUS=$2 PATH=$out/bin:$PATH python3 bench/gpu_report.py "$out/$1" --part correctness --build "$out/fake" --work "$out/work-$1" >"$out/$1.log" 2>&1
    status=$?
    states=$(python3 -c 'import json, sys
for n, s in json.load(open(sys.argv[1]))["steps"].items(): print("%s: %s" % (n, s["state"]))' "$out/$1/report.json")
}
driver driver 0
check "a wrong driver: exit status" [ "$status" -eq 1 ]
check "a wrong driver: the last line" grep -qE 'failed: ops fp32,.* images at batch 1' <(tail -n 1 "$out/driver.log")
for s in "primitives: ok" "ops fp16: failed \(not all was run\)" "golden cases fp32: failed \(not all was run\)" \
    "replayed steps against eager ones fp16: ok" "memcheck conv3_odd: failed \(not all was run\)" "images at batch 3: failed \(1\)"; do
    check "a wrong driver: no step is \"$s\"" grep -qxE "$s" <<<"$states"
done
driver primitives 1
check "without the primitives the rest is run" grep -qx "ops fp16: failed (not all was run)" <<<"$states"
check "and that is a failure" grep -q "failed: build primitives" <(tail -n 1 "$out/primitives.log")
echo "test_gpu_report: $passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
