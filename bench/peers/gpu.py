#!/usr/bin/env python3
"""The same work in PyTorch: a network call and a guide call timed by events, and the images/s they make.

  gpu.py --network CASE [--guide CASE] --batch N --mode eager|half|compile [--official CHECKOUT] [--device cuda] [--repeats 10]

eager: fp32 weights, TF32 allowed, as the official programs run. half: channels_last and fp16 autocast. compile: the same
through torch.compile. --official takes the network's class from a checkout of NVlabs/edm or alsdudrla10/DG. Prints one line
of JSON; images_per_second counts what bench counts: 2 steps - 1 network calls and the guided first evaluations."""
import argparse
import json
import math
import os
import struct
import sys
import time

import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import networks  # noqa: E402

SIGMA_MIN, SIGMA_MAX, RHO = 0.002, 80.0, 7.0
STEPS = {32: 18, 64: 40}  # of EDM's published settings, by resolution; label_dim 1000 has 256


def read_case(path):
    with open(path, "rb") as f:
        return json.loads(json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["__metadata__"]["case"])


def guided_steps(guide, steps, lowest=0.01, highest=1.0):
    """First evaluations whose time lies in the window."""
    level = [(SIGMA_MAX ** (1 / RHO) + i / max(steps - 1, 1) * (SIGMA_MIN ** (1 / RHO) - SIGMA_MAX ** (1 / RHO))) ** RHO for i in range(steps)]
    b0, b1 = 0.1, 20.0
    tau = [(-b0 + math.sqrt(b0 * b0 + 2 * (b1 - b0) * math.log1p(s * s))) / (b1 - b0) for s in level]
    return sum(lowest <= t <= highest for t in tau)


def milliseconds(call, device, repeats):
    """Median of single calls after warm-up."""
    for _ in range(min(repeats, 3)):
        call()
    times = []
    for _ in range(repeats):
        if device == "cuda":
            start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            stop.record()
            stop.synchronize()
            times.append(start.elapsed_time(stop))
        else:
            begin = time.perf_counter()
            call()
            times.append(1e3 * (time.perf_counter() - begin))
    return sorted(times)[len(times) // 2]


def official_network(checkout, config):
    sys.path.insert(0, checkout)
    from training.networks import EDMPrecond  # of the checkout

    known = {k: v for k, v in config.items() if k not in ("class_name", "precond")}
    return EDMPrecond(**known)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--network", required=True)
    a.add_argument("--guide")
    a.add_argument("--batch", type=int, required=True)
    a.add_argument("--mode", choices=["eager", "half", "compile"], required=True)
    a.add_argument("--official")
    a.add_argument("--device", default="cuda")
    a.add_argument("--repeats", type=int, default=10)
    o = a.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    config = read_case(o.network)["network"]
    n, res, channels, classes = o.batch, config["img_resolution"], config["img_channels"], config.get("label_dim", 0)
    net = official_network(o.official, config) if o.official else networks.fill_synthetic(networks.EDMPrecond(config), 1)
    net = net.to(o.device).eval().requires_grad_(False)
    guide = None
    if o.guide:
        case = read_case(o.guide)
        guide = networks.Guide(case["extractor"], case["head"], case.get("time") == "cosine")
        networks.fill_synthetic(guide.extractor, 2)
        networks.fill_synthetic(guide.head, 3)
        guide = guide.to(o.device).eval()
    half = o.mode != "eager"
    x = torch.randn(n, channels, res, res, device=o.device)
    if half:
        net = net.to(memory_format=torch.channels_last)
        guide = guide.to(memory_format=torch.channels_last) if guide else None
        x = x.to(memory_format=torch.channels_last)
    sigma = torch.ones(n, device=o.device)
    labels = torch.eye(classes, device=o.device)[torch.zeros(n, dtype=torch.long)] if classes else None
    index = torch.zeros(n, dtype=torch.long, device=o.device) if guide and case["head"].get("condition") else None
    if o.mode == "compile":
        net = torch.compile(net)
        if guide:
            guide.extractor, guide.head = torch.compile(guide.extractor), torch.compile(guide.head)

    def call_network():
        with torch.no_grad(), torch.autocast(o.device, torch.float16 if o.device == "cuda" else torch.bfloat16, enabled=half):
            return net(x, sigma, labels)

    def call_guide():
        with torch.autocast(o.device, torch.float16 if o.device == "cuda" else torch.bfloat16, enabled=half):
            return guide(x, sigma, index)

    network_ms = milliseconds(call_network, o.device, o.repeats)
    guide_ms = milliseconds(call_guide, o.device, o.repeats) if guide else 0.0
    steps = 256 if classes == 1000 else STEPS.get(res, 18)
    seconds = 1e-3 * ((2 * steps - 1) * network_ms + (guided_steps(guide, steps) * guide_ms if guide else 0))
    result = {"mode": o.mode, "batch": n, "network_ms": network_ms, "images_per_second": n / seconds, "note": "PyTorch %s" % torch.__version__}
    if guide:
        result["guide_ms"] = guide_ms
    if o.official:
        result["note"] += ", the official network class"
    print(json.dumps(result))


if __name__ == "__main__":
    main()
