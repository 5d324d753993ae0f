"""hopper.py -- the instructions that sm_90 alone has, added to instructions.py's: products of a warpgroup (HGMMA), copies of tensor
boxes (UTMALDG, UTMASTG), barriers in shared memory that such copies complete (SYNCS), and what goes with them.

A wait for a barrier (SYNCS.PHASECHK.TRYWAIT) always succeeds here: when it does is for multiprocessor.py, which learns from the
Sync of an instruction's Memory which barrier is meant. Of a tensor map only the bytes of its box are known: launches.TensorMap.
Of a cluster one block is executed, and taken to do and to get what the others do: a box that is loaded into several comes as often from
the others, each of which loads another; an arrival in each of them is so many in this one.                                    """
from . import operands as arg
from .decode import Unreadable
from .instructions import barrier_of_all, nothing, roots
from .operands import LANES, Memory, Sync, of_first_lane

PORT_BYTES = 128  # of shared memory in a clock
OF_BLOCK = (1 << 24) - 1  # of a shared-memory address: above it stands the block of the cluster
COUNTS = 0x100000  # a barrier starts with this less its arrivals, twice: pending ones, and for the next phase

roots("FENCE", "YIELD", "ENDCOLLECTIVE", "WARPGROUP", "UTMACMDFLUSH", "UTMACCTL", "CCTL", "UCGABAR_ARV", "CGAERRBAR",
      "ACQBULK", "PREEXIT")(nothing)
roots("UCGABAR_WAIT")(barrier_of_all)


def shape_of(i):
    """(rows, columns, depth) of a product: 64x256x16."""
    return tuple(int(n) for n in next(m for m in i.mods if m[:1].isdigit()).split("x"))


@roots("HGMMA")
def product(i):
    """A warp's quarter of m64nNk16: tensor cores for N / 2 clocks, of few columns more (18 at n8, 20 at n16, as is published); from shared memory 16 wavefronts of A, unless that is in registers, and
    N / 4 of B for the four warps together."""
    rows, columns, depth = shape_of(i)
    if (rows, depth) != (64, 16):
        raise Unreadable("a product of another type than 16 bits")
    a_shared = i.operands[1].startswith("gdesc")
    done = Memory(((16 if a_shared else 0) + columns / 4) / 4, 0, 0, Sync("product", None, max(columns / 2, 16 + columns / 4), i.operands[-1].startswith("gsb")))
    return lambda w: done


def uniform_pair(text):
    return arg.double(text.strip("[]"))


def box_of(w, map_at):
    """The bytes of a tensor map's box; the map is a parameter, which is named by its place in constant memory."""
    map_at = of_first_lane(w, map_at)
    size = w.block.constant(map_at & arg.M)
    if not size:
        raise Unreadable("%s: no tensor map at parameter %#x" % (w.block.function.name, map_at & arg.M))
    return size


@roots("UTMALDG")
def load_box(i):
    to = i.operands[0].strip("[]")
    barrier, tensor_map = arg.word(to, 1), uniform_pair(i.operands[1])
    blocks = arg.word(i.operands[2]) if "MULTICAST" in i.mods else lambda w: 1 << 16  # a bit for each, in the upper half

    def execute(w):
        size, times = box_of(w, tensor_map(w)), bin(of_first_lane(w, blocks(w)) >> 16).count("1")
        return Memory(-(-size * times // PORT_BYTES), size, 0, Sync("load", of_first_lane(w, barrier(w)) & OF_BLOCK, 0, size * times))
    return execute


@roots("UTMASTG")
def store_box(i):
    tensor_map = uniform_pair(i.operands[1])

    def execute(w):
        size = box_of(w, tensor_map(w))
        return Memory(-(-size // PORT_BYTES), 0, size, Sync("store", None, 0, size))
    return execute


@roots("SYNCS")
def barrier(i):
    """EXCH: a barrier begins. ARRIVE: each lane arrives, in its block of the cluster with RED, and expects so many bytes. PHASECHK: waits
    for the end of the phase of this parity."""
    address, what = arg.address(i.operands[1]), i.mods[0]
    at = lambda w: of_first_lane(w, address(w)) & OF_BLOCK
    if what == "EXCH":
        counts = arg.word(i.operands[2])
        return lambda w: Memory(1, 0, 0, Sync("begin", at(w), COUNTS - (counts(w) >> 1), 0))
    if what == "PHASECHK":
        put, parity = arg.to_predicate(i.operands[0]), arg.word(i.operands[2])

        def execute(w):
            put(w, True)
            return Memory(1, 0, 0, Sync("wait", at(w), of_first_lane(w, parity(w)) >> 31, 0))
        return execute
    if what != "ARRIVE":
        raise Unreadable("an operation on a barrier that the model does not know")
    expected = arg.word(i.operands[2])
    return lambda w: Memory(1, 0, 0, Sync("arrive", at(w), bin(w.mask).count("1"), of_first_lane(w, expected(w))))


@roots("ELECT")
def elect(i):
    """One of the active lanes."""
    put = arg.to_predicate(i.operands[0])
    return lambda w: put(w, [w.mask & -w.mask == 1 << k for k in range(LANES)])


@roots("USETMAXREG")
def set_registers(i):
    if arg.is_predicate(i.operands[0]):
        put = arg.to_predicate(i.operands[0])
        return lambda w: put(w, True)  # it gets them: the producer has given up enough
    return nothing(i)
