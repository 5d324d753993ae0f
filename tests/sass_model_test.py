"""sass_model_test.py -- the model of bench/sass against machine code whose figures are known by hand. Needs neither nvcc nor a GPU.
tests/test_sass_model.sh runs it."""
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
from types import SimpleNamespace

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench"))
from sass import chunks, counts, decode, launches, machine, multiprocessor, operands, predict, report, wgmma, wgmma_attention  # noqa: E402

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


def probe(name="probe"):
    with open(os.path.join(ROOT, "tests", "data", name + ".sass")) as f:
        text = f.read()
    functions = decode.parse(text)
    decode.add_usage(functions, text)
    return next(iter(functions.values())), text


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
    met = issue(barrier, operands.Memory(0, 0, 0))
    near("barriers wait for the slowest", clocks([[issue(add)] * 100 + [met, last], [met] + [issue(add)] * 100 + [last]]), 800, 0.05)
    near("but not where a guard keeps them from being executed", clocks([[issue(add)] * 100 + [issue(barrier), last]] * 2 + [[last]]), 400, 0.05)
    near("blocks one after the other", clocks([[issue(add)] * 100 + [last]], 4, 1, block_start=0), 1600, 0.05)
    near("or at once", clocks([[issue(add)] * 100 + [last]], 4, 4), 400 + 3 * 97, 0.05)
    load, use = made_up([("LDG.E R0, desc[UR4][R2.64]", 1, 0, 0), ("FADD R0, R1, R2", 4, 7, 1)])
    near("a load's result is waited for", clocks([[issue(load, operands.Memory(1, 128, 0)), issue(use), last]]), 710, 0.02)
    near("loads share the rate of L2", clocks([[issue(load, operands.Memory(4, 512, 0))] * 100 + [issue(use), last]]), 1600 + 700, 0.02)
    copy, commit, wait = made_up([("LDGSTS.E.BYPASS.LTC128B.128 [R1], desc[UR4][R2.64]", 1, 7, 0), ("LDGDEPBAR", 1, 0, 0), ("DEPBAR.LE SB0, 0x0", 1, 7, 1)])
    near("asynchronous copies are waited for", clocks([[issue(copy, operands.Memory(4, 512, 0)), issue(commit), issue(wait), last]]), 725, 0.03)


def hopper_traces(steps, turns, grid=1):
    f, _ = probe("probe_sm90")
    numbers = launches.structure("ProbeParams", launches.ints("steps", "turns"))(steps=steps, turns=turns)
    launch = launches.Launch("probe", (grid,), 384, 82048, [wgmma.tensor_map(64, 128), wgmma.tensor_map(64, 64), numbers], 0)
    launch.check_parameters(f)
    return machine.Block(f, launch.parameter_bytes(), (0, 0, 0), 384, launch.grid).traces()


