"""multiprocessor.py -- how long one streaming multiprocessor takes for the traces of machine.py: blocks one after the other, as
many at once as fit.

Four schedulers issue an instruction a clock each, from the warp that has waited longest of those that can go on: the compiler's
stall counts have passed, its scoreboards are released, the pipe is free. Loads, stores and shuffles queue for one port to shared
memory and L1 (128 bytes a clock); what comes from L2 and memory has a latency and shares the multiprocessor's part of their
bandwidth. Of Hopper: products of warpgroups run in the order in which a quarter's warps issue them, boxes of tensors come as copies do,
and a wait for a barrier in shared memory is issued when the barrier's phase has ended (hopper.py says which). Not modelled: the
instruction cache, the fabric's contention, clocks that fall under load (a parameter instead).                                """
import heapq

from .decode import NONE, Unreadable
from .operands import LANES, Memory

# Clocks of the pipes of a quarter for an instruction of a warp, and latencies. Those of CALIBRATED are measured by
# bench/first_light.sh; the defaults are said there. The rest is from ptxas's own stall counts and published measurements.
DEFAULTS = {
    "hmma_interval_clocks": 6,       # of HMMA.16816.F32: the stall that ptxas puts between independent ones on sm_90
    "ldmatrix_x4_clocks": 4,         # of the port: 512 bytes at 128 a clock
    "cp_async_port_clocks": 6,       # of the port for 512 bytes in all; 4 of them when the bytes come. 4 to 8 are possible
    "l2_bytes_per_clock_sm": 38.8,   # 5120 bytes a clock for the whole chip
    "clock_under_load_mhz": 1600,    # what the power of an H100 allows while its tensor cores are busy
    "alu": 2, "imad": 2, "fma": 1, "mufu": 8, "uniform": 2,
    "hmma_latency": 33, "shared_latency": 27, "l1_latency": 33, "l2_latency": 270, "memory_latency": 700, "mufu_latency": 20,
    # of Hopper, none of them measured: a box of TMA is later than a load by tma_latency
    "product_latency": 32, "tma_latency": 170, "tma_issue": 8,
    "special_register_latency": 25, "constant_latency": 30, "branch": 6, "barrier": 12, "queue": 8, "arrival": 4, "block_start": 200,
}
CALIBRATED = ("hmma_interval_clocks", "ldmatrix_x4_clocks", "cp_async_port_clocks", "l2_bytes_per_clock_sm", "clock_under_load_mhz")

PIPES = {
    "hmma": "HMMA IMMA",
    "imad": "IMAD",
    "fma": "FFMA FADD FMUL HFMA2 HMUL2 VIADD",
    "alu": "IADD3 IADD LEA SHF LOP3 SEL MOV IABS IMNMX VIMNMX VIMNMX3 VIADDMNMX ISETP FMNMX FSETP FSEL FCHK PRMT P2R R2P PLOP3 CS2R F2FP HADD2 "
           "HMNMX2 I2FP",
    "mufu": "MUFU F2F I2F F2I",
    "uniform": "UIADD3 UIMAD ULEA USHF ULOP3 UISETP UIMNMX USEL UMOV UPRMT UPLOP3 ULDC VOTEU",
    "port": "LDSM STSM LDS STS LDGSTS SHFL LDG STG",
    "product": "HGMMA",
    "box": "UTMALDG UTMASTG",
    "sync": "SYNCS",
    "special": "S2R S2UR R2UR",
    "constant": "LDC",
    "barrier": "BAR UCGABAR_WAIT",
    "group_end": "LDGDEPBAR UTMACMDFLUSH",
    "group_wait": "DEPBAR",
    "control": "BRA BSYNC BSSY BREAK EXIT NOP WARPSYNC CALL RET MEMBAR ERRBAR FENCE YIELD ENDCOLLECTIVE WARPGROUP UTMACCTL CCTL ELECT USETMAXREG "
               "UCGABAR_ARV CGAERRBAR ACQBULK PREEXIT",
}
PIPE_OF = {root: pipe for pipe, roots in PIPES.items() for root in roots.split()}
QUARTERS = 4
BOX_PART = 2048  # bytes of a tensor's box that come and are written together
NO_MEMORY = Memory(0, 0, 0)


