#!/usr/bin/env python3
"""gpu_report.py -- what this program does on the GPU of this machine: one report, in Markdown and JSON.

  bench/gpu_report.py OUT [--part correctness|speed|all] [--seconds N] [--official PATH] [--build DIR] [--work DIR] [--dry]

For a machine with a GPU and an hour; bench/first_light.sh is for minutes. Both parts are lists of steps. A step is a command with a
time limit; after every step OUT/report.json, OUT/report.md and OUT/report.tgz (the logs) are written anew, so that a run that is cut
off leaves what it had. A part ends in time whatever its steps do: what did not fit is listed as not reached. A test that could not
run, such as one that could not open the device, has failed. --dry goes through the same motions on the CPU at tiny sizes: it tests
this script, not a GPU. Only the standard library is needed; PyTorch, for the peers, is looked for in the python3 on the PATH."""
import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile

NETWORKS = [  # name, network case, guide case, steps, batch sizes, batch of the table of ops
    ("CIFAR-10 32x32", "edm_cifar10_uncond", "disc_cifar10_uncond", 18, [1, 8, 64, 264], 264),
    ("FFHQ 64x64", "edm_ffhq64", "disc_ffhq64", 40, [1, 16, 128], 128),
    ("ImageNet 64x64", "edm_imagenet64", None, 256, [1, 16, 64], 64),
]
DRY_NETWORKS = [("tiny", "../guidance/sample_dg", None, 1, [1, 2], 2)]  # the case has a guide of its own
PRECISIONS = ["fp32", "fp16", "bf16", "tf32"]
PEERS = ["eager", "half", "compile"]  # fp32 with TF32 allowed; channels_last + fp16 autocast; the same, torch.compile


class Report:
    def __init__(self, folder, work):
        self.folder, self.work = folder, work
        self.path = os.path.join(folder, "report.json")
        self.data = {"steps": {}}
        os.makedirs(folder, exist_ok=True)
        os.makedirs(work, exist_ok=True)
        if os.path.exists(self.path):  # the other part, earlier
            with open(self.path) as f:
                self.data = json.load(f)

    def put(self, name, step):
        self.data["steps"][name] = step
        self.write()

    def write(self):
        for path, text in ((self.path, json.dumps(self.data, indent=1)), (os.path.join(self.folder, "report.md"), render(self.data))):
            with open(path + ".new", "w") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.replace(path + ".new", path)
        logs = os.path.join(self.folder, "report.tgz")
        with tarfile.open(logs + ".new", "w:gz") as t:
            t.add(self.work, "report")
        os.replace(logs + ".new", logs)


class Runner:
    def __init__(self, report, part, seconds):
        self.report, self.part, self.end = report, part, time.monotonic() + seconds

    def run(self, name, command, limit, read=None, env=None):
        """Runs a command; records its verdict, its time, and what read(output) makes of it. Returns the record."""
        step = {"part": self.part, "command": " ".join(command), "state": "not reached"}
        left = self.end - time.monotonic()
        if left > 5:
            begin = time.monotonic()
            state, output = run_command(command, min(limit, left), env)
            step.update(state=state, seconds=round(time.monotonic() - begin, 1))
            with open(os.path.join(self.report.work, re.sub(r"[^A-Za-z0-9.]+", "-", name) + ".log"), "w") as f:
                f.write(output)
            try:
                if read and state != "missing":
                    step["result"] = read(output)
            except (ValueError, KeyError, OSError, zipfile.BadZipFile) as e:
                step["result"] = "%s: %s" % (type(e).__name__, e)
                if state == "ok":
                    step["state"] = "failed (unreadable)"
            if read in (read_counts, read_sanitizer) and step["state"] == "ok" and unfinished(step["result"]):
                step["state"] = "failed (not all was run)"
            if step["state"] != "ok":
                step["tail"] = output.strip().splitlines()[-3:]
        self.report.put(name, step)
        print("%-60s %s" % (name, step["state"]), flush=True)
        return step

    def skip(self, name, why):
        self.report.put(name, {"part": self.part, "state": "not run", "result": why})
        print("%-60s not run: %s" % (name, why), flush=True)