def test_hopper_machine():
    traces = hopper_traces(3, 2)
    roots = lambda trace, root: of_root(trace, root)
    check("a producer's 2 boxes of each of 6 steps, of 16 KB, to two barriers", [(i.memory.read, i.memory.wavefronts, i.memory.sync.at & 15)
          for i in roots(traces[0], "UTMALDG")], [(16384, 128, 0), (16384, 128, 0), (16384, 128, 8), (16384, 128, 8)] * 3)
    waits = [i.memory.sync for i in roots(traces[0], "SYNCS") if i.memory and i.memory.sync.kind == "wait"]
    check("it waits for the phases in which stages become free", [s.count for s in waits], [1, 1, 0, 0, 1, 1])
    begun = [i.memory.sync for i in roots(traces[0], "SYNCS") if i.memory and i.memory.sync.kind == "begin"]
    check("barriers of 1 and of 8 arrivals begin in the first thread", sorted(s.count for s in begun), [1, 1, 8, 8])
    check("other warps of the producer's do nothing", [len(roots(t, "SYNCS")) for t in traces[1:4]], [0] * 3)
    check("8 warps multiply, 4 times a step", [len([i for i in roots(t, "HGMMA") if i.memory]) for t in traces], [0] * 4 + [24] * 8)
    product = roots(traces[4], "HGMMA")[0].memory
    check("m64n128k16: 64 clocks, 48 wavefronts for four warps", (product.sync.count, product.wavefronts), (64, 12))
    check("the fourth of each step ends its group", [bool(i.memory.sync.size) for i in roots(traces[4], "HGMMA")], ([False] * 3 + [True]) * 6)
    arrives = [i.memory.sync for i in roots(traces[5], "SYNCS") if i.memory and i.memory.sync.kind == "arrive"]
    check("a consumer's warps arrive by one lane", [(s.count, s.size) for s in arrives], [(1, 0)] * 6)
    check("a producer's arrival expects its boxes", [(i.memory.sync.count, i.memory.sync.size) for i in roots(traces[0], "SYNCS")
          if i.memory and i.memory.sync.kind == "arrive"], [(1, 32768)] * 6)
    check("one thread of a group stores 8 KB, once a turn", [[i.memory.written for i in roots(t, "UTMASTG") if i.memory] for t in traces[4:]],
          ([[8192, 8192]] + [[]] * 3) * 2)
    barriers = [{(i.memory.sync.at, i.memory.sync.count) for i in roots(t, "BAR") if i.memory and i.memory.sync} for t in traces[4:]]
    check("groups have barriers of their own", barriers, [{(1, 128)}] * 4 + [{(2, 128)}] * 4)
    check("lanes that have parted meet at WARPSYNC", [len(roots(t, "BAR")) for t in traces[4:]], [5] * 8)
    check("blocks of a larger grid make fewer turns", len(of_root(hopper_traces(3, 2, 2)[0], "UTMALDG")), 6)
    run = lambda lines: machine.Block(function_of(lines), b"", (0, 0, 0), 32).traces()[0]
    vote = lambda first: run(["S2R R0, SR_LANEID", "ISETP.LT.AND P0, PT, R0, %s, PT" % first, "VOTEU.ANY UP0, P0", "USEL UR4, 0x80, 0x0, UP0",
                              "IMAD R1, R0, UR4, RZ", "STSM.16.M88.4 [R1], R4", "EXIT"])
    check("STSM: rows in the same banks if there is a lane below 1, else in one place", [of_root(vote(n), "STSM")[0].memory.wavefronts for n in ("0x1", "0x0")],
          [32, 4])
    bars = run(["S2R R0, SR_LANEID", "ISETP.LT.AND P0, PT, R0, 0x0, PT", "@P0 BAR.SYNC.DEFER_BLOCKING 0x0", "@!P0 BAR.SYNC.DEFER_BLOCKING 0x0", "EXIT"])
    check("a barrier's guard", [bool(i.memory) for i in of_root(bars, "BAR")], [False, True])
    far = run(["MOV R1, 0x1000040", "S2R R0, SR_LANEID", "ISETP.LT.AND P0, PT, R0, 0x2, PT", "@P0 SYNCS.ARRIVE.TRANS64.RED.A1T0 RZ, [R1], RZ", "EXIT"])
    check("arrivals in both blocks of a cluster are two in this one", (far[3].memory.sync.at, far[3].memory.sync.count), (64, 2))
    shared = machine.Block(function_of(["ULDC.64 UR4, c[0x0][0x198]", "UMOV UR8, 0x400", "UMOV UR9, 0x1000040", "UMOV UR6, 0x30000",
                                        "UTMALDG.3D.MULTICAST [UR8], [UR4], UR6", "EXIT"]), bytes(wgmma.tensor_map(64, 128)), (0, 0, 0), 32)
    check("a box for both blocks: read once, written here with the other's", shared.traces()[0][4].memory,
          operands.Memory(256, 16384, 0, operands.Sync("load", 64, 0, 32768)))
    one = run(["ELECT P0, URZ, PT", "@P0 SYNCS.ARRIVE.TRANS64 RZ, [R1], R0", "EXIT"])
    check("one lane is elected", one[1].memory.sync.count, 1)
    met = run(["S2R R0, SR_TID.X", "ISETP.LT.AND P0, PT, R0, 0x8, PT", "@P0 BRA 0x40", "MOV R1, 0x1", "WARPSYNC.ALL", "NOP", "EXIT"])
    check("lanes that part meet there, and are one warp again", [i.instruction.root for i in met[3:]], ["MOV", "WARPSYNC", "WARPSYNC", "NOP", "EXIT"])
    tallies = [counts.tally(t) for t in traces]
    total, workers, working = counts.block_tally(tallies)
    check("8 of 12 warps work", (working, workers["hgmma"], workers["issued"] < total["issued"], workers["tensor"] / 4), (8, 192, True, 2 * 24 * 64))


