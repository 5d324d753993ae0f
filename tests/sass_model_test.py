"""sass_model_test.py -- the model of bench/sass against machine code whose figures are known by hand. Needs neither nvcc nor a GPU.
tests/test_sass_model.sh runs it."""
import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
from sass import counts, decode, launches, machine, multiprocessor, operands, predict, report  # noqa: E402

passed = failed = 0


def check(what, found, wanted):
    global passed, failed
    if found == wanted:
        passed += 1
    else:
        failed += 1
        print("FAIL %s: %r, want %r" % (what, found, wanted))


def near(what, found, wanted, part):
    check("%s (%g, want %g within %g%%)" % (what, found, wanted, 100 * part), abs(found - wanted) <= part * wanted, True)


def refused(what, action, words):
    try:
        action()
        check(what, "nothing is refused", words)
    except decode.Unreadable as e:
        check("%s: %s" % (what, e), words in str(e), True)


def probe():
    with open(os.path.join(ROOT, "tests", "data", "probe.sass")) as f:
        text = f.read()
    functions = decode.parse(text)
    decode.add_usage(functions, text)
    return functions["_Z5probePKfPfiii"], text


def run_probe(function, n, m, extra, threads=32):
    parameters = (1 << 32).to_bytes(8, "little") + (2 << 32).to_bytes(8, "little") + b"".join(v.to_bytes(4, "little") for v in (n, m, extra))
    return machine.Block(function, parameters, (0, 0, 0), threads).traces()


def of_root(trace, root):
    return [i for i in trace if i.instruction.root == root]


def test_decoder():
    f, text = probe()
    check("instructions", len(f.code), 88)
    check("usage", (f.registers, f.shared, f.local, f.constant_bytes), (16, 5248, 0, 556))
    control = lambda at: (lambda i: (i.stall, i.write, i.read, i.wait))(f.code[f.at[at]])
    check("LDC R0 sets scoreboard 0", control(0x10), (1, 0, 7, 0))
    check("IABS R2 waits for it, and stalls 4", control(0x80), (4, 7, 7, 1))
    check("LDG sets 2 by its result, 0 by its operands", control(0x240), (1, 2, 0, 0))
    check("FADD waits for 2", control(0x290), (6, 7, 7, 4))
    branch = f.code[f.at[0x2A0]]
    check("a guarded branch back", (branch.guard, branch.root, branch.target()), (("P2", True), "BRA", 0x230))
    check("operands without .reuse", f.code[f.at[0xB0]].operands, ["P2", "PT", "R3", "UR4", "PT"])
    refused("an instruction without its second word", lambda: decode.parse(re.sub(r"\n +/\* 0x000ff20003800000 \*/", "", text)), "no control codes at 0x1d0")


def test_machine():
    f, _ = probe()
    trace = run_probe(f, 320, 3, 5)[0]
    loads = of_root(trace, "LDG")
    check("10 turns of the loop, 128 bytes each", [i.memory for i in loads], [operands.Memory(1, 128, 0)] * 10)
    stores = [i.memory.wavefronts for i in of_root(trace, "STS")]
    check("5 stores of the lanes that part, and one with 32 lanes in a bank", stores, [1] * 5 + [32])
    check("a diagonal has no conflict", [i.memory.wavefronts for i in of_root(trace, "LDS")], [1])
    check("threads 0 to 31 divided by 3 are 11 numbers", of_root(trace, "STG")[0].memory.written, 11 * 32)
    check("divided by 7: 5 numbers", of_root(run_probe(f, 320, 7, 0)[0], "STG")[0].memory.written, 5 * 32)
    check("lanes 0 to 19 of 32 make a last turn", len(of_root(run_probe(f, 84, 3, 0)[0], "LDG")), 3)
    check("one turn more is 8 instructions", len(run_probe(f, 352, 3, 5)[0]) - len(trace), 8)
    check("turns that only some lanes make are counted once", len(run_probe(f, 320, 3, 6)[0]) - len(trace), 5)
    check("two warps of 64 threads", [len(of_root(t, "LDG")) for t in run_probe(f, 320, 3, 5, 64)], [10, 9])
    check("what was read is not read again", [i.memory.read for i in of_root(run_probe(f, 320, 3, 5, 64)[1], "LDG")], [0] * 9)
    parted = ["S2R R0, SR_TID.X", "ISETP.LT.AND P0, PT, R0, 0x8, PT", "BSSY B0, 0x80", "@P0 BRA 0x60", "MOV R1, 0x1", "BRA 0x70", "MOV R1, 0x2",
              "BSYNC B0", "EXIT"]
    run = lambda lines: [i.instruction.text for i in machine.Block(function_of(lines), b"", (0, 0, 0), 32).traces()[0]]
    check("lanes that part at a branch meet again", run(parted), parted[:6] + ["BSYNC B0", "MOV R1, 0x2", "BSYNC B0", "EXIT"])
    bits = ["S2R R0, SR_LANEID", "R2P PR, R0, 0x6", "@P1 EXIT", "@P2 EXIT", "NOP", "@P2 MOV R1, 0x1", "EXIT"]
    machine_of = lambda lines: machine.Block(function_of(lines), b"", (0, 0, 0), 32).traces()[0]
    check("bits 1 and 2 of a register become predicates: lanes whose bits are 0 are left", len(machine_of(bits)), len(bits))
    check("some leave, the others go on", run(parted[:5] + ["EXIT"] + parted[6:]), parted[:5] + ["EXIT", "MOV R1, 0x2", "BSYNC B0", "EXIT"])
    stray = decode.Instruction(0, "FROB R1, R2")
    stray.set_control(0)
    f.code.append(stray)
    f.finish()
    if hasattr(f, "compiled"):
        del f.compiled
    refused("an unknown instruction", lambda: run_probe(f, 32, 1, 0), "FROB R1, R2")


