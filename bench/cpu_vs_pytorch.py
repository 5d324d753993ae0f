#!/usr/bin/env python3
"""dg_cuda's CPU backend beside PyTorch in eager mode.

bench/cpu_vs_pytorch.py [--work cifar10,inception,imagenet256] [--pairs 5] [--threads 1,2] [--pytorch /usr/bin/python3] [--label TEXT]

cifar10: the denoiser and the DG gradient of CIFAR-10, a batch of 8. inception: FID's features, a batch of 32 (its PyTorch needs
pytorch-fid). imagenet256: of the preset dit-xl-2-256-dg a call with classifier-free guidance, the DG gradient and the decoder, one image.
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
GOLDEN = os.path.join(ROOT, "tests/golden")
CALLS = 2  # timed calls of one run, behind one that is not
# Of each kind of work: the batch, our command, and its rows: a name, our figure's key, the golden case that PyTorch's network is of.
WORK = {
    "cifar10": [
        (8, ["--synthetic", GOLDEN + "/nets/edm_cifar10_uncond.safetensors"],
         [("CIFAR-10 denoiser call", "network call", "nets/edm_cifar10_uncond")]),
        (8, ["--synthetic-guide", GOLDEN + "/guidance/disc_cifar10_uncond.safetensors"],
         [("CIFAR-10 DG gradient", "guide call", "guidance/disc_cifar10_uncond")]),
    ],
    "inception": [(32, None, [("Inception features", None, None)])],
    "imagenet256": [
        (1, ["--preset", "dit-xl-2-256-dg", "--vae-batch", "1"],
         [("DiT-XL/2 call with CFG", "two passes", "imagenet/dit_xl_2"), ("latent DG gradient", "guide call", "guidance/disc_latent256"),
          ("VAE decode, 256x256", "vae call", "imagenet/vae_sd")]),
    ],
}


def output(*command, **kwargs):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, universal_newlines=True, **kwargs).stdout


def ours(options, threads, batch):
    """The figures of one run, by their keys; None: of the program that times Inception."""
    if options is None:
        program = os.path.join(ROOT, "build/bench/inception_speed")
        return {None: json.loads(output(program, str(batch), str(CALLS), env=dict(os.environ, OMP_NUM_THREADS=str(threads))))}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "figures.json")
        output(os.path.join(ROOT, "dg_cuda"), "bench", *options, "--batch", str(batch), "--device", "cpu", "--threads", str(threads),
               "--repeats", str(CALLS), "--json", path)
        with open(path) as f:
            return json.load(f)


def case_text(name):
    if name is None:
        return '{"kind": "inception"}'
    with open(os.path.join(GOLDEN, name + ".safetensors"), "rb") as f:
        return json.loads(f.read(int.from_bytes(f.read(8), "little")))["__metadata__"]["case"]


def theirs(python, case, threads, batch):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "case.json")
        with open(path, "w") as f:
            f.write(case_text(case))
        env = dict(os.environ, OMP_NUM_THREADS=str(threads))
        return json.loads(output(python, os.path.join(ROOT, "bench/peers/time_network.py"), path, "--threads", str(threads), "--batch", str(batch),
                                 "--repeats", str(CALLS), env=env))


def cpu_name():
    try:
        with open("/proc/cpuinfo") as f:
            text = f.read()
        field = {k: re.search(r"^%s\s*: (.*)$" % k, text, re.M) for k in ("model name", "cpu family", "model")}
        return "%s (family %s, model %s)" % tuple(field[k].group(1) if field[k] else "?" for k in field)
    except OSError:
        return platform.processor()


def compare(python, threads, pairs, batch, options, rows):
    """Prints the rows; the memory of our process, where it says."""
    times, figures = [[] for _ in rows], None
    for _ in range(pairs):
        figures = ours(options, threads, batch)
        for i, (_, key, case) in enumerate(rows):
            us, them = figures[key], theirs(python, case, threads, batch)
            times[i].append((us["ms"], them["ms"], us["processor"], them["processor"]))
    for (name, _, _), t in zip(rows, times):
        middle = [statistics.median(r[i] for r in t) for i in range(4)]
        ratio = [statistics.median(r[i + 1] / r[i] for r in t) for i in (0, 2)]
        print("| %s | %d | %d | %.0f | %.0f | **%.2f** | %.0f | %.0f | **%.2f** |" %
              (name, batch, threads, middle[0], middle[1], ratio[0], middle[2], middle[3], ratio[1]))
    sys.stdout.flush()
    if options is None:
        return []
    planned = sum(m["arena_bytes"] + m["weight_bytes"] for key, m in figures.items() if key.endswith(" memory"))
    return ["%s, %d threads: %.1f MiB of anonymous memory in the whole process, %.3f x the %.1f MiB of planned arena, prepared weights and workspace."
            % (rows[0][0], threads, figures["anonymous_bytes"] / 2**20, figures["anonymous_bytes"] / planned, planned / 2**20)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--work", default=",".join(WORK))
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--threads", default="1,2")
    p.add_argument("--pytorch", default="/usr/bin/python3", help="a Python that has PyTorch")
    p.add_argument("--label", default="", help="a remark for the heading")
    a = p.parse_args()
    torch = output(a.pytorch, "-c", "import torch; print(torch.__version__, 'CPU capability', torch.__config__.show().split('CPU capability usage: ')[1].split()[0])")
    print("# CPU: dg_cuda and PyTorch side by side\n")
    print("%s; %s, %d cores; %s; PyTorch %s; fp32, %d pairs of runs, %d calls a run.%s" %
          (datetime.date.today(), cpu_name(), os.cpu_count(), output(os.path.join(ROOT, "dg_cuda"), "--version").split("\n")[0], torch.strip(),
           a.pairs, CALLS, " " + a.label if a.label else ""))
    print("\n| work | images | threads | ours, ms | PyTorch, ms | ratio | ours, processor ms | PyTorch, processor ms | ratio |\n|---|---|---|---|---|---|---|---|---|")
    memory = []
    for threads in [int(t) for t in a.threads.split(",")]:
        for kind in a.work.split(","):
            for batch, options, rows in WORK[kind]:
                memory += compare(a.pytorch, threads, a.pairs, batch, options, rows)
    print("\nRatio: PyTorch's time divided by ours, the median over the pairs.\n")
    print("\n".join(memory))


if __name__ == "__main__":
    main()
