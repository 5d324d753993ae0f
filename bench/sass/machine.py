"""machine.py -- executes the warps of a block, to learn which instructions they issue and which addresses they use.

Lanes that part at a branch run one path after the other and meet at BSYNC, as on the hardware. """
from collections import namedtuple

from . import hopper, instructions  # noqa: F401  (hopper: adds its instructions)
from .decode import Unreadable
from .operands import ALL, LANES

PARAMETERS = 0x210  # where a launch's parameters start in constant bank 0 (sm_90; sm_80: 0x160)
THEIR_ADDRESS = 0x198  # there is their address, for those that are used in place: tensor maps
MOST = 1 << 22      # instructions of a warp: more is an endless loop

Issue = namedtuple("Issue", "instruction taken memory")


class Block:
    """A block of a launch: its place, its parameters and what its threads have read through L1."""

    def __init__(self, function, parameters, place, threads, grid=(1, 1, 1)):
        self.function, self.place, self.threads = function, place, threads
        self.own = {0x28: 0xFFFDC0, THEIR_ADDRESS: PARAMETERS}  # 0x28: the stack's end
        self.own.update(zip((0x0, 0xC, 0x10, 0x14), (threads,) + tuple(grid)))
        self.parameters = parameters
        self.read_sectors = set()
        self.noted = {}  # by address in shared memory: instructions.py's STS

    def constant(self, at):
        if at >= PARAMETERS:
            at -= PARAMETERS
            if at + 4 > len(self.parameters) + 3:
                raise Unreadable("%s: reads its parameters at %#x, which has %d bytes" % (self.function.name, at, len(self.parameters)))
            return int.from_bytes(self.parameters[at:at + 4].ljust(4, b"\0"), "little")
        return self.own.get(at, 0)  # 0x208: the descriptor of global memory

    def traces(self):
        code = compiled(self.function)
        return [Warp(self, first).run(code) for first in range(0, self.threads, LANES)]


class Warp:
    def __init__(self, block, first_thread):
        self.block, self.first_thread = block, first_thread
        self.R, self.U, self.P, self.UP = [0] * 260, [0] * 68, [False] * 7 + [True], [False] * 7 + [True]
        self.live = self.mask = ALL & ((1 << min(LANES, block.threads - first_thread)) - 1)
        self.lanes = None             # of the active ones, where they are not all that live
        self.waiting, self.meet = [], {}  # (mask, place) still to run; barrier: [lanes that meet, lanes that have come, place]

    def activate(self, mask):
        self.mask = mask
        self.lanes = None if mask == self.live else [bool(mask >> k & 1) for k in range(LANES)]

    def lanes_where(self, value):
        """The active lanes where a predicate holds."""
        if type(value) is not list:
            return self.mask if value else 0
        return sum(1 << k for k in range(LANES) if value[k]) & self.mask

    def next_path(self):
        """Where the lanes that wait go on; None: there are none."""
        self.waiting = [(m & self.live, at) for m, at in self.waiting if m & self.live]
        for key, (mask, come, at) in list(self.meet.items()):
            if come and come == mask & self.live and not self.waiting:
                self.activate(come)
                del self.meet[key]
                return at
        if not self.waiting:
            return None
        mask, at = self.waiting.pop()
        self.activate(mask)
        return at

    def run(self, code):
        at, trace = 0, []
        while at is not None:
            instruction, guard, execute, control = code[at]
            if len(trace) > MOST:
                raise Unreadable("%s: a warp does not end" % self.block.function.name)
            whole = self.mask
            taken = self.lanes_where(guard(self)) if guard else whole
            if control:
                following = control(self, at, taken)
                trace.append(Issue(instruction, following != at + 1, None))
                at = following
                continue
            memory = None
            if taken == whole:
                memory = execute(self)
            elif taken:
                self.activate(taken)
                memory = execute(self)
                self.activate(whole)
            trace.append(Issue(instruction, False, memory))
            at += 1
        return trace


def compiled(function):
    """[(instruction, guard, execute, control)]; made once."""
    if not hasattr(function, "compiled"):
        function.compiled = [instructions.build(function, i) for i in function.code]
    return function.compiled
