"""launches.py -- from an op of a network to the launches that kernels/*.cu makes of it on tensor cores: the same grids, blocks and
parameters, worked out as the launchers at the end of each kernel file and host/device/cuda/ops.c do. What changes there
changes here: the size of every parameter block is checked against the machine code (check_parameters).                        """
import ctypes as c
from copy import copy as copy_of

from .decode import Unreadable
from .machine import PARAMETERS as FIRST
from .parameters import *  # noqa: F401,F403  (the structures, under the names of kernels/)

ROW_THREADS = 256


class Launch:
    """kernel: the name as mangled, without _Z and its length. moved: bytes that device memory has to move at least."""

    def __init__(self, kernel, grid, threads, shared, parameters, moved):
        self.kernel, self.grid, self.threads, self.shared, self.moved = kernel, tuple(grid) + (1,) * (3 - len(grid)), threads, shared, moved
        self.parameters = parameters  # structures, in order
        self.longer = None            # a long sum: [two launches with shorter ones, each with its steps, and the own steps]
        self.place = None             # of the block that is traced; None: the middle of the grid
        self.parts = None             # launches that make the same blocks, where these are not all alike

    @property
    def blocks(self):
        return self.grid[0] * self.grid[1] * self.grid[2]

    def parameter_bytes(self):
        out = b""
        for p in self.parameters:
            out += b"\0" * (-(FIRST + len(out)) % getattr(p, "alignment", c.alignment(p))) + bytes(p)
        return out

    def function(self, functions):
        name = "_Z%d%s" % (self.kernel.index("_kernel") + len("_kernel"), self.kernel)
        found = [f for n, f in functions.items() if n.startswith(name)]
        if len(found) != 1:
            raise Unreadable("%s: %d kernels have this name" % (self.kernel, len(found)))
        return found[0]

    def check_parameters(self, function):
        size = len(self.parameter_bytes())
        if function.constant_bytes - FIRST != -(-size // 4) * 4:
            raise Unreadable("%s: takes %d bytes of parameters, launches.py gives it %d" % (function.name, function.constant_bytes - FIRST, size))


def ceil_div(a, b):
    return -(-a // b)


def address(k):
    """Of the k-th tensor: far from the others, aligned as the allocator's are."""
    return (k + 1) << 32


class Tensor:
    def __init__(self, numbers, batch):
        self.n, self.h, self.w, self.c = numbers[0] * batch, numbers[1], numbers[2], numbers[3]
        self.type, self.pixels = TYPES[numbers[4]], numbers[1] * numbers[2]
        self.count = self.n * self.pixels * self.c
        self.bytes = self.count * BYTES[self.type]

    def is_vector(self):
        return self.pixels == 1

    def of_channels(self, c):
        """As many of its channels."""
        part = copy_of(self)
        part.c, part.count, part.bytes = c, self.count // self.c * c, self.bytes // self.c * c
        return part


INPUTS = 9  # of an op


class Op:
    """An op of the program's list, its tensors at this batch size (weights as they are)."""

    def __init__(self, graph, op, batch):
        self.kind, self.numbers = op["kind"], op
        tensor = graph["tensors"]
        weights = {"conv": (1, 2, 7, 8), "norm": (1, 2), "norm_bwd": (1, 2), "pool_tokens": (1,), "pixel_norm": (1, 2)}.get(self.kind, ())
        if op.get("positions"):
            weights += ({"conv": 3, "add": 1}[self.kind],)
        self.inputs = [Tensor(tensor[t], 1 if k in weights else batch) if t else None for k, t in enumerate(op["in"])]
        self.inputs += [None] * (INPUTS - len(self.inputs))
        self.out = Tensor(tensor[op["out"]], batch)
        self.flops = op["flops"] * batch
        # that it has to read and write; of parts of tensors, what is taken of them
        read = [self.out] if self.kind in ("slice", "first_token") else self.inputs
        self.bytes = sum(t.bytes for t in read + [self.out] if t)
        self.hopper = False  # whether the kernels that sm_90a alone has are there to take it
        self.pooled = []  # of a norm or its gradient: the resamples that it does, by a box filter
        self.up = None  # "x", "skip", "add": what a convolution reads at half the size; "out": a resample that is not run for that
        self.fold = op.get("fold")  # "norm": a pixel norm that is not run; "maker", "reader": a convolution before or after one

    def describe(self):
        """As host/program/op_table.c names the rows of its table."""
        a, o, numbers = self.inputs[0], self.out, self.numbers
        if self.kind == "conv":
            w, act = self.inputs[1], {"relu": " relu", "gelu_tanh": " gelu"}.get(numbers.get("act"), "")
            gate, stride = " gate" if self.inputs[4] else "", "/%d" % numbers["stride"] if numbers["stride"] > 1 else ""
            if a.is_vector():
                return "linear %d->%d%s%s" % (w.c, w.n, gate, act)
            skip = " + skip %d" % self.inputs[7].c if self.inputs[7] else ""
            return "conv %dx%d%s %d->%d %dx%d%s%s%s%s%s" % (w.h, w.w, stride, w.c, w.n, o.h, o.w, "" if self.inputs[2] else " no bias", gate,
                                                      " + in3" if self.inputs[3] else "", skip, act)
        if self.kind in ("norm", "norm_bwd"):
            return "%s%s%s %d %dx%d%s" % (self.kind, " silu" if numbers["silu"] else "", " scale-shift" if self.inputs[3] else "", o.c, o.h, o.w,
                                      " + in5" if self.inputs[5] else "")
        if self.kind in ("attn", "attn_bwd"):
            return "%s %d heads of %d, %d tokens" % (self.kind, numbers["heads"], a.c // 3 // numbers["heads"], a.pixels)
        if self.kind == "resample":
            return "resample %s %d %dx%d%s" % ("up" if numbers["up"] else "down", a.c, a.h, a.w, " left out" if self.up or self.pooled else "")
        if self.kind == "pool":
            return "pool %s %dx%d/%d %d %dx%d" % ("max" if numbers["max"] else "mean", numbers["height"], numbers["width"], numbers["stride"], o.c, o.h, o.w)
        if self.kind == "resize":
            return "resize%s %d %dx%d->%dx%d" % (" u8" if numbers["u8"] else "", o.c, a.h, a.w, o.h, o.w)
        if self.kind == "pixel_norm":
            return "pixel_norm%s%s %d %dx%d%s" % (" rms" if numbers["rms"] else "", " shift-scale" if self.inputs[3] else "", o.c, o.h, o.w,
                                                  " left out" if self.fold else "")
        return "%s %d %dx%d" % (self.kind, o.c, o.h, o.w)


def alone(op):
    """The same convolution, its gate and what it does of a norm left out."""
    plain = copy_of(op)
    plain.fold = None
    plain.inputs = op.inputs[:4] + [None] + op.inputs[5:]
    return plain


def in_turn(op):
    """A convolution with a skip as those that kernels without one run: of each input of the skip, one upon the other, then the rest."""
    made, bias, w = [], op.inputs[2], op.inputs[7]
    for x in (t for t in op.inputs[5:7] if t):
        part = copy_of(op)
        part.inputs = [x, w.of_channels(x.c), None, op.out if made else None, None]
        part.numbers = dict(op.numbers, stride=1, top=0, left=0, act="none", stats=False)
        made.append(part)
    rest = copy_of(op)
    rest.inputs = [op.inputs[0], op.inputs[1], bias or op.inputs[8], op.out, None]
    for part in made + [rest]:
        part.inputs = part.inputs + [None] * 4
    return made + [rest]


# ---- conv.cu ------------------------------------------------------------------------------------------------------------------------
TILE_ROWS, STAGES, STAGE_PIECES, ROW_BYTES, WARP_TILE, MASK_TAPS = 128, 3, 4, 64, 64, 31
MANY_STEPS = 40  # of a sum: more are reckoned from two launches with fewer channels


def divider(d):
    shift = (d - 1).bit_length()
    factor = ceil_div(1 << 31 + shift, d)
    return Divider(factor=factor - (1 << 32) if factor >> 31 else factor, shift=shift)


def filter_walk(filter_height, filter_width, width, pieces):
    row, row_end = filter_width * pieces, (width - filter_width) * pieces * 16
    return FilterWalk(taps=STAGE_PIECES // pieces, pieces=STAGE_PIECES % pieces, row_pieces=STAGE_PIECES % row,
                      bytes=ROW_BYTES + STAGE_PIECES // row * row_end, row_end_bytes=row_end, by_pieces=ceil_div(1 << 16, pieces),
                      by_row=ceil_div(1 << 16, row), first_taps=sum(1 << r * filter_width for r in range(filter_height)))


def conv_launch(op, channels=None):
    x, w, bias, add, gate = op.inputs[:5]
    y, per_piece = op.out, 16 // BYTES[x.type]
    channels = channels or x.c
    pieces, walks = ceil_div(channels, per_piece), channels % per_piece == 0 and w.h * w.w <= MASK_TAPS
    kind = (OPERAND_NONE if not add else OPERAND_POSITIONS if op.numbers.get("positions") else
            OPERAND_VECTOR if add.is_vector() and not y.is_vector() else OPERAND_FULL)
    end = Epilogue(add=address(2) if add else 0, bias=address(3) if bias else 0, gate=address(6) if gate else 0, add_type=add.type if add else F32,
                   y_type=y.type, add_kind=kind, act=ACTS[op.numbers.get("act", "none")], k=w.n, rows=y.n * y.pixels, out_pixels=y.pixels, scale=1,
                   by_pixels=divider(y.pixels))
    p = ConvParams(x=address(0), w=address(1), y=address(4), stats=address(5) if op.numbers["stats"] else 0, end=end, height=x.h, width=x.w, c=channels,
                   out_width=y.w, filter_height=w.h, filter_width=w.w, stride=op.numbers["stride"], top=op.numbers["top"], left=op.numbers["left"],
                   pieces=pieces, row_pieces=w.h * w.w * pieces, by_width=divider(y.w))
    if walks:
        p.walk = filter_walk(w.h, w.w, x.w, pieces)
    if x.type == F32:
        raise Unreadable("a convolution in f32: the model knows the tensor-core kernels only")
    columns = 128 if w.n > 64 else 64
    p.across = ceil_div(w.n, columns)
    p.by_across = divider(p.across)
    kernel = "conv_mma_kernelI%sLi%dELb%dE" % (MANGLED[x.type], columns, walks)
    moved = x.bytes + w.bytes + y.bytes + (add.bytes if add else 0)
    return Launch(kernel, (ceil_div(end.rows, TILE_ROWS) * p.across,), TILE_ROWS * columns // WARP_TILE ** 2 * 32,
                  STAGES * (TILE_ROWS + columns) * ROW_BYTES, [p], moved)


# ---- linear.cu, linear_mma.cu -------------------------------------------------------------------------------------------------------
MANY, FEW_FEATURES, MULTIPROCESSORS = 16, 32, 132
LARGE, MMA_SIDE, MMA_SHARED = 1 << 16, 64, 3 * 2 * 64 * 128


def is_large(op):
    x, w = op.inputs[:2]
    return x.c % 4 == 0 and x.c * w.n >= LARGE


def linear_mma(layers, moved):
    grid = (ceil_div(layers[0].n, MMA_SIDE), ceil_div(max(p.k for p in layers), MMA_SIDE), len(layers))
    launch = Launch("linear_mma_kernel", grid, 128, MMA_SHARED, [LinearGroup(layer=(LinearParams * LINEAR_LAYERS)(*layers))], moved)
    sizes = sorted({p.k for p in layers})
    if len(sizes) > 1:  # blocks past the features of a layer do nothing
        launch.parts = [linear_mma([p for p in layers if p.k == k], moved) for k in sizes]
    return launch


def is_plain_linear(op):
    return op.kind == "conv" and op.inputs[0].is_vector() and op.inputs[0].type == F32 and not op.inputs[3] and not op.inputs[4]


def together(made):
    """Large linear layers that follow each other and read the same vector are one launch: that of the first."""
    first = 0
    for i in range(1, len(made) + 1):
        same = i < len(made) and all(is_plain_linear(op) and is_large(op) for op, _ in (made[first], made[i])) and i - first < LINEAR_LAYERS
        if same and made[i][0].numbers["in"][0] == made[first][0].numbers["in"][0]:
            continue
        if i - first > 1:
            layers = [launch.parameters[0].layer[0] for _, (launch,) in made[first:i]]
            moved = sum(launch.moved for _, (launch,) in made[first:i]) - (i - first - 1) * made[first][0].inputs[0].bytes
            made[first:i] = [(made[first][0], [linear_mma(layers, moved)])] + [(op, []) for op, _ in made[first + 1:i]]
        first = i
    return made


def linear(op):
    x, w, bias, add, gate = op.inputs[:5]
    p = LinearParams(x=address(0), w=address(1), bias=address(2) if bias else 0, gate=address(5) if gate else 0, add=address(3) if add else 0, y=address(4),
                     n=x.n, c=x.c, k=w.n, add_stride=0 if op.numbers.get("positions") else w.n, scale=1, act=ACTS[op.numbers.get("act", "none")])
    moved = x.bytes + w.bytes + op.out.bytes
    if is_large(op):
        return [linear_mma([p], moved)]
    if x.n < MANY:
        return [Launch("linear_few_kernelILb%dE" % (x.c % 4 == 0), (ceil_div(w.n, FEW_FEATURES), ceil_div(x.n, 8)), 256, 0, [p], moved)]
    return [linear_many(p, x.n, moved)]


def linear_many(p, n, moved, whole=0):
    """n: the vectors of this launch, or, of a part, those of it; whole: of all parts. Those that do not fill the last block leave most of its warps without work."""
    p = LinearParams.from_buffer_copy(p)
    p.n = n
    wide = ceil_div(p.k, 64) * ceil_div(whole or n, 64) >= MULTIPROCESSORS * 3 // 4
    vectors, features, stages = (64, 64, 3) if wide else (32, 16, 4)
    grid = (ceil_div(p.k, features), ceil_div(n, vectors))
    launch = Launch("linear_many_kernelILi%dELi%dELb%dE" % (vectors, features, p.c % 4 == 0), grid, 256, stages * (vectors + features) * 256, [p], moved)
    if n > vectors and n % vectors:
        launch.parts = [linear_many(p, some, moved, n) for some in (n - n % vectors, n % vectors)]
    return launch


def conv(op):
    x, w, y = op.inputs[0], op.inputs[1], op.out
    if x.is_vector() and x.type == F32 and y.type == F32 and w.h == w.w == 1:
        return linear(op)
    if op.hopper and wgmma.layer_of(op):
        return wgmma.launches(op)
    if op.hopper and narrow.takes(op):
        return narrow.launches(op)
    if op.inputs[7]:
        return [launch for part in in_turn(op) for launch in conv(part)]
    launch = conv_launch(op)
    steps = ceil_div(launch.parameters[0].row_pieces, 4)
    if steps > MANY_STEPS and x.c % 32 == 0:
        taps = w.h * w.w
        few = 64 if taps > 1 else 32 * (MANY_STEPS // 2)
        launch.longer = [(conv_launch(op, n), taps * n // 32) for n in (few, 2 * few)] + [steps]
    return [launch]


# ---- norm.cu, norm_bwd.cu -----------------------------------------------------------------------------------------------------------
def row_run(channels):
    return 1 if channels % 8 else 8


def row_block(channels, run, most):
    across = min(channels // run, most)
    return RowBlock(c=channels, across=across, lanes=ROW_THREADS // across)


NORM_THREADS, WHOLE_THREADS, WHOLE_SHARED, THIRD_SHARED, PAD, WALKS, FEW_BLOCKS, HELD_ROWS = 256, 256, 99 * 1024, 75 * 1024, 2, 4, 4 * MULTIPROCESSORS, 8


def slice_unit(p, run):
    return next(unit for unit in range(p.per_group, p.c + 1, p.per_group) if unit % run == 0)


def walk_channels(p, run, size, rows):
    unit = slice_unit(p, run)
    fit = [k * unit for k in range(1, p.c // unit + 1) if p.c // unit % k == 0 and k * unit <= NORM_THREADS * run]
    if not fit:
        return NORM_THREADS * run
    return next((n for n in fit if n * size >= 128 and p.pixels >= rows * (NORM_THREADS // (n // run))), fit[-1])


def slices_of(p, channels, run, threads, part):
    across = channels // run
    s = Slices(channels=channels, across=across, lanes=threads // across, part=part, of_across=ceil_div(1 << 20, across),
               groups=(channels - 1) // p.per_group + 2 if channels % p.per_group else channels // p.per_group)
    while s.team_bits < 5 and s.groups << (s.team_bits + 1) <= threads:
        s.team_bits += 1
    while s.side_bits < s.team_bits and 1 << s.side_bits < p.per_group:
        s.side_bits += 1
    s.whole = channels % p.per_group == 0
    s.teams, s.sums, s.pitch = threads >> s.team_bits, s.lanes, threads + PAD
    return s


def whole_slices(p, channels, run):
    s = slices_of(p, channels, run, WHOLE_THREADS, p.pixels)
    if s.across < 32 and s.across & (s.across - 1) == 0:
        s.sums, s.pitch = WHOLE_THREADS // 32, WHOLE_THREADS // 32 * s.across + PAD
    return s


def whole_shared(p, s, run):
    return s.channels * 24 + run * s.pitch * 8 + 2 * ceil_div(p.pixels, s.lanes) * WHOLE_THREADS * 16


def whole_channels(p, run):
    """The most channels of whole groups that a block keeps of a whole image in a third of a multiprocessor, or the least in more, or 0."""
    unit, found = slice_unit(p, run), 0
    for n in range(unit, min(p.c, WHOLE_THREADS * run) + 1, unit):
        if p.c % n == 0 and whole_shared(p, whole_slices(p, n, run), run) <= (THIRD_SHARED if found else WHOLE_SHARED):
            found = n
    return found


MANY_SEGMENTS = 64


def norm(op, forward_before=False):
    backward = op.kind == "norm_bwd"
    x, given = op.inputs[0], op.numbers["stats"]
    more = None if backward else op.inputs[6]
    if more:  # the channels of two tensors
        x = x.of_channels(x.c + more.c)
    dy, add = (op.inputs[4], op.inputs[5]) if backward else (None, None)
    added = add.bytes if add else 0
    groups = op.numbers["groups"]
    segments = ceil_div(x.pixels, NORM_SEGMENT)
    if op.pooled and backward:
        dy, add = op.pooled[0].inputs[0], op.pooled[1].inputs[0] if add else None
        added = add.bytes if add else 0
    y = op.pooled[0].out if op.pooled and not backward else op.out
    p = NormParams(width=x.w, by_width=divider(x.w), by_half=divider(max(1, x.w // 2)), down=.25 if op.pooled and not backward else 0, up=.25 if op.pooled and backward else 0, x=address(0), more=address(8) if more else 0, x_c=op.inputs[0].c, dy=address(1) if backward else 0, add=address(11) if add else 0, y=address(2), gamma=address(3), beta=address(4),
                   scale_shift=address(5) if op.inputs[3] else 0, x_type=x.type, dy_type=dy.type if backward else op.out.type,
                   add_type=add.type if add else op.out.type, y_type=op.out.type,
                   pixels=x.pixels, c=x.c, groups=groups, per_group=x.c // groups, segments=segments, n=x.n, eps=1e-6, silu=op.numbers["silu"],
                   moments=address(6) if forward_before else 0, own_moments=0 if backward else address(6), partial=address(7))
    p.stats[0], p.stats_c[0] = (address(9), given[0]) if given else (address(7), x.c)
    if len(given) > 1:
        p.stats[1], p.stats_c[1] = address(10), given[1]
    if x.c % 8 or p.x_c % 8 or not p.x_type == p.y_type == p.dy_type == p.add_type:
        raise Unreadable("a norm of mixed types or channels in no whole runs: the model knows the kernels for one type only")
    size = BYTES[x.type]
    run = 16 // size
    half = "Lb%dE" % bool(op.pooled) if backward else ""
    made = lambda name, s, threads, shared, moved: Launch(
        "%sI%sLi%d%s" % (name, MANGLED[x.type], run, "E" + half), (ceil_div(x.c, s.channels), ceil_div(x.pixels, s.part), x.n), threads, shared, [p, s], moved)
    launches = []
    if not given and not forward_before:
        b = row_block(x.c, row_run(x.c), ROW_THREADS)
        launches.append(Launch("norm_partial_kernelILi8E", (segments, ceil_div(x.c // 8, b.across), x.n), ROW_THREADS, 0, [p, b],
                               x.bytes + x.n * segments * x.c * 8))
    if not backward and segments > MANY_SEGMENTS:
        s = slices_of(p, slice_unit(p, run), run, NORM_THREADS, x.pixels)
        q = NormParams.from_buffer_copy(p)
        launches.append(Launch("norm_moments_kernel", (ceil_div(x.c, s.channels), 1, x.n), NORM_THREADS, 0, [q, s], x.n * segments * x.c * 8))
        p.moments, p.own_moments = address(6), 0
    rows = HELD_ROWS // 2 if backward else HELD_ROWS
    walk = slices_of(p, walk_channels(p, run, size, rows), run, NORM_THREADS, 0)
    walk.part = WALKS * rows * walk.lanes
    if op.pooled and not backward:
        rows = HELD_ROWS // 4
        walk.part = WALKS * rows * walk.lanes
        while walk.part > rows * walk.lanes and x.n * ceil_div(x.c, walk.channels) * ceil_div(y.pixels, walk.part) < FEW_BLOCKS:
            walk.part //= 2
        grid = (ceil_div(x.c, walk.channels), ceil_div(y.pixels, walk.part), x.n)
        return launches + [Launch("norm_pool_kernelI%sLi%dE" % (MANGLED[x.type], run), grid, NORM_THREADS, walk.channels * 16, [p, walk], x.bytes + y.bytes)]
    if not backward:
        while walk.part > rows * walk.lanes and x.n * ceil_div(x.c, walk.channels) * ceil_div(x.pixels, walk.part) < FEW_BLOCKS:
            walk.part //= 2
        return launches + [made("norm_apply_kernel", walk, NORM_THREADS, walk.channels * 16, x.bytes + op.out.bytes)]
    channels = whole_channels(p, run)
    if channels:
        s = whole_slices(p, channels, run)
        return launches + [made("norm_bwd_whole_kernel", s, WHOLE_THREADS, whole_shared(p, s, run), x.bytes + dy.bytes + added + op.out.bytes)]
    p.parts = ceil_div(x.pixels, walk.part)
    return launches + [made("norm_bwd_partial_kernel", walk, NORM_THREADS, walk.channels * 16 + 8 * (NORM_THREADS + PAD) * 8, x.bytes + dy.bytes),
                       made("norm_bwd_apply_kernel", walk, NORM_THREADS, walk.channels * 24, x.bytes + dy.bytes + added + op.out.bytes)]


# ---- attention.cu, attention_bwd.cu -----------------------------------------------------------------------------------------------------
def attention_params(op, rows, kept):
    qkv, backward = op.inputs[0], op.kind == "attn_bwd"
    heads = op.numbers["heads"]
    left = dict(y_parts=address(4), scores=address(5), lengths=address(6)) if kept else {}
    p = AttnParams(qkv=address(0), dy=address(1) if backward else 0, y=address(2), query_stats=address(3) if backward else 0,
                   bounds=address(7) if backward else 0, qkv_type=qkv.type, dy_type=qkv.type, y_type=op.out.type, tokens=qkv.pixels, heads=heads,
                   d=qkv.c // 3 // heads, blocks=ceil_div(qkv.pixels, rows), scale=1, log2_scale=1, **left)
    return p, (qkv.n * heads * p.blocks,)


def kept_bytes(qkv, heads):
    """Of what a forward leaves for its gradient: y in two parts, 8 bytes a query, 4 for 16 tokens."""
    return qkv.bytes * 2 // 3 + qkv.n * heads * (qkv.pixels * 8 + ceil_div(qkv.pixels, 16) * 4)


def tensor_core_width(d, widths):
    for w in widths:
        if d <= w:
            return w
    raise Unreadable("attention with heads of %d: the model knows the tensor-core kernels only" % d)


F32_ROWS, F32_THREADS, F32_WEIGHTS, F32_DEPTH = 64, 256, 64 * 68, 16


def attention_f32(op, tokens=None):
    """attn_f32_kernel: heads that are too wide for the tensor-core kernel."""
    qkv = op.inputs[0]
    p, grid = attention_params(op, F32_ROWS, False)
    parts = next(parts for parts in (1, 2, 4) if p.d <= 64 * parts or parts == 4)
    if tokens:
        p.tokens, p.blocks = tokens, ceil_div(tokens, F32_ROWS)
    shared = 4 * (F32_WEIGHTS + max(F32_DEPTH * 64 * parts, 2 * F32_DEPTH * (F32_ROWS + 4)))
    kernel = "attn_f32_kernelILi%dELi%dE" % (4 if p.d % 4 == 0 else 1, parts)
    return Launch(kernel, (grid[0], 1, ceil_div(p.d, 64 * parts)), F32_THREADS, shared, [p], qkv.bytes + op.out.bytes)


WIDE_QUERIES, WIDE_KEYS = 64, 16


def attention_wide(op, tokens=None):
    """attn_wide_kernel: heads of 257 to 512 channels; half of those of y."""
    qkv = op.inputs[0]
    p, grid = attention_params(op, WIDE_QUERIES, False)
    if tokens:
        p.tokens, p.blocks = tokens, ceil_div(tokens, WIDE_QUERIES)
    return Launch("attn_wide_kernelI%sE" % MANGLED[qkv.type], (grid[0], 1, 2), 128,
                  (WIDE_QUERIES + WIDE_KEYS) * (512 * 2 + 16) + WIDE_KEYS * (256 * 2 + 16), [p], qkv.bytes + op.out.bytes)


def attention(op, gradient_follows):
    qkv = op.inputs[0]
    if qkv.type == F32:
        raise Unreadable("attention in f32: the model knows the tensor-core kernels only")
    if op.hopper and attention_wgmma.takes(op):
        return attention_wgmma.launches(op, gradient_follows)
    if 256 < qkv.c // 3 // op.numbers["heads"] <= 512:
        launch, steps = attention_wide(op), ceil_div(qkv.pixels, WIDE_KEYS)
        if steps > 8:
            launch.longer = [(attention_wide(op, n * WIDE_KEYS), n) for n in (2, 4)] + [steps]
        return [launch]
    if qkv.c // 3 // op.numbers["heads"] > 512:
        launch, steps = attention_f32(op), ceil_div(qkv.pixels, F32_ROWS)
        if steps > 4:
            launch.longer = [(attention_f32(op, n * F32_ROWS), n) for n in (1, 2)] + [steps]
        return [launch]
    d = tensor_core_width(qkv.c // 3 // op.numbers["heads"], (32, 64, 80, 128, 256))
    width, pitch = d * 2, d * 2 + 16
    tiles = 2 if width <= 128 and d != 80 and qkv.pixels > 64 else 1
    warps, keys = (2 if width > 512 else 4), (64 if width <= 256 else 32)
    queries = 16 * tiles * warps
    p, grid = attention_params(op, queries, gradient_follows)
    shared = queries * pitch + 2 * 2 * keys * pitch
    moved = qkv.bytes + op.out.bytes + (kept_bytes(qkv, op.numbers["heads"]) if gradient_follows else 0)
    return [Launch("attn_mma_kernelI%sLi%dELi%dE" % (MANGLED[qkv.type], d, tiles), grid, 32 * warps, shared, [p], moved)]


def attention_backward(op):
    qkv, dy = op.inputs[:2]
    if qkv.type == F32 or dy.type != qkv.type:
        raise Unreadable("a gradient of attention in f32: the model knows the tensor-core kernels only")
    heads = op.numbers["heads"]
    if op.hopper and wgmma_attention.takes_gradient(op):
        return wgmma_attention.gradient(op)
    d = tensor_core_width(qkv.c // 3 // heads, (32, 64, 128))
    tiles = 2 if d <= 64 and qkv.pixels > 64 else 1
    pitch, own, others = d * 2 + 16, 64 * tiles, (64 if d <= 64 else 32)
    p, grid = attention_params(op, own, True)
    own_bytes, others_bytes = 2 * own * pitch, 2 * others * 2 * pitch
    rows = qkv.n * heads * (qkv.pixels * 16 + ceil_div(qkv.pixels, 16) * 4)
    name = "I%sLi%dELi%dE" % (MANGLED[qkv.type], d, tiles)
    return [Launch("attn_grad_queries_kernel" + name, grid, 128, own_bytes + max(own_bytes, others_bytes), [p],
                   qkv.bytes + dy.bytes + kept_bytes(qkv, heads) + rows + op.out.bytes // 3),
            Launch("attn_grad_keys_kernel" + name, grid, 128, own_bytes + others_bytes + 2 * others * 16, [p],
                   qkv.bytes + dy.bytes + rows + op.out.bytes * 2 // 3)]


# ---- elementwise.cu -------------------------------------------------------------------------------------------------------------------
def by_rows(kernel, argument, channels, rows, per_thread, images, moved, whole=True):
    run = 8 if whole and channels % 8 == 0 else 1
    b = row_block(channels, run, ROW_THREADS)
    grid = (ceil_div(rows, b.lanes * per_thread), ceil_div(channels // run, b.across), images)
    return Launch("%sILi%dE" % (kernel, run), grid, ROW_THREADS, 0, [argument, b], moved)


def flat(kernel, count, parameters, moved):
    return Launch(kernel, (ceil_div(count, ROW_THREADS * 8),), ROW_THREADS, 0, parameters, moved)


def unary(op):
    x, backward = op.inputs[0], op.kind == "unary_bwd"
    dy = op.inputs[1] if backward else x
    p = UnaryArgs(x=address(0), dy=address(1) if backward else 0, y=address(2), x_type=x.type, dy_type=dy.type, y_type=op.out.type, count=op.out.count,
                  f=op.numbers["f"], lo=-1, hi=1)
    return [flat("%s_kernelIL9UnaryKind%dE" % (op.kind, p.f), op.out.count, [p], x.bytes * (2 if backward else 1) + op.out.bytes)]


def add(op):
    x, z, y = op.inputs[0], op.inputs[1], op.out
    vector = bool(z and z.is_vector() and not y.is_vector())
    positions = bool(op.numbers.get("positions"))
    p = AddArgs(x=address(0), z=address(1) if z else 0, y=address(2), x_type=x.type, z_type=z.type if z else F32, y_type=y.type,
                z_kind=OPERAND_POSITIONS if positions else OPERAND_VECTOR if vector else OPERAND_FULL if z else OPERAND_NONE, n=y.n, pixels=y.pixels,
                c=y.c, a=1, b=1)
    moved = x.bytes + (z.bytes if z else 0) + y.bytes
    if positions and y.n > 1:
        each = y.pixels * y.c
        run = row_run(each)
        grid = (ceil_div(each, ROW_THREADS * run), ceil_div(y.n, 4))
        return [Launch("add_positions_kernelILi%dE" % run, grid, ROW_THREADS, 0, [p, Count(value=each)], moved)]
    if vector:
        return [by_rows("add_vector_kernel", p, y.c, y.pixels, 4, y.n, moved)]
    return [flat("add_kernel", y.count, [p, Count(value=y.count)], moved)]


def copy(x, x_c, x_first, y, y_c, y_first, channels, pixels):
    p = CopyArgs(x=address(0), y=address(1), x_type=x.type, y_type=y.type, pixels=pixels, x_c=x_c, x_first=x_first, y_c=y_c, y_first=y_first, c=channels)
    moved = pixels * channels * (BYTES[x.type] + BYTES[y.type])
    whole = not any(v % 8 for v in (channels, x_c, x_first, y_c, y_first))
    return by_rows("copy_channels_kernel", p, channels, pixels, 4, 1, moved, whole)


def concat(op):
    y, first, made = op.out, 0, []
    for x in op.inputs:
        if x:
            made.append(copy(x, x.c, 0, y, y.c, first, x.c, y.n * y.pixels))
            first += x.c
    return made


def slice_channels(op):
    x, y = op.inputs[0], op.out
    return [copy(x, x.c, op.numbers["first"], y, y.c, 0, y.c, y.n * y.pixels)]


def resample(op):
    if op.up or op.pooled:
        return []
    x, y, n = op.inputs[0], op.out, op.numbers
    p = ResampleArgs(x=address(0), y=address(1), x_type=x.type, y_type=y.type, n=x.n, height=x.h, width=x.w, out_height=y.h, out_width=y.w, c=x.c,
                     taps=n["taps"], pad=n["pad"], up=n["up"], scale=1)
    return [by_rows("resample_kernel", p, x.c, y.pixels, 1, x.n, x.bytes + y.bytes)]


def pool_tokens(op):
    backward = op.kind == "pool_tokens_bwd"
    x, y = op.inputs[0], op.out
    image = y if backward else x
    p = PoolTokensArgs(x=address(0), embedding=0 if backward else address(1), y=address(2), x_type=x.type, y_type=y.type, n=image.n, pixels=image.pixels, c=image.c)
    if backward:
        return [by_rows("pool_tokens_bwd_kernel", p, image.c, image.pixels, 1, image.n, x.bytes + y.bytes)]
    run = row_run(image.c)
    b = row_block(image.c, run, 32)
    return [Launch("pool_tokens_kernelILi%dE" % run, (image.n, ceil_div(image.c // run, b.across)), ROW_THREADS, 0, [p, b], x.bytes + y.bytes)]


def first_token(op):
    x, y = op.inputs[0], op.out
    if op.kind == "first_token":
        return [copy(x, x.pixels * x.c, 0, y, y.c, 0, y.c, y.n)]
    p = TokenArgs(x=address(0), y=address(1), x_type=x.type, y_type=y.type, n=y.n, tokens=y.pixels, c=y.c)
    return [by_rows("first_token_bwd_kernel", p, y.c, y.pixels, 1, y.n, x.bytes + y.bytes)]


def gate(op):
    x, residual, y = op.inputs[0], op.inputs[2], op.out
    p = GateArgs(x=address(0), gate=address(1), residual=address(2) if residual else 0, y=address(3), x_type=x.type,
                 residual_type=residual.type if residual else F32, y_type=y.type, n=y.n, pixels=y.pixels, c=y.c)
    return [by_rows("gate_kernel", p, y.c, y.pixels, 4, y.n, x.bytes + (residual.bytes if residual else 0) + y.bytes)]


def depth_to_space(op):
    x, y, p = op.inputs[0], op.out, op.numbers["p"]
    a = DepthToSpaceArgs(x=address(0), y=address(1), x_type=x.type, y_type=y.type, n=x.n, height=x.h, width=x.w, c=y.c, p=p)
    return [by_rows("depth_to_space_kernel", a, p * y.c, x.h * p * x.w, 4, x.n, x.bytes + y.bytes)]


# ---- pool.cu, pixel_norm.cu, softmax.cu; resize.cu computes in f64, which machine.py does not know -----------------------------------------
def pool(op):
    x, y, numbers = op.inputs[0], op.out, op.numbers
    run = row_run(x.c)
    o = PoolOptions(max=numbers["max"], height=numbers["height"], width=numbers["width"], stride=numbers["stride"], pad=numbers["pad"])
    p = PoolArgs(x=address(0), y=address(1), x_type=x.type, y_type=y.type, n=x.n, height=x.h, width=x.w, out_height=y.h, out_width=y.w, c=x.c, options=o)
    large = o.height * o.width >= 32
    b = row_block(x.c, run, (128 if large else 64) // run)
    grid = (y.pixels if large else ceil_div(y.w * ceil_div(y.h, 4), b.lanes), ceil_div(x.c // run, b.across), x.n)
    return [Launch("pool_large_kernelILi%dELb%dE" % (run, o.max) if large else "pool_kernelI%sLi%dELb%dE" % (MANGLED[x.type], run, o.max), grid, ROW_THREADS, 0, [p, b], x.bytes + y.bytes)]


def pixel_norm(op):
    if op.fold:
        return []
    x, y, threads = op.inputs[0], op.out, 128
    given = [address(1 + k) if op.inputs[k] else 0 for k in (1, 2, 3)]
    p = PixelNormArgs(x=address(0), gamma=given[0], beta=given[1], shift_scale=given[2], y=address(1), x_type=x.type, y_type=y.type, n=x.n, pixels=x.pixels,
                      c=x.c, eps=1e-6, rms=op.numbers["rms"])
    run, team = row_run(x.c), 1
    while team < threads and team * 5 < x.c // run:
        team *= 2
    return [Launch("pixel_norm_kernelI%sLi%dE" % (MANGLED[x.type], run), (ceil_div(x.pixels, threads // team * 2), 1, x.n), threads, 0, [p, Integer(value=team)], x.bytes + y.bytes)]


def softmax(op):
    x, y = op.inputs[0], op.out
    return [Launch("softmax_kernel", (x.n,), 256, 0, [SoftmaxArgs(x=address(0), y=address(1), n=x.n, c=x.c, log=op.numbers["log"])], x.bytes + y.bytes)]


MAKERS = {"conv": conv, "norm": norm, "norm_bwd": norm, "attn_bwd": attention_backward, "unary": unary, "unary_bwd": unary,
          "add": add, "concat": concat, "slice": slice_channels, "resample": resample, "pool_tokens": pool_tokens, "pool_tokens_bwd": pool_tokens,
          "first_token": first_token, "first_token_bwd": first_token, "gate": gate, "depth_to_space": depth_to_space, "pool": pool,
          "pixel_norm": pixel_norm, "softmax": softmax}


def launches_of(graph, batch, hopper=False):
    """[(op, its launches)] of a graph of bench/op_list.c. hopper: with the kernels that sm_90a alone has."""
    out, norms = [], set()
    differentiated = {op["in"][0] for op in graph["ops"] if op["kind"] == "attn_bwd"}
    ops = [Op(graph, numbers, batch) for numbers in graph["ops"]]
    for op in ops:
        if op.kind in ("norm", "norm_bwd") and op.numbers.get("pooled") and op.inputs[0].type != F32 and op.inputs[0].c % 8 == 0:
            op.pooled = [ops[k] for k in op.numbers["pooled"]]
            for done in op.pooled:
                done.pooled, done.bytes = [op], 0
                large, small = (op.out, done.out) if op.kind == "norm" else (done.out, done.inputs[0])
                op.bytes -= large.bytes - small.bytes
    if hopper:
        wgmma.fold_norms(ops)
        wgmma.go_up(ops)
    for op, numbers in zip(ops, graph["ops"]):
        op.hopper = hopper
        if op.kind in ("norm", "norm_bwd"):
            same = (numbers["in"][0], numbers["groups"], numbers["eps"])
            made = norm(op, op.kind == "norm_bwd" and same in norms)
            if op.kind == "norm":
                norms.add(same)
        elif op.kind == "attn":
            made = attention(op, numbers["in"][0] in differentiated)
        elif op.kind not in MAKERS:
            raise Unreadable("an op %s: the model does not know its kernels" % op.kind)
        else:
            made = MAKERS[op.kind](op)
        out.append((op, made))
    return together(out)


from . import attention_wgmma, narrow, wgmma, wgmma_attention  # noqa: E402  (they need what is above)


def has_hopper(functions):
    return any(wgmma.KERNEL in name for name in functions)


def resident_blocks(function, launch):
    """How many blocks of a launch a multiprocessor of sm_90 holds at once."""
    warps = ceil_div(launch.threads, 32)
    by_registers = 65536 // (ceil_div(function.registers * 32, 256) * 256 * warps)
    by_shared = 228 * 1024 // (function.shared + launch.shared + 1024)
    return max(1, min(by_registers, by_shared, 2048 // launch.threads, 32))
