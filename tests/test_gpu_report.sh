#!/usr/bin/env bash
# test_gpu_report.sh -- bench/gpu_report.py in its dry mode: every step runs and is read, both files are whole, and a run
# that is cut off leaves what it had.
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
python3 bench/gpu_report.py "$out/whole" --dry --seconds 400 --build "$build" >"$out/log" 2>&1
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
{ timeout -s KILL 8 python3 bench/gpu_report.py "$out/cut" --dry --part speed --build "$build"; } >/dev/null 2>&1
check "a run cut off after 8 seconds leaves a report that can be read" python3 -c "import json, sys; sys.exit(not json.load(open('$out/cut/report.json'))['steps'])"
echo "test_gpu_report: $passed passed, $failed failed, 0 not run"
[ "$failed" -eq 0 ]
