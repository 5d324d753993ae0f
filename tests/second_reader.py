"""A second reader of checkpoints, for test_mutants.c: python3 tests/second_reader.py FILE
FILE holds records, of files that dg_cuda accepted: the kind, the file, and what dg_cuda read from it, a line a tensor. This reads
the same file with Python's own pickle, zipfile and json, and compares. Prints how many were compared, how many differ, and how
many it refuses itself; the exit status is 1 when one differs."""
import codecs
import collections
import io
import json
import pickle
import struct
import sys
import zipfile
import zlib

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1, "I64": 8}
STORAGES = {"DoubleStorage": ("F64", 8), "FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2),
            "ByteStorage": ("U8", 1), "BoolStorage": ("U8", 1), "CharStorage": ("i8", 1), "ShortStorage": ("i16", 2),
            "IntStorage": ("i32", 4), "LongStorage": ("I64", 8), "UntypedStorage": ("U8", 1)}
WIDENED = {"i8": "b", "i16": "h", "i32": "i"}


class Refused(Exception):
    pass


class Storage:
    def __init__(self, kind, data):
        self.type, self.size = kind
        self.data = data


class Tensor:
    def __init__(self, storage, offset, size, stride, *rest):
        if not isinstance(storage, Storage):
            raise Refused("a tensor of no storage")
        self.storage, self.offset, self.shape, self.stride = storage, offset, tuple(size), tuple(stride)

    def line(self, name):
        count = 1
        for n in self.shape:
            count *= n
        size, data = self.storage.size, self.storage.data
        if len(self.shape) != len(self.stride) or count > 1 << 16:
            raise Refused("a strange shape")
        out = bytearray()
        index = [0] * len(self.shape)
        for _ in range(count):
            at = size * (self.offset + sum(i * s for i, s in zip(index, self.stride)))
            if at < 0 or at + size > len(data):
                raise Refused("a view outside its storage")
            out += data[at:at + size]
            for d in reversed(range(len(index))):
                index[d] += 1
                if index[d] < self.shape[d]:
                    break
                index[d] = 0
        kind = self.storage.type
        if kind in WIDENED:
            out = b"".join(struct.pack("<q", v) for v, in struct.iter_unpack("<" + WIDENED[kind], bytes(out)))
            kind = "I64"
        return line(name, kind, self.shape, bytes(out))


def line(name, kind, shape, data):
    return "%s %s [%s] %08x" % (name, kind, ",".join(map(str, shape)), zlib.crc32(data))


class Other(dict):
    """Whatever else is called: it keeps the items that it is given."""

    def __init__(self, *args, **named):
        super().__init__()

    def __setstate__(self, state):
        pass

    def append(self, item):
        pass

    def extend(self, items):
        pass


def parameter(data, *rest):
    if not isinstance(data, Tensor):
        raise Refused("a parameter of no tensor")
    return data


class Reader(pickle.Unpickler):
    def __init__(self, file, storages):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return parameter
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda data: legacy(bytes(data))
        if (module == "torch" or module.startswith("torch.")) and name in STORAGES:
            return type(name, (Other,), {"kind": STORAGES[name]})
        return type(name if name.isidentifier() else "Other", (Other,), {})

    def persistent_load(self, pid):
        if not isinstance(pid, tuple) or pid[0] != "storage":
            raise Refused("a persistent id of no storage")
        kind, key, elements = getattr(pid[1], "kind", None), pid[2], pid[4]
        if kind is None:
            raise Refused("a storage of no type")
        return self.storages(kind, key, elements, pid[5] if len(pid) > 5 else None)


def legacy(data):
    file = io.BytesIO(data)
    if pickle.load(file) != 0x1950a86a20f9469cfc6c or pickle.load(file) != 1001:
        raise Refused("no file of torch.save")
    pickle.load(file)
    waiting = {}

    def storage(kind, key, elements, view):
        if key not in waiting:
            waiting[key] = Storage(kind, None)
        if view is None:
            return waiting[key]
        raise Refused("a view of a storage")

    root = Reader(file, storage).load()
    for key in pickle.load(file):
        count, = struct.unpack("<q", file.read(8))
        waiting[key].data = file.read(count * waiting[key].size)
        if len(waiting[key].data) != count * waiting[key].size:
            raise Refused("a cut storage")
    if file.read(1):
        raise Refused("bytes behind the last storage")
    return root


def zipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        folder = z.infolist()[0].filename.split("/")[0]

        def storage(kind, key, elements, view):
            raw = z.read("%s/data/%s" % (folder, key))
            if len(raw) != elements * kind[1]:
                raise Refused("a storage of another size")
            return Storage(kind, raw)

        return Reader(io.BytesIO(z.read(folder + "/data.pkl")), storage).load()


def no_storage(*args):
    raise Refused("a storage outside the file")


def native(data):
    n, = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8:8 + n].decode("utf-8")), data[8 + n:]
    lines = []
    for name, t in header.items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            count = SIZES[t["dtype"]]
            for d in t["shape"]:
                count *= d
            if count != end - begin or end > len(body):
                raise Refused("a tensor of another size")
            lines.append(line(name, t["dtype"], t["shape"], body[begin:end]))
    return lines


def state_dict(root):
    part = root["ema"]
    return [v.line(k) for k, v in part.items() if isinstance(k, str) and isinstance(v, Tensor)]


def shards(data, pieces):
    lines = []
    for piece in sorted(set(json.loads(data.decode("utf-8"))["weight_map"].values())):
        lines += native(pieces[piece])
    return lines


def main():
    compared = differ = refused = 0
    reasons = collections.Counter()
    pieces = {}
    with open(sys.argv[1], "rb") as f:
        while True:
            head = f.read(4)
            if not head:
                break
            kind = head.decode()
            data, said = (f.read(struct.unpack("<I", f.read(4))[0]) for _ in range(2))
            if kind == "piec":
                pieces[said.decode()] = data
                continue
            try:
                if kind == "nati":
                    lines = native(data)
                elif kind == "shar":
                    lines = shards(data, pieces)
                else:
                    root = {"zipp": zipped, "lega": legacy, "pick": lambda d: Reader(io.BytesIO(d), no_storage).load()}[kind](data)
                    lines = state_dict(root)
            except Exception as e:
                refused += 1
                reasons["%s: %s: %.60s" % (kind, type(e).__name__, e)] += 1
                if len(sys.argv) > 2:
                    with open("%s/refused-%d" % (sys.argv[2], refused), "wb") as out:
                        out.write(data)
                continue
            compared += 1
            if sorted(lines) == sorted(said.decode("utf-8").split("\0")[:-1]):
                continue
            differ += 1
            if differ <= 5:
                print("DIFFERS %s: read %s\n  dg_cuda %s" % (kind, sorted(lines), said))
            if len(sys.argv) > 2:
                with open("%s/differs-%d" % (sys.argv[2], differ), "wb") as out:
                    out.write(data)
    for reason, count in reasons.most_common(12):
        print("refused here %6d times: %s" % (count, reason))
    print("%d compared, %d differ, %d refused" % (compared, differ, refused))
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
