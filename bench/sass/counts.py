"""counts.py -- the counted table: what the hot loops of kernels/*.cu issue, whatever the hardware's speed; and what got worse.

A loop's figures are the difference between two launches that differ in the number of its turns, divided by those turns; what is
left is outside the loop. Kernels without such a loop are counted whole.                                                        """
from collections import Counter

from . import attention_wgmma, launches, narrow, wgmma, wgmma_attention
from .launches import ceil_div
from .machine import Block
from .multiprocessor import DEFAULTS, pipe_of

QUARTERS = 4
# Every figure that a change may not make larger.
WATCHED = ("registers", "spills", "issued", "quarter", "others", "port", "mufu", "hmma", "hgmma", "outside")
HALF = "fp16"


def graph_of(kind, inputs, out, **numbers):
    """A graph of one op, in the form of bench/op_list.c: shapes of one image with their types."""
    tensors, ids = [[0, 0, 0, 0, HALF]], []
    for shape in inputs:
        ids.append(len(tensors) if shape else 0)
        if shape:
            tensors.append(list(shape[:4]) + [shape[4] if len(shape) > 4 else HALF])
    tensors.append(list(out[:4]) + [out[4] if len(out) > 4 else HALF])
    op = dict(numbers, kind=kind, out=len(tensors) - 1, flops=0, bytes=0)
    op["in"] = ids + [0] * (9 - len(ids))
    return {"tensors": tensors, "ops": [op]}