def made_up(lines):
    """Instructions from (text, stall, write, wait)."""
    out = []
    for k, (text, stall, write, wait) in enumerate(lines):
        i = decode.Instruction(16 * k, text)
        i.stall, i.write, i.read, i.wait = stall, write, decode.NONE, wait
        out.append(i)
    return out


def function_of(lines):
    function = decode.Function("made up")
    function.code = made_up([(text, 1, decode.NONE, 0) for text in lines])
    function.finish()
    return function


def clocks(traces, blocks=1, resident=1, **changes):
    parameters = dict(multiprocessor.DEFAULTS, **changes)
    return multiprocessor.Multiprocessor(parameters, (32.0, None, 700)).run(traces, blocks, resident)


def test_multiprocessor():
    hmma, ldsm, add, barrier, end = made_up([("HMMA.16816.F32 R0, R4, R8, R0", 1, 7, 0), ("LDSM.16.M88.4 R0, [R4]", 1, 7, 0),
                                             ("FADD R0, R1, R2", 4, 7, 0), ("BAR.SYNC.DEFER_BLOCKING 0x0", 1, 7, 0), ("EXIT", 5, 7, 0)])
    issue = lambda i, memory=None: machine.Issue(i, False, memory)
    last, turn = issue(end), operands.Memory(4, 0, 0)
    near("HMMAs of one warp come every 6 clocks", clocks([[issue(hmma)] * 200 + [last]]), 1200, 0.02)
    near("of two warps of a quarter too", clocks([[issue(hmma)] * 100 + [last]] * 5), 1200, 0.02)
    near("of four quarters side by side", clocks([[issue(hmma)] * 200 + [last]] * 4), 1200, 0.02)
    near("at the interval that was measured", clocks([[issue(hmma)] * 200 + [last]], hmma_interval_clocks=4), 800, 0.02)
    near("all quarters share the shared-memory port", clocks([[issue(ldsm, turn)] * 100 + [last]] * 4), 1600, 0.05)
    near("a stall count is kept", clocks([[issue(add)] * 100 + [last]]), 400, 0.02)
    near("barriers wait for the slowest", clocks([[issue(add)] * 100 + [issue(barrier), last], [issue(barrier)] + [issue(add)] * 100 + [last]]), 800, 0.05)
    near("blocks one after the other", clocks([[issue(add)] * 100 + [last]], 4, 1, block_start=0), 1600, 0.05)
    near("or at once", clocks([[issue(add)] * 100 + [last]], 4, 4), 400 + 3 * 97, 0.05)
    load, use = made_up([("LDG.E R0, desc[UR4][R2.64]", 1, 0, 0), ("FADD R0, R1, R2", 4, 7, 1)])
    near("a load's result is waited for", clocks([[issue(load, operands.Memory(1, 128, 0)), issue(use), last]]), 710, 0.02)
    near("loads share the rate of L2", clocks([[issue(load, operands.Memory(4, 512, 0))] * 100 + [issue(use), last]]), 1600 + 700, 0.02)
    copy, commit, wait = made_up([("LDGSTS.E.BYPASS.LTC128B.128 [R1], desc[UR4][R2.64]", 1, 7, 0), ("LDGDEPBAR", 1, 0, 0), ("DEPBAR.LE SB0, 0x0", 1, 7, 1)])
    near("asynchronous copies are waited for", clocks([[issue(copy, operands.Memory(4, 512, 0)), issue(commit), issue(wait), last]]), 725, 0.03)


