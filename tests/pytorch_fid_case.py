#!/usr/bin/env python3
"""pytorch_fid_case.py PROGRAM FOLDER -- the FID of 300 images beside 300 of another kind, by pytorch-fid and by dg_cuda, with the same made-up
weights: pytorch-fid's network is filled with them where it would load the published ones, and they are saved as such a file. Then the same
with the reference from a file that dg_cuda has made, loaded by pytorch-fid, and where DG_EDM is a checkout of NVlabs/edm by EDM's fid.py.
Prints all of them; exit status 1 where they differ by more than 1e-4 of the number."""
import json
import os
import subprocess
import sys

import numpy as np
import pytorch_fid.fid_score
import pytorch_fid.inception
import torch
from PIL import Image
from torchvision.models.inception import Inception3

TOLERANCE = 1e-4
program, folder = sys.argv[1:3]
weights = os.path.join(folder, "made-up.pth")


def value(random, name, shape):
    u = random.random_sample(shape)
    if name.endswith("conv.weight"):
        return (2 * u - 1) * np.sqrt(6.0 / np.prod(shape[1:]))
    if name.startswith("fc."):
        return 0.08 * (2 * u - 1)
    if name.endswith("bn.bias"):
        return 0.2 * u
    if name.endswith("running_mean"):
        return 0.2 * u - 0.1
    return 0.75 + 0.5 * u  # bn.weight, running_var


load = Inception3.load_state_dict


def fill(self, published, *args, **kwargs):
    random = np.random.RandomState(7)  # the network is made more than once
    state = {k: torch.from_numpy(np.asarray(value(random, k, tuple(v.shape)), np.float32)) if v.is_floating_point() else v
             for k, v in self.state_dict().items()}
    torch.save(state, weights)
    return load(self, state)


Inception3.load_state_dict = fill
pytorch_fid.inception.load_state_dict_from_url = lambda *args, **kwargs: None

random = np.random.RandomState(8)
y, x = np.mgrid[0:48, 0:40]
for kind in "smooth", "noisy":
    os.mkdir(os.path.join(folder, kind))
    for i in range(300):
        a, b, c = random.randint(1, 9), random.randint(1, 9), random.randint(0, 256, 3)
        image = (a * y + b * x)[:, :, None] + c
        if kind == "noisy":
            image = image // 2 + random.randint(0, 128, (48, 40, 3))
        Image.fromarray((image % 256).astype(np.uint8)).save(os.path.join(folder, kind, "%03d.png" % i))
paths = [os.path.join(folder, kind) for kind in ("smooth", "noisy")]
theirs = float(pytorch_fid.fid_score.calculate_fid_given_paths(paths, 50, torch.device("cpu"), 2048, 0))
reference, statistics = os.path.join(folder, "reference.npz"), os.path.join(folder, "smooth.npz")


def evaluate(*arguments):
    return subprocess.run([program, "eval", *arguments, "--device", "cpu", "--protocol", "pytorch-fid", "--inception", weights,
                           "--cache", "off", "--output", "json"], check=True, stdout=subprocess.PIPE).stdout


evaluate("ref", "--images", paths[1], "--out", reference)
ours = json.loads(evaluate("--images", paths[0], "--ref", reference, "--out", statistics))["results"][0]["fid"]
found = {"pytorch-fid": theirs,
         "pytorch-fid, of dg_cuda's file": float(pytorch_fid.fid_score.calculate_fid_given_paths([paths[0], reference], 50, torch.device("cpu"), 2048, 0))}
if os.environ.get("DG_EDM"):
    sys.path.insert(0, os.environ["DG_EDM"])
    import dnnlib
    import fid as edm

    with dnnlib.util.open_url(reference) as f:
        ref = dict(np.load(f))
    with dnnlib.util.open_url(statistics) as f:
        own = dict(np.load(f))
    found["EDM, of dg_cuda's two files"] = float(edm.calculate_fid_from_inception_stats(own["mu"], own["sigma"], ref["mu"], ref["sigma"]))
else:
    print("NOT RUN: EDM's own fid.py (DG_EDM is no checkout of NVlabs/edm)")
print("dg_cuda %.9g" % ours)
for name, value in found.items():
    print("%s %.9g: relative difference %.3g" % (name, value, abs(ours - value) / value))
sys.exit(0 if all(abs(ours - value) <= TOLERANCE * value for value in found.values()) else 1)