def pipe_of(instruction):
    if instruction.pipe is None:
        if instruction.root not in PIPE_OF:
            raise Unreadable("%s: no pipe is known for it" % instruction.text)
        instruction.pipe = "product_wait" if instruction.root == "WARPGROUP" and "DEPBAR" in instruction.mods else PIPE_OF[instruction.root]
    return instruction.pipe


class Traffic:
    """A link with a rate: its users wait for each other."""

    def __init__(self, bytes_per_clock):
        self.rate, self.free = bytes_per_clock, 0.0

    def take(self, now, size):
        self.free = max(self.free, now) + size / self.rate
        return self.free


class RunningWarp:
    __slots__ = ("trace", "at", "ready", "board", "block", "last", "group", "groups", "stopped", "stored", "products")

    def __init__(self, trace, block, ready):
        self.trace, self.block, self.ready = trace, block, ready
        self.at, self.last, self.stopped = 0, -1, False
        self.board = [0] * 6
        self.group, self.groups = None, []  # asynchronous copies: [still to come, when the last came]
        self.stored = 0                     # when what TMA stores has been read
        self.products = [[0, 0]]            # groups of products, the last still open: [still to come, when the last was there]


class RunningBlock:
    def __init__(self, warps):
        self.warps, self.at_barrier = warps, {}  # at_barrier: the warps at each, by its number
        self.barriers = {}                       # in shared memory, by address


class Barrier:
    """In shared memory: a phase ends when all have arrived and all bytes that they expect have come."""

    def __init__(self, count):
        self.count = self.pending = count
        self.bytes = self.phase = 0

    def take(self, arrivals, size):
        self.pending -= arrivals
        self.bytes += size
        if not self.pending and not self.bytes:
            self.phase ^= 1
            self.pending = self.count