def test_hopper_multiprocessor():
    sync = lambda kind, at, count, size, wavefronts=1, read=0: operands.Memory(wavefronts, read, 0, operands.Sync(kind, at, count, size))
    product, last, box, wait, arrive, begin, add, end, depbar, bar, arv = made_up([
        ("HGMMA.64x256x16.F32 R24, gdesc[UR8], R24", 1, 7, 0), ("HGMMA.64x256x16.F32 R24, gdesc[UR8], R24, gsb0", 1, 7, 0),
        ("UTMALDG.2D [UR8], [UR4]", 1, 7, 0), ("SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R1], R0", 1, 0, 0), ("SYNCS.ARRIVE.TRANS64 RZ, [R1], R0", 1, 7, 0),
        ("SYNCS.EXCH.64 URZ, [R1], UR4", 1, 7, 0), ("FADD R0, R1, R2", 4, 7, 0), ("EXIT", 5, 7, 0), ("WARPGROUP.DEPBAR.LE gsb0, 0x0", 1, 7, 0),
        ("BAR.SYNC R0, 0x40", 1, 7, 0), ("BAR.ARV R0, 0x40", 1, 7, 0)])
    issue = lambda i, memory=None: machine.Issue(i, False, memory)
    of = lambda n, ends: sync("product", None, n / 2, ends, (16 + n / 4) / 4)
    products = lambda n, count: [issue(product, of(n, False))] * (count - 1) + [issue(last, of(n, True)), issue(depbar), issue(end)]
    near("products of a warpgroup take its tensor cores", clocks([products(256, 20)] * 4), 20 * 128, 0.03)
    near("two warpgroups share them", clocks([products(256, 20)] * 8), 40 * 128, 0.03)
    near("of 32 columns they wait for the port: 24 wavefronts", clocks([products(32, 20)] * 4), 20 * 24, 0.15)
    begun = [issue(begin, sync("begin", 64, 1, 0)), issue(arrive, sync("arrive", 64, 1, 65536))]
    loaded = begun + [issue(box, sync("load", 64, 0, 32768, 256, 32768))] * 2 + [issue(wait, sync("wait", 64, 0, 0)), issue(end)]
    near("a barrier waits for its boxes: 64 KB at 32 bytes a clock, and their latencies", clocks([loaded]), 2048 + 700 + 170, 0.03)
    both = begun + [issue(box, sync("load", 64, 0, 65536, 512, 32768)), issue(wait, sync("wait", 64, 0, 0)), issue(end)]
    near("what other blocks of a cluster load comes from them", clocks([both]), 1024 + 700 + 170, 0.03)
    near("and lets those through who come later", clocks([loaded, [issue(add)] * 1000 + [issue(wait, sync("wait", 64, 0, 0)), issue(end)]]), 4000, 0.03)
    refused("a barrier that nobody arrives at", lambda: clocks([begun[:1] + [issue(wait, sync("wait", 64, 0, 0)), issue(end)]]), "stands still")
    meet = sync("barrier", 3, 64, True, 0)
    slow, fast = [issue(add)] * 100 + [issue(bar, meet), issue(end)], [issue(bar, meet)] + [issue(add)] * 100 + [issue(end)]
    near("a barrier of 64 threads is two warps' alone", clocks([slow, fast, [issue(end)], [issue(end)]]), 800, 0.05)
    arrives = [issue(arv, sync("barrier", 3, 64, False, 0))] + [issue(add)] * 100 + [issue(end)]
    near("who only arrives does not wait", clocks([slow, arrives]), 400, 0.08)
    soon = multiprocessor.Multiprocessor(dict(multiprocessor.DEFAULTS, tma_latency=0), (1000.0, None, 0))
    near("a whole kernel: a step is 8 products of 64 clocks, but 640 wavefronts: 48 for each of them, 256 of boxes",
         soon.run(hopper_traces(48, 1), 1, 1), 48 * 640 + 900, 0.12)
    near("where they do not, 2 stages are too few: a box's way and the products, one after the other",
         clocks(hopper_traces(48, 1)) / 24, 1024 + 870 + 512 + 290, 0.06)