def run_command(command, limit, env):
    """(ok | failed (status) | out of time | missing, output). The whole process group ends with the limit."""
    try:
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, errors="replace",
                             start_new_session=True, env=dict(os.environ, **(env or {})))
    except OSError as e:
        return "missing", str(e)
    try:
        output, _ = p.communicate(timeout=limit)
        return ("ok" if p.returncode == 0 else "failed (%d)" % p.returncode), output
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        output, _ = p.communicate()
        return "out of time (%d s)" % limit, output


# ---- what the programs print --------------------------------------------------------------------------------------------------
def read_counts(output):  # tests/check.h
    found = re.findall(r"^(\w+): (\d+) passed, (\d+) failed, (\d+) not run$", output, re.M)
    if not found:
        raise ValueError("no line of counts")
    later = len(re.findall(r"^NOT RUN: .* of kinds that this version does not know$", output, re.M))  # golden cases of a later version
    return {"passed": sum(int(f[1]) for f in found), "failed": sum(int(f[2]) for f in found), "not run": sum(int(f[3]) for f in found) - later}


def unfinished(result):
    """A test that passed what needs no device, and could not open the device, exits with 0."""
    counts = result.get("tests", result) if isinstance(result, dict) else None
    return not counts or counts["not run"] > 0 or counts["passed"] == 0


def read_sanitizer(output):
    found = re.findall(r"ERROR SUMMARY: (\d+) error", output) + re.findall(r"RACECHECK SUMMARY: (\d+) hazard", output)
    if not found:
        raise ValueError("no summary of the sanitizer")
    return {"errors": sum(map(int, found)), "tests": read_counts(output)}


def read_json_line(output):
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ValueError("no line of JSON")
    return json.loads(lines[-1])


def file_reader(path):
    def read(_output):
        with open(path) as f:
            return json.load(f)

    return read


