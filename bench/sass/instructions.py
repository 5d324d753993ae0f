"""instructions.py -- what each machine instruction does to a warp of machine.py: a builder for each root of an opcode.

An instruction that is not here stops the model by name: it then has to be added, with its pipe in multiprocessor.py.         """
import struct

from . import operands as arg
from .decode import Unreadable
from .operands import M, LANES, WORD, Memory, Sync, lift, of_first_lane, signed

BUILDERS, CONTROL = {}, {}


def roots(*names, table=BUILDERS):
    def keep(builder):
        for name in names:
            table[name] = builder
        return builder
    return keep


def build(function, i):
    """(instruction, guard, execute, control): a builder of CONTROL decides where the warp goes on."""
    try:
        guard = arg.predicate(("!" if i.guard[1] else "") + i.guard[0]) if i.guard else None
        if i.root in CONTROL:
            return i, guard, None, CONTROL[i.root](function, i)
        if i.root not in BUILDERS:
            raise Unreadable("an instruction that the model does not know")
        return i, guard, BUILDERS[i.root](i), None
    except (Unreadable, ValueError, IndexError) as e:
        raise Unreadable("%s: %#x: %s: %s" % (function.name, i.address, i.text, e)) from None


# ---- control ------------------------------------------------------------------------------------------------------------------------
@roots("BRA", table=CONTROL)
def branch(function, i):
    target = function.at[i.target()]
    if "DIV" in i.mods:  # where not all lanes are together
        return lambda w, at, taken: target if w.mask != w.live else at + 1
    if "CONV" in i.mods:  # where they are
        return lambda w, at, taken: target if w.mask == w.live else at + 1
    also = arg.predicate(i.operands[0]) if len(i.operands) == 2 else None

    def control(w, at, taken):
        if also:
            taken &= w.lanes_where(also(w))
        if taken == w.mask:
            return target
        if taken:
            w.waiting.append((taken, target))
            w.activate(w.mask & ~taken)
        return at + 1
    return control


@roots("CALL", table=CONTROL)
def call(function, i):
    target = function.at[i.target()]
    return lambda w, at, taken: target if taken else at + 1


@roots("RET", table=CONTROL)
def ret(function, i):
    back = arg.word(i.operands[0])
    return lambda w, at, taken: function.at[back(w)] if taken else at + 1


@roots("BSSY", table=CONTROL)
def begin_meeting(function, i):
    name = i.operands[0]

    def control(w, at, taken):
        w.meet[name] = [w.mask, 0, at]
        return at + 1
    return control


@roots("BSYNC", table=CONTROL)
def meeting(function, i):
    name = i.operands[0]

    def control(w, at, taken):
        meet = w.meet[name]
        meet[1] |= w.mask
        meet[2] = at + 1
        if meet[1] != meet[0] & w.live:
            return w.next_path()
        w.activate(meet[1])
        del w.meet[name]
        return at + 1
    return control


@roots("WARPSYNC", table=CONTROL)
def meeting_of_all(function, i):
    """WARPSYNC.ALL: lanes that have parted wait here for all others of the warp."""
    if i.mods != ["ALL"]:
        return lambda w, at, taken: at + 1

    def control(w, at, taken):
        meet = w.meet.setdefault("all", [w.live, 0, at + 1])
        meet[1] |= w.mask
        if meet[1] != w.live:
            return w.next_path()
        del w.meet["all"]
        w.activate(w.live)
        return at + 1
    return control


@roots("BREAK", table=CONTROL)
def leave_meeting(function, i):
    name = i.operands[0]

    def control(w, at, taken):
        w.meet[name][0] &= ~taken
        return at + 1
    return control


@roots("EXIT", table=CONTROL)
def leave(function, i):
    def control(w, at, taken):
        w.live &= ~taken
        rest = w.mask & ~taken
        if rest:
            w.activate(rest)
            return at + 1
        return w.next_path()
    return control


@roots("DEPBAR", "LDGDEPBAR", "NOP", "MEMBAR", "ERRBAR", "ACQBULK", "PREEXIT")
def nothing(i):
    return lambda w: None