def test_wgmma_launches():
    op = lambda graph, n=64: launches.Op(graph, graph["ops"][0], n)
    check("boxes of 32x4 pixels, of 16x8, of 8x8 of two images, and of a row of 256", [wgmma.box_of(s, s) for s in (32, 16, 8, 256)],
          [(32, 4, 1), (16, 8, 1), (8, 8, 2), (128, 1, 1)])
    check("no box has segments of 64 pixels in their order at 24x24", wgmma.box_of(24, 24), None)
    added = counts.conv(1, 256, 256, 16)
    added["ops"][0]["positions"] = True
    check("positions do not come by TMA", [wgmma.conv(op(g), 132).parameters[-1].plain for g in (counts.conv(1, 256, 256, 16), added)], [True, False])
    gelu = [counts.conv(1, 256, 256, 16, residual, False, act="gelu_tanh") for residual in (False, True)]
    check("an activation may, where nothing is added", [wgmma.conv(op(g), 132).parameters[-1].plain for g in gelu], [True, False])
    check("columns of tiles", [wgmma.columns_of(k) for k in (128, 192, 256, 384, 512, 1152)], [128, 192, 256, 192, 256, 192])
    run = wgmma.launches(op(counts.conv(3, 256, 256, 32)))[0]
    check("a grid of all multiprocessors", (run.kernel, run.grid, run.threads, run.shared, run.place),
          ("conv_wgmma_kernelI6__halfLi256E11WgmmaParams", (132, 1, 1), 384, 231488, (0, 0, 0)))
    p = run.parameters[-1]
    check("512 tiles of 36 steps", (p.tiles, p.pixel_tiles, p.steps, p.across, p.down, p.plain), (512, 512, 36, 1, 8, True))
    check("4 tiles of the first block are reckoned from 2 and 3", ([(part.grid[0], n) for part, n in run.longer[:2]], run.longer[2]), ([(256, 2), (172, 3)], 4))
    check("maps are aligned in constant memory", (launches.FIRST + len(run.parameter_bytes()), [run.parameter_bytes()[at] for at in (112, 113, 240, 241)]),
          (0x680 + ctypes.sizeof(wgmma.WgmmaParams), [0, 64, 0, 64]))
    matrix = wgmma.conv(op(counts.conv(1, 1152, 1152, 16, True, False, gate=True)), 132).parameters[-1]
    check("a 1x1 convolution is a product of matrices", (matrix.out_width, matrix.out_height, matrix.images, matrix.tiles, matrix.plain), (16384, 1, 1, 768, False))
    check("3 columns, or f32, are the portable kernel's", [bool(wgmma.layer_of(op(counts.conv(3, 128, k, 32)))) for k in (3, 8, 128)], [False, False, True])
    half = counts.conv(3, 128, 128, 32)
    half["ops"][0].update(stride=2, top=0, left=0)
    half["tensors"][half["ops"][0]["out"]][1:3] = half["tensors"][half["ops"][0]["in"][3]][1:3] = [16, 16]
    check("of stride 2 too", [wgmma.conv(op(half), 132).parameters[-1].phase_channels, p.phase_channels], [128, 0])
    odd = wgmma.conv(op(counts.conv(3, 256, 256, 8), 5), 132)
    check("5 images of 8x8 are 3 tiles of two images; tiles and blocks come in pairs", (odd.parameters[-1].pixel_tiles, odd.grid), (4, (4, 1, 1)))
    skip = counts.conv(3, 256, 256, 16, residual=False)
    skip["tensors"] += [[1, 16, 16, 200, "fp16"], [1, 16, 16, 64, "fp16"], [256, 1, 1, 264, "fp16"], [1, 1, 1, 256, "fp32"]]
    skip["ops"][0]["in"][5:] = [len(skip["tensors"]) - k for k in (4, 3, 2, 1)]
    run = wgmma.conv(op(skip), 132)
    p = run.parameters[-1]
    check("a skip's inputs are 4 and 1 steps more", (p.steps, list(p.skip_chunks), [m.box_bytes for m in run.parameters[4:8]]),
          (9 * 4 + 5, [4, 1], [16384, 16384, 16384, 16384]))
    check("and are in its name", op(skip).describe(), "conv 3x3 256->256 16x16 + skip 264")
    parts = launches.in_turn(op(skip))
    check("elsewhere they are convolutions of their own", [(t.inputs[0].c, t.inputs[1].c, t.inputs[1].h, bool(t.inputs[3])) for t in parts],
          [(200, 200, 1, False), (64, 64, 1, True), (256, 256, 3, True)])
    check("which is what the model launches there", [run.kernel for run in launches.conv(op(skip))], ["conv_mma_kernelI6__halfLi128ELb1E"] * 3)
    run = wgmma.launches(op(counts.conv(3, 256, 256, 32)))[0]
    own = counts.only_launches(counts.conv(3, 256, 256, 32), True)[0].kernel, counts.only_launches(counts.conv(3, 256, 256, 32))[0].kernel
    check("it is taken where it is there", own, (run.kernel, "conv_mma_kernelI6__halfLi128ELb1E"))


