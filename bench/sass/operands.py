"""operands.py -- what an instruction's operands name: closures from a warp of machine.py to a value, and what an access costs.

Integers, predicates and addresses are exact. Floating-point results are not computed: what is read from memory or made of floats is
WORD, which is a plausible number as f32, bf16 and f16, so that no branch meets a NaN or an infinity. Divisions of integers go
through I2F, MUFU.RCP and F2I, which are therefore computed. A value is an int where all 32 lanes hold the same, else a list of 32. """
import math
import struct
from collections import namedtuple

from .decode import Unreadable

LANES, ALL, WORD, M = 32, (1 << 32) - 1, 0x3F803F80, (1 << 32) - 1
SHARED_BANKS, SECTOR = 32, 32

# wavefronts: of shared memory or L1; bytes asked of L2; bytes given to it; what other warps learn of it, or None
Memory = namedtuple("Memory", "wavefronts read written sync", defaults=(None,))
# kind: product, load, store, begin, arrive, wait, barrier; at: the barrier's address or number; count: arrivals, threads, a parity, clocks
Sync = namedtuple("Sync", "kind at count size")


def signed(v):
    return v - (1 << 32) if v >> 31 else v


def lift(f, *values):
    """f of every lane; an int stands for 32 equal lanes."""
    for v in values:
        if type(v) is list:
            return [f(*lane) for lane in zip(*(x if type(x) is list else [x] * LANES for x in values))]
    return f(*values)


def as_float(bits):
    return struct.unpack("<f", struct.pack("<I", bits & M))[0]


def float_bits(x):
    try:
        return struct.unpack("<I", struct.pack("<f", x))[0]
    except OverflowError:
        return 0x7F800000


def round_up_bits(x):
    """The f32 not below x, a non-negative integer."""
    bits = float_bits(float(x))
    return bits if as_float(bits) >= x else bits + 1


# ---- operands: closures from the warp to a value ----------------------------------------------------------------------------------
SPECIAL_FLOATS = {"INF": 0x7F800000, "QNAN": 0x7FC00000}


def number(text):
    """The bits of an immediate, or None."""
    sign, body = (1, text[1:]) if text[:1] == "-" else (0, text.lstrip("+"))
    if body.startswith("0x"):
        return (-int(body, 16) if sign else int(body, 16)) & M
    if body in SPECIAL_FLOATS:
        return SPECIAL_FLOATS[body] | sign << 31
    if body[:1].isdigit():
        return float_bits(-float(body) if sign else float(body))
    return None


def register(name):
    """(file, index) of R7, UR4, RZ, URZ; None."""
    for prefix, file in (("UR", "U"), ("R", "R")):
        if name.startswith(prefix) and name[len(prefix):].isdigit():
            return file, int(name[len(prefix):])
    return None


def word(text, plus=0, carry=False):
    """The operand as 32 bits; plus 1: the register after it. carry: -x as ~x + 1 in 33 bits, so that a sum's carry is right."""
    bits = number(text)
    if bits is not None:
        return lambda w: bits
    negative, inverted, absolute = text[0] == "-", text[0] == "~", "|" in text
    name = text.lstrip("-~").strip("|").split(".")[0]
    if text.lstrip("-~").startswith("c["):
        return constant(text.lstrip("-~"), plus)
    if name in ("RZ", "URZ", "SRZ"):
        plain = lambda w: 0
    else:
        place = register(name)
        if not place:
            raise Unreadable("operand %s" % text)
        file, index = place[0], place[1] + plus
        plain = (lambda w: w.R[index]) if file == "R" else (lambda w: w.U[index])
    if absolute:
        return lambda w: lift(lambda v: v & 0x7FFFFFFF, plain(w))
    if negative and carry:
        return lambda w: lift(lambda v: (~v & M) + 1, plain(w))
    if negative:
        return lambda w: lift(lambda v: -v & M, plain(w))
    if inverted:
        return lambda w: lift(lambda v: ~v & M, plain(w))
    return plain


def constant(text, plus):
    """c[0x0][0x210] or c[0x0][R5+0x210]"""
    inner = text[text.index("][") + 2:-1]
    base, _, rest = inner.partition("+")
    if base.startswith("0x"):
        at = int(base, 16) + 4 * plus
        return lambda w: w.block.constant(at)
    index, offset = word(base), int(rest or "0", 16) + 4 * plus

    def of_active_lanes(w):
        where = index(w)
        if type(where) is not list:
            return w.block.constant(where + offset)
        return [w.block.constant(v + offset) if w.mask >> k & 1 else 0 for k, v in enumerate(where)]
    return of_active_lanes


