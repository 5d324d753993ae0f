"""wgmma.py -- the launches of kernels/conv_sm90.cu: which convolutions Hopper's own kernel takes, how it cuts them into tiles, and its
parameters, as the launcher at the end of that file works them out. What changes there changes here.                         """
import ctypes as c

from copy import copy

from .launches import (ACTS, BYTES, F16, F32, MANGLED, OPERAND_FULL, OPERAND_NONE, OPERAND_POSITIONS, OPERAND_VECTOR, NORM_SEGMENT, Epilogue, FoldParams,
                       Launch, MomentParams, RowParams, address, ceil_div, divider, ints, pointers, structure)

KERNEL, NORM_KERNEL = "conv_wgmma_kernel", "conv_wgmma_norm_kernel"
ROWS, DEPTH, THREADS = 128, 64, 384
PAIR = 2  # blocks of a cluster, each of which loads half of the weights for both
ROW_BYTES, OUTPUT_BYTES = 2 * DEPTH, 2 * 64 * 2 * DEPTH
TIME = {256: 1024, 192: 832, 128: 640}  # of a step, by the columns of a tile

WgmmaParams = structure("WgmmaParams", pointers("y", "stats"), [("end", Epilogue)],
                        ints("out_width", "out_height", "images", "log_width", "log_height", "across", "down", "pixel_tiles", "tiles",
                             "filter_width", "top", "left", "chunks", "taps", "steps", "phase_channels",
                             "phase_taps", "add_channels"),
                        [("skip_chunks", c.c_int * 2), ("add_columns", c.c_int), ("plain", c.c_bool)])


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
    y, n, skip = op.out, op.numbers, [t for t in op.inputs[5:7] if t]
    matrix = w.h == w.w == 1 and n["stride"] == 1 and not n["top"] and not n["left"] and (y.h, y.w) == (x.h, x.w)
    if op.up and not can_go_up(op):
        return None
    width, height = (y.w // 2, y.h // 2) if op.up else (y.w, y.h)
    box = (ROWS, 1, 1) if matrix else box_of(width, height)
    phases = n["stride"] == 2 and x.h % 2 == x.w % 2 == x.c % DEPTH == 0
    if not box or (n["stride"] != 1 and not phases) or any(t.c % 8 for t in [x] + skip) or w.n % 8 or x.type == F32:
        return None
    columns = columns_of(w.n)
    pixels = y.pixels if matrix else whole(width, box[0]) * whole(height, box[1])
    takes = (y.pixels if matrix else width * height) * x.c * w.n >= .4 * pixels * whole(x.c, DEPTH) * whole(w.n, columns)
    return (box, columns, matrix) if takes else None


UP_INPUTS = {0: "x", 3: "add", 5: "skip"}


def can_go_up(op):
    x, w = op.inputs[:2]
    y, n, large = op.out, op.numbers, 2 if op.up == "x" else 1
    same_size = w.h == w.w == 3 and n["top"] == n["left"] == n["stride"] == 1 and (y.h, y.w) == (large * x.h, large * x.w)
    if y.h % 2 or y.w % 2 or y.pixels // 4 % NORM_SEGMENT or w.n % DEPTH or not same_size or (op.inputs[7] and op.up != "skip"):
        return False
    add_fits = y.type == x.type == op.inputs[3].type and not op.inputs[4] and not ACTS[n.get("act", "none")] if op.up == "add" else True
    return add_fits and (op.up == "x" or x.c % DEPTH == 0)


def go_up(ops):
    """Marks, of a network's ops in order, the resamples that are not run, and the convolutions that read their inputs (device/cuda/upsampled.c)."""
    candidates = {op.numbers["out"]: op for op in ops if op.kind == "resample" and op.numbers.get("candidate")}
    for t, op in candidates.items():
        readers = [copy(reader) for reader in ops if t in reader.numbers["in"]]
        for reader in readers:
            of = [k for k in UP_INPUTS if reader.numbers["in"][k] in candidates]
            reader.up, reader.inputs = UP_INPUTS[of[0]] if len(of) == 1 else None, list(reader.inputs)
            if reader.up:
                reader.inputs[of[0]] = op.inputs[0]
        if not all(reader.up and layer_of(reader) for reader in readers):
            continue
        op.up, op.bytes = "out", 0
        for reader in readers:
            at = next(other for other in ops if other.numbers is reader.numbers)
            at.up, at.inputs = reader.up, reader.inputs
            at.bytes -= op.out.bytes - op.inputs[0].bytes
            if at.up == "x":
                at.flops *= 4 / 9


def stages(columns):
    return 6 if columns == 128 else 4


def tensor_map(channels, pixels):
    return TensorMap(box_bytes=2 * channels * pixels)


def conv(op, multiprocessors, tiles_of_a_block=None):
    """tiles_of_a_block: with a grid that gives the first block so many."""
    x, w, bias, add, gate = op.inputs[:5]
    skip = [t for t in op.inputs[5:7] if t]
    y, (box, columns, matrix) = op.out, layer_of(op)
    kind = (OPERAND_NONE if not add else OPERAND_POSITIONS if op.numbers.get("positions") else
            OPERAND_VECTOR if add.is_vector() and not y.is_vector() else OPERAND_FULL)
    act = ACTS[op.numbers.get("act", "none")]
    end = Epilogue(add=address(2) if add else 0, bias=address(3) if bias or op.inputs[8] else 0, gate=address(6) if gate else 0, add_type=add.type if add else F32,
                   y_type=y.type, add_kind=kind, act=act, k=w.n, rows=y.n * y.pixels, out_pixels=y.pixels, scale=1,
                   by_pixels=divider(y.pixels))
    width, height, images = (end.rows, 1, 1) if matrix else (y.w // 2, y.h // 2, y.n) if op.up else (y.w, y.h, y.n)
    across, down = ceil_div(width, box[0]), ceil_div(height, box[1])
    pixel_tiles, chunks, taps = whole(across * down * ceil_div(images, box[2]), PAIR), ceil_div(x.c, DEPTH), 4 if op.up == "x" else w.h * w.w
    tiles = pixel_tiles * ceil_div(w.n, columns) * (4 if op.up else 1)
    plain = (y.type == x.type and not gate and kind != OPERAND_POSITIONS and (kind != OPERAND_FULL or add.type == y.type) and
             (kind == OPERAND_NONE or not act))
    p = WgmmaParams(y=address(4), stats=address(5) if op.numbers["stats"] else 0, end=end, out_width=width, out_height=height, images=images,
                    log_width=box[0].bit_length() - 1, log_height=box[1].bit_length() - 1, across=across, down=down, pixel_tiles=pixel_tiles, tiles=tiles,
                    filter_width=2 if op.up == "x" else w.w, top=op.numbers["top"], left=op.numbers["left"], chunks=chunks, taps=taps, steps=taps * chunks,
                    phase_channels=x.c if op.numbers["stride"] == 2 or op.up in ("skip", "add") else 0,
                    phase_taps=taps if op.up == "x" else 0, plain=plain)
    stream = y.type == F32 and add and add.type == F32 and not op.numbers["stats"] and not act
    if kind == OPERAND_FULL and (plain or stream):
        p.add_columns = DEPTH if plain else DEPTH // 2
        p.add_channels = w.n if op.up in ("x", "skip") else 0
    for k, t in enumerate(skip):
        p.skip_chunks[k] = ceil_div(t.c, DEPTH)
        p.steps += p.skip_chunks[k]
    warp = tensor_map(DEPTH, 16) if plain else TensorMap()
    maps = [tensor_map(DEPTH, ROWS), tensor_map(DEPTH, columns // PAIR), tensor_map(DEPTH, ROWS) if p.add_columns else TensorMap(), warp]
    for box in (ROWS, columns // PAIR):  # of the inputs of a skip, then of their weights
        maps += [tensor_map(DEPTH, box)] * len(skip) + [TensorMap()] * (2 - len(skip))
    shared = stages(columns) * ((ROWS + columns) * ROW_BYTES + 16) + 2 * OUTPUT_BYTES + 2 * 4 * columns
    moved = x.bytes + w.bytes * 16 // (9 if op.up == "x" else 16) + y.bytes + sum(t.bytes for t in [add] + op.inputs[5:8] if t)
    grid = whole(ceil_div(tiles, tiles_of_a_block), PAIR) if tiles_of_a_block else PAIR * max(1, min(tiles, multiprocessors) // PAIR)
    name = "I%sLi%dE" % (MANGLED[x.type], columns)
    if op.fold:
        maker = op.fold == "maker"
        f = FoldParams(shift_scale=address(9), partial=address(8), moments=address(10), rows=address(11))
        moved += y.count * BYTES[x.type] + y.n * y.pixels * w.n // FOLD_COLUMNS * 8 if maker else 0
        launch = Launch("%s%sLb%dE" % (NORM_KERNEL, name, not maker), (grid,), THREADS, shared, maps[:3] + [tensor_map(DEPTH, 16), p, f], moved)
    else:
        launch = Launch(KERNEL + name + ("8UpParams" if op.up else "11WgmmaParams"), (grid,), THREADS, shared, maps + [p], moved)
    launch.place = (0, 0, 0)
    return launch


# ---- around pixel norms that are not run: host/device/cuda/norm_folded.c, kernels/norm_fold.cu ------------------------------------------
FOLD_COLUMNS, FOLD_THREADS = 64, 256


def joins_norm(op):
    cut = layer_of(op)
    return cut and cut[2] and not any(op.inputs[5:]) and op.out.pixels % NORM_SEGMENT == 0


def leaves(op):
    x, w, _, add, gate = op.inputs[:5]
    stream = op.out.type == F32 and gate and add and add.type == F32 and not add.is_vector() and not op.numbers.get("positions")
    return joins_norm(op) and stream and not ACTS[op.numbers.get("act", "none")] and w.n % FOLD_COLUMNS == 0 and not op.numbers["stats"]


def folds(op):
    return joins_norm(op) and op.out.type == op.inputs[0].type and not op.inputs[3] and not op.inputs[4] and not op.numbers["stats"] and op.numbers.get("act") != "relu"


def fold_norms(ops):
    """Marks, of a network's ops in order, the convolutions around norms that are not run, and these."""
    for op in ops:
        maker = op.numbers.get("maker", -1)
        if op.kind != "pixel_norm" or maker < 0 or not leaves(ops[maker]):
            continue
        readers = [reader for reader in ops if reader.kind == "conv" and reader.numbers["in"][0] == op.numbers["out"]]
        if all(folds(reader) for reader in readers):
            op.fold, ops[maker].fold = "norm", "maker"
            moments, shift_scale = op.out.n * op.out.pixels * 8, op.inputs[3].bytes
            op.bytes = 0  # as host/device/cuda/norm_folded.c: each tensor at the convolution that reads or writes it
            ops[maker].bytes += moments + op.out.bytes + shift_scale // 2
            for reader in readers:
                reader.fold = "reader"
                reader.bytes += moments + shift_scale


def around_norm(op):
    """The launches of a convolution before or after such a norm."""
    x, w, y = op.inputs[0], op.inputs[1], op.out
    if op.fold == "maker":
        parts, rows = w.n // FOLD_COLUMNS, y.n * y.pixels
        moments = MomentParams(partial=address(8), moments=address(10), parts=parts, rows=rows, eps=1e-6)
        return tiles_of(op) + [Launch("fold_moments_kernel", (ceil_div(rows, FOLD_THREADS),), FOLD_THREADS, 0, [moments], rows * (parts + 1) * 8)]
    of_rows = copy(op)  # two pixels an image, into f32
    of_rows.inputs, of_rows.out, of_rows.fold, of_rows.numbers = [copy(x), w] + [None] * (len(op.inputs) - 2), copy(y), None, dict(op.numbers, act="none")
    for t in (of_rows.inputs[0], of_rows.out):
        t.h, t.w, t.pixels = 1, 2, 2
        t.count = t.n * 2 * t.c
    of_rows.out.type = F32
    for t in (of_rows.inputs[0], of_rows.out):
        t.bytes = t.count * BYTES[t.type]
    rows = RowParams(shift_scale=address(9), rows=address(12), type=x.type, c=x.c)
    grid = (ceil_div(2 * x.c // 8, FOLD_THREADS), 1, x.n)
    return [Launch("fold_rows_kernel", grid, FOLD_THREADS, 0, [rows], x.n * 2 * x.c * (4 + BYTES[x.type]))] + tiles_of(of_rows) + tiles_of(op)


def launches(op):
    return around_norm(op) if op.fold else tiles_of(op)


def tiles_of(op, multiprocessors=132, few=2):
    """The launch; where its blocks make many tiles, these are reckoned from few and one more."""
    launch = conv(op, multiprocessors)
    most = ceil_div(next(p for p in launch.parameters if isinstance(p, WgmmaParams)).tiles, launch.grid[0])
    if most > few + 1:
        launch.longer = [(conv(op, multiprocessors, n), n) for n in (few, few + 1)] + [most]
    return [launch]