def images_hash(folder):
    """Of the pixels alone: how the archive was packed does not matter."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(os.path.join(folder, "samples.npz")) as z:
        for name in ("arr_0.npy", "seeds.npy"):
            digest.update(z.read(name))
    return digest.hexdigest()


# ---- the parts ----------------------------------------------------------------------------------------------------------------
def environment(r, o):
    r.run("GPU", ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm", "--format=csv,noheader"], 20, lambda t: t.strip())
    r.run("nvcc", ["nvcc", "--version"], 20, lambda t: t.strip().splitlines()[-1] if t.strip() else "")
    r.run("revision", ["git", "rev-parse", "HEAD"], 20, lambda t: t.strip())


def build(r, o, targets):
    if o.dry:
        r.skip("build " + o.part_name, "a dry run takes what is there")
        return True
    jobs = "-j%d" % (os.cpu_count() or 2)
    return r.run("build " + o.part_name, ["make", jobs, "BUILD=" + o.build] + targets, 900)["state"] == "ok"


def primitives(r, o):
    """The hardware judges the PTX. A step of its own: without it the rest can run."""
    if o.dry:
        r.skip("primitives", "no GPU in a dry run")
        return
    gpu = r.report.data["steps"]["GPU"]
    hopper = gpu["state"] == "ok" and ", 9.0," in gpu["result"]
    program = o.build + ("/cuda/prims_test" if hopper else "/cuda/prims_test_80")  # the latter leaves out what 9.0 alone has
    if r.run("build primitives", ["make", "BUILD=" + o.build, program], 120)["state"] == "ok":
        r.run("primitives", [program], 60, read_counts)


def correctness(r, o):
    environment(r, o)
    b, dry = o.build, o.dry
    tests = ["%s/tests/%s" % (b, t) for t in ("test_ops", "test_state", "test_golden", "test_sampler", "test_batch", "test_extremes", "test_posterior")]
    if not build(r, o, ["all"] + tests):
        return
    primitives(r, o)
    device, precisions = ("cpu", ["-"]) if dry else ("cuda", PRECISIONS)
    for p in precisions:
        r.run("ops " + p, [tests[0], device, p] + (["conv1_odd"] if dry else []), 90, read_counts)
    r.run("sampler state", [tests[1], device], 60, read_counts)
    r.run("steps of discrete processes", [tests[6], device], 60, read_counts)
    for p in precisions:
        spec = device if dry else "cuda=" + p
        r.run("golden cases " + p, [tests[2], spec] + (["edm_tiny_adm."] if dry else ["quick", "sample"]), 90, read_counts)
    for p in ("-",) if dry else ("fp32", "fp16"):
        spec = device if dry else "cuda=" + p
        r.run("replayed steps against eager ones " + p, [tests[3], spec] + (["plain"] if dry else []), 90, read_counts)
        r.run("seeds in several batches " + p, [tests[4], spec], 60, read_counts)
        r.run("largest inputs " + p, [tests[5], spec], 60, read_counts)
    for batch in (1, 3, 10) if not dry else (1, 2):
        folder = os.path.join(o.work, "images-batch-%d" % batch)
        shutil.rmtree(folder, ignore_errors=True)
        r.run("images at batch %d" % batch, [b + "/dg_cuda", "generate", "--device", device, "--seeds", "0-9" if not dry else "0-1", "--steps", "18" if not dry else "1",
              "--batch", str(batch), "--format", "npz", "--outdir", folder], 120 if dry else 60, lambda _t, f=folder: images_hash(f))
    if dry:
        r.skip("compute-sanitizer", "no GPU in a dry run")
    for tool in () if dry else ("memcheck", "racecheck", "synccheck"):
        for case in ("conv3_odd", "conv3_residual", "norm_18", "attn_d72", "attn_129"):
            r.run("%s %s" % (tool, case), ["compute-sanitizer", "--tool", tool, tests[0], "cuda", "fp16", case], 60, read_sanitizer)
    for p in [] if dry else ["fp32", "fp16"]:
        r.run("full-size golden cases " + p, [tests[2], "cuda=" + p, "full"], 120, read_counts)


def bench(r, o, title, network, guide, steps, batch, dtype, ops, provider="own"):
    path = os.path.join(o.work, "bench-%s-%d-%s%s.json" % (os.path.basename(network), batch, dtype, ("-guided" if guide else "") + ("" if provider == "own" else "-" + provider)))
    command = [o.build + "/dg_cuda", "bench", "--device", "cpu" if o.dry else "cuda", "--dtype", "auto" if o.dry else dtype, "--batch", str(batch), "--steps", str(steps),
               "--synthetic", "tests/golden/nets/%s.safetensors" % network, "--repeats", "1" if o.dry else "10", "--warmup", "0" if o.dry else "3", "--json", path]
    command += ["--synthetic-guide", "tests/golden/guidance/%s.safetensors" % guide] if guide else []
    command += ["--ops"] if ops else []
    command += ["--runs", "1"] if o.dry or steps <= 40 else []
    command += [] if provider == "own" else ["--provider", provider]
    r.run("%s, batch %d, %s, %s" % (title, batch, dtype, ("guided" if guide else "not guided") + ("" if provider == "own" else ", libraries")), command, 120 if o.dry else 60, file_reader(path))


def peers(r, o, title, network, guide, batch):
    for mode in PEERS:
        command = ["python3", "bench/peers/gpu.py", "--network", "tests/golden/nets/%s.safetensors" % network, "--batch", str(batch), "--mode", mode]
        command += ["--guide", "tests/golden/guidance/%s.safetensors" % guide] if guide else []
        command += ["--device", "cpu", "--repeats", "1"] if o.dry else []
        r.run("PyTorch %s: %s, batch %d" % (mode, title, batch), command, 30 if o.dry else 100, read_json_line)
    if o.official:
        command = ["python3", "bench/peers/gpu.py", "--network", "tests/golden/nets/%s.safetensors" % network, "--batch", str(batch), "--mode", "eager", "--official", o.official]
        r.run("official code: %s, batch %d" % (title, batch), command, 100, read_json_line)


def speed(r, o):
    environment(r, o)
    if not build(r, o, ["all"]):
        return
    if o.dry:
        r.skip("ceilings", "no GPU in a dry run")
    else:
        for name in ("ceilings", "sm_rates"):
            r.run("build " + name, ["make", "BUILD=" + o.build, o.build + "/cuda/" + name], 120)
            r.run(name, [o.build + "/cuda/" + name], 60, read_json_line)
    networks = DRY_NETWORKS if o.dry else NETWORKS
    for title, network, guide, steps, batches, table in networks:  # the figures that matter most first
        bench(r, o, title, network, guide, steps, table, "fp16", True)
        peers(r, o, title, network, guide, table)
        bench(r, o, title, network, guide, steps, table, "fp16", True, provider="auto")
    for title, network, guide, steps, batches, table in networks:
        for batch in batches:
            if guide and batch != table:
                bench(r, o, title, network, guide, steps, batch, "fp16", False)
            bench(r, o, title, network, None, steps, batch, "fp16", False)
        for dtype in () if o.dry else ("bf16", "tf32", "fp32"):
            bench(r, o, title, network, guide, steps, table, dtype, False)


# ---- the report ---------------------------------------------------------------------------------------------------------------
def cell(value, digits=4):
    return "" if value is None else "%.*g" % (digits, value) if isinstance(value, float) else str(value)


def table(head, rows):
    lines = ["| %s |" % " | ".join(head), "|%s" % (" --- |" * len(head))]
    return lines + ["| %s |" % " | ".join(cell(c) for c in row) for row in rows] + [""]


def share(op, ceilings, dtype):
    """The larger of the op's shares of the two measured ceilings."""
    if not ceilings or not ceilings.get("copy_bytes_per_second"):
        return None
    flops = ceilings.get("matmul_%s_flops" % {"bf16": "fp16"}.get(dtype, dtype))
    shares = [op["gflops"] * 1e9 / flops if flops else 0, op["gbytes"] * 1e9 / ceilings["copy_bytes_per_second"]]
    return "%.0f%% of %s" % (100 * max(shares), "matmul" if shares[0] >= shares[1] else "copy")