def double(text):
    """A register pair as 64 bits."""
    if text in ("RZ", "URZ"):
        return lambda w: 0
    if number(text) is not None:
        low = number(text)
        return lambda w: low
    low, high = word(text), word(text, 1)
    return lambda w: lift(lambda a, b: a | b << 32, low(w), high(w))


def predicate(text):
    negative, name = text[0] == "!", text.lstrip("!")
    if name in ("PT", "UPT"):
        return lambda w: not negative
    file, index = ("UP", int(name[2:])) if name[0] == "U" else ("P", int(name[1:]))
    plain = (lambda w: w.UP[index]) if file == "UP" else (lambda w: w.P[index])
    return (lambda w: lift(lambda v: not v, plain(w))) if negative else plain


def is_predicate(text):
    name = text.lstrip("!")
    return name in ("PT", "UPT") or (name[0] == "P" and name[1:].isdigit()) or (name[:2] == "UP" and name[2:].isdigit())


def address(text):
    """[R4+UR5+0x10], desc[UR8][R4.64+0x10]"""
    wide, parts = ".64" in text, []
    for term in text[text.rindex("[") + 1:text.rindex("]")].split("+"):
        bits = number(term)
        if bits is not None:
            offset = signed(bits)
            parts.append(lambda w, offset=offset: offset)
        else:
            name = term.split(".")[0]
            parts.append(double(name) if term.endswith(".64") else word(name))
    width = (1 << 64) - 1 if wide else M
    return lambda w: lift(lambda *v: sum(v) & width, *(p(w) for p in parts))


# ---- destinations -----------------------------------------------------------------------------------------------------------------
def merged(w, old, new):
    """New values of the active lanes only."""
    if w.lanes is None:
        return new
    old, new = (v if type(v) is list else [v] * LANES for v in (old, new))
    return [n if on else o for n, o, on in zip(new, old, w.lanes)]


def of_first_lane(w, value):
    return value if type(value) is not list else next(v for k, v in enumerate(value) if w.mask >> k & 1)


def to_register(text, plus=0):
    name = text.split(".")[0]
    if name in ("RZ", "URZ"):
        return lambda w, v: None
    place = register(name)
    if not place:
        raise Unreadable("destination %s" % text)
    file, index = place[0], place[1] + plus

    def put(w, v):
        w.R[index] = merged(w, w.R[index], v)

    def put_uniform(w, v):  # one value, whichever lanes are active
        w.U[index] = of_first_lane(w, v)
    return put if file == "R" else put_uniform


def to_predicate(text):
    if text in ("PT", "UPT"):
        return lambda w, v: None
    uniform, index = text[0] == "U", int(text.lstrip("UP"))

    def put(w, v):
        predicates = w.UP if uniform else w.P
        predicates[index] = merged(w, predicates[index], v)
    return put


# ---- memory -----------------------------------------------------------------------------------------------------------------------
def shared_wavefronts(addresses, size):
    """Turns of the shared-memory port for one access of `size` bytes by each lane (None: a lane that does not take part)."""
    lanes = LANES * 4 // max(size, 4)  # together in a turn: 32, 16 or 8
    turns = 0
    for first in range(0, len(addresses), lanes):
        banks = {}
        for a in addresses[first:first + lanes]:
            if a is not None:
                for word_at in range(a // 4, (a + max(size, 4)) // 4):
                    banks.setdefault(word_at % SHARED_BANKS, set()).add(word_at)
        if banks:
            turns += max(len(words) for words in banks.values())
    return turns


def global_sectors(addresses, size):
    sectors = set()
    for a in addresses:
        if a is not None:
            sectors.update(range(a // SECTOR, (a + size - 1) // SECTOR + 1))
    return sectors


def access_bytes(mods):
    for m in mods:
        if m in ("128", "64", "U16", "U8", "S16", "S8"):
            return {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}[m]
    return 4


def trunc_unsigned(bits):
    x = as_float(bits)
    return 0 if math.isnan(x) or x <= 0 else min(int(x), M)
