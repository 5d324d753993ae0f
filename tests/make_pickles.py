"""Writes tests/data/protocolN.pkl: one value of every kind that checkpoints hold, in each pickle protocol.
test_pickle.c knows what they say. Run once with any Python 3.8 or later: python3 tests/make_pickles.py"""
import collections
import os
import pickle
import pickletools


class PersistentId:
    pass


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, PersistentId):
            return "storage 7" if self.protocol == 0 else ("storage", collections.OrderedDict, "7", "cpu", 4096)
        return None

    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.protocol = protocol


class Deque(collections.deque):
    pass


def value():
    shared = ["shared"]
    state = collections.OrderedDict(first=1, second=shared)
    state._metadata = {"version": 1}
    return {
        "integers": [0, 1, 255, 256, 65535, 65536, -1, -2147483648, 2**31, -(2**63) + 1, 2**63 - 1, 2**70],
        "numbers": (1.5, -0.0, 1e300),
        "constants": [None, True, False],
        "text": "caf\u00e9 \u20ac \U0001f600 \\ ' \n",
        "empty": [(), [], {}, ""],
        "long": ["x" * 300],
        "bytes": b"\x00\xffq",
        "more bytes": [b"y" * 300],
        "bytearray": bytearray(b"abc"),
        "set": {7},
        "frozenset": frozenset([8]),
        "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "shared": [shared, shared, state],
        "deque": Deque([1, 2]),
        "class": collections.OrderedDict,
        "storage": PersistentId(),
        "complex": 1 + 2j,
    }


if __name__ == "__main__":
    Deque.__module__ = "__main__"
    here = os.path.dirname(os.path.abspath(__file__))
    for protocol in range(6):
        path = os.path.join(here, "data", "protocol%d.pkl" % protocol)
        with open(path, "wb") as f:
            Pickler(f, protocol).dump(value())
        with open(path, "rb") as f:
            pickletools.dis(f.read(), out=open(os.devnull, "w"))
