"""wgmma.py -- the launches of kernels/conv_sm90.cu: which convolutions Hopper's own kernel takes, how it cuts them into tiles, and its
parameters, as the launcher at the end of that file works them out. What changes there changes here.                         """
import ctypes as c

from .launches import (ACTS, BYTES, F16, F32, MANGLED, OPERAND_FULL, OPERAND_NONE, OPERAND_POSITIONS, OPERAND_VECTOR, NORM_SEGMENT, Epilogue, Launch,
                       address, ceil_div, divider, ints, pointers, structure)

KERNEL = "conv_wgmma_kernel"
ROWS, DEPTH, THREADS = 128, 64, 384
PAIR = 2  # blocks of a cluster, each of which loads half of the weights for both
ROW_BYTES, OUTPUT_BYTES = 2 * DEPTH, 2 * 64 * 2 * DEPTH
TIME = {256: 1024, 192: 832, 128: 640}  # of a step, by the columns of a tile

WgmmaParams = structure("WgmmaParams", pointers("y", "stats"), [("end", Epilogue)],
                        ints("out_width", "out_height", "images", "log_width", "log_height", "across", "down", "pixel_tiles", "tiles",
                             "filter_width", "top", "left", "chunks", "taps", "steps", "phase_channels"), [("plain", c.c_bool)])


class TensorMap(c.Structure):
    """What hopper.py wants to know of one. The kernel's parameters begin at a place that is not aligned for it."""
    _fields_ = [("box_bytes", c.c_uint32), ("rest", c.c_uint8 * 124)]
    alignment = 128


def whole(a, b):
    return ceil_div(a, b) * b


def columns_of(k):
    """The first of the least, as the launcher's strict comparison has it."""
    return min(TIME, key=lambda columns: ceil_div(k, columns) * TIME[columns])


def box_of(width, height):
    """(width, height, images) of a tile's pixels, or None."""
    best, least = None, None
    for images in (1, 2, 4, 8):
        w = ROWS // images
        while w:
            h = ROWS // images // w
            in_order = w == width or (w == ROWS and width % ROWS == 0)
            covered = whole(width, w) * whole(height, h)
            if (width * height % NORM_SEGMENT or in_order) and (best is None or covered < least):
                best, least = (w, h, images), covered
            w //= 2
    return best


def layer_of(op):
    """(box, columns, is it a product of matrices), or None: the portable kernel's."""
    x, w = op.inputs[:2]
    y, n = op.out, op.numbers
    matrix = w.h == w.w == 1 and n["stride"] == 1 and not n["top"] and not n["left"] and (y.h, y.w) == (x.h, x.w)
    box = (ROWS, 1, 1) if matrix else box_of(y.w, y.h)
    phases = n["stride"] == 2 and x.h % 2 == x.w % 2 == x.c % DEPTH == 0
    if not box or (n["stride"] != 1 and not phases) or x.c % 8 or w.n % 8 or x.type == F32:
        return None
    columns = columns_of(w.n)
    pixels = y.pixels if matrix else whole(y.w, box[0]) * whole(y.h, box[1])
    takes = y.pixels * x.c * w.n >= .4 * pixels * whole(x.c, DEPTH) * whole(w.n, columns)
    return (box, columns, matrix) if takes else None


def stages(columns):
    return 6 if columns == 128 else 4


def tensor_map(channels, pixels):
    return TensorMap(box_bytes=2 * channels * pixels)


def conv(op, multiprocessors, tiles_of_a_block=None):
    """tiles_of_a_block: with a grid that gives the first block so many."""
    x, w, bias, add, gate = op.inputs[:5]
    y, (box, columns, matrix) = op.out, layer_of(op)
    kind = (OPERAND_NONE if not add else OPERAND_POSITIONS if op.numbers.get("positions") else
            OPERAND_VECTOR if add.is_vector() and not y.is_vector() else OPERAND_FULL)
    act = ACTS[op.numbers.get("act", "none")]
    end = Epilogue(add=address(2) if add else 0, bias=address(3) if bias else 0, gate=address(6) if gate else 0, add_type=add.type if add else F32,
                   y_type=y.type, add_kind=kind, act=act, k=w.n, rows=y.n * y.pixels, out_pixels=y.pixels, scale=1,
                   by_pixels=divider(y.pixels))
    width, height, images = (end.rows, 1, 1) if matrix else (y.w, y.h, y.n)
    across, down = ceil_div(width, box[0]), ceil_div(height, box[1])
    pixel_tiles, chunks, taps = whole(across * down * ceil_div(images, box[2]), PAIR), ceil_div(x.c, DEPTH), w.h * w.w
    tiles = pixel_tiles * ceil_div(w.n, columns)
    plain = (y.type == x.type and not gate and kind != OPERAND_POSITIONS and (kind != OPERAND_FULL or add.type == y.type) and
             (kind == OPERAND_NONE or not act))
    p = WgmmaParams(y=address(4), stats=address(5) if op.numbers["stats"] else 0, end=end, out_width=width, out_height=height, images=images,
                    log_width=box[0].bit_length() - 1, log_height=box[1].bit_length() - 1, across=across, down=down, pixel_tiles=pixel_tiles, tiles=tiles,
                    filter_width=w.w, top=op.numbers["top"], left=op.numbers["left"], chunks=chunks, taps=taps, steps=taps * chunks,
                    phase_channels=x.c if op.numbers["stride"] == 2 else 0, plain=plain)
    half = tensor_map(DEPTH, ROWS // 2) if plain else TensorMap()
    maps = [tensor_map(DEPTH, ROWS), tensor_map(DEPTH, columns // PAIR), tensor_map(DEPTH, ROWS) if plain and kind == OPERAND_FULL else TensorMap(), half]
    shared = stages(columns) * ((ROWS + columns) * ROW_BYTES + 16) + 2 * OUTPUT_BYTES
    moved = x.bytes + w.bytes + y.bytes + (add.bytes if add else 0)
    grid = whole(ceil_div(tiles, tiles_of_a_block), PAIR) if tiles_of_a_block else PAIR * max(1, min(tiles, multiprocessors) // PAIR)
    launch = Launch("%sI%sLi%dE" % (KERNEL, MANGLED[x.type], columns), (grid,), THREADS, shared, maps + [p], moved)
    launch.place = (0, 0, 0)
    return launch


def launches(op, multiprocessors=132, few=2):
    """The launch; where its blocks make many tiles, these are reckoned from few and one more."""
    launch = conv(op, multiprocessors)
    most = ceil_div(launch.parameters[-1].tiles, launch.grid[0])
    if most > few + 1:
        launch.longer = [(conv(op, multiprocessors, n), n) for n in (few, few + 1)] + [most]
    return [launch]