def barrier_of_all(i):
    return lambda w: Memory(0, 0, 0)


@roots("BAR")
def block_barrier(i):
    """BAR.SYNC 0x0: of all warps; BAR.SYNC 0x1, 0x80: a numbered one, of so many threads; BAR.ARV: arrives there and goes on. What a guard
    keeps from being executed leaves no Memory, and meets nobody."""
    waits = i.mods[0] == "SYNC"
    if not waits and (i.mods[0] != "ARV" or len(i.operands) < 2):
        raise Unreadable("a barrier that the model does not know")
    if len(i.operands) < 2:
        return barrier_of_all(i)
    number, threads = arg.word(i.operands[0]), arg.word(i.operands[1])
    return lambda w: Memory(0, 0, 0, Sync("barrier", of_first_lane(w, number(w)), of_first_lane(w, threads(w)), waits))


# ---- integers -----------------------------------------------------------------------------------------------------------------------
def leading_predicates(operands):
    """[destinations of carries], the rest."""
    n = 0
    while arg.is_predicate(operands[n]):
        n += 1
    return [arg.to_predicate(o) for o in operands[:n]], operands[n:]


def put_carries(w, carries, total):
    for k, put in enumerate(carries):
        put(w, lift(lambda v: v >> 32 > k, total))


def add_pairs(i):
    """UIADD3.64: of register pairs."""
    puts, terms = [arg.to_register(i.operands[0], k) for k in range(2)], [arg.double(o) for o in i.operands[1:4]]

    def execute(w):
        total = lift(lambda *v: sum(v), *[t(w) for t in terms])
        for k, put in enumerate(puts):
            put(w, lift(lambda v: v >> 32 * k & M, total))
    return execute


@roots("IADD3", "UIADD3", "IADD", "VIADD")
def add(i):
    if "64" in i.mods:
        return add_pairs(i)
    put = arg.to_register(i.operands[0])
    carries, rest = leading_predicates(i.operands[1:])
    terms = [arg.word(o, carry=True) for o in rest if not arg.is_predicate(o)]
    extra = [arg.predicate(o) for o in rest if arg.is_predicate(o)] if "X" in i.mods else []

    def execute(w):
        total = lift(lambda *v: sum(v), *[t(w) for t in terms + extra])
        put(w, lift(lambda v: v & M, total))
        put_carries(w, carries, total)
    return execute


@roots("IMAD", "UIMAD")
def multiply_add(i):
    wide, high, plain = "WIDE" in i.mods, "HI" in i.mods, "U32" in i.mods
    carries, rest = leading_predicates(i.operands[1:])
    a, b = arg.word(rest[0]), arg.word(rest[1])
    c = arg.double(rest[2]) if wide or high else arg.word(rest[2])
    carry = arg.predicate(rest[3]) if "X" in i.mods else lambda w: 0
    put, put_high = arg.to_register(i.operands[0]), arg.to_register(i.operands[0], 1)
    of = (lambda v: v) if plain else signed

    def execute(w):
        total = lift(lambda x, y, z, k: of(x) * of(y) + z + k, a(w), b(w), c(w), carry(w))
        put(w, lift(lambda v: (v >> 32 if high else v) & M, total))
        if wide:
            put_high(w, lift(lambda v: v >> 32 & M, total))
            put_carries(w, carries, lift(lambda v: v >> 32, total))
    return execute


@roots("LEA", "ULEA")
def shift_add(i):
    put = arg.to_register(i.operands[0])
    carries, rest = leading_predicates(i.operands[1:])
    carry = arg.predicate(rest.pop()) if "X" in i.mods else lambda w: 0
    shift = arg.number(rest.pop())
    high, sign = "HI" in i.mods, "SX32" in i.mods
    a, b = arg.word(rest[0]), arg.word(rest[1], carry=True)
    top = arg.word(rest[2]) if high and not sign else lambda w: 0

    def one(x, y, t, k):
        if high:
            value = (signed(x) & ((1 << 64) - 1)) if sign else x | t << 32
            return (value << shift >> 32 & M) + y + k
        return (x << shift & M) + y + k

    def execute(w):
        total = lift(one, a(w), b(w), top(w), carry(w))
        put(w, lift(lambda v: v & M, total))
        put_carries(w, carries, total)
    return execute


