"""predict.py -- how long every op of a network takes by the model, and what a guided run takes: predictions, never measurements.

A launch: its blocks are dealt evenly to the multiprocessors; the busiest one's clocks are multiprocessor.py's for the traces of one
block from the middle of the grid. What all tensors of a launch hold together is moved through device memory where it exceeds
what L2 can keep, at the rate of a large copy; else reads come from L2. low and high are the ends of what is not known of a
cp.async's cost on the shared-memory port, in convolutions, unless that has been measured; elsewhere it is the low end.        """
import math
import sys

from . import launches
from .counts import block_of
from .launches import ceil_div
from .multiprocessor import CALIBRATED, DEFAULTS, Multiprocessor

H100 = {"multiprocessors": 132, "memory_bytes_per_s": 3.0e12, "l2_keeps_bytes": 30e6, "launch_us": 1.2, "dependent_us": 0.7}
CP_ASYNC_RANGE = (4, 8)
START = (97,)  # clocks between the first blocks of a multiprocessor
STARTS = (97, 337, 601, 887)  # how the blocks' loops fall into step moves a time by 5%: for the step of a convolution the mean counts
NETWORKS = [  # name, network case, guide case, steps, batch
    ("CIFAR-10 32x32, guided", "edm_cifar10_uncond", "disc_cifar10_uncond", 18, 264),
    ("FFHQ 64x64, guided", "edm_ffhq64", "disc_ffhq64", 40, 128),
    ("ImageNet 64x64", "edm_imagenet64", None, 256, 64),
]
PRESETS = [  # name, preset of the program that says its networks, batch
    # 512 rows of 256 tokens, with and without their classes: at 1152 channels 34.9 waves of the portable convolution's blocks, 46.5 of
    # Hopper's tiles; whole tiles of 64 vectors
    ("ImageNet 256x256, DiT-XL/2-G++", "dit-xl-2-256-dg", 256),
]
CATEGORIES = [("convolutions", "conv_"), ("linear layers", "linear"), ("pixel norm", ("pixel_norm", "fold_")), ("gates", "gate"), ("norm: apply", ("norm_apply", "norm_pool")),
              ("norm: gradient", "norm_bwd"), ("norm: statistics", "norm_"), ("attention", ("attn_mma", "attn_wgmma", "attn_wide", "attn_f32")),
              ("attention, gradient", "attn_"), ("concatenation and copies", "copy_channels"), ("addition", "add_"), ("resampling", "resample"),
              ("the rest", "")]


def parameter_sets(calibration):
    """{low, high}: parameters of a fast and of a slow reading; the same one where the cost of cp.async is known."""
    sets = {}
    for name, cost in zip(("low", "high"), CP_ASYNC_RANGE):
        sets[name] = dict(DEFAULTS, cp_async_port_clocks=cost)
        sets[name].update({k: calibration[k] for k in CALIBRATED if k in calibration})
    return sets


