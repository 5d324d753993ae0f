"""Times one network of networks.py or latent.py and prints its figures as one line of JSON, in milliseconds.

python3 time_network.py CASE.json [--batch 8] [--threads 1] [--repeats 5] [--warmup 1] [--device cpu] [--dtype float32]
                        [--channels-last] [--compile]
CASE.json: a golden case of the kind denoise (a denoiser call), guidance (forward, and the gradient of the input), dit (a call with
classifier-free guidance: twice as many rows as images), vae (decoding) or {"kind": "inception"} (features of images of 299 x 299)."""
import argparse
import json
import time

import torch

import latent
import networks


def prepare_denoise(case, n):
    config = case["network"]
    labels = torch.eye(config["label_dim"])[torch.arange(n) % config["label_dim"]] if config.get("label_dim") else None
    x = torch.randn(n, config["img_channels"], config["img_resolution"], config["img_resolution"])
    return networks.EDMPrecond(config), x, (torch.ones(n), labels)


def prepare_guidance(case, n):
    extractor, head = case["extractor"], case["head"]
    labels = torch.arange(n) % head["num_class"] if head.get("condition") else None
    x = torch.randn(n, extractor["in_channels"], extractor["image_size"], extractor["image_size"], dtype=torch.float64)
    return networks.Guide(extractor, head), x, (torch.ones(n, dtype=torch.float64), labels)


def prepare_dit(case, n):
    config = case["network"]
    x = torch.randn(2 * n, config["in_channels"], config["input_size"], config["input_size"])
    labels = torch.cat([torch.arange(n) % config["num_classes"], torch.full((n,), config["num_classes"])])
    return latent.DiT(config), x, (torch.full((2 * n,), 500), labels)


def prepare_vae(case, n):
    size = case.get("latent_size", 32)
    return latent.Decoder(case["config"]), torch.randn(n, case["config"]["latent_channels"], size, size), ()


def prepare_inception(case, n):
    return latent.inception(), torch.rand(n, 3, 299, 299), ()


PREPARE = {"denoise": prepare_denoise, "guidance": prepare_guidance, "dit": prepare_dit, "vae": prepare_vae, "inception": prepare_inception}


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
    dtype = getattr(torch, a.dtype)
    net, x, others = PREPARE[case["kind"]](case, a.batch)
    net = net.requires_grad_(False).to(a.device, dtype)
    x = x.to(a.device, dtype if case["kind"] in ("dit", "vae", "inception") else x.dtype)
    others = [t if t is None else t.to(a.device) for t in others]
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
            call(x, *others)
            sync()
            if i >= a.warmup:
                wall.append((time.perf_counter() - start) * 1e3)
                processor.append((time.process_time() - work) * 1e3)
    wall.sort()
    print(json.dumps({"torch": torch.__version__, "ms": wall[len(wall) // 2], "least": wall[0], "processor": min(processor)}))


if __name__ == "__main__":
    main()