@roots("SHF", "USHF")
def funnel_shift(i):
    put = arg.to_register(i.operands[0])
    low, by, high = (arg.word(o) for o in i.operands[1:4])
    left, high_half, arithmetic, wide = "L" in i.mods, "HI" in i.mods, "S32" in i.mods, "U64" in i.mods or "S64" in i.mods

    def one(lo, k, hi):
        if left:
            value = (lo | hi << 32) << min(k, 63) if wide or high_half else lo << min(k, 32)
            return (value >> 32 if high_half else value) & M
        if high_half and not wide:  # of the high word alone: the low one is RZ
            return (signed(hi) if arithmetic else hi) >> min(k, 32) & M
        return (lo | hi << 32) >> min(k, 63) & M

    def execute(w):
        put(w, lift(one, low(w), by(w), high(w)))
    return execute


def look_up(table, a, b, c):
    result = 0
    for k in range(8):
        if table >> k & 1:
            result |= (a if k & 4 else ~a) & (b if k & 2 else ~b) & (c if k & 1 else ~c)
    return result & M


@roots("LOP3", "ULOP3")
def logic(i):
    operands = list(i.operands)
    put_any = arg.to_predicate(operands.pop(0)) if arg.is_predicate(operands[0]) else None
    put, table = arg.to_register(operands[0]), arg.number(operands[4])
    a, b, c = (arg.word(o) for o in operands[1:4])

    def execute(w):
        v = lift(lambda x, y, z: look_up(table, x, y, z), a(w), b(w), c(w))
        put(w, v)
        if put_any:
            put_any(w, lift(lambda x: x != 0, v))
    return execute


@roots("PLOP3", "UPLOP3")
def predicate_logic(i):
    put = arg.to_predicate(i.operands[0])
    inputs, table = [arg.predicate(o) for o in i.operands[2:5]], arg.number(i.operands[5])
    if i.operands[1] not in ("PT", "UPT"):
        raise Unreadable("a second result")
    return lambda w: put(w, lift(lambda p, q, r: bool(table >> (p << 2 | q << 1 | r) & 1), *[p(w) for p in inputs]))


COMPARE = {"LT": lambda a, b: a < b, "LE": lambda a, b: a <= b, "GT": lambda a, b: a > b, "GE": lambda a, b: a >= b,
           "EQ": lambda a, b: a == b, "NE": lambda a, b: a != b}
JOIN = {"AND": lambda a, b: a and b, "OR": lambda a, b: a or b, "XOR": lambda a, b: a != b}


@roots("ISETP", "UISETP")
def compare(i):
    put, put_other = arg.to_predicate(i.operands[0]), arg.to_predicate(i.operands[1])
    a, b, also = arg.word(i.operands[2]), arg.word(i.operands[3]), arg.predicate(i.operands[4])
    how, join = COMPARE[i.mods[0]], JOIN[next(x for x in i.mods if x in JOIN)]
    of = (lambda v: v) if "U32" in i.mods else signed
    low = arg.predicate(i.operands[5]) if "EX" in i.mods else None  # the comparison of the low words

    def execute(w):
        x, y, with_ = a(w), b(w), also(w)
        if low:
            holds = lift(lambda p, q, l: bool(l) if p == q else how(of(p), of(q)), x, y, low(w))
        else:
            holds = lift(lambda p, q: how(of(p), of(q)), x, y)
        put(w, lift(join, holds, with_))
        put_other(w, lift(lambda h, k: join(not h, k), holds, with_))
    return execute


@roots("SEL", "USEL", "FSEL")
def select(i):
    put, a, b, p = arg.to_register(i.operands[0]), arg.word(i.operands[1]), arg.word(i.operands[2]), arg.predicate(i.operands[3])
    return lambda w: put(w, lift(lambda x, y, first: x if first else y, a(w), b(w), p(w)))