class Predictor:
    def __init__(self, functions, calibration):
        self.functions, self.sets, self.cache = functions, parameter_sets(calibration), {}
        self.known, self.hopper = {}, launches.has_hopper(functions)
        self.steps = {}  # of convolutions: two launches that differ in their steps alone

    def block(self, launch):
        """The traces of a block from the middle of a launch, and what they move between L2 and the multiprocessor."""
        key = (launch.kernel, launch.parameter_bytes(), launch.grid)
        if key not in self.cache:
            traces = block_of(launch, self.functions).traces()
            self.cache[key] = (traces, sum(i.memory.read + i.memory.written for t in traces for i in t if i.memory))
        return self.cache[key]

    def clocks(self, launch, blocks, parameters, moved, starts=START):
        """Clocks of a multiprocessor that gets `blocks` blocks; moved: bytes through device memory in the whole launch, or 0."""
        return sum(self.clocks_from(start, launch, blocks, parameters, moved) for start in starts) / len(starts)

    def clocks_from(self, start, launch, blocks, parameters, moved):
        traces, traffic = self.block(launch)
        device = None
        if moved:  # the multiprocessor's part of the rate, for the traffic with L2 that so many bytes cause
            share = H100["memory_bytes_per_s"] / (parameters["clock_under_load_mhz"] * 1e6) / H100["multiprocessors"]
            device = round(share * max(1, traffic * launch.blocks / moved), 2)
        resident = launches.resident_blocks(launch.function(self.functions), launch)
        few = min(blocks, 2 * resident)
        key = (launch.kernel, launch.parameter_bytes(), launch.grid, start, few, device, is_conv(launch) and parameters["cp_async_port_clocks"])
        if key not in self.known:
            latency = parameters["memory_latency"] if moved else parameters["l2_latency"]
            memory = (parameters["l2_bytes_per_clock_sm"], device, latency)
            run = lambda n: Multiprocessor(parameters, memory).run(traces, n, resident, start)
            self.known[key] = (run(resident) if few > resident else 0, run(few))
        first, more = self.known[key]
        return more if blocks <= few else first + (blocks - resident) * (more - first) / (few - resident)

    def gap(self, launch, before):
        """Seconds between a launch and the one before it."""
        early = before and waits(launch.function(self.functions)) and releases(before.function(self.functions))
        return H100["dependent_us" if early else "launch_us"] * 1e-6

    def seconds(self, launch, name):
        """Of one launch alone."""
        parameters, busiest = self.sets[name], ceil_div(launch.blocks, H100["multiprocessors"])
        moved = launch.moved if launch.moved > H100["l2_keeps_bytes"] else 0
        if launch.parts:
            clocks = sum(self.clocks(part, ceil_div(part.blocks, H100["multiprocessors"]), parameters, moved) for part in launch.parts)
        elif launch.longer:
            (short, few_steps), (long, more_steps), steps = launch.longer
            pair = (canonical(short), canonical(long))
            if is_conv(launch):  # whose steps cost the same, whatever the image
                pair = self.steps.setdefault((launch.kernel, launch.parameters[0].filter_width), pair)
            through = 0 if is_conv(launch) else moved
            few, more = (self.clocks(part, busiest, parameters, through, STARTS if is_conv(launch) else START) for part in pair)
            clocks = self.clocks(canonical(short), busiest, parameters, through) + (more - few) * (steps - few_steps) / (more_steps - few_steps)
        elif launch.kernel.startswith("conv_"):
            clocks = self.clocks(canonical(launch), busiest, parameters, 0)
        else:
            clocks = self.clocks(launch, busiest, parameters, moved)
        return max(clocks / (parameters["clock_under_load_mhz"] * 1e6), moved / H100["memory_bytes_per_s"])

    def floor(self, op):
        """Seconds: the larger of its operations at the tensor cores' rate and its bytes at that of a large copy."""
        clock = next(iter(self.sets.values()))["clock_under_load_mhz"] * 1e6
        return max(op.flops / (peak(clock)), op.bytes / H100["memory_bytes_per_s"])

    def more(self, op, made, name):
        """What the gate of a convolution and its part of a norm cost: the seconds that it has more than the same one without them, those of a
        further product for the norm included."""
        if op.kind != "conv" or not (op.inputs[4] or op.fold) or not any(launch.kernel.startswith("conv_") for launch in made):
            return 0.0
        plain = launches.MAKERS["conv"](launches.alone(op))
        seconds = lambda those: sum(self.seconds(launch, name) for launch in those if launch.kernel.startswith("conv_"))
        return max(0.0, seconds(made) - seconds(plain))

    def graph(self, graph, batch):
        """{what: ..., rows: [...], categories: {...}}: milliseconds of a call, [low, high]. fused: gates and norms, a part of the convolutions."""
        rows, categories, gaps, count, fused, before = {}, {}, 0.0, 0, [0.0, 0.0], None
        for op, made in launches.launches_of(graph, batch, self.hopper):
            row = rows.setdefault(op.describe(), {"count": 0, "ms": [0.0, 0.0], "flops": 0, "bytes": 0, "floor_ms": 0.0})
            row["count"] += 1
            row["flops"] += op.flops
            row["bytes"] += op.bytes
            row["floor_ms"] += self.floor(op) * 1e3
            for launch in made:
                category = next(c for c, start in CATEGORIES if launch.kernel.startswith(start))
                at = categories.setdefault(category, [0.0, 0.0])
                gap, before = self.gap(launch, before), launch
                for k, name in enumerate(self.sets):
                    seconds = self.seconds(launch, name)
                    row["ms"][k] += (seconds + gap) * 1e3
                    at[k] += seconds * 1e3
                gaps += gap * 1e3
                count += 1
            for k, name in enumerate(self.sets):
                fused[k] += self.more(op, made, name) * 1e3
        categories["gaps between launches"] = [gaps, gaps]
        total = [sum(r["ms"][k] for r in rows.values()) for k in range(2)]
        return {"ms": total, "launches": count, "rows": rows, "categories": categories, "fused": fused,
                "flops": sum(r["flops"] for r in rows.values()), "floor_ms": sum(r["floor_ms"] for r in rows.values())}


def peak(clock):
    """Operations a second of all tensor cores, by wgmma."""
    return H100["multiprocessors"] * 4 * 512 * 2 * clock


def releases(function):
    """Whether a kernel lets the next one begin before it has ended: griddepcontrol.launch_dependents."""
    return any(i.root == "PREEXIT" for i in function.code)


def waits(function):
    """Whether a kernel may begin before one that lets it has ended: it has griddepcontrol.wait.

    Assumed, never measured: of the 1.2 us the launch itself and the start of the blocks, 0.5 us, are then over; the end of the last blocks
    and of their stores, and the wait's answer, 0.7 us, are not. What a block does before its wait is still counted as its own time."""
    return any(i.root == "ACQBULK" for i in function.code)