def test_half_size_inputs():
    of = {"x": 0, "add": 3, "skip": 5}

    def graph(role, k=256, candidate=True):
        large, small = [1, 32, 32, 256, "fp16"], [1, 16, 16, k if role == "add" else 256, "fp16"]
        g = {"tensors": [[0] * 4 + ["fp16"], small, [1, 32, 32] + small[3:], large, [k, 3, 3, 256, "fp16"], [k, 1, 1, 256, "fp16"], [1, 32, 32, k, "fp16"], [1, 32, 32, k, "fp16"]]}
        reads = [3, 4] + [0] * 5 + [5 if role == "skip" else 0, 0]
        reads[of[role]] = 2
        reads[3] = reads[3] or 7 * (role == "x")
        g["ops"] = [{"kind": "resample", "in": [1], "out": 2, "flops": 0, "bytes": 0, "up": True, "taps": 2, "pad": 0, "candidate": candidate},
                    {"kind": "conv", "in": reads, "out": 6, "flops": 9e9, "bytes": 0, "stride": 1, "top": 1, "left": 1, "act": "none", "stats": False}]
        return g

    made = {role: launches.launches_of(graph(role), 2, True) for role in of}
    check("the resample is no launch", [(op.up, op.bytes, run) for op, run in (m[0] for m in made.values())], [("out", 0, [])] * 3)
    ps = [m[1][1][0].parameters[-1] for m in made.values()]
    check("tiles of four phases", [(m[1][1][0].kernel[-9:], p.tiles, p.out_width) for m, p in zip(made.values(), ps)], [("8UpParams", 16, 16)] * 3)
    check("four taps of x, else nine, and a skip's steps", [(p.taps, p.filter_width, p.phase_taps, p.steps, p.phase_channels) for p in ps],
          [(4, 2, 4, 16, 0), (9, 3, 0, 36, 256), (9, 3, 0, 40, 256)])
    check("a residual of half the size is no phase's", [(p.add_channels, p.add_columns) for p in ps], [(256, 64), (0, 64), (0, 0)])
    check("operations that are made", [op.flops for op, _ in (m[1] for m in made.values())], [8e9, 18e9, 18e9])
    check("what is read", [made[r][1][0].inputs[of[r]].h for r in of], [16] * 3)
    left = [launches.launches_of(g, 2, hopper)[0] for g, hopper in ((graph("x", 72), True), (graph("x", candidate=False), True), (graph("x"), False))]
    check("else it is one", [(op.up, len(run)) for op, run in left], [(None, 1)] * 3)


def test_wgmma_attention():
    op = lambda heads, tokens, n, d=64: (lambda g: launches.Op(g, g["ops"][0], n))(counts.attention("attn_bwd", heads, d, tokens))
    queries, keys = wgmma_attention.gradient(op(2, 1024, 264))
    check("two kernels, on all multiprocessors", [(made.kernel, made.grid, made.shared) for made in (queries, keys)],
          [("attn_grad_wgmma_kernelI6__halfLb0E", (132, 1, 1), 65536 + 131072 + 16384 + 168), ("attn_grad_wgmma_kernelI6__halfLb1E", (132, 1, 1), 32768 + 139264 + 16384 + 168)])
    p = keys.parameters[-1]
    check("items of 128 keys, steps of 64 queries", (p.items, p.steps), (4224, 16))
    check("32 items of a block are reckoned from 2 and 3", ([(part.grid[0], n) for part, n in keys.longer[:2]], keys.longer[2]), ([(2112, 2), (1408, 3)], 32))
    few, more = (wgmma_attention.gradient(op(3, tokens, 5)) for tokens in (50, 256))
    check("few tokens: one kernel, two heads a block", [(made.kernel, made.grid, made.shared) for made in few], [("attn_grad_heads_kernelI6__halfLi1E", (8, 1, 1), 219472)])
    check("up to 256: a head a block", [(made.kernel, made.grid, made.shared) for made in more], [("attn_grad_heads_kernelI6__halfLi4E", (15, 1, 1), 221376)])
    check("heads and tiles", [(made[0].parameters[-1].problems, made[0].parameters[-1].tiles) for made in (few, more)], [(15, 1), (15, 4)])
    check("8 heads of a block are reckoned from 2 and 3", [n for _, n in wgmma_attention.gradient(op(4, 256, 264))[0].longer[:2]] +
          wgmma_attention.gradient(op(4, 256, 264))[0].longer[2:], [2, 3, 8])
    check("heads of 72 are the portable kernel's", [wgmma_attention.takes_gradient(op(2, 256, 4, d)) for d in (64, 72)], [True, False])
    graph = counts.attention("attn_bwd", 4, 64, 256)
    check("taken where it is there", [counts.only_launches(graph, hopper)[0].kernel[:18] for hopper in (True, False)], ["attn_grad_heads_ke", "attn_grad_queries_"])


