"""cut_checkpoint.py -- a checkpoint without the tensors that a safetensors file has: tests/cut_checkpoint.py CHECKPOINT SAFETENSORS >CUT

The cut file is a line `OFFSET NAME` for every tensor that was taken out, in the order of the file, an empty line, and the bytes
that are left. tests/official_files.h puts the tensors back."""
import json
import struct
import sys

SMALL = 256  # bytes: shorter ones stay where they are

data = open(sys.argv[1], "rb").read()
weights = open(sys.argv[2], "rb").read()
start = 8 + struct.unpack("<Q", weights[:8])[0]
header = json.loads(weights[8:start])
cuts = []
for name, tensor in header.items():
    if name == "__metadata__":
        continue
    begin, end = tensor["data_offsets"]
    values = weights[start + begin : start + end]
    at = data.find(values)
    while any(at < a + n and a < at + len(values) for a, n, _ in cuts) and at >= 0:  # equal tensors
        at = data.find(values, at + 1)
    if len(values) >= SMALL and at >= 0:
        cuts.append((at, len(values), name))
cuts.sort()
out = sys.stdout.buffer
for at, _, name in cuts:
    out.write(b"%d %s\n" % (at, name.encode()))
out.write(b"\n")
done = 0
for at, n, _ in cuts:
    out.write(data[done:at])
    done = at + n
out.write(data[done:])