@roots("VIMNMX", "UIMNMX", "VIMNMX3", "VIADDMNMX", "IMNMX")
def extreme(i):
    put, values, least = arg.to_register(i.operands[0]), [arg.word(o) for o in i.operands[1:-1]], arg.predicate(i.operands[-1])
    of = (lambda v: v) if "U32" in i.mods else signed
    added = i.root == "VIADDMNMX"

    def one(first, *v):
        v = [of(x) for x in ([v[0] + v[1] & M, v[2]] if added else v)]
        return (min(v) if first else max(v)) & M
    return lambda w: put(w, lift(one, least(w), *[v(w) for v in values]))


@roots("IABS")
def absolute(i):
    put, a = arg.to_register(i.operands[0]), arg.word(i.operands[1])
    return lambda w: put(w, lift(lambda v: abs(signed(v)) & M, a(w)))


@roots("PRMT", "UPRMT")
def permute(i):
    put = arg.to_register(i.operands[0])
    a, selector, b = (arg.word(o) for o in i.operands[1:4])

    def one(x, s, y):
        both, result = x | y << 32, 0
        for k in range(4):
            nibble = s >> 4 * k & 15
            byte = both >> 8 * (nibble & 7) & 255
            if nibble & 8:  # its sign, spread
                byte = 255 if byte >> 7 else 0
            result |= byte << 8 * k
        return result
    return lambda w: put(w, lift(one, a(w), selector(w), b(w)))


@roots("VOTEU")
def vote(i):
    """VOTEU.ANY UP0, P0: whether any active lane's predicate holds."""
    if i.mods != ["ANY"] or len(i.operands) != 2:
        raise Unreadable("a vote that the model does not know")
    put, p = arg.to_predicate(i.operands[0]), arg.predicate(i.operands[1])
    return lambda w: put(w, bool(w.lanes_where(p(w))))


@roots("R2UR")
def to_uniform(i):
    """The first lane's value; the predicate, where there is one: of the lanes that have another, for a loop over them."""
    operands = list(i.operands)
    put_other = arg.to_predicate(operands.pop(0)) if arg.is_predicate(operands[0]) else None
    put, a = arg.to_register(operands[0]), arg.word(operands[1])
    before = arg.predicate(i.operands[0]) if "OR" in i.mods else lambda w: False

    def execute(w):
        value, first = a(w), of_first_lane(w, a(w))
        put(w, first)
        if put_other:
            put_other(w, lift(lambda v, p: p or v != first, value, before(w)))
    return execute


@roots("MOV", "UMOV")
def move(i):
    put, a = arg.to_register(i.operands[0]), arg.word(i.operands[1])
    return lambda w: put(w, a(w))


@roots("CS2R")
def move_pair(i):
    puts = [arg.to_register(i.operands[0], k) for k in range(1 if "32" in i.mods else 2)]
    if i.operands[1] != "SRZ":
        raise Unreadable("a special register of 64 bits")
    return lambda w: [put(w, 0) for put in puts] and None


@roots("P2R")
def predicates_to_register(i):
    put, rest, which = arg.to_register(i.operands[0]), arg.word(i.operands[2]), arg.number(i.operands[3])
    pack = lambda old, *p: old & ~which & M | sum(v << k for k, v in enumerate(p)) & which
    return lambda w: put(w, lift(pack, rest(w), *w.P[:7]))


@roots("R2P")
def register_to_predicates(i):
    value, which = arg.word(i.operands[1]), arg.number(i.operands[2])
    puts = [(k, arg.to_predicate("P%d" % k)) for k in range(7) if which >> k & 1]
    return lambda w: [put(w, lift(lambda v: v >> k & 1 == 1, value(w))) for k, put in puts] and None


