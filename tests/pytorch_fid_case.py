#!/usr/bin/env python3
"""pytorch_fid_case.py PROGRAM FOLDER -- the FID of 300 images beside 300 of another kind, by pytorch-fid and by dg_cuda, with the same made-up
weights: pytorch-fid's network is filled with them where it would load the published ones, and they are saved as such a file.
Prints both; exit status 1 where they differ by more than 1e-4 of the number."""
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
random = np.random.RandomState(7)


def value(name, shape):
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
    state = {k: torch.from_numpy(np.asarray(value(k, tuple(v.shape)), np.float32)) if v.is_floating_point() else v
             for k, v in self.state_dict().items()}
    torch.save(state, weights)
    return load(self, state)


Inception3.load_state_dict = fill
pytorch_fid.inception.load_state_dict_from_url = lambda *args, **kwargs: None

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
result = subprocess.run([program, "eval", "--device", "cpu", "--images", paths[0], "--ref", paths[1], "--protocol", "pytorch-fid",
                         "--inception", weights, "--cache", "off", "--output", "json"], check=True, stdout=subprocess.PIPE).stdout
ours = json.loads(result)["results"][0]["fid"]
print("pytorch-fid %.9g, dg_cuda %.9g: relative difference %.3g" % (theirs, ours, abs(ours - theirs) / theirs))
sys.exit(0 if abs(ours - theirs) <= TOLERANCE * theirs else 1)
