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

H100 = {"multiprocessors": 132, "memory_bytes_per_s": 3.0e12, "l2_keeps_bytes": 30e6, "launch_us": 1.2}
CP_ASYNC_RANGE = (4, 8)
START = (97,)  # clocks between the first blocks of a multiprocessor
STARTS = (97, 337, 601, 887)  # how the blocks' loops fall into step moves a time by 5%: for the step of a convolution the mean counts
NETWORKS = [  # name, network case, guide case, steps, batch
    ("CIFAR-10 32x32, guided", "edm_cifar10_uncond", "disc_cifar10_uncond", 18, 264),
    ("FFHQ 64x64, guided", "edm_ffhq64", "disc_ffhq64", 40, 128),
    ("ImageNet 64x64", "edm_imagenet64", None, 256, 64),
]
CATEGORIES = [("convolutions", "conv_mma"), ("linear layers", "linear"), ("norm: apply", "norm_apply"), ("norm: gradient, apply", "norm_bwd_apply"),
              ("norm: gradient, partial sums", "norm_bwd_partial"), ("norm: statistics", "norm_"), ("attention", "attn_mma"),
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
        self.known = {}
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
        key = (launch.kernel, launch.parameter_bytes(), start, few, device, is_conv(launch) and parameters["cp_async_port_clocks"])
        if key not in self.known:
            latency = parameters["memory_latency"] if moved else parameters["l2_latency"]
            memory = (parameters["l2_bytes_per_clock_sm"], device, latency)
            run = lambda n: Multiprocessor(parameters, memory).run(traces, n, resident, start)
            self.known[key] = (run(resident) if few > resident else 0, run(few))
        first, more = self.known[key]
        return more if blocks <= few else first + (blocks - resident) * (more - first) / (few - resident)

    def seconds(self, launch, name):
        """Of one launch and the gap before the next."""
        parameters, busiest = self.sets[name], ceil_div(launch.blocks, H100["multiprocessors"])
        moved = launch.moved if launch.moved > H100["l2_keeps_bytes"] else 0
        if launch.longer:
            (short, few_steps), (long, more_steps), steps = launch.longer
            pair = self.steps.setdefault((launch.kernel, launch.parameters[0].filter_width), (canonical(short), canonical(long)))
            few, more = (self.clocks(part, busiest, parameters, 0, STARTS) for part in pair)
            clocks = self.clocks(canonical(short), busiest, parameters, 0) + (more - few) * (steps - few_steps) / (more_steps - few_steps)
        elif is_conv(launch):
            clocks = self.clocks(canonical(launch), busiest, parameters, 0)
        else:
            clocks = self.clocks(launch, busiest, parameters, moved)
        seconds = max(clocks / (parameters["clock_under_load_mhz"] * 1e6), moved / H100["memory_bytes_per_s"])
        return seconds, H100["launch_us"] * 1e-6

    def graph(self, graph, batch):
        """{what: ..., rows: [...], categories: {...}}: milliseconds of a call, [low, high]."""
        rows, categories, gaps, count = {}, {}, 0.0, 0
        for op, made in launches.launches_of(graph, batch):
            row = rows.setdefault(op.describe(), {"count": 0, "ms": [0.0, 0.0], "flops": 0})
            row["count"] += 1
            row["flops"] += op.flops
            for launch in made:
                category = next(c for c, start in CATEGORIES if launch.kernel.startswith(start))
                at = categories.setdefault(category, [0.0, 0.0])
                for k, name in enumerate(self.sets):
                    seconds, gap = self.seconds(launch, name)
                    row["ms"][k] += (seconds + gap) * 1e3
                    at[k] += seconds * 1e3
                gaps += gap * 1e3
                count += 1
        categories["gaps between launches"] = [gaps, gaps]
        total = [sum(r["ms"][k] for r in rows.values()) for k in range(2)]
        return {"ms": total, "launches": count, "rows": rows, "categories": categories, "flops": sum(r["flops"] for r in rows.values())}


def is_conv(launch):
    return launch.kernel.startswith("conv_mma")


def canonical(launch):
    """A convolution on 16x16 images with two columns of blocks in place of one of whole tiles: fewer launches then differ."""
    p, columns = launch.parameters[0], 128 if "Li128E" in launch.kernel else 64
    if p.end.k % columns or p.end.rows < launches.ROWS or p.filter_width not in (1, 3) or p.stride != 1:
        return launch
    q = launches.ConvParams.from_buffer_copy(p)
    q.height = q.width = q.out_width = 16
    q.end.out_pixels, q.end.rows, q.end.k = 256, 64 * 256, 2 * columns
    return launches.Launch(launch.kernel, (128, 2), launch.threads, launch.shared, [q], launch.moved)


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


def predict(functions, graphs, calibration, start=""):
    """The prediction of every network of NETWORKS whose name starts so; graphs: by the name of the case."""
    predictor, out = Predictor(functions, calibration), []
    for name, network_case, guide_case, steps, batch in (n for n in NETWORKS if n[0].startswith(start)):
        print("predicting %s ..." % name, file=sys.stderr, flush=True)
        network = predictor.graph(graphs[network_case], batch)
        guide = predictor.graph(graphs[guide_case], batch) if guide_case else None
        calls, guided = 2 * steps - 1, guided_steps(steps) if guide else 0
        run = [(calls * network["ms"][k] + (guided * guide["ms"][k] if guide else 0)) / 1e3 for k in range(2)]
        step = [2 * network["ms"][k] + (guide["ms"][k] if guide else 0) for k in range(2)]
        out.append({"name": name, "batch": batch, "steps": steps, "network_calls": calls, "guide_calls": guided, "network": network, "guide": guide,
                    "guided_step_ms": step, "images_per_second": [batch / run[1], batch / run[0]]})
    return out


# ---- text ---------------------------------------------------------------------------------------------------------------------------
def span(low_high, form="%.2f"):
    low, high = (form % v for v in sorted(low_high))
    return low if low == high else "%s..%s" % (low, high)


def call_table(title, call, batch):
    peak = 132 * 4 * 512 * 2 * DEFAULTS["clock_under_load_mhz"] * 1e6
    lines = ["", "### %s: %s ms, %.0f us an image; %d launches" % (title, span(call["ms"]), 1e3 * mean(call["ms"]) / batch, call["launches"]), "",
             "| kernels | ms | share | us an image |", "|---|--:|--:|--:|"]
    total = mean(call["ms"])
    for name, ms in sorted(call["categories"].items(), key=lambda item: -mean(item[1])):
        lines.append("| %s | %s | %.1f%% | %.1f |" % (name, span(ms, "%.3f"), 100 * mean(ms) / total, 1e3 * mean(ms) / batch))
    lines += ["", "| op | count | ms | share | TFLOP/s | of peak |", "|---|--:|--:|--:|--:|--:|"]
    for name, r in sorted(call["rows"].items(), key=lambda item: -mean(item[1]["ms"])):
        rate = r["flops"] / (mean(r["ms"]) * 1e-3)
        lines.append("| %s | %d | %s | %.1f%% | %s | %s |" % (name, r["count"], span(r["ms"], "%.3f"), 100 * mean(r["ms"]) / total,
                                                          "%.0f" % (rate * 1e-12) if r["flops"] else "", "%.0f%%" % (100 * rate / peak) if r["flops"] else ""))
    return lines


def markdown(predictions, nvcc, calibration):
    lines = ["# Predicted times on an H100, fp16", "",
             "**A prediction: nothing here ran on a GPU.** Made by `bench/sass_model.py renew` from the machine code of %s for sm_90a and a model of one" % nvcc,
             "multiprocessor (bench/sass/); 132 of them at %d MHz, 3.0 TB/s of device memory, %.1f us between launches." % (
                 dict(DEFAULTS, **calibration)["clock_under_load_mhz"], H100["launch_us"]),
             "Calibrated with: %s." % (", ".join("%s %g" % (k, calibration[k]) for k in CALIBRATED if k in calibration)
                                       or "nothing, the defaults of bench/sass/multiprocessor.py"),
             "Two numbers are for a cp.async that costs the shared-memory port 4 and 8 clocks; shares and rates are of their mean. Expect errors of 25%.",
             "Names of ops are those of `dg_cuda bench --ops`.", "",
             "| network | batch | network call, ms | guide call, ms | guided step, ms | steps | images/s |", "|---|--:|--:|--:|--:|--:|--:|"]
    for p in predictions:
        lines.append("| %s | %d | %s | %s | %s | %d (%d + %d calls) | %s |" % (
            p["name"], p["batch"], span(p["network"]["ms"], "%.1f"), span(p["guide"]["ms"], "%.1f") if p["guide"] else "",
            span(p["guided_step_ms"], "%.1f"), p["steps"], p["network_calls"], p["guide_calls"], span(p["images_per_second"], "%.3g")))
    for p in predictions:
        lines += ["", "## %s, batch %d" % (p["name"], p["batch"])] + call_table("Network call", p["network"], p["batch"])
        if p["guide"]:
            lines += call_table("Guide call", p["guide"], p["batch"])
    return "\n".join(lines) + "\n"


def beside(call, measured):
    """Measured rows of `dg_cuda bench --ops --json` beside a predicted call."""
    lines = ["| op | count | predicted ms | measured ms | measured / predicted |", "|---|--:|--:|--:|--:|"]
    for row in measured:
        name = row["op"].split(" by ")[0]
        ms = call["rows"].get(name, {}).get("ms")
        lines.append("| %s | %d | %s | %.3f | %s |" % (row["op"], row["count"], span(ms, "%.3f") if ms else "", row["ms"],
                                                    "%.2f" % (row["ms"] / mean(ms)) if ms else "not predicted"))
    return "\n".join(lines) + "\n"