def is_conv(launch):
    return launch.kernel.startswith("conv_mma")


def canonical(launch):
    """A convolution on 16x16 images with two columns of blocks in place of one of whole tiles: fewer launches then differ."""
    if not is_conv(launch):
        return launch
    p, columns = launch.parameters[0], 128 if "Li128E" in launch.kernel else 64
    if p.end.k % columns or p.end.rows < launches.TILE_ROWS or p.filter_width not in (1, 3) or p.stride != 1:
        return launch
    q = launches.ConvParams.from_buffer_copy(p)
    q.height = q.width = q.out_width = 16
    q.by_width, q.end.by_pixels = launches.divider(16), launches.divider(256)
    q.across, q.by_across = 2, launches.divider(2)
    q.walk = launches.filter_walk(p.filter_height, p.filter_width, 16, p.pieces)
    q.end.out_pixels, q.end.rows, q.end.k = 256, 64 * 256, 2 * columns
    return launches.Launch(launch.kernel, (2 * 128,), launch.threads, launch.shared, [q], launch.moved)


def guided_steps(steps, sigma_min=0.002, sigma_max=80.0, rho=7.0, time_min=0.01, time_max=1.0, beta_0=0.1, beta_1=20.0):
    """Of EDM's schedule: those whose diffusion time lies where the official program guides."""
    guided = 0
    for i in range(steps):
        root = sigma_max ** (1 / rho) + i / (steps - 1) * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))
        slope = beta_1 - beta_0
        tau = (-beta_0 + math.sqrt(beta_0 ** 2 + 2 * slope * math.log(1 + root ** (2 * rho)))) / slope
        guided += time_min <= tau <= time_max
    return guided


def mean(low_high):
    return sum(low_high) / 2


def of_cases(predictor, graphs, entry):
    """The prediction of an entry of NETWORKS: EDM's sampler, two calls a step but for the last, guided at the first."""
    name, network_case, guide_case, steps, batch = entry
    network = predictor.graph(graphs[network_case], batch)
    guide = predictor.graph(graphs[guide_case], batch) if guide_case else None
    calls, guided = 2 * steps - 1, guided_steps(steps) if guide else 0
    step = [2 * network["ms"][k] + (guide["ms"][k] if guide else 0) for k in range(2)]
    return {"name": name, "batch": batch, "steps": steps, "network_calls": calls, "guide_calls": guided, "network": network, "guide": guide,
            "guided_step_ms": step, "phases": [["network", calls]] + ([["guide", guided]] if guide else [])}


def of_preset(predictor, graphs, entry):
    """The prediction of an entry of PRESETS: what the program says of its networks and of the calls of a run."""
    name, preset, batch = entry
    made, phases, calls = {"network": None, "guide": None}, [], {"network": 0, "guide": 0}
    for graph in graphs[preset]:
        images = min(batch, graph["most"] or batch)
        call = made[graph["graph"]] = predictor.graph(graph, images * graph["rows"])
        calls[graph["graph"]] = graph["calls"]
        phases.append([graph["graph"], graph["calls"] * ceil_div(batch, images)])
        call["images"], call["rows an image"] = images, graph["rows"]
    step = [sum(made[c]["ms"][k] for c in ("network", "guide") if made[c]) for k in range(2)]
    return dict(made, name=name, batch=batch, steps=calls["network"], network_calls=calls["network"], guide_calls=calls["guide"], guided_step_ms=step,
                phases=phases, shares=shares(made["network"], step))


def shares(network, step):
    """Of a step with and without the guide: the linear layers that make the modulation, and pixel norm with the gates."""
    part = lambda of, whole: [of[k] / whole[k] for k in range(2)]
    take = lambda name: network["categories"].get(name, [0.0, 0.0])
    norms = [sum(v) for v in zip(take("pixel norm"), take("gates"), network["fused"])]
    return {name: {"ms": of, "guided": part(of, step), "unguided": part(of, network["ms"])}
            for name, of in (("modulation linears", take("linear layers")), ("pixel norm and gates", norms))}


def predict(functions, graphs, calibration, start=""):
    """The prediction of every network of NETWORKS and PRESETS whose name starts so; graphs: by the name of the case, lists by that of a preset."""
    predictor, out = Predictor(functions, calibration), []
    for entry, of in [(n, of_cases) for n in NETWORKS] + [(n, of_preset) for n in PRESETS]:
        if chosen(entry, start):
            print("predicting %s ..." % entry[0], file=sys.stderr, flush=True)
            p = of(predictor, graphs, entry)
            run = [sum(calls * p[call]["ms"][k] for call, calls in p["phases"]) / 1e3 for k in range(2)]
            out.append(dict(p, images_per_second=[p["batch"] / run[1], p["batch"] / run[0]]))
    return out


def chosen(entry, start):
    """Whether --network means this one: by the start of its name, or of its preset's."""
    return entry[0].startswith(start) or (entry in PRESETS and entry[1].startswith(start))
