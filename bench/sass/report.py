"""report.py -- a prediction of predict.py as text: markdown, and measured rows beside predicted ones. """
from .multiprocessor import CALIBRATED, DEFAULTS
from .predict import H100, mean, peak


def span(low_high, form="%.2f"):
    low, high = (form % v for v in sorted(low_high))
    return low if low == high else "%s..%s" % (low, high)


def call_table(title, call, batch):
    lines = ["", "### %s: %s ms, %.0f us an image (floor: %.0f us); %d launches" % (
        title, span(call["ms"]), 1e3 * mean(call["ms"]) / batch, 1e3 * call["floor_ms"] / batch, call["launches"]), "",
             "| kernels | ms | share | us an image |", "|---|--:|--:|--:|"]
    total = mean(call["ms"])
    for name, ms in sorted(call["categories"].items(), key=lambda item: -mean(item[1])):
        lines.append("| %s | %s | %.1f%% | %.1f |" % (name, span(ms, "%.3f"), 100 * mean(ms) / total, 1e3 * mean(ms) / batch))
    if mean(call["fused"]):
        lines.append("| (gates and norms, within the convolutions) | %s | %.1f%% | %.1f |" % (
            span(call["fused"], "%.3f"), 100 * mean(call["fused"]) / total, 1e3 * mean(call["fused"]) / batch))
    lines += ["", "| op | count | ms | share | TFLOP/s | TB/s | floor, ms | of floor |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for name, r in sorted(call["rows"].items(), key=lambda item: -mean(item[1]["ms"])):
        ms = mean(r["ms"])
        if not ms:
            lines.append("| %s | %d | in another's launch | | | | %.3f | |" % (name, r["count"], r["floor_ms"]))
            continue
        lines.append("| %s | %d | %s | %.1f%% | %s | %.2f | %.3f | %.0f%% |" % (
            name, r["count"], span(r["ms"], "%.3f"), 100 * ms / total, "%.0f" % (r["flops"] / ms * 1e-9) if r["flops"] else "", r["bytes"] / ms * 1e-9,
            r["floor_ms"], 100 * r["floor_ms"] / ms))
    return lines


MOST_LOSSES = 12


def losses(p):
    """The ops that are furthest from their floors in a run."""
    found = [(calls * (mean(r["ms"]) - r["floor_ms"]), calls, call, name, r) for call, calls in p["phases"] for name, r in p[call]["rows"].items()
             if mean(r["ms"])]
    run = sum(calls * mean(p[call]["ms"]) for call, calls in p["phases"])
    lines = ["", "### The largest losses: what ops take more than their floors, in a run", "", "| call | op | lost, us an image | of the run | of floor |",
             "|---|---|--:|--:|--:|"]
    for lost, _, call, name, r in sorted(found, key=lambda f: -f[0])[:MOST_LOSSES]:
        lines.append("| %s | %s | %.0f | %.1f%% | %.0f%% |" % (call, name, 1e3 * lost / p["batch"], 100 * lost / run, 100 * r["floor_ms"] / mean(r["ms"])))
    return lines


CALLS = (("network", "Network call"), ("guide", "Guide call"), ("decoder", "Decoder call"))


def run_table(p):
    """What a run of a batch is, by its phases, and of a preset the shares that are bounded."""
    run = sum(calls * mean(p[call]["ms"]) for call, calls in p["phases"])
    flops = sum(calls * p[call]["flops"] for call, calls in p["phases"]) / p["batch"]
    lines = ["", "| phase | calls of a run | ms a call | seconds | share |", "|---|--:|--:|--:|--:|"]
    for call, calls in p["phases"]:
        ms = p[call]["ms"]
        lines.append("| %s | %d | %s | %s | %.1f%% |" % (call, calls, span(ms), span([calls * v / 1e3 for v in ms]), 100 * calls * mean(ms) / run))
    lines += ["", "%.1f TFLOP an image, %.0f TFLOP/s; %s images/s." % (flops * 1e-12, p["batch"] * flops / run * 1e-9, span(p["images_per_second"], "%.3g"))]
    if "shares" in p:
        lines += ["", "| of the network call | ms | of a step with the guide | without |", "|---|--:|--:|--:|"]
        for name, s in p["shares"].items():
            lines.append("| %s | %s | %s | %s |" % (name, span(s["ms"], "%.3f"), *(span([100 * v for v in s[of]], "%.2f%%") for of in ("guided", "unguided"))))
        lines += ["", "A gate inside a convolution, and what one does of a pixel norm, count as the time that it takes more than the same one without them."]
    return lines


def markdown(predictions, nvcc, calibration):
    lines = ["# Predicted times on an H100, fp16; DiT and its autoencoder bf16", "",
             "**A prediction: nothing here ran on a GPU.** Made by `bench/sass_model.py renew` from the machine code of %s for sm_90a and a model of one" % nvcc,
             "multiprocessor (bench/sass/); 132 of them at %d MHz, 3.0 TB/s of device memory, %.1f us between launches, %.1f us where the next may begin before the end." % (
                 dict(DEFAULTS, **calibration)["clock_under_load_mhz"], H100["launch_us"], H100["dependent_us"]),
             "Calibrated with: %s." % (", ".join("%s %g" % (k, calibration[k]) for k in CALIBRATED if k in calibration)
                                       or "nothing, the defaults of bench/sass/multiprocessor.py"),
             "Two numbers are for a cp.async that costs the shared-memory port 4 and 8 clocks; shares and rates are of their mean. Expect errors of 25%.",
             "An op's floor is the larger of its operations at the rate of wgmma and its bytes at that of a large copy: %.0f TFLOP/s, 3.0 TB/s." % (
                 1e-12 * peak(dict(DEFAULTS, **calibration)["clock_under_load_mhz"] * 1e6)),
             "Names of ops are those of `dg_cuda bench --ops`.", "",
             "| network | batch | network call, ms | guide call, ms | guided step, ms | steps | images/s |", "|---|--:|--:|--:|--:|--:|--:|"]
    for p in predictions:
        lines.append("| %s | %d | %s | %s | %s | %d (%d + %d calls) | %s |" % (
            p["name"], p["batch"], span(p["network"]["ms"], "%.1f"), span(p["guide"]["ms"], "%.1f") if p["guide"] else "",
            span(p["guided_step_ms"], "%.1f"), p["steps"], p["network_calls"], p["guide_calls"], span(p["images_per_second"], "%.3g")))
    for p in predictions:
        lines += ["", "## %s, batch %d" % (p["name"], p["batch"])] + run_table(p) + losses(p)
        for call, title in CALLS:
            if p.get(call):
                images = p[call].get("images", p["batch"])
                of = ", %d images%s" % (images, ", each with and without its class" if p[call]["rows an image"] == 2 else "") if "images" in p[call] else ""
                lines += call_table(title + of, p[call], images)
    return "\n".join(lines) + "\n"


def beside(call, measured):
    """Measured rows of `dg_cuda bench --ops --json` beside a predicted call."""
    lines = ["| op | count | predicted ms | measured ms | measured / predicted |", "|---|--:|--:|--:|--:|"]
    for row in measured:
        name = row["op"].split(" by ")[0]
        ms = call["rows"].get(name, {}).get("ms")
        lines.append("| %s | %d | %s | %.3f | %s |" % (row["op"], row["count"], span(ms, "%.3f") if ms else "", row["ms"],
                                                    "%.2f" % (row["ms"] / mean(ms)) if ms and mean(ms) else "" if ms else "not predicted"))
    return "\n".join(lines) + "\n"
