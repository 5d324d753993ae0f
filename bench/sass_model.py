#!/usr/bin/env python3
"""sass_model.py -- what the kernels' machine code costs, without a GPU: counts of the hot loops, and predicted times.

  bench/sass_model.py renew                    writes bench/results/kernels-counted.{json,md} and kernels-predicted.{json,md}
  bench/sass_model.py check                    exit status 1 when a counted figure is worse than in the table kept, a kernel spills
                                               registers, or ptxas has serialised its wgmma; 3 when it cannot be told: no nvcc,
                                               another version of it, no disassembler
  bench/sass_model.py predict [--network NAME] [--calibration FILE] [--measured BENCH.json]
                                               the prediction on standard output, of the network or preset whose name starts with NAME
                                               (dit: the preset dit-xl-2-256-dg); FILE holds measured values of the five parameters that
                                               bench/first_light.sh measures;
                                               BENCH.json, of `dg_cuda bench --ops --json`: its ops beside the prediction
  bench/sass_model.py chunks [--network NAME]  the top level of CIFAR-10's network, or of NAME's, for the whole batch at once and in chunks of
                                               images whose tensors may stay in L2
  bench/sass_model.py tools                    where the disassemblers are

nvcc compiles kernels/*.cu for sm_90a; cuobjdump and nvdisasm are looked for on the PATH and among Python's packages (the wheels
nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm). Only the standard library is needed. bench/sass/ is the model."""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from sass import chunks, counts, predict, report  # noqa: E402
from sass.decode import Unreadable, disassemble, find_tool  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RESULTS = os.path.join("bench", "results")
COUNTED, PREDICTED = os.path.join(RESULTS, "kernels-counted"), os.path.join(RESULTS, "kernels-predicted")
SOURCES = ("conv", "conv_narrow_sm90", "conv_sm90", "linear", "linear_mma", "norm", "norm_bwd", "attention", "attention_sm90", "attention_wide", "attention_bwd", "attention_bwd_sm90", "elementwise", "pool", "pixel_norm", "norm_fold", "softmax", "attention_bwd_heads_sm90")
CANNOT_TELL = 3
CHUNKS = (16, 33, 66, 132)  # images; 16: nearly each multiprocessor has one tile of 128 pixels at 32x32, 33: each has two


class Missing(Exception):
    """What this machine lacks, in one sentence."""


def find_nvcc():
    nvcc = os.environ.get("NVCC") or shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    if not os.access(nvcc, os.X_OK):
        raise Missing("no nvcc")
    return nvcc


def nvcc_version():
    text = subprocess.run([find_nvcc(), "--version"], check=True, capture_output=True, text=True).stdout
    return "nvcc " + re.search(r"release [^,]*, V([0-9.]+)", text).group(1)


def serialised(notes):
    """The kernels of which ptxas says, in a mere note, that it makes their wgmma wait for each other."""
    return sorted(set(re.findall(r"^.*\(C75\d\d\).*$|^.*serialized.*$", notes, re.MULTILINE)))


def functions_of_kernels(faults=None):
    """Every kernel of SOURCES that there is, compiled and disassembled. faults, a list, gets what ptxas says of lost speed."""
    nvcc = find_nvcc()
    for tool in ("cuobjdump", "nvdisasm"):
        if not find_tool(tool):
            raise Missing("no %s: neither on the PATH nor in the wheel nvidia-cuda-%s" % (tool, tool))
    functions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in (n for n in SOURCES if os.path.exists("kernels/%s.cu" % n)):
            cubin = os.path.join(folder, name + ".cubin")
            command = [nvcc, "-std=c++17", "-Ihost", "-I.", "-O3", "-arch=sm_90a", "-cubin", "kernels/%s.cu" % name, "-o", cubin]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Unreadable("%s does not compile:\n%s" % (command[-3], done.stderr))
            functions.update(disassemble(cubin))
            if faults is not None:
                faults += serialised(done.stderr)
    return functions


def graphs_of(start=""):
    """The graphs of predict.NETWORKS by the name of their case, lists of those of PRESETS by theirs, from the program's own builders."""
    build = os.environ.get("BUILD", "build")
    lister = os.path.join(build, "bench", "op_list")
    subprocess.run(["make", "-s", "CUDA=0", "BUILD=" + build, lister], check=True, stdout=sys.stderr)
    listed = lambda *words: json.loads(subprocess.run([lister] + list(words), check=True, capture_output=True, text=True).stdout)
    names = [n for p in predict.NETWORKS if predict.chosen(p, start) for n in (p[1], p[2]) if n]
    graphs = dict(zip(names, listed("fp16", *[glob.glob("tests/golden/*/%s.safetensors" % n)[0] for n in names]) if names else []))
    graphs.update((p[1], listed("bf16", "--preset", p[1])) for p in predict.PRESETS if predict.chosen(p, start))
    return graphs


