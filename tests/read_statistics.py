#!/usr/bin/env python3
"""read_statistics.py FILE.npz -- loads a statistics file as EDM's and pytorch-fid's tools do, and computes everything in it again
from the features that it keeps (of seeds 100 on): mean and covariance by NumPy, sums by Python's integers."""
import sys

import numpy as np

f = np.load(sys.argv[1])
mu, sigma, x = f["mu"][:], f["sigma"][:], f["feats"]
n, d = x.shape
wide = x.astype(np.float64)
assert mu.dtype == sigma.dtype == np.float64 and mu.shape == (d,) and sigma.shape == (d, d)
assert int(f["num_images"]) == n and x.dtype == np.float32
assert np.abs(mu - wide.mean(0)).max() < 1e-15
assert np.abs(sigma - np.cov(wide, rowvar=False)).max() < 1e-15

exponent, pieces = f["dg_grid"].tolist()
q = [[int(v) for v in row] for row in np.rint(wide * 2.0**-exponent)]


def whole(pairs):
    return [int(low) % 2**64 + int(high) * 2**64 for low, high in pairs]


assert pieces == 2
assert whole(f["dg_sum"]) == [sum(r[i] for r in q) for i in range(d)]
assert whole(f["dg_products"]) == [sum(r[i] * r[j] for r in q) for i in range(d) for j in range(i, d)]
assert f["dg_seeds"].tolist() == [[100, n]]
assert bytes(f["meta"]).decode().startswith("{")