@roots("S2R", "S2UR")
def special(i):
    put, name = arg.to_register(i.operands[0]), i.operands[1]
    places = {"SR_CTAID.X": 0, "SR_CTAID.Y": 1, "SR_CTAID.Z": 2}
    if name in places:
        return lambda w: put(w, w.block.place[places[name]])
    if name == "SR_TID.X":
        return lambda w: put(w, [w.first_thread + k for k in range(LANES)])
    if name == "SR_LANEID":
        return lambda w: put(w, list(range(LANES)))
    if name in ("SR_CgaCtaId", "SR_TID.Y", "SR_TID.Z"):
        return lambda w: put(w, 0)
    raise Unreadable("a special register")


# ---- floating point -----------------------------------------------------------------------------------------------------------------
def results(count):
    def builder(i):
        puts = [arg.to_register(i.operands[0], k) for k in range(count)]

        def execute(w):
            for put in puts:
                put(w, WORD)
        return execute
    return builder


roots("FADD", "FMUL", "FFMA", "FMNMX", "F2FP", "HADD2", "HMUL2", "HMNMX2", "F2F")(results(1))
roots("HMMA", "IMMA")(results(4))


@roots("HFMA2")
def half_multiply_add(i):
    if [o.lstrip("-") for o in i.operands[1:3]] != ["RZ", "RZ"]:
        return results(1)(i)
    high, low = (struct.unpack("<H", struct.pack("<e", float(o)))[0] for o in i.operands[3:5])  # a constant
    put = arg.to_register(i.operands[0])
    return lambda w: put(w, high << 16 | low)


@roots("MUFU")
def special_function(i):
    put, a = arg.to_register(i.operands[0]), arg.word(i.operands[1])
    if "RCP" not in i.mods:
        return lambda w: put(w, WORD)
    return lambda w: put(w, lift(lambda v: arg.float_bits(1 / arg.as_float(v)) if arg.as_float(v) else 0x7F800000, a(w)))


@roots("I2F", "I2FP")
def from_integer(i):
    put, a = arg.to_register(i.operands[0]), arg.word(i.operands[1])
    of = (lambda v: v) if "U32" in i.mods else signed
    made = (lambda v: arg.round_up_bits(of(v))) if "RP" in i.mods else (lambda v: arg.float_bits(float(of(v))))
    return lambda w: put(w, lift(made, a(w)))


@roots("F2I")
def to_integer(i):
    if "U32" not in i.mods:
        raise Unreadable("a conversion to a signed integer")
    put, a = arg.to_register(i.operands[0]), arg.word(i.operands[1])
    return lambda w: put(w, lift(arg.trunc_unsigned, a(w)))


@roots("FCHK")
def division_is_special(i):
    put = arg.to_predicate(i.operands[0])
    return lambda w: put(w, False)


@roots("FSETP")
def compare_floats(i):
    put, put_other = arg.to_predicate(i.operands[0]), arg.to_predicate(i.operands[1])
    a, b, also = arg.word(i.operands[2]), arg.word(i.operands[3]), arg.predicate(i.operands[4])
    how, join = COMPARE[i.mods[0][:2]], JOIN[next(x for x in i.mods if x in JOIN)]  # no NaN: GEU is GE

    def execute(w):
        holds = lift(lambda x, y: how(arg.as_float(x), arg.as_float(y)), a(w), b(w))
        put(w, lift(join, holds, also(w)))
        put_other(w, lift(lambda h, k: join(not h, k), holds, also(w)))
    return execute


# ---- memory -------------------------------------------------------------------------------------------------------------------------
def of_lanes(w, value):
    """A value of every lane that takes part, None for the others."""
    if type(value) is not list:
        value = [value] * LANES
    return [v if w.mask >> k & 1 else None for k, v in enumerate(value)]