def image_hashes(steps):
    return {s["result"] for n, s in steps.items() if n.startswith("images at batch") and s["state"] == "ok"}


def render_checks(steps):
    rows = []
    for name, s in steps.items():
        result = s.get("result")
        text = ", ".join("%s %s" % (k, v) for k, v in result.items()) if isinstance(result, dict) else result
        rows.append([name, s["state"], text or " / ".join(s.get("tail", [])), s.get("seconds")])
    hashes = image_hashes(steps)
    lines = table(["check", "state", "result", "s"], rows)
    if hashes:
        lines += ["Images are %s across batch sizes." % ("bit-identical" if len(hashes) == 1 else "NOT identical"), ""]
    return lines


def render_speed(steps):
    lines, rows, peer_rows = [], [], []
    ceilings = steps.get("ceilings", {}).get("result")
    if isinstance(ceilings, dict):
        products = ["%s %.4g TFLOP/s" % (p, ceilings["matmul_%s_flops" % p] / 1e12) for p in ("fp16", "tf32", "fp32") if "matmul_%s_flops" % p in ceilings]
        lines += ["Measured ceilings: copy %.0f GB/s, matrix product %s." % (ceilings["copy_bytes_per_second"] / 1e9, ", ".join(products) or "not measured"), ""]
    else:
        ceilings = None
    rates = steps.get("sm_rates", {}).get("result")
    if isinstance(rates, dict):
        lines += ["Rates of a multiprocessor: %s." % ", ".join("%s %s" % kv for kv in rates.items() if kv[0].count("_") > 1), ""]
    op_lines = []
    for name, s in steps.items():
        result = s.get("result")
        if s["state"] != "ok" or not isinstance(result, dict):
            if s["state"] not in ("ok", "not run", "missing"):
                rows.append([name, s["state"], None, None, None, None])
            continue
        if "network call" in result:
            call, guide = result["network call"], result.get("guide call", {})
            rows.append([name, result.get("run_images_per_second") or result.get("images_per_second"), call["ms"], call["gflops"] / 1e3, guide.get("ms"), guide.get("gflops", 0) / 1e3 or None])
        if "network_ms" in result:
            peer_rows.append([name, result.get("images_per_second"), result["network_ms"], result.get("guide_ms"), result.get("note", "")])
        for key in ("network ops", "guide ops"):
            if key in result:
                op_lines += ["### %s: %s" % (name, key), ""]
                op_lines += table(["op", "count", "ms", "share", "TFLOP/s", "GB/s", "of the ceiling"], [
                    [op["op"], op["count"], op["ms"], "%.1f%%" % (100 * op["share"]), op["gflops"] / 1e3, op["gbytes"], share(op, ceilings, result["dtype"])] for op in result[key]])
    lines += table(["dg_cuda", "images/s", "network ms", "TFLOP/s", "guide ms", "TFLOP/s"], rows)
    if peer_rows:
        lines += table(["peer", "images/s", "network ms", "guide ms", "note"], peer_rows)
    return lines + op_lines