def test_launches():
    run = counts.only_launches(counts.conv(3, 256, 256, 32))[0]
    check("a convolution's grid", (run.kernel, run.grid, run.shared), ("conv_mma_kernelI6__halfLi128ELb1E", (1024, 1, 1), 49152))
    check("its parameters", len(run.parameter_bytes()), 192)
    few, many = (launches.linear(launches.Op(g, g["ops"][0], n))[0] for g in [counts.linear(96, 512)] for n in (15, 16))
    check("linear layers on 15 and on 16 vectors", (few.kernel, few.grid, many.kernel, many.grid),
          ("linear_few_kernelILb1E", (16, 2, 1), "linear_many_kernelILi32ELi16ELb1E", (32, 1, 1)))
    large = launches.linear(launches.Op(counts.linear(1152, 6912), counts.linear(1152, 6912)["ops"][0], 132))[0]
    check("a large layer is for tensor cores", (large.kernel, large.grid, large.threads, large.shared), ("linear_mma_kernel", (3, 108, 1), 128, 49152))
    two = counts.linear(128, 512)
    for k in (640, 24):
        two["tensors"] += [[k, 1, 1, 128, "fp32"], [1, 1, 1, k, "fp32"]]
        two["ops"].append(dict(two["ops"][0], **{"in": [two["ops"][0]["in"][0], len(two["tensors"]) - 2, 0, 0, 0], "out": len(two["tensors"]) - 1}))
    (_, one), (_, none), (_, small) = launches.launches_of(two, 70)
    check("layers of the same vector are one launch, small ones another", ([launch.grid for launch in one], none, small[0].kernel),
          ([(2, 10, 2)], [], "linear_many_kernelILi32ELi16ELb1E"))
    check("72 steps are reckoned from 18 and 36", [run.longer[0][1], run.longer[1][1], run.longer[2]], [18, 36, 72])
    check("a guided run of CIFAR-10 asks the guide 15 times", predict.guided_steps(18), 15)
    old = [{"case": "a", "kernel": "k", **dict.fromkeys(counts.WATCHED, 10)}]
    check("nothing changed", counts.compare(old, old), [])
    worse, better = dict(old[0], issued=11), dict(old[0], port=9)
    check("a loop that got longer is worse", [w for _, w in counts.compare(old, [worse])], [True])
    check("a port with less to do is better", [w for _, w in counts.compare(old, [better])], [False])
    check("a kernel that is gone is worse", [w for _, w in counts.compare(old, [])], [True])
    spills = decode.Function("a kernel")
    spills.local, spills.stack = 8, 0
    check("a kernel that spills", counts.spilling({"a kernel": spills}), ["a kernel: spills 8 bytes"])
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
    check("a head of 512: 2 halves of its channels, 64 queries a block", (wide.kernel, wide.grid, wide.shared), ("attn_wide_kernelI6__halfE", (1024, 1, 2), 91648))
    check("its 64 blocks of keys are reckoned from 2 and 4", [(part.parameters[0].tokens, steps) for part, steps in wide.longer[:2]] + [wide.longer[2]],
          [(32, 2), (64, 4), 64])
    many = launches.linear(launches.Op(counts.linear(1001, 6912), counts.linear(1001, 6912)["ops"][0], 132))[0]
    check("132 vectors are two whole tiles, and one of 4", [(part.grid, part.parameters[0].n) for part in many.parts], [((108, 2, 1), 128), ((108, 1, 1), 4)])


def stream_and_norm():
    """A convolution that makes a stream, a pixel norm of it, and a convolution of that."""
    tensors = [[0, 0, 0, 0, "fp16"], [1, 16, 16, 1152, "fp16"], [1152, 1, 1, 1152, "fp16"], [1, 16, 16, 1152, "fp32"], [1, 1, 1, 1152, "fp32"],
               [1, 16, 16, 1152, "fp32"], [1, 1, 1, 2304, "fp32"], [1, 16, 16, 1152, "fp16"], [3456, 1, 1, 1152, "fp16"], [1, 16, 16, 3456, "fp16"]]
    conv = {"kind": "conv", "stride": 1, "top": 0, "left": 0, "act": "none", "positions": False, "stats": False, "flops": 0, "bytes": 0}
    return {"tensors": tensors, "ops": [dict(conv, **{"in": [1, 2, 0, 3, 4], "out": 5}),
                                        {"kind": "pixel_norm", "in": [5, 0, 0, 6, 0], "out": 7, "rms": False, "maker": 0, "flops": 0, "bytes": 0},
                                        dict(conv, **{"in": [7, 8, 0, 0, 0], "out": 9})]}


