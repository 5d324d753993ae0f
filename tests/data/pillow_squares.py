#!/usr/bin/env python3
"""pillow_squares.py -- prints the tables of test_pillow.c: CRCs of what Pillow (9 to 12) and guided-diffusion's center_crop_arr make of
pictures whose bytes a formula gives, and of what a JPEG file keeps of them."""
import io
import zlib

import numpy as np
import PIL
from PIL import Image

assert int(PIL.__version__.split(".")[0]) <= 12, "Pillow 13 begins with the rows of some tall images"


def picture(kind, height, width):
    y, x, c = np.mgrid[0:height, 0:width, 0:3].astype(np.uint64)
    noise = ((x * 73856093 + y * 19349663 + c * 83492791) * 2654435761 >> 20) & 255
    if kind == 0:
        return noise.astype(np.uint8)
    if kind == 1:  # black and white: filters with negative weights leave the range of bytes
        return ((noise > 127) * 255).astype(np.uint8)
    return ((3 * x + 5 * y + 60 * c) % 256).astype(np.uint8)


def center_crop(image, size):
    while min(*image.size) >= 2 * size:
        image = image.resize(tuple(x // 2 for x in image.size), resample=Image.BOX)
    scale = size / min(*image.size)
    image = np.array(image.resize(tuple(round(x * scale) for x in image.size), resample=Image.BICUBIC))
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def crc(pixels):
    return f"0x{zlib.crc32(np.ascontiguousarray(pixels).tobytes()):08x}"


print("resized")
for kind, height, width, box, to in [
    (0, 33, 47, 1, (16, 23)), (1, 512, 301, 1, (256, 150)), (0, 40, 30, 0, (17, 64)), (1, 40, 30, 0, (97, 11)),
    (2, 64, 64, 0, (64, 64)), (0, 3, 2, 0, (50, 70)), (1, 7, 5, 1, (9, 9)), (0, 3, 6, 1, (2, 4))]:
    image = Image.fromarray(picture(kind, height, width)).resize(to[::-1], Image.BOX if box else Image.BICUBIC)
    print(f"{{{kind}, {height}, {width}, {'PILLOW_BOX' if box else 'PILLOW_BICUBIC'}, {to[0]}, {to[1]}, {crc(image)}}},")
print("squares")
for kind, height, width, size in [
    (0, 256, 256, 256), (0, 375, 500, 256), (1, 500, 375, 256), (2, 333, 500, 256), (0, 600, 511, 256), (1, 512, 1023, 256),
    (0, 1143, 1397, 256), (2, 2049, 1030, 256), (0, 200, 90, 256), (1, 31, 64, 16), (0, 20, 143, 16), (1, 1, 9, 8), (0, 65, 23, 8), (2, 90, 91, 37),
    (0, 16, 19, 24), (0, 19, 16, 24)]:
    print(f"{{{kind}, {height}, {width}, {size}, {crc(center_crop(Image.fromarray(picture(kind, height, width)), size))}}},")
print("jpeg")
for kind, height, width in [(2, 64, 48), (0, 33, 31), (1, 16, 16), (2, 1, 1), (2, 256, 256)]:
    file = io.BytesIO()
    Image.fromarray(picture(kind, height, width)).save(file, "JPEG")
    print(f"{{{kind}, {height}, {width}, {crc(np.array(Image.open(file).convert('RGB')))}}},")
