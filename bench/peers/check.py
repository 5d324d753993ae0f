"""Checks that the peers are the networks they are compared with: python3 check.py CASE.safetensors...

Each golden case (kinds denoise, guidance, dit and vae, of which the decoder) is run in fp32 on the CPU with its synthetic weights; the worst relative L2
error over the samples must stay within the case's own tolerance."""
import json
import struct
import sys

import numpy as np
import torch

import latent
import networks


def read_safetensors(path):
    types = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    meta = header.pop("__metadata__", {})
    return meta, {k: np.frombuffer(data[slice(*v["data_offsets"])], types[v["dtype"]]).reshape(v["shape"]) for k, v in header.items()}


def overrides(tensors, network):
    prefix = "override.%s." % network
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def run(case, tensors):
    t = {k: torch.from_numpy(v.copy()) for k, v in tensors.items()}
    if case["kind"] == "denoise":
        net = networks.fill_synthetic(networks.EDMPrecond(case["network"]), case["weights"]["synthetic_seed"], overrides(tensors, "network"))
        with torch.no_grad():
            return {"denoised": net(t["x"], t["sigma"], t.get("class_labels"))}
    if case["kind"] == "dit":
        net, own = latent.DiT(case["network"]), overrides(tensors, "network")
        if "pos_embed" in own:
            net.pos_embed.copy_(torch.from_numpy(own.pop("pos_embed").copy()).reshape(net.pos_embed.shape))
        networks.fill_synthetic(net, case["weights"]["synthetic_seed"], own)
        with torch.no_grad():
            return {"out": net(t["x"], t["timesteps"], t["class_index"])}
    if case["kind"] == "vae":
        net = networks.fill_synthetic(latent.Decoder(case["config"]), case["weights"]["synthetic_seed"],
                                      {k: v for k, v in overrides(tensors, "network").items() if "encoder." not in k and not k.startswith("quant_conv.")})
        with torch.no_grad():
            return {"decoded": net(t["z"])}
    guide = networks.Guide(case["extractor"], case["head"], case.get("time") == "cosine")
    networks.fill_synthetic(guide.extractor, case["weights"]["extractor_seed"], overrides(tensors, "extractor"))
    networks.fill_synthetic(guide.head, case["weights"]["head_seed"], overrides(tensors, "head"))
    labels = t.get("class_index")
    if not case["head"].get("condition"):
        labels = None
    gradient, ratio = guide(t["x"], t["sigma"], labels)
    return {"guidance": gradient, "log_ratio": ratio}


def main():
    failed = compared = 0
    for path in sys.argv[1:]:
        meta, tensors = read_safetensors(path)
        case = json.loads(meta["case"])
        for name, found in run(case, tensors).items():
            wanted, found = tensors[name].astype(np.float64), found.double().numpy()
            error = 0.0
            for a, b in zip(found.reshape(len(found), -1), wanted.reshape(len(wanted), -1)):
                norm = np.linalg.norm(b)
                error = max(error, np.linalg.norm(a - b) / norm if norm else float(np.any(a)))
            tol = case["expect"][name]["tol"]
            ok = error <= tol
            compared, failed = compared + 1, failed + (not ok)
            print("%-60s %-10s error %.3g  tolerance %.3g  %s" % (path, name, error, tol, "ok" if ok else "FAIL"))
    return 1 if failed or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