def write(path, text):
    with open(path + ".new", "w") as f:
        f.write(text)
    os.replace(path + ".new", path)
    print(path)


def renew():
    nvcc, functions = nvcc_version(), functions_of_kernels()
    rows = counts.table(functions)
    write(COUNTED + ".json", json.dumps({"nvcc": nvcc, "architecture": "sm_90a", "rows": rows}, indent=1) + "\n")
    write(COUNTED + ".md", counts.markdown(rows, nvcc))
    made = predict.predict(functions, graphs_of(), {})
    write(PREDICTED + ".json", json.dumps({"prediction": "nothing here ran on a GPU", "nvcc": nvcc, "networks": made}, indent=1) + "\n")
    write(PREDICTED + ".md", report.markdown(made, nvcc, {}))
    return 0


def check():
    with open(COUNTED + ".json") as f:
        kept = json.load(f)
    try:
        nvcc = nvcc_version()
        if nvcc != kept["nvcc"]:
            raise Missing("the table was made with %s, this is %s" % (kept["nvcc"], nvcc))
        faults = []
        functions = functions_of_kernels(faults)
        rows = counts.table(functions)
    except Missing as e:
        print("cannot be told: %s" % e)
        return CANNOT_TELL
    changes = counts.compare(kept["rows"], rows) + [(sentence, True) for sentence in faults + counts.spilling(functions)]
    for sentence, worse in changes:
        print("%s: %s" % ("worse" if worse else "better", sentence))
    print("%d launches counted, %d figures changed" % (len(rows), len(changes)))
    if changes:
        print("if that is meant: bench/sass_model.py renew, and commit what it writes")
    return int(any(worse for _, worse in changes))


def read_calibration(path):
    """The five measured values, wherever in a JSON file they are: that of bench/first_light.sh, or the line of bench/sm_rates."""
    found = {}

    def look_in(value):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            if key in predict.CALIBRATED:
                found[key] = inner
            look_in(inner)
    with open(path) as f:
        look_in(json.load(f))
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise Missing("%s: %s is %r, want a positive number" % (path, key, value))
    if not found:
        raise Missing("%s: holds none of %s" % (path, ", ".join(predict.CALIBRATED)))
    return found


def print_prediction(calibration_file, measured_file, network):
    calibration = read_calibration(calibration_file) if calibration_file else {}
    known = predict.NETWORKS + predict.PRESETS
    if not any(predict.chosen(n, network) for n in known):
        names = [n[0] for n in predict.NETWORKS] + [n[1] for n in predict.PRESETS]
        raise Missing("--network %s: is none of %s" % (network, "; ".join(names)))
    made = predict.predict(functions_of_kernels(), graphs_of(network), calibration, network)
    if not measured_file:
        print(report.markdown(made, nvcc_version(), calibration))
        return 0
    with open(measured_file) as f:
        measured = json.load(f)
    for p in made:
        for call in ("network", "guide"):
            if p.get(call) and call + " ops" in measured:
                print("## %s, %s call\n\n%s" % (p["name"], call, report.beside(p[call], measured[call + " ops"])))
    return 0


def print_chunks(network):
    entry = next((n for n in predict.NETWORKS if predict.chosen(n, network)), None)
    if not entry:
        raise Missing("--network %s: is none of %s" % (network, "; ".join(n[0] for n in predict.NETWORKS)))
    name, case, batch = entry[0], entry[1], entry[4]
    predictor, graph = predict.Predictor(functions_of_kernels(), {}), graphs_of(name)[case]
    compared = chunks.compare(predictor, graph, batch, [n for n in CHUNKS if n < batch])
    print(chunks.markdown(compared, predict.mean(predictor.graph(graph, batch)["ms"]), name))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("renew", "check", "predict", "chunks", "tools"))
    parser.add_argument("--calibration", metavar="FILE")
    parser.add_argument("--measured", metavar="BENCH.json")
    parser.add_argument("--network", metavar="NAME", default="")
    options = parser.parse_args()
    if options.measured and not options.network:
        parser.error("--measured is of one network: give --network")
    os.chdir(ROOT)
    try:
        if options.action == "tools":
            print("\n".join("%s %s" % (t, find_tool(t) or "not found") for t in ("cuobjdump", "nvdisasm")))
            return 0
        if options.action == "predict":
            return print_prediction(options.calibration, options.measured, options.network)
        if options.action == "chunks":
            return print_chunks(options.network)
        return renew() if options.action == "renew" else check()
    except (Missing, Unreadable, OSError, ValueError) as e:
        print("sass_model: %s" % e, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
