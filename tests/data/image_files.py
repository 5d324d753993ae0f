#!/usr/bin/env python3
"""image_files.py -- makes the images that test_image_source reads, with Pillow and NumPy, and prints the table of what Pillow reads of
each of them as RGB: `image_files.py tests/data/images`."""
import io
import json
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 21, 35
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)


def picture(channels, seed=0, height=HEIGHT, width=WIDTH):
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    noise = np.random.RandomState(seed).randint(0, 60, (height, width, channels))
    return ((7 * x + 11 * y + 60 * c + noise) % 256).astype(np.uint8)


def mode(name, *bands):
    return Image.merge(name, [Image.fromarray(np.ascontiguousarray(b)) for b in bands])


rgb = Image.fromarray(picture(3))
four = [picture(4, 1)[..., k] for k in range(4)]
gray = Image.fromarray(picture(1, 2)[..., 0])
palette = rgb.quantize(100)
few = rgb.quantize(13)
see_through = rgb.quantize(100)

made = {
    "rgb.png": (rgb, {}),
    "rgba.png": (mode("RGBA", *four), {}),
    "gray.png": (gray, {}),
    "gray_alpha.png": (mode("LA", *four[:2]), {}),
    "bits1.png": (gray.convert("1"), {}),
    "palette.png": (palette, {}),
    "palette4.png": (few, {"bits": 4}),
    "transparent.png": (see_through, {"transparency": bytes(range(100))}),
    "rgb_key.png": (rgb, {"transparency": rgb.getpixel((3, 2))}),
    "gray_key.png": (gray, {"transparency": gray.getpixel((3, 2))}),
    "whole.jpg": (rgb, {"quality": 90, "subsampling": 0}),
    "half.jpg": (rgb, {"quality": 80, "subsampling": 1}),
    "quarter.jpg": (rgb, {"quality": 75, "subsampling": 2}),
    "progressive.JPEG": (rgb, {"quality": 75, "progressive": True}),
    "gray.jpg": (gray, {"quality": 85}),
    "cmyk.jpg": (mode("CMYK", *four), {"quality": 85}),
}
for name, (image, options) in made.items():
    image.save(folder / name, format="JPEG" if name.lower()[-1] == "g" and ".j" in name.lower() else "PNG", **options)
    pixels = np.array(Image.open(folder / name).convert("RGB"))
    print('    {"%s", 0x%08x},' % (name, zlib.crc32(pixels.tobytes())))
Image.fromarray((picture(1, 3)[..., 0].astype(np.uint16)) * 257).save(folder / "bits16.png")

# EDM's datasets are archives like this one, sorted by name whatever the order in them.
with zipfile.ZipFile(folder / "edm.zip", "w", zipfile.ZIP_STORED) as z:
    labels = []
    for i in (2, 0, 1):
        data = io.BytesIO()
        Image.fromarray(picture(3, 10 + i, 4, 5)).save(data, format="PNG", compress_level=0)
        name = "%05d/img%08d.png" % (i // 2, i)
        z.writestr(name, data.getvalue())
        labels.append([name, 6 - i])
    z.writestr("dataset.json", json.dumps({"labels": labels}))
whole = np.stack([picture(3, 10 + i, 4, 5) for i in range(3)])
onehot = np.eye(8, dtype=np.float32)[[6, 5, 4]]
np.savez(folder / "adm.npz", whole, np.array([6, 5, 4]))
np.savez_compressed(folder / "samples_0.npz", samples=whole[:2], label=onehot[:2])
np.savez_compressed(folder / "samples_1.npz", samples=whole[2:], label=onehot[2:])
np.savez_compressed(folder / "sample_imagenet.npz", samples=whole, label=np.array([6, 5, 4, 1000, 1000, 1000]))
np.save(folder / "plain.npy", whole)
np.savez(folder / "fortran.npz", np.asfortranarray(whole))
np.savez(folder / "floats.npz", whole.astype(np.float32))
np.savez(folder / "statistics.npz", mu=np.zeros(4), sigma=np.eye(4))
np.savez(folder / "gray.npz", whole[..., :1])