def conv(filter_width, channels, k, size, residual=True, stats=True, gate=False, act="none"):
    y = (1, size, size, k)
    return graph_of("conv", [(1, size, size, channels), (k, filter_width, filter_width, channels), (1, 1, 1, k, "fp32"), y if residual else None,
                             (1, 1, 1, k, "fp32") if gate else None], y,
                    stride=1, top=filter_width // 2, left=filter_width // 2, act=act, stats=stats)


def linear(channels, k):
    return graph_of("conv", [(1, 1, 1, channels, "fp32"), (k, 1, 1, channels, "fp32"), (1, 1, 1, k, "fp32")], (1, 1, 1, k, "fp32"), stride=1, top=0,
                    left=0, stats=False)


def norm(kind, channels, size, stats):
    x, vector = (1, size, size, channels), (1, 1, 1, channels, "fp32")
    inputs = [x, vector, vector, (1, 1, 1, 2 * channels, "fp32")] + ([x] if kind == "norm_bwd" else [])
    return graph_of(kind, inputs, x, groups=32, eps=1e-5, silu=True, stats=stats)


def attention(kind, heads, d, tokens):
    qkv, y = (1, 1, tokens, 3 * heads * d), (1, 1, tokens, heads * d)
    return graph_of(kind, [qkv] if kind == "attn" else [qkv, y], y if kind == "attn" else qkv, heads=heads)


def image(channels, size):
    return (1, size, size, channels)


def fold(what, channels):
    """A convolution of DiT before a pixel norm that is not run, or behind one."""
    maker = what == "maker"
    y = (1, 16, 16, 1152, "fp32") if maker else (1, 16, 16, 4608)
    vector = (1, 1, 1, y[3], "fp32")
    graph = graph_of("conv", [image(channels, 16), (y[3], 1, 1, channels), vector, y if maker else None, vector if maker else None], y, stride=1, top=0, left=0,
                     act="none" if maker else "gelu_tanh", stats=False)
    graph["ops"][0]["fold"] = what
    return graph


BATCH, NORM_BATCH = 64, 132  # images; of a norm so many that its blocks walk over more of one than they take at once
# (name, graph, the same with twice as many turns of its loop or None, the turns of the first)
CASES = [
    ("conv 3x3, 128 columns", conv(3, 128, 256, 32), conv(3, 256, 256, 32), 36),
    ("conv 1x1, 128 columns", conv(1, 256, 768, 16, False, False), conv(1, 512, 768, 16, False, False), 8),
    ("conv 3x3, 64 columns", conv(3, 128, 64, 32), conv(3, 256, 64, 32), 36),
    ("conv 1x1, gate and residual", conv(1, 256, 768, 16, stats=False, gate=True), conv(1, 512, 768, 16, stats=False, gate=True), 8),
    ("conv 1x1, GELU", conv(1, 256, 768, 16, False, False, act="gelu_tanh"), conv(1, 512, 768, 16, False, False, act="gelu_tanh"), 8),
    ("norm 256 channels, 32x32", norm("norm", 256, 32, []), None, 1),
    ("gradient of that norm", norm("norm_bwd", 256, 32, [256]), None, 1),
    ("attention, heads of 64, many tokens", attention("attn", 4, 64, 512), attention("attn", 4, 64, 1024), 8),
    ("attention, heads of 64, 64 tokens", attention("attn", 4, 64, 64), None, 1),
    ("attention, a head of 256", attention("attn", 1, 256, 256), attention("attn", 1, 256, 512), 8),
    ("gradient of attention, heads of 64", attention("attn_bwd", 4, 64, 512), attention("attn_bwd", 4, 64, 1024), 8),
    ("concatenation", graph_of("concat", [image(256, 32), image(256, 32)], image(512, 32)), None, 1),
    ("addition", graph_of("add", [image(256, 32), image(256, 32)], image(256, 32)), None, 1),
    ("addition of positions", graph_of("add", [image(1152, 16), image(1152, 16)], image(1152, 16), positions=True), None, 1),
    ("gate and residual", graph_of("gate", [image(1152, 16), (1, 1, 1, 1152, "fp32"), image(1152, 16)], image(1152, 16)), None, 1),
    ("pixel norm 1152 channels, shift and scale", graph_of("pixel_norm", [(1, 16, 16, 1152, "fp32"), None, None, (1, 1, 1, 2304, "fp32")], image(1152, 16),
                                                           rms=False), None, 1),
    ("pool 3x3", graph_of("pool", [image(256, 35)], image(256, 35), max=False, height=3, width=3, stride=1, pad=1), None, 1),
    ("mean of 8x8", graph_of("pool", [image(2048, 8)], (1, 1, 1, 2048, "fp32"), max=False, height=8, width=8, stride=1, pad=0), None, 1),
    ("depth to space", graph_of("depth_to_space", [image(32, 16)], image(8, 32), p=2), None, 1),
    ("softmax", graph_of("softmax", [(1, 1, 1, 1000, "fp32")], (1, 1, 1, 1000, "fp32"), log=False), None, 1),
    ("2x down", graph_of("resample", [image(256, 32)], image(256, 16), up=False, taps=2, pad=0), None, 1),
    ("2x up", graph_of("resample", [image(256, 16)], image(256, 32), up=True, taps=2, pad=0), None, 1),
    ("linear layer, 64 vectors", linear(64, 256), linear(128, 256), 1),
    ("large linear layer, 64 vectors", linear(256, 512), linear(512, 512), 8),
]
# The same of kernels/*_sm90.cu, where they are there: a turn is a step of 64 channels, or a block of 64 keys; outside is a tile's rest.
HOPPER_CASES = [
    ("Hopper: conv 3x3, 256 columns, residual and statistics", conv(3, 256, 256, 32), conv(3, 512, 256, 32), 36),
    ("Hopper: conv 3x3, 192 columns, residual and statistics", conv(3, 192, 192, 32), conv(3, 384, 192, 32), 27),
    ("Hopper: conv 3x3, 128 columns, residual and statistics", conv(3, 128, 128, 32), conv(3, 256, 128, 32), 18),
    ("Hopper: conv 1x1, 256 columns", conv(1, 256, 768, 16, False, False), conv(1, 512, 768, 16, False, False), 4),
    ("Hopper: conv 1x1, gate and residual", conv(1, 256, 768, 16, stats=False, gate=True), conv(1, 512, 768, 16, stats=False, gate=True), 4),
    ("Hopper: conv 1x1, gate and residual, before a norm left out", fold("maker", 256), fold("maker", 512), 4),
    ("Hopper: conv 1x1, GELU, behind a norm left out", fold("reader", 256), fold("reader", 512), 4),
    ("Hopper: conv 1x1, GELU", conv(1, 256, 768, 16, False, False, act="gelu_tanh"), conv(1, 512, 768, 16, False, False, act="gelu_tanh"), 4),
    ("Hopper: attention, heads of 64, many tokens", attention("attn", 4, 64, 512), attention("attn", 4, 64, 1024), 8),
    ("Hopper: attention, heads of 72, 256 tokens", attention("attn", 4, 72, 256), attention("attn", 4, 72, 512), 4),
    ("Hopper: attention, heads of 64, 64 tokens", attention("attn", 4, 64, 64), attention("attn", 4, 64, 128), 1),
]
# Of kernels/attention_bwd_sm90.cu: a turn is a step of 64 keys or queries, outside is an item's rest.
HOPPER_GRADIENT = ("Hopper: gradient of attention, heads of 64", attention("attn_bwd", 4, 64, 512), attention("attn_bwd", 4, 64, 1024), 8)
# Of the others: (name, graph, the launch of an op that gives a block one piece of work).
HOPPER_PIECES = [
    ("Hopper: gradient of attention, a head of 64, 256 tokens", attention("attn_bwd", 4, 64, 256), lambda op: wgmma_attention.of_heads(op, None, 1)),
    ("Hopper: gradient of attention, two heads of 64, 64 tokens", attention("attn_bwd", 4, 64, 64), lambda op: wgmma_attention.of_heads(op, None, 1)),
    ("Hopper: conv 3x3 into 3 channels, 8 lines of 32", conv(3, 256, 3, 32, False, False), lambda op: narrow.launches(op)[0]),
]
GROUPS = {"hmma": "hmma", "product": "hgmma", "box": "tma", "sync": "sync", "product_wait": "control", "mufu": "mufu", "fma": "float", "imad": "integer", "alu": "integer", "uniform": "integer", "special": "integer",
          "constant": "integer", "control": "control", "barrier": "control", "group_end": "control", "group_wait": "control"}
MEMORY = {"LDSM": "ldsm", "STSM": "shared", "LDGSTS": "cp.async", "LDS": "shared", "STS": "shared", "SHFL": "shuffle", "LDG": "global", "STG": "global"}


def group_of(instruction):
    pipe = pipe_of(instruction)
    if pipe == "port":
        return MEMORY[instruction.root]
    if pipe == "alu" and instruction.root in ("F2FP", "HADD2", "FMNMX", "FSETP", "FSEL", "FCHK"):
        return "float"
    return GROUPS[pipe]


def tally(trace):
    """Sums over a warp: issue slots by group; port: clocks of the shared-memory port, 4 for each 512 bytes of cp.async that come; tensor:
    clocks of its quarter's tensor cores for products of a warpgroup."""
    total = Counter()
    for instruction, _, memory in trace:
        total["issued"] += 1
        total[group_of(instruction)] += 1
        if memory:
            total["port"] += memory.wavefronts
            if memory.sync and memory.sync.kind == "product":
                total["tensor"] += memory.sync.count
    return total


def block_tally(tallies):
    """Of a block: the sums of all its warps, those of the warps that work, and how many these are. Where some multiply by wgmma, they do."""
    working = [t for t in tallies if t["hgmma"]] or tallies
    return sum(tallies, Counter()), sum(working, Counter()), len(working)


def block_of(launch, functions):
    function = launch.function(functions)
    launch.check_parameters(function)
    place = launch.place or tuple(n // 2 for n in launch.grid)
    return Block(function, launch.parameter_bytes(), place, launch.threads, launch.grid)


def tally_of(launch, functions):
    return block_tally([tally(trace) for trace in block_of(launch, functions).traces()])


def only_launches(graph, hopper=False):
    batch = NORM_BATCH if graph["ops"][0]["kind"] in ("norm", "norm_bwd") else BATCH
    return launches.launches_of(graph, batch, hopper)[0][1]


def row(name, launch, longer, turns, functions):
    """Figures of one launch: per warp and turn of its loop; port per turn of a whole block."""
    function = launch.function(functions)
    total, whole, warps = tally_of(launch, functions)
    per_turn, all_warps = whole, total
    if longer:
        more_total, more, _ = tally_of(longer, functions)
        per_turn = Counter({k: (more[k] - whole[k]) / turns for k in more})
        outside = (whole["issued"] - per_turn["issued"] * turns) / warps
        all_warps = Counter({k: (more_total[k] - total[k]) / turns for k in more_total})
    kept = {"case": name, "kernel": launch.kernel, "loop": bool(longer), "registers": function.registers, "spills": function.local + function.stack,
            "shared": function.shared + launch.shared, "blocks": launches.resident_blocks(function, launch), "warps": warps,
            "outside": round(outside, 2) if longer else 0, "port": round(all_warps["port"], 2),
            "quarter": round(per_turn["issued"] / QUARTERS, 2), "others": round(all_warps["issued"] - per_turn["issued"], 2),
            "tensor": round(per_turn["hmma"] * DEFAULTS["hmma_interval_clocks"] / QUARTERS + per_turn["tensor"] / QUARTERS, 2)}
    kept.update({k: round(per_turn[k] / warps, 2) for k in
                 ("issued", "hmma", "hgmma", "ldsm", "cp.async", "shuffle", "global", "mufu", "float", "integer", "control")})
    kept["shared accesses"] = round(per_turn["shared"] / warps, 2)
    return kept


def one_tile(graph):
    """Hopper's convolution or attention, with a block for each tile."""
    op = launches.Op(graph, graph["ops"][0], BATCH)
    return attention_wgmma.attention(op, False, tiles_of_a_block=1) if op.kind == "attn" else wgmma.conv(op, None, 1)


def one_item(graph, own_keys):
    """Hopper's gradient of attention, with a block for each item."""
    op = launches.Op(graph, graph["ops"][0], BATCH)
    return wgmma_attention.launch(op, own_keys, None, 1)


def table(functions):
    rows, seen = [], set()
    if launches.has_hopper(functions):
        rows = [row(name, one_tile(graph), one_tile(longer), turns, functions) for name, graph, longer, turns in HOPPER_CASES]
        name, graph, longer, turns = HOPPER_GRADIENT
        rows += [row(name, one_item(graph, own_keys), one_item(longer, own_keys), turns, functions) for own_keys in (False, True)]
        rows += [row(name, launch(launches.Op(graph, graph["ops"][0], BATCH)), None, 1, functions) for name, graph, launch in HOPPER_PIECES]
    for name, graph, longer, turns in CASES:
        shorter_launches = only_launches(graph)
        longer_launches = only_launches(longer) if longer else [None] * len(shorter_launches)
        for launch, more in zip(shorter_launches, longer_launches):
            if (name, launch.kernel) not in seen:
                rows.append(row(name, launch, more, turns, functions))
            seen.add((name, launch.kernel))
    return rows


def compare(kept, now):
    """[(sentence, is it worse)] of every watched figure that changed."""
    found = []
    before = {(r["case"], r["kernel"]): r for r in kept}
    for r in now:
        old = before.pop((r["case"], r["kernel"]), None)
        if old is None:
            found.append(("%s, %s: is not in the table" % (r["case"], r["kernel"]), True))
            continue
        for figure in WATCHED:
            if figure not in old:
                found.append(("%s, %s: %s is not in the table" % (r["case"], r["kernel"], figure), True))
            elif r[figure] != old[figure]:
                found.append(("%s, %s: %s %g, in the table %g" % (r["case"], r["kernel"], figure, r[figure], old[figure]), r[figure] > old[figure]))
    found += [("%s, %s: is no longer there" % key, True) for key in before]
    return found


def spilling(functions):
    """A sentence for every kernel that keeps registers in memory."""
    return ["%s: spills %d bytes" % (name, f.local + f.stack) for name, f in sorted(functions.items()) if f.local + f.stack]


def markdown(rows, nvcc):
    interval = DEFAULTS["hmma_interval_clocks"]
    lines = [
        "# Hot loops, counted in the machine code", "",
        "Made by `bench/sass_model.py renew` with %s for sm_90a; nothing here was run on a GPU." % nvcc, "",
        "Figures are issue slots of a warp: for a turn of the kernel's loop (conv: a step of 4 pieces, attention: a block of keys or",
        "queries), or of the whole thread block where there is no loop; of Hopper's convolutions, for a step of 64 channels, of a warp that",
        "multiplies. quarter: slots of these warps in a quarter of a multiprocessor; others: of the block's other warps, together. tensor: clocks",
        "of a quarter's tensor cores at %d clocks an HMMA, or those of wgmma. port: clocks of the shared-memory port for all warps of a block. Issue and port beside" % interval,
        "tensor say what bounds a loop: a block cannot take less than the largest of the three. outside: slots of a warp before and after the",
        "loop, of Hopper's for a tile.", "",
        "| case | kernel | registers | spills | blocks/SM | issued | quarter | others | tensor | issue per tensor clock | port per tensor clock | HMMA, HGMMA | LDSM "
        "| cp.async | LDS/STS | LDG/STG | MUFU | float | integer | control | outside |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for r in rows:
        tensor = r["tensor"]
        lines.append("| %s | `%s` | %d | %d | %d | %s | %s | %s | %s | %s | %s | %s | %s |" % (
            r["case"], r["kernel"], r["registers"], r["spills"], r["blocks"], short(r["issued"]), short(r["quarter"]), short(r["others"]), short(tensor) if tensor else "",
            "%.2f" % (r["quarter"] / tensor) if tensor else "", "%.2f" % (r["port"] / tensor) if tensor else "", short(r["hmma"] + r["hgmma"]),
            " | ".join(short(r[k]) for k in ("ldsm", "cp.async", "shared accesses", "global", "mufu", "float", "integer", "control", "outside"))))
    return "\n".join(lines) + "\n"


def short(v):
    return "%g" % round(v, 1)
