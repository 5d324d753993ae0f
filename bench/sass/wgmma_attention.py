"""wgmma_attention.py -- the launches of kernels/attention_bwd_sm90.cu and kernels/attention_bwd_heads_sm90.cu: which gradients of attention Hopper's
own kernels take, their items and parameters, as the launchers at the ends of those files work them out. What changes there changes here.    """
from .launches import F32, MANGLED, AttnParams, Launch, attention_params, ceil_div, ints, kept_bytes, structure
from .wgmma import TensorMap, tensor_map

KERNEL, HEADS_KERNEL = "attn_grad_wgmma_kernel", "attn_grad_heads_kernel"
HEAD, TILE_ROWS, GROUPS, THREADS, STAGES = 64, 64, 2, 384, 8
TILE_BYTES, STATISTICS_BYTES = 2 * HEAD * TILE_ROWS, 16 * TILE_ROWS
OUTPUT_BYTES, OUTPUTS = GROUPS * TILE_BYTES, tensor_map(HEAD, 16)  # of a warp
MOST_TILES = 4  # of a head that lies in shared memory whole

GradParams = structure("GradParams", [("attn", AttnParams)], ints("items", "steps"))
HeadParams = structure("HeadParams", [("attn", AttnParams)], ints("problems", "tiles"))


def takes_gradient(op):
    qkv, dy = op.inputs[:2]
    return qkv.c // 3 // op.numbers["heads"] == HEAD and qkv.type != F32 and dy.type == op.out.type == qkv.type


def launch(op, own_keys, multiprocessors, items_of_a_block=None):
    """items_of_a_block: with a grid that gives the first block so many."""
    qkv, dy = op.inputs[:2]
    heads = op.numbers["heads"]
    attn, _ = attention_params(op, GROUPS * TILE_ROWS, True)
    problems = qkv.n * heads
    items = problems * attn.blocks
    p = GradParams(attn=attn, items=items, steps=ceil_div(qkv.pixels, TILE_ROWS))
    stage = 2 * TILE_BYTES + (STATISTICS_BYTES if own_keys else 0)
    shared = GROUPS * (2 if own_keys else 4) * TILE_BYTES + STAGES * stage + OUTPUT_BYTES + 16 * (GROUPS + STAGES) + 4 * GROUPS
    maps = [tensor_map(HEAD, TILE_ROWS)] * 2 + [TensorMap(box_bytes=STATISTICS_BYTES) if own_keys else tensor_map(HEAD, TILE_ROWS), OUTPUTS]
    rows = problems * (qkv.pixels * 16 + ceil_div(qkv.pixels, 16) * 4)
    moved = qkv.bytes + dy.bytes + rows + (op.out.bytes * 2 // 3 if own_keys else kept_bytes(qkv, heads) + op.out.bytes // 3)
    grid = ceil_div(items, items_of_a_block) if items_of_a_block else min(items, multiprocessors)
    made = Launch("%sI%sLb%dE" % (KERNEL, MANGLED[qkv.type], own_keys), (grid,), THREADS, shared, maps + [p], moved)
    made.place = (0, 0, 0)
    return made


def of_heads(op, multiprocessors, heads_of_a_ring=None):
    """The launch for few tokens: whole heads in shared memory. heads_of_a_ring: with a grid that gives the first block so many."""
    qkv, dy = op.inputs[:2]
    heads, tiles = op.numbers["heads"], 1 if qkv.pixels <= TILE_ROWS else MOST_TILES
    rings, buffers = (GROUPS, 6) if tiles == 1 else (1, 3)
    attn, _ = attention_params(op, TILE_ROWS, True)
    attn.blocks = 0
    problems = qkv.n * heads
    p = HeadParams(attn=attn, problems=problems, tiles=ceil_div(qkv.pixels, TILE_ROWS))
    shared = rings * (buffers * (2 * tiles * TILE_BYTES + 16) + (buffers + 1) // 2 * (tiles * (STATISTICS_BYTES + 16) + 8)) + OUTPUT_BYTES
    blocks = ceil_div(problems, rings)
    grid = ceil_div(blocks, heads_of_a_ring) if heads_of_a_ring else min(blocks, multiprocessors)
    made = Launch("%sI%sLi%dE" % (HEADS_KERNEL, MANGLED[qkv.type], tiles), (grid,), THREADS, shared, [tensor_map(HEAD, TILE_ROWS)] * 2 + [OUTPUTS, p],
                  qkv.bytes + dy.bytes + problems * qkv.pixels * 8 + op.out.bytes)
    made.place = (0, 0, 0)
    return made


def gradient(op, multiprocessors=132, few=2):
    """The launches; where their blocks make many items, these are reckoned from few and one more."""
    if op.inputs[0].pixels <= MOST_TILES * TILE_ROWS:
        made = of_heads(op, multiprocessors)
        most = ceil_div(made.parameters[-1].problems, made.grid[0] * (GROUPS if op.inputs[0].pixels <= TILE_ROWS else 1))
        if most > few + 1:
            made.longer = [(of_heads(op, multiprocessors, n), n) for n in (few, few + 1)] + [most]
        return [made]
    both = [launch(op, own_keys, multiprocessors) for own_keys in (False, True)]
    for own_keys, made in enumerate(both):
        most = ceil_div(made.parameters[-1].items, made.grid[0])
        if most > few + 1:
            made.longer = [(launch(op, bool(own_keys), multiprocessors, n), n) for n in (few, few + 1)] + [most]
    return both