def test_launches():
    run = counts.only_launches(counts.conv(3, 256, 256, 32))[0]
    check("a convolution's grid", (run.kernel, run.grid, run.shared), ("conv_mma_kernelI6__halfLi128ELb1E", (1024, 1, 1), 49152))
    check("its parameters", len(run.parameter_bytes()), 128)
    few, many = (launches.linear(launches.Op(g, g["ops"][0], n))[0] for g in [counts.linear(256, 512)] for n in (15, 16))
    check("linear layers on 15 and on 16 vectors", (few.kernel, few.grid, many.kernel, many.grid),
          ("linear_few_kernel", (64, 2, 1), "linear_many_kernelILb1E", (32, 1, 1)))
    check("72 steps are reckoned from 18 and 36", [run.longer[0][1], run.longer[1][1], run.longer[2]], [18, 36, 72])
    check("a guided run of CIFAR-10 asks the guide 15 times", predict.guided_steps(18), 15)
    old = [{"case": "a", "kernel": "k", **dict.fromkeys(counts.WATCHED, 10)}]
    check("nothing changed", counts.compare(old, old), [])
    worse, better = dict(old[0], issued=11), dict(old[0], port=9)
    check("a loop that got longer is worse", [w for _, w in counts.compare(old, [worse])], [True])
    check("a port with less to do is better", [w for _, w in counts.compare(old, [better])], [False])
    check("a kernel that is gone is worse", [w for _, w in counts.compare(old, [])], [True])
    low, high = predict.parameter_sets({}).values()
    check("without a calibration two costs of cp.async", (low["cp_async_port_clocks"], high["cp_async_port_clocks"]), (4, 8))
    low, high = predict.parameter_sets({"cp_async_port_clocks": 5, "clock_under_load_mhz": 1600}).values()
    check("with one it is taken", (low == high, low["clock_under_load_mhz"]), (True, 1600))


def test_bf16_and_wide_heads():
    run = counts.only_launches(counts.conv(1, 1152, 4608, 16, False, False, act="gelu_tanh"))[0]
    in_bf16 = counts.conv(1, 1152, 4608, 16, False, False, act="gelu_tanh")
    for t in in_bf16["tensors"]:
        t[4] = t[4].replace("fp16", "bf16")
    check("a convolution in bf16", counts.only_launches(in_bf16)[0].kernel, run.kernel.replace("6__half", "13__nv_bfloat16"))
    wide = counts.only_launches(counts.attention("attn", 1, 512, 1024))[0]
    check("a head of 512: 2 halves of its channels, 64 queries a block", (wide.kernel, wide.grid, wide.shared), ("attn_f32_kernelILi4ELi4E", (1024, 1, 2), 33792))
    check("its 16 blocks of keys are reckoned from 1 and 2", [(part.parameters[0].tokens, steps) for part, steps in wide.longer[:2]] + [wide.longer[2]],
          [(64, 1), (128, 2), 16])
    many = launches.linear(launches.Op(counts.linear(1152, 6912), counts.linear(1152, 6912)["ops"][0], 132))[0]
    check("132 vectors are two whole tiles, and one of 4", [(part.grid, part.parameters[0].n) for part in many.parts], [((432, 2, 1), 128), ((432, 1, 1), 4)])


class FakePredictor:
    """Calls of 10 and 20 ms for each row; a launch takes a second for each block, two of them where a gate is read."""
    sets = {"low": {}, "high": {}}

    def graph(self, graph, rows):
        return {"ms": [10.0 * rows, 20.0 * rows], "flops": 1e12 * rows, "categories": {"linear layers": [2.0, 3.0], "pixel norm": [1.0, 1.0]},
                "fused gates": [0.5, 1.0], "rows": {}, "launches": 1}

    def seconds(self, launch, name):
        return launch.blocks * (2.0 if launch.parameters[0].end.gate else 1.0), 0.0


