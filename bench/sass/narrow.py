"""narrow.py -- the launches of kernels/conv_narrow_sm90.cu: convolutions into few channels on Hopper, and their parameters, as the launcher
at the end of that file works them out. What changes there changes here.                                                       """
from .launches import ACTS, F32, MANGLED, OPERAND_FULL, OPERAND_NONE, OPERAND_POSITIONS, OPERAND_VECTOR, Epilogue, Launch, address, ceil_div, divider
from .parameters import Divider, ints, pointers, structure
from .wgmma import tensor_map

PIXELS, DEPTH, STAGES, THREADS, PAD, MOST_CHANNELS, LEAST_LINES, BLOCKS, MULTIPROCESSORS, MOST_SHARED = 128, 64, 4, 160, 4, 8, 8, 2, 132, 227 << 10

NarrowParams = structure("NarrowParams", pointers("y"), [("end", Epilogue)],
                         ints("height", "width", "filter_height", "filter_width", "top", "left", "taps", "chunks", "lines", "parts", "jobs", "back", "ahead",
                              "ring"), [("by_width", Divider), ("by_ring", Divider)])


def columns_of(w):
    return 32 if w.n <= MOST_CHANNELS // 2 and w.n * w.h * w.w <= 32 else 64


def ring_of(op):
    x, w, n = op.inputs[0], op.inputs[1], op.numbers
    bottom, right = w.h - 1 - n["top"], w.w - 1 - n["left"]  # the image keeps its size
    back, ahead = n["top"] * x.w + n["left"], bottom * x.w + right
    return back, ahead, ceil_div(2 * PIXELS + back + ahead, PIXELS) * PIXELS


def shared_bytes(op):
    columns = columns_of(op.inputs[1])
    return ceil_div(op.inputs[0].c, DEPTH) * columns * 128 + STAGES * PIXELS * 128 + columns * (ring_of(op)[2] + PAD) * 4 + (2 * STAGES + 1) * 8


def takes(op):
    x, w, y, n = op.inputs[0], op.inputs[1], op.out, op.numbers
    if x.type == F32 or any(op.inputs[5:8]) or n["stride"] != 1 or (y.h, y.w) != (x.h, x.w) or w.h * w.w == 1 or n["stats"]:
        return False
    few = w.n < MOST_CHANNELS and w.n * w.h * w.w <= 64
    return few and x.c >= DEPTH and x.c % 8 == 0 and shared_bytes(op) <= MOST_SHARED


def launches(op):
    x, w, bias, add, gate = op.inputs[:5]
    y, n = op.out, op.numbers
    kind = (OPERAND_NONE if not add else OPERAND_POSITIONS if n.get("positions") else OPERAND_VECTOR if add.is_vector() and not y.is_vector() else OPERAND_FULL)
    end = Epilogue(add=address(2) if add else 0, bias=address(3) if bias else 0, gate=address(6) if gate else 0, add_type=add.type if add else F32,
                   y_type=y.type, add_kind=kind, act=ACTS[n.get("act", "none")], k=w.n, rows=y.n * y.pixels, out_pixels=y.pixels, scale=1,
                   by_pixels=divider(y.pixels))
    lines = x.h
    while lines > LEAST_LINES and x.n * ceil_div(x.h, lines) < BLOCKS * MULTIPROCESSORS:
        lines = ceil_div(lines, 2)
    parts, (back, ahead, ring) = ceil_div(x.h, lines), ring_of(op)
    p = NarrowParams(y=address(4), end=end, height=x.h, width=x.w, filter_height=w.h, filter_width=w.w, top=n["top"], left=n["left"], taps=w.h * w.w,
                     chunks=ceil_div(x.c, DEPTH), lines=lines, parts=parts, jobs=x.n * parts, back=back, ahead=ahead, ring=ring, by_width=divider(x.w),
                     by_ring=divider(ring))
    maps = [tensor_map(DEPTH, PIXELS), tensor_map(DEPTH, w.n * w.h * w.w)]
    moved = x.bytes + w.bytes + y.bytes + (add.bytes if add else 0)
    columns, most = columns_of(w), MOST_CHANNELS // 2 if w.n <= MOST_CHANNELS // 2 else MOST_CHANNELS
    kernel = "conv_narrow_kernelI%sLi%dELi%dE" % (MANGLED[x.type], columns, most)
    return [Launch(kernel, (min(p.jobs, BLOCKS * MULTIPROCESSORS),), THREADS, shared_bytes(op), maps + [p], moved)]
