"""wgmma_attention.py -- the launches of kernels/attention_bwd_sm90.cu: which gradients of attention Hopper's own kernels take, their items and
parameters, as the launcher at the end of that file works them out. What changes there changes here.                         """
import ctypes as c

from .launches import F32, MANGLED, AttnParams, Launch, attention_params, ceil_div, ints, kept_bytes, structure
from .wgmma import TensorMap, tensor_map

KERNEL = "attn_grad_wgmma_kernel"
HEAD, TILE_ROWS, GROUPS, THREADS, STAGES = 64, 64, 2, 384, 8
TILE_BYTES, STATISTICS_BYTES = 2 * HEAD * TILE_ROWS, 16 * TILE_ROWS

GradParams = structure("GradParams", [("attn", AttnParams)], ints("problems", "items", "steps"), [("apart", c.c_bool)])


def takes_gradient(op):
    qkv, dy = op.inputs[:2]
    return qkv.c // 3 // op.numbers["heads"] == HEAD and qkv.type != F32 and dy.type == op.out.type == qkv.type


def launch(op, own_keys, multiprocessors, items_of_a_block=None):
    """items_of_a_block: with a grid that gives the first block so many."""
    qkv, dy = op.inputs[:2]
    heads, apart = op.numbers["heads"], qkv.pixels <= TILE_ROWS
    attn, _ = attention_params(op, GROUPS * TILE_ROWS, True)
    problems = qkv.n * heads
    items = ceil_div(problems, GROUPS) if apart else problems * attn.blocks
    p = GradParams(attn=attn, problems=problems, items=items, steps=GROUPS if apart else ceil_div(qkv.pixels, TILE_ROWS), apart=apart)
    stage = 2 * TILE_BYTES + (STATISTICS_BYTES if own_keys else 0)
    shared = GROUPS * (2 if own_keys else 4) * TILE_BYTES + STAGES * stage + 16 * (GROUPS + STAGES) + 4 * GROUPS
    maps = [tensor_map(HEAD, TILE_ROWS)] * 2 + [TensorMap(box_bytes=STATISTICS_BYTES) if own_keys else tensor_map(HEAD, TILE_ROWS)]
    rows = problems * (qkv.pixels * 16 + ceil_div(qkv.pixels, 16) * 4)
    moved = qkv.bytes + dy.bytes + rows + (op.out.bytes * 2 // 3 if own_keys else kept_bytes(qkv, heads) + op.out.bytes // 3)
    grid = ceil_div(items, items_of_a_block) if items_of_a_block else min(items, multiprocessors)
    made = Launch("%sI%sLb%dE" % (KERNEL, MANGLED[qkv.type], own_keys), (grid,), THREADS, shared, maps + [p], moved)
    made.place = (0, 0, 0)
    return made


def gradient(op, multiprocessors=132, few=2):
    """Both launches; where their blocks make many items, these are reckoned from few and one more."""
    both = [launch(op, own_keys, multiprocessors) for own_keys in (False, True)]
    for own_keys, made in enumerate(both):
        most = ceil_div(made.parameters[-1].items, made.grid[0])
        if most > few + 1:
            made.longer = [(launch(op, bool(own_keys), multiprocessors, n), n) for n in (few, few + 1)] + [most]
    return both