class Multiprocessor:
    """memory: (bytes a clock of L2, bytes a clock of device memory for the same traffic or None, latency of a read)"""

    def __init__(self, parameters, memory):
        self.p = parameters
        l2, device, self.read_latency = memory
        self.reads, self.writes = Traffic(l2), Traffic(l2)
        self.device = Traffic(device) if device else None
        self.pipe_clocks = {"hmma": parameters["hmma_interval_clocks"], **{k: parameters[k] for k in ("imad", "alu", "fma", "mufu", "uniform")}}
        self.pipe_free = [dict.fromkeys(self.pipe_clocks, 0) for _ in range(QUARTERS)]
        self.queue = [[] for _ in range(QUARTERS)]
        self.port = 0
        self.arrivals, self.order = [], 0  # what happens later: (when, order, what)
        self.products = [[] for _ in range(QUARTERS)]  # of a quarter's tensor cores, the first under way

    # ---- memory -----------------------------------------------------------------------------------------------------------------
    def fetch(self, now, size):
        """When `size` bytes asked for now are there."""
        done = self.reads.take(now, size)
        if self.device:
            done = max(done, self.device.take(now, size))
        return done + self.read_latency

    def put_away(self, now, size):
        done = self.writes.take(now, size)
        return max(done, self.device.take(now, size)) if self.device else done

    def use_port(self, now, clocks):
        start = max(self.port, now)
        self.port = start + clocks
        return self.port

    def later(self, when, what):
        self.order += 1
        heapq.heappush(self.arrivals, (when, self.order, what))

    def let_arrive(self, now):
        while self.arrivals and self.arrivals[0][0] <= now:
            heapq.heappop(self.arrivals)[2](now)

    def end_copy(self, group, clocks):
        def what(now):
            done = self.use_port(now, clocks)
            group[0] -= 1
            group[1] = max(group[1], done)
        return what

    # ---- Hopper -----------------------------------------------------------------------------------------------------------------
    def begin_product(self, quarter, now):
        """The first that waits for a quarter's tensor cores. It ends when they are done, and shared memory's port with its operands."""
        warp_group, memory = self.products[quarter][0]
        done = max(now + memory.sync.count, self.use_port(now, memory.wavefronts))

        def end(when):
            warp_group[0] -= 1
            warp_group[1] = max(warp_group[1], when + self.p["product_latency"])
            self.products[quarter].pop(0)
            if self.products[quarter]:
                self.begin_product(quarter, when)
        self.later(done, end)

    def product(self, warp, quarter, now, memory):
        warp_group = warp.products[-1]
        warp_group[0] += 1
        self.products[quarter].append((warp_group, memory))
        if len(self.products[quarter]) == 1:
            self.begin_product(quarter, now)
        if memory.sync.size:  # the last of its group
            warp.products.append([0, 0])

    def box(self, warp, now, memory):
        """A box that TMA loads or stores: when the instruction's operands have been read."""
        if memory.sync.kind == "store":
            read = self.use_port(now + self.p["tma_issue"], memory.wavefronts)
            self.put_away(read, memory.written)
            warp.stored = max(warp.stored, read)
        else:
            barrier, left = warp.block.barriers[memory.sync.at], memory.read
            times = memory.sync.size // memory.read  # with the others' of a cluster
            while left:
                some = min(left, BOX_PART)
                part = self.box_part(barrier, some * times, some / memory.read * memory.wavefronts)
                self.later(self.fetch(now, some) + self.p["tma_latency"], part)
                left -= some
        return now + self.p["tma_issue"]

    def box_part(self, barrier, size, wavefronts):
        """A part of a box has come from L2; it is written where the port has nothing else to do."""
        def what(now):
            if self.port > now:
                self.later(self.port, what)
            else:
                self.later(self.use_port(now, wavefronts), lambda when: barrier.take(0, -size))
        return what

    def sync(self, warp, now, memory):
        """An operation on a barrier in shared memory: when its result is there."""
        sync, barriers = memory.sync, warp.block.barriers
        if sync.kind == "begin":
            barriers[sync.at] = Barrier(sync.count)
        elif sync.kind == "arrive":
            barriers[sync.at].take(sync.count, sync.size)
        return self.use_port(now + 4, memory.wavefronts) + self.p["shared_latency"]

    def access(self, now, quarter, warp, instruction, memory):
        """A load, store, shuffle or copy: when its result is there, when its operands have been read."""
        root, p = instruction.root, self.p
        if root == "LDGSTS":
            done = self.use_port(now + 4, max(0, p["cp_async_port_clocks"] - p["arrival"]))
            if warp.group is None:
                warp.group = [0, 0]
            warp.group[0] += 1
            self.later(self.fetch(done, memory.read), self.end_copy(warp.group, max(p["arrival"], memory.wavefronts)))
            self.queue[quarter].append(done)
            return done, done + 8
        clocks = memory.wavefronts
        if root == "LDSM":
            clocks *= p["ldmatrix_x4_clocks"] / 4
        done = self.use_port(now + 4, clocks)
        self.queue[quarter].append(done)
        if root == "LDG":
            return (self.fetch(done, memory.read) if memory.read else done + p["l1_latency"]), done + 2
        if root == "STG":
            return done, self.put_away(done, memory.written)
        return done + p["shared_latency"], done + 2

    # ---- warps ------------------------------------------------------------------------------------------------------------------
    def may_issue(self, warp, quarter, now):
        """0 when it can issue now, else the earliest clock worth another look; None: only another warp or an arrival can help."""
        instruction = warp.trace[warp.at].instruction
        pipe = instruction.pipe or pipe_of(instruction)
        free = self.pipe_free[quarter].get(pipe)
        if free is not None:
            return free if free > now else 0
        if pipe == "port":
            queue = self.queue[quarter]
            while queue and queue[0] <= now:
                queue.pop(0)
            return queue[0] if len(queue) >= self.p["queue"] else 0
        if pipe == "group_wait":
            return self.groups_done(warp.groups, instruction, now)
        if pipe == "product_wait":
            return self.groups_done(warp.products[:-1], instruction, now)
        if pipe == "sync":
            sync = warp.trace[warp.at].memory.sync if warp.trace[warp.at].memory else None
            return None if sync and sync.kind == "wait" and warp.block.barriers[sync.at].phase == sync.count else 0
        return 0

    @staticmethod
    def groups_done(groups, instruction, now):
        """Whether all but the latest so many have come: as may_issue."""
        old = groups[:len(groups) - int(instruction.operands[1], 16)]
        if any(g[0] for g in old):
            return None
        latest = max((g[1] for g in old), default=0)
        return latest if latest > now else 0

    def issue(self, warp, quarter, now):
        instruction, taken, memory = warp.trace[warp.at]
        pipe, p, done, read = pipe_of(instruction), self.p, None, None
        warp.last = now
        if pipe in self.pipe_clocks:
            self.pipe_free[quarter][pipe] = now + self.pipe_clocks[pipe]
            if pipe == "hmma":
                done = now + p["hmma_latency"]
            elif pipe == "mufu":
                done = now + p["mufu_latency"]
        elif pipe == "port":
            done, read = self.access(now, quarter, warp, instruction, memory or NO_MEMORY)
        elif pipe == "special":
            done = now + p["special_register_latency"]
        elif pipe == "constant":
            done = now + p["constant_latency"]
        elif pipe == "group_end":
            warp.groups.append(warp.group or [0, warp.stored])
            warp.group, done = None, now + 6
        elif pipe == "product" and memory:
            self.product(warp, quarter, now, memory)
        elif pipe == "product_wait":
            warp.products = warp.products[len(warp.products) - 1 - int(instruction.operands[1], 16):]
        elif pipe == "box" and memory:
            read = self.box(warp, now, memory)
        elif pipe == "sync" and memory:
            done = read = self.sync(warp, now, memory)
        elif pipe == "group_wait":
            left = int(instruction.operands[1], 16)
            warp.groups = warp.groups[len(warp.groups) - left:]
        if done is not None and instruction.write < NONE:
            warp.board[instruction.write] = max(warp.board[instruction.write], done)
        if read is not None and instruction.read < NONE:
            warp.board[instruction.read] = max(warp.board[instruction.read], read)
        warp.at += 1
        warp.ready = now + max(1, instruction.stall) + (p["branch"] if taken else 0)
        if pipe == "barrier" and memory:
            self.meet(warp, now, memory.sync)
        if warp.at == len(warp.trace):
            return True
        self.wait_for_boards(warp)
        return False

    @staticmethod
    def wait_for_boards(warp):
        wait = warp.trace[warp.at].instruction.wait
        for k in range(6):
            if wait >> k & 1 and warp.board[k] > warp.ready:
                warp.ready = warp.board[k]

    def meet(self, warp, now, sync):
        """At a block's barrier: of all its warps, or of as many threads as sync says."""
        block = warp.block
        waiting = block.at_barrier.setdefault(sync.at if sync else 0, [])
        waiting.append(warp)
        warp.stopped = not sync or bool(sync.size)  # else it only arrives
        if len(waiting) == (sync.count // LANES if sync else len(block.warps)):
            for other in (w for w in waiting if w.stopped):
                other.stopped = False
                other.ready = max(other.ready, now + self.p["barrier"])
            del block.at_barrier[sync.at if sync else 0]

    def run(self, block, blocks, resident, apart=97):
        """Clocks for `blocks` blocks of the same traces, `resident` at once, the first ones started so many clocks apart."""
        quarters = [[] for _ in range(QUARTERS)]
        left = blocks

        def start(now):
            made = RunningBlock([])
            for k, trace in enumerate(block):
                warp = RunningWarp(trace, made, now + 3 * k)
                made.warps.append(warp)
                quarters[k % QUARTERS].append(warp)
        for k in range(min(resident, blocks)):
            start(apart * k)
            left -= 1
        now, end = 0, 0
        while any(quarters):
            self.let_arrive(now)
            following, ended = None, []
            for quarter in range(QUARTERS):
                best, soonest = None, None
                for warp in quarters[quarter]:
                    if warp.stopped:
                        continue
                    at = warp.ready if warp.ready > now else self.may_issue(warp, quarter, now)
                    if at == 0:
                        if best is None or warp.last < best.last:
                            best = warp
                    elif at is not None and (soonest is None or at < soonest):
                        soonest = at
                if best:
                    soonest = now + 1
                    if self.issue(best, quarter, now):
                        quarters[quarter].remove(best)
                        ended.append(best)
                if soonest is not None and (following is None or soonest < following):
                    following = soonest
            for warp in ended:
                warp.block.warps.remove(warp)
                end = max(end, now)
                waits = warp.block.at_barrier.get(0, ())
                if not warp.block.warps and left:
                    left -= 1
                    start(now + self.p["block_start"])
                    following = now + 1
                elif warp.block.warps and len(waits) == len(warp.block.warps):
                    raise Unreadable("%s: warps end at different barriers" % warp.trace[-1].instruction.text)
            if self.arrivals and (following is None or self.arrivals[0][0] < following):
                following = self.arrivals[0][0]
            if following is None and any(quarters):
                raise Unreadable("the model stands still")
            now = max(now + 1, int(following)) if following is not None else now
        return max(end, self.device.free if self.device else 0, self.writes.free)