class FakePredictor:
    """Calls of 10 and 20 ms for each row; a launch takes a second for each block, two of them where a gate is read."""
    sets = {"low": {}, "high": {}}

    def graph(self, graph, rows):
        return {"ms": [10.0 * rows, 20.0 * rows], "flops": 1e12 * rows, "categories": {"linear layers": [2.0, 3.0], "pixel norm": [1.0, 1.0]},
                "fused": [0.5, 1.0], "rows": {"an op": {"count": 1, "ms": [10.0 * rows, 20.0 * rows], "flops": 1e12 * rows, "bytes": 3e9 * rows, "floor_ms": 3.0 * rows}},
                "launches": 1, "floor_ms": 3.0 * rows}

    def seconds(self, launch, name):
        return launch.blocks * (2.0 if launch.parameters[0].end.gate else 1.0)


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
        "### Network call, 10 images, each with and without its class: 200.00..400.00 ms, 30000 us an image (floor: 6000 us); 1 launches",
        "| an op | 1 | 200.000..400.000 | 100.0% | 67 | 0.20 | 60.000 | 20% |", "| network | an op | 6000000 | 55.2% | 20% |")], [True] * 5)
    gated = counts.conv(1, 1152, 1152, 16, stats=False, gate=True)
    op, made = launches.launches_of(gated, 4)[0]
    check("a gate costs what the convolution without it does not", predict.Predictor.more(FakePredictor(), op, made, "low"), 8 * 9)
    check("and is still in the op", op.inputs[4] is not None, True)
    block = stream_and_norm()
    made = launches.launches_of(block, 4, True)
    check("a norm between two products is no launch; before it its rows' moments, behind it a product of two rows an image", [
        [launch.kernel.split("I")[0] for launch in of] for _, of in made], [
            ["conv_wgmma_norm_kernel", "fold_moments_kernel"], [], ["fold_rows_kernel", "conv_wgmma_kernel", "conv_wgmma_norm_kernel"]])
    check("of 8 rows", [made[2][1][1].parameters[-1].out_width, made[0][1][1].parameters[0].parts, made[0][1][1].parameters[0].rows], [8, 18, 1024])
    ops = [launches.Op(block, numbers, 4) for numbers in block["ops"]]
    own = [op.bytes for op in ops]
    wgmma.fold_norms(ops)
    image, rows, vector = 4 * 256 * 1152 * 2, 4 * 256, 4 * 2304 * 4
    check("which moves nothing; the convolutions move its copy, moments, scale and shift", [op.bytes - own[k] for k, op in enumerate(ops)],
          [image + 8 * rows + vector // 2, -own[1], 8 * rows + vector])
    check("and is named so", ops[1].describe(), "pixel_norm shift-scale 1152 16x16 left out")
    call = {"rows": {"a": {"ms": [1.0, 3.0]}, "a left out": {"ms": [0.0, 0.0]}}}
    text = report.beside(call, [{"op": name, "count": 1, "ms": 4.0} for name in ("a by cudnn", "a left out", "b")])
    check("measured rows beside it, of launches, of none, and unknown ones", text.splitlines()[2:],
          ["| a by cudnn | 1 | 1.000..3.000 | 4.000 | 2.00 |", "| a left out | 1 | 0.000 | 4.000 |  |", "| b | 1 |  | 4.000 | not predicted |"])
    block["ops"][0]["stats"] = True
    check("not where statistics are wanted", [len(of) for _, of in launches.launches_of(block, 4, True)], [1, 1, 1])
    check("and not without Hopper's kernels", len(launches.launches_of(stream_and_norm(), 4)[1][1]), 1)
    op, made = launches.launches_of(stream_and_norm(), 4, True)[2]
    fake = predict.Predictor({}, {})
    fake.seconds = lambda launch, name: 5.0 if "norm" in launch.kernel else 3.0
    check("a reader costs what it takes more, the product of rows included", fake.more(op, made, "low"), 5.0 + 3.0 - 3.0)
    two = counts.graph_of("add", [counts.image(256, 32)] * 2, counts.image(256, 32))
    two["ops"].append(dict(two["ops"][0], flops=1e12))
    predictor = predict.Predictor({}, {})
    predictor.seconds, predictor.gap = lambda launch, name: 1.0, lambda launch, before: 0.0
    row = predictor.graph(two, 4)["rows"]["add 256 32x32"]
    near("floors: bytes of three tensors at 3 TB/s, and 4 T operations at 865 T a second", row["floor_ms"], 3 * 4 * 256 * 1024 * 2 / 3e9 + 4e12 / 865.1e9, 1e-3)
    kernel = lambda *code: SimpleNamespace(function=lambda functions: SimpleNamespace(code=[SimpleNamespace(root=r) for r in code]))
    gap = lambda launch, before: round(predict.Predictor({}, {}).gap(launch, before) * 1e6, 3)
    check("a gap is short where a kernel waits and the one before it lets it begin", [
        gap(kernel("ACQBULK"), kernel("PREEXIT")), gap(kernel("ACQBULK"), kernel("ACQBULK")), gap(kernel("PREEXIT"), kernel("PREEXIT")),
        gap(kernel("ACQBULK"), None)], [0.7, 1.2, 1.2, 1.2])
    part = counts.graph_of("slice", [(1, 1, 1, 6912, "fp32")], (1, 1, 1, 1152, "fp32"), first=2304)
    check("of a slice its part counts", launches.Op(part, part["ops"][0], 2).bytes, 2 * 2 * 1152 * 4)
    check("a name or its preset's start", [predict.chosen(predict.PRESETS[0], s) for s in ("dit", "ImageNet 256", "", "vae")], [True, True, True, False])


def test_chunks():
    graph = counts.graph_of("add", [counts.image(256, 32)] * 2, counts.image(256, 32))
    graph["tensors"] += [list(graph["tensors"][1][:1]) + [16, 16] + list(graph["tensors"][1][3:])] * 2
    graph["ops"].append(dict(graph["ops"][0], **{"in": [4, 0], "out": 5}))
    image = 3 * 256 * 1024 * 2  # bytes that the addition at the top moves
    predictor = predict.Predictor({}, {})
    predictor.seconds, predictor.gap = lambda launch, name: 1.0 + launch.moved / image, lambda launch, before: 0.5 if before else 0.25
    rows, count = chunks.level(predictor, graph, 10)
    check("the top level is one launch of ten images", (rows, count), ({"add 256 32x32": 11.25}, 1))
    rows, count = chunks.level(predictor, graph, 10, True)
    check("which moves nothing if all stays in L2", (rows, count), ({"add 256 32x32": 1.25}, 1))
    whole, parts = chunks.compare(predictor, graph, 10, [4])
    check("ten images at once", whole, (10, 1, {"add 256 32x32": 11.25}, {"add 256 32x32": 11.25}))
    check("or four, four and two", parts, (4, 3, {"add 256 32x32": 2 * 5.25 + 3.25}, {"add 256 32x32": 3 * 1.25}))
    text = chunks.markdown([whole, parts], 20e3, "a network")
    check("in the table: 2.5 seconds more or 7.5 less, of 20", [line in text for line in (
        "| 10 | 1 | 11250.00 | +0.0% | 11250.00 | +0.0% |", "| 4 | 3 | 13750.00 | +12.5% | 3750.00 | -37.5% |",
        "| add 256 32x32 | 1125000.00 | 1375000.00 / 375000.00 |")], [True] * 3)


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
    check("all but the first, whose input is the portable kernel's, may be left out", sum(op["maker"] >= 0 for op in streams), 56)
    made = [of for g in graphs for hopper in (False, True) for of in launches.launches_of(g, 4 * g["rows"], hopper)]
    check("every op of it has launches, but for linear layers that another's launch makes, norms that are left out, not the first and not the last, the decoder's 3 resamples, and 6 of the guide's",
          (len(made) == 2 * sum(len(g["ops"]) for g in graphs), {(op.kind, op.fold, op.up or op.pooled and "pooled" or None) for op, of in made if not of and not launches.is_plain_linear(op)},
            sum(not of and not launches.is_plain_linear(op) for op, of in made)), (True, {("pixel_norm", "norm", None), ("resample", None, "out"), ("resample", None, "pooled")}, 70))
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
        notes = "ptxas info    : (C7515) Potential Performance Loss: wgmma.mma_async instructions are serialized\nptxas info    : Used 168 registers\n"
        check("a note that wgmma is serialised", sass_model.serialised(notes * 2), notes.splitlines()[:1])
        check("no note", sass_model.serialised(notes.splitlines()[1]), [])
        check("no number is refused", calibrated('{"ldmatrix_x4_clocks": NaN}'), "F: ldmatrix_x4_clocks is nan, want a positive number")
        check("nor is a file without any of them taken", calibrated("{}")[:26], "F: holds none of hmma_inte")


not_run = 0
for test in (test_decoder, test_machine, test_multiprocessor, test_hopper_machine, test_hopper_multiprocessor, test_wgmma_launches, test_half_size_inputs, test_wgmma_attention, test_launches, test_bf16_and_wide_heads, test_preset, test_chunks, test_op_list, test_program):
    not_run += test() or 0
print("test_sass_model: %d passed, %d failed, %d not run" % (passed, failed, not_run))
sys.exit(failed > 0)