def render(data):
    steps = data["steps"]
    lines = ["# dg_cuda on %s" % (steps["GPU"]["result"] if steps.get("GPU", {}).get("state") == "ok" else "a machine without a GPU"), ""]
    if data.get("dry"):
        lines += ["**Dry run: the CPU at tiny sizes. These are no figures of a GPU.**", ""]
    for part, renderer in (("correctness", render_checks), ("speed", render_speed)):
        own = {n: s for n, s in steps.items() if s["part"] == part}
        if own:
            missing = [n for n, s in own.items() if s["state"] == "not reached"]
            lines += ["## " + part.capitalize(), ""] + renderer(own)
            if missing:
                lines += ["Not reached in the time given: %s." % ", ".join(missing), ""]
    return "\n".join(lines)


def find_libraries():
    """cuDNN, cuBLAS and cuBLASLt where they came with Python's packages."""
    try:
        import nvidia
    except ImportError:
        return
    folders = glob.glob(list(nvidia.__path__)[0] + "/*/lib")
    os.environ["LD_LIBRARY_PATH"] = ":".join(folders + [f for f in [os.environ.get("LD_LIBRARY_PATH")] if f])


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("out")
    a.add_argument("--part", choices=["correctness", "speed", "all"], default="all")
    a.add_argument("--seconds", type=float, default=1800, help="for each part")
    a.add_argument("--official", help="a checkout of the official code, timed as well")
    a.add_argument("--build", default="build")
    a.add_argument("--work", help="for logs and images; default: gpu-report.work in the build folder")
    a.add_argument("--dry", action="store_true")
    o = a.parse_args()
    o.out = os.path.abspath(o.out)
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    o.work = o.work or os.path.join(o.build, "gpu-report.work")
    find_libraries()
    report = Report(o.out, o.work)
    report.data["dry"] = o.dry
    for name, part in (("correctness", correctness), ("speed", speed)):
        if o.part in (name, "all"):
            o.part_name = name
            part(Runner(report, name, o.seconds), o)
    report.write()
    checks = {n: s for n, s in report.data["steps"].items() if s["part"] == "correctness"}
    for n in ("nvcc", "revision") + (("GPU",) if o.dry else ()):
        checks.pop(n, None)
    bad = [n for n, s in checks.items() if s["state"].startswith(("failed", "out of time", "missing", "not reached"))]
    bad += ["images at several batch sizes"] if len(image_hashes(checks)) > 1 else []
    print("%s/report.md; %s" % (o.out, "failed: " + ", ".join(bad) if bad else "no check failed"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