def test_preset():
    call = lambda name, rows, calls, most: {"graph": name, "rows": rows, "calls": calls, "most": most}
    graphs = {"p": [call("network", 2, 250, 0), call("guide", 1, 224, 0), call("decoder", 1, 1, 4)]}
    p = predict.of_preset(FakePredictor(), graphs, ("a preset", "p", 10))
    check("each call with its rows", [p[c]["ms"][0] for c in ("network", "guide", "decoder")], [200.0, 100.0, 40.0])
    check("a run of 10 images decodes 4 at a time", p["phases"], [["network", 250], ["guide", 224], ["decoder", 3]])
    check("a guided step is both calls", p["guided_step_ms"], [300.0, 600.0])
    check("shares of a step with and without the guide", [p["shares"]["modulation linears"][k][0] for k in ("guided", "unguided")], [2 / 300, 2 / 200])
    check("gates in convolutions count with pixel norm", p["shares"]["pixel norm and gates"]["ms"], [1.5, 2.0])
    p["images_per_second"] = [1.0, 2.0]
    text = report.markdown([p], "nvcc", {})
    check("its text has the phases and the shares", [line in text for line in (
        "| decoder | 3 | 40.00..80.00 | 0.12..0.24 | 0.2% |", "| modulation linears | 2.000..3.000 | 0.50%..0.67% | 0.75%..1.00% |",
        "### Network call, 10 images, each with and without its class: 200.00..400.00 ms, 30000 us an image; 1 launches")], [True] * 3)
    gated = counts.conv(1, 1152, 1152, 16, stats=False, gate=True)
    op, made = launches.launches_of(gated, 4)[0]
    check("a gate costs what the convolution without it does not", predict.Predictor.gate(FakePredictor(), op, made, "low"), 8 * 9)
    check("and is still in the op", op.inputs[4] is not None, True)
    check("a name or its preset's start", [predict.chosen(predict.PRESETS[0], s) for s in ("dit", "ImageNet 256", "", "vae")], [True, True, True, False])


def test_op_list():
    """What the program says of a preset; where the lister has been built."""
    lister = os.path.join(ROOT, os.environ.get("BUILD", "build"), "bench", "op_list")
    if not os.access(lister, os.X_OK):
        print("NOT RUN: no %s" % lister)
        return 1
    done = subprocess.run([lister, "bf16", "--preset", "dit-xl-2-256-dg"], capture_output=True, text=True, cwd=ROOT)
    graphs = json.loads(done.stdout)
    check("rows and calls of DiT-XL/2-G++", [(g["graph"], g["rows"], g["calls"], g["most"]) for g in graphs],
          [("network", 2, 250, 0), ("guide", 1, 224, 0), ("decoder", 1, 1, 4)])
    flops = [sum(op["flops"] for op in g["ops"]) * 1e-9 for g in graphs]
    near("GFLOP of the network", flops[0], 237.24, 1e-4)
    near("of the decoder", flops[2], 622.19, 1e-4)
    streams = [op for op in graphs[0]["ops"] if op["kind"] == "pixel_norm"]
    check("57 norms of an f32 stream, written in bf16", {(graphs[0]["tensors"][op["in"][0]][4], graphs[0]["tensors"][op["out"]][4]) for op in streams} |
          {len(streams)}, {("fp32", "bf16"), 57})
    known = [op["kind"] in launches.MAKERS or op["kind"] in ("norm", "norm_bwd") for g in graphs for op in g["ops"]]
    check("every op of it is known", all(known), True)
    refused_by = subprocess.run([lister, "bf16", "--preset", "edm-cifar10"], capture_output=True, text=True, cwd=ROOT)
    check("a preset without networks is refused", (refused_by.returncode, refused_by.stderr), (1, "op_list: edm-cifar10: a preset that does not say its networks\n"))
    return 0


def test_program():
    model = os.path.join(ROOT, "bench", "sass_model.py")
    done = subprocess.run([sys.executable, model, "check"], env=dict(os.environ, NVCC="/nonexistent/nvcc"), capture_output=True, text=True)
    check("without nvcc nothing is told, in a sentence", (done.returncode, done.stdout), (3, "cannot be told: no nvcc\n"))


    import sass_model
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "first.json")

        def calibrated(text):
            with open(path, "w") as f:
                f.write(text)
            try:
                return sass_model.read_calibration(path)
            except sass_model.Missing as e:
                return str(e).replace(path, "F")
        check("measured values are found anywhere", calibrated('{"rates": [{"hmma_interval_clocks": 6.1}], "clock_under_load_mhz": 1600, "x": 1}'),
              {"hmma_interval_clocks": 6.1, "clock_under_load_mhz": 1600})
        check("no number is refused", calibrated('{"ldmatrix_x4_clocks": NaN}'), "F: ldmatrix_x4_clocks is nan, want a positive number")
        check("nor is a file without any of them taken", calibrated("{}")[:26], "F: holds none of hmma_inte")


not_run = 0
for test in (test_decoder, test_machine, test_multiprocessor, test_launches, test_bf16_and_wide_heads, test_preset, test_op_list, test_program):
    not_run += test() or 0
print("test_sass_model: %d passed, %d failed, %d not run" % (passed, failed, not_run))
sys.exit(failed > 0)