def words_of(mods):
    return max(1, arg.access_bytes(mods) // 4)


@roots("LDC", "ULDC")
def load_constant(i):
    put, a = arg.to_register(i.operands[0]), arg.word(i.operands[1])
    if "64" in i.mods:
        put_high, high = arg.to_register(i.operands[0], 1), arg.word(i.operands[1], 1)
        return lambda w: (put(w, a(w)), put_high(w, high(w))) and None
    width = {1: 255, 2: 65535}.get(arg.access_bytes(i.mods), M)
    return lambda w: put(w, lift(lambda v: v & width, a(w)))


@roots("LDG")
def load_global(i):
    size = arg.access_bytes(i.mods)
    value = WORD & (1 << 8 * min(size, 4)) - 1
    puts, at = [arg.to_register(i.operands[0], k) for k in range(words_of(i.mods))], arg.address(i.operands[1])

    def execute(w):
        sectors = arg.global_sectors(of_lanes(w, at(w)), size)
        fresh = sectors - w.block.read_sectors
        w.block.read_sectors |= fresh
        for put in puts:
            put(w, value)
        return Memory(-(-len(sectors) // 4), arg.SECTOR * len(fresh), 0)
    return execute


@roots("STG")
def store_global(i):
    size, at = arg.access_bytes(i.mods), arg.address(i.operands[0])

    def execute(w):
        sectors = arg.global_sectors(of_lanes(w, at(w)), size)
        return Memory(-(-len(sectors) // 4), 0, arg.SECTOR * len(sectors))
    return execute


@roots("LDGSTS")
def copy_to_shared(i):
    size, to, source = arg.access_bytes(i.mods), arg.address(i.operands[0]), arg.address(i.operands[1])
    reads = arg.predicate(i.operands[2]) if len(i.operands) > 2 else lambda w: True

    def execute(w):
        wanted = w.lanes_where(reads(w))
        sources = [a if wanted >> k & 1 else None for k, a in enumerate(of_lanes(w, source(w)))]
        return Memory(arg.shared_wavefronts(of_lanes(w, to(w)), size), arg.SECTOR * len(arg.global_sectors(sources, size)), 0)
    return execute


def shared_access(i, at):
    size = arg.access_bytes(i.mods)

    def turns(w):
        where = at(w)
        return Memory(1 if type(where) is not list else arg.shared_wavefronts(of_lanes(w, where), size), 0, 0)
    return turns


@roots("LDS")
def load_shared(i):
    if i.operands[0] == "RZ":  # ptxas puts these in front of LDGSTS; nothing is read
        return lambda w: Memory(0, 0, 0)
    turns = shared_access(i, arg.address(i.operands[1]))
    puts, at = [arg.to_register(i.operands[0], k) for k in range(words_of(i.mods))], arg.address(i.operands[1])

    def execute(w):
        for k, put in enumerate(puts):
            put(w, w.block.noted.get(arg.of_first_lane(w, at(w)) + 4 * k, WORD) if alone(w) else WORD)
        return turns(w)
    return execute


def alone(w):
    return not w.mask & w.mask - 1


@roots("STS")
def store_shared(i):
    """What a lane stores alone is there when one loads it alone: of a block's own notes, where it goes on."""
    at = arg.address(i.operands[0])
    turns, values = shared_access(i, at), [arg.word(i.operands[1], k) for k in range(words_of(i.mods))]

    def execute(w):
        if alone(w):
            first = arg.of_first_lane(w, at(w))
            w.block.noted.update((first + 4 * k, arg.of_first_lane(w, value(w))) for k, value in enumerate(values))
        return turns(w)
    return execute


@roots("LDSM")
def load_matrices(i):
    count = int(i.mods[-1])
    puts, at = [arg.to_register(i.operands[0], k) for k in range(count)], arg.address(i.operands[1])

    def execute(w):
        for put in puts:
            put(w, WORD)
        return Memory(arg.shared_wavefronts(of_lanes(w, at(w))[:8 * count], 16), 0, 0)
    return execute


@roots("STSM")
def store_matrices(i):
    count, at = int(i.mods[-1]), arg.address(i.operands[0])
    return lambda w: Memory(arg.shared_wavefronts(of_lanes(w, at(w))[:8 * count], 16), 0, 0)


@roots("SHFL")
def shuffle(i):
    put, a = arg.to_register(i.operands[1]), arg.word(i.operands[2])
    return lambda w: put(w, a(w)) or Memory(1, 0, 0)
