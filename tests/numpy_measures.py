#!/usr/bin/env python3
"""numpy_measures.py FILE.npz -- computes every measure of the file's features again, in NumPy from the definitions (random subsets by
NumPy's own RandomState), and compares with the results that stand beside them. Prints a line for each that differs."""
import sys

import numpy as np

f = np.load(sys.argv[1])
real, fake, logits, k = f["reference"], f["generated"], f["logits"], int(f["k"])
failed = 0


def check(name, got, want, tolerance):
    global failed
    if not np.all(np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64)) <= tolerance):
        failed = 1
        print(f"{name}: {got}, NumPy has {want}")


def distances_float(u, v):
    nu, nv = (u * u).sum(1), (v * v).sum(1)
    return np.maximum(nu[:, None] - 2 * (u @ v.T) + nv, np.float32(0))


def distances_half(u, v):
    u, v = u.astype(np.float16), v.astype(np.float16)
    nu = (u * u).astype(np.float32).sum(1).astype(np.float16)
    nv = (v * v).astype(np.float32).sum(1).astype(np.float16)
    dot = (u.astype(np.float32) @ v.astype(np.float32).T).astype(np.float16)
    return np.maximum((nu[:, None] - 2 * dot) + nv, np.float16(0)).astype(np.float32)


def neighbours(distances):
    radius_real = np.sort(distances(real, real), 1)[:, k]
    radius_fake = np.sort(distances(fake, fake), 1)[:, k]
    d = distances(real, fake)
    return [
        (d <= radius_real[:, None]).any(0).sum(),
        (d <= radius_fake).any(1).sum(),
        (d < radius_real[:, None]).sum(),
        (d.min(1) < radius_real).sum(),
    ]


check("neighbours in float", f["float"], neighbours(distances_float), 0)
# sums of half precision may round otherwise where they are made in another order
check("neighbours in half precision", f["half"][:2] / [len(fake), len(real)],
      np.array(neighbours(distances_half)[:2]) / [len(fake), len(real)], 0.0005)

wide = [x.astype(np.float64) for x in (real, fake)]
mean, covariance = [x.mean(0) for x in wide], [np.cov(x, rowvar=False) for x in wide]
root = np.sqrt(np.linalg.eigvals(covariance[0] @ covariance[1]).astype(complex)).real.sum()
check("Frechet distance", f["frechet"], ((mean[0] - mean[1]) ** 2).sum() + np.trace(covariance[0]) + np.trace(covariance[1]) - 2 * root, 1e-10)

random, subset = np.random.RandomState(2020), int(f["kid_size"])
values = []
for _ in range(int(f["kid_subsets"])):
    x = wide[1][random.choice(len(fake), subset, replace=False)]
    y = wide[0][random.choice(len(real), subset, replace=False)]
    xx, yy, xy = [(a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
    values.append(within / (subset * (subset - 1)) - 2 * xy.mean())
check("kernel distance", f["kid"], [np.mean(values), np.std(values)], 1e-12)

q = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
q = (q / q.sum(1, keepdims=True))[np.random.RandomState(2020).permutation(len(q))]
scores = []
for i in range(10):
    part = q[i * len(q) // 10:(i + 1) * len(q) // 10]
    scores.append(np.exp((part * (np.log(part) - np.log(part.mean(0)))).sum(1).mean()))
check("Inception Score", f["score"], [np.mean(scores), np.std(scores)], 1e-12)
sys.exit(failed)
