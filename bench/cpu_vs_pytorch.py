#!/usr/bin/env python3
"""dg_cuda's CPU backend beside PyTorch: the CIFAR-10 denoiser and the DG gradient of the CIFAR-10 discriminator.

bench/cpu_vs_pytorch.py [--pairs 5] [--threads 1,2] [--batch 8] [--pytorch /usr/bin/python3] [--label TEXT]

Each pair is one run of ours and one of PyTorch's, same threads, one after the other; the table has the medians over the
pairs, and the median of the pairs' ratios. On a machine that others use too, wall times say little: the processor time of
a call (all threads together, the smallest of a run's calls) is printed beside them."""
import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = [
    ("denoiser call", "nets/edm_cifar10_uncond", "--synthetic", "network call"),
    ("DG gradient", "guidance/disc_cifar10_uncond", "--synthetic-guide", "guide call"),
]
CALLS = 2  # timed calls of one run, behind one that is not


def output(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True, **kwargs).stdout


def ours(case, option, key, threads, batch):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "figures.json")
        output(os.path.join(ROOT, "dg_cuda"), "bench", option, case + ".safetensors", "--batch", str(batch), "--device", "cpu", "--threads",
               str(threads), "--repeats", str(CALLS), "--steps", "1", "--json", path)
        with open(path) as f:
            figures = json.load(f)
    memory = figures[key.split()[0] + " memory"]
    return figures[key], figures["anonymous_bytes"], memory["arena_bytes"] + memory["weight_bytes"]


def theirs(python, case, threads, batch, options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "case.json")
        with open(case + ".safetensors", "rb") as f:
            header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        with open(path, "w") as f:
            f.write(header["__metadata__"]["case"])
        env = dict(os.environ, OMP_NUM_THREADS=str(threads))
        return json.loads(output(python, os.path.join(ROOT, "bench/peers/time_network.py"), path, "--threads", str(threads), "--batch", str(batch),
                                 "--repeats", str(CALLS), *options, env=env))


def cpu_name():
    try:
        with open("/proc/cpuinfo") as f:
            text = f.read()
        field = {k: re.search(r"^%s\s*: (.*)$" % k, text, re.M) for k in ("model name", "cpu family", "model")}
        return "%s (family %s, model %s)" % tuple(field[k].group(1) if field[k] else "?" for k in field)
    except OSError:
        return platform.processor()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--pytorch", default="/usr/bin/python3", help="a Python that has PyTorch")
    p.add_argument("--label", default="", help="a remark for the heading")
    a = p.parse_args()
    torch = output(a.pytorch, "-c", "import torch; print(torch.__version__, 'CPU capability', torch.__config__.show().split('CPU capability usage: ')[1].split()[0])")
    print("# CPU: dg_cuda and PyTorch side by side\n")
    print("%s; %s, %d cores; %s; PyTorch %s; batch %d, fp32, %d pairs of runs, %d calls a run.%s" %
          (datetime.date.today(), cpu_name(), os.cpu_count(), output(os.path.join(ROOT, "dg_cuda"), "--version").split("\n")[0], torch.strip(), a.batch,
           a.pairs, CALLS, " " + a.label if a.label else ""))
    print("\n| work | threads | ours, ms | PyTorch, ms | ratio | ours, processor ms | PyTorch, processor ms | ratio |\n|---|---|---|---|---|---|---|---|")
    memory = []
    for threads in [int(t) for t in a.threads.split(",")]:
        for name, case, option, key in WORK:
            case = os.path.join(ROOT, "tests/golden", case)
            rows = []
            for _ in range(a.pairs):
                us, anonymous, planned = ours(case, option, key, threads, a.batch)
                them = theirs(a.pytorch, case, threads, a.batch, [])
                rows.append((us["ms"], them["ms"], us["processor"], them["processor"]))
            middle = [statistics.median(r[i] for r in rows) for i in range(4)]
            ratio = [statistics.median(r[i + 1] / r[i] for r in rows) for i in (0, 2)]
            print("| %s | %d | %.0f | %.0f | **%.2f** | %.0f | %.0f | **%.2f** |" % (name, threads, middle[0], middle[1], ratio[0], middle[2], middle[3], ratio[1]))
            sys.stdout.flush()
            memory.append("%s, %d threads: %.1f MiB of anonymous memory in the whole process, %.3f x the %.1f MiB of planned arena, prepared weights and workspace."
                          % (name, threads, anonymous / 2**20, anonymous / planned, planned / 2**20))
    print("\nRatio: PyTorch's time divided by ours, the median over the pairs.\n")
    print("\n".join(memory))


if __name__ == "__main__":
    main()
