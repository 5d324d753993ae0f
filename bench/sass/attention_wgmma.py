"""attention_wgmma.py -- the launches of kernels/attention_sm90.cu: which attention Hopper's own kernel takes, how it cuts it into tiles, and
its parameters, as the launcher at the end of that file works them out. What changes there changes here.                     """
from .launches import F32, MANGLED, Launch, attention_params, ceil_div, kept_bytes
from .parameters import Integer
from .wgmma import TensorMap, tensor_map

KERNEL = "attn_wgmma_kernel"
ROWS, GROUP_THREADS, FEW_TOKENS = 64, 128, 128
WIDE_BYTES, NARROW_BYTES, COLUMN_BYTES = ROWS * 128, ROWS * 32, ROWS * 16  # of 64 rows: 64 channels, 16, and of values 8


def takes(op):
    qkv = op.inputs[0]
    d = qkv.c // 3 // op.numbers["heads"]
    return qkv.type != F32 and d % 8 == 0 and 32 < d <= 72


def leaves_scores_alone(op):
    """Where the gradient is attention_bwd_heads_sm90.cu's."""
    qkv = op.inputs[0]
    return qkv.c // 3 // op.numbers["heads"] == 64 and qkv.pixels <= 256


def attention(op, kept, multiprocessors=132, tiles_of_a_block=None):
    """kept: a gradient follows. tiles_of_a_block: with a grid that gives the first block so many."""
    qkv = op.inputs[0]
    heads = op.numbers["heads"]
    beyond, groups = qkv.c // 3 // heads > 64, 1 if qkv.pixels <= FEW_TOKENS else 4
    p, (tiles,) = attention_params(op, groups * ROWS, kept)
    queries = WIDE_BYTES + beyond * NARROW_BYTES
    stages = 2 if groups == 1 else 4
    shared = 2 * groups * queries + stages * (queries + WIDE_BYTES + (1 + beyond) * COLUMN_BYTES + 16) + 48 * groups
    blocks = 1 if groups > 1 else 3 if beyond else 4   # of a multiprocessor
    grid = ceil_div(tiles, tiles_of_a_block) if tiles_of_a_block else min(tiles, blocks * multiprocessors)
    maps = [tensor_map(64, ROWS)] + ([tensor_map(16, ROWS), tensor_map(8, ROWS)] if beyond else [TensorMap(), TensorMap()])
    if kept and leaves_scores_alone(op):
        p.y_parts = 0
    moved = qkv.bytes + op.out.bytes + (0 if not kept else qkv.n * heads * qkv.pixels * 8 if leaves_scores_alone(op) else kept_bytes(qkv, heads))
    launch = Launch("%sI%sLi%dELi%dE" % (KERNEL, MANGLED[qkv.type], 72 if beyond else 64, groups), (grid,), groups * GROUP_THREADS, shared,
                    maps + [p, Integer(value=tiles)], moved)
    launch.place = (0, 0, 0)
    return launch


def launches(op, kept, few=2):
    """The launch; where its blocks make many tiles, these are reckoned from few and one more."""
    launch = attention(op, kept)
    most = ceil_div(launch.parameters[-1].value, launch.grid[0])
    if most > few + 1:
        launch.longer = [(attention(op, kept, tiles_of_a_block=n), n) for n in (few, few + 1)] + [most]
    return [launch]
