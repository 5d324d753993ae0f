"""Times one network of networks.py and prints its figures as one line of JSON, in milliseconds.

python3 time_network.py CASE.json [--batch 8] [--threads 1] [--repeats 5] [--warmup 1] [--device cpu] [--dtype float32]
                        [--channels-last] [--compile]
CASE.json: a golden case of the kind denoise (a denoiser call) or guidance (forward, and the gradient of the input)."""
import argparse
import json
import time

import torch

import networks


def main():
    p = argparse.ArgumentParser()
    p.add_argument("case")
    for name, default in (("--batch", 8), ("--threads", 1), ("--repeats", 5), ("--warmup", 1)):
        p.add_argument(name, type=int, default=default)
    p.add_argument("--device", default="cpu")
    p.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--compile", action="store_true")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    with open(a.case) as f:
        case = json.load(f)
    denoise = case["kind"] == "denoise"
    net = networks.EDMPrecond(case["network"]) if denoise else networks.Guide(case["extractor"], case["head"])
    config = case["network"] if denoise else case["head"]
    res = config["img_resolution"] if denoise else case["extractor"]["image_size"]
    channels = config["img_channels"] if denoise else case["extractor"]["in_channels"]
    net = net.requires_grad_(False).to(a.device, getattr(torch, a.dtype))
    state = torch.float32 if denoise else torch.float64
    x = torch.randn(a.batch, channels, res, res, dtype=state, device=a.device)
    sigma = torch.ones(a.batch, dtype=state, device=a.device)
    labels = None
    if denoise and config.get("label_dim"):
        labels = torch.eye(config["label_dim"], device=a.device)[torch.arange(a.batch) % config["label_dim"]]
    elif not denoise and config.get("condition"):
        labels = torch.arange(a.batch, device=a.device) % config["num_class"]
    if a.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    call = torch.compile(net) if a.compile else net

    def sync():
        if a.device.startswith("cuda"):
            torch.cuda.synchronize()

    wall, processor = [], []
    with torch.no_grad():  # Guide turns gradients on for its input alone
        for i in range(a.warmup + a.repeats):
            sync()
            start, work = time.perf_counter(), time.process_time()
            call(x, sigma, labels)
            sync()
            if i >= a.warmup:
                wall.append((time.perf_counter() - start) * 1e3)
                processor.append((time.process_time() - work) * 1e3)
    wall.sort()
    print(json.dumps({"torch": torch.__version__, "ms": wall[len(wall) // 2], "least": wall[0], "processor": min(processor)}))


if __name__ == "__main__":
    main()
