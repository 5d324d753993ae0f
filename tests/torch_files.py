"""Writes files with an installed PyTorch, for test_convert.c: python3 tests/torch_files.py FOLDER
Element i of a tensor (in C order) is 0.25 * (i % 97) - 3 in floating-point tensors, i % 97 - 20 in integer ones
(i % 97 without a sign), i % 3 == 0 in booleans: all exact in every type."""
import collections
import pickle
import sys
import types
import zipfile

import torch


def values(shape, dtype):
    n = 1
    for s in shape:
        n *= s
    i = torch.arange(n, dtype=torch.int64) % 97
    if dtype == torch.bool:
        v = torch.arange(n) % 3 == 0
    elif dtype == torch.uint8:
        v = i
    elif dtype.is_floating_point:
        v = i.double() * 0.25 - 3
    else:
        v = i - 20
    return v.to(dtype).reshape(shape)


def as_values(storage_like, shape):
    """A tensor with that memory layout that holds the values."""
    storage_like.copy_(values(shape, storage_like.dtype))
    return storage_like


def state():
    d = collections.OrderedDict()
    for name in "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool".split():
        d["types." + name] = values((3, 5), getattr(torch, name))
    d["scalar"] = values((), torch.float32)
    d["empty"] = values((0, 4), torch.float32)
    d["parameter"] = torch.nn.Parameter(values((4, 4), torch.float32))
    d["transposed"] = as_values(torch.zeros(7, 6).t(), (6, 7))
    d["channels_last"] = as_values(torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last), (2, 3, 4, 5))
    d["sliced"] = as_values(torch.zeros(10, 10)[2:8:2, 1:9:3], (3, 3))
    shared = torch.zeros(100)
    d["shared.first"] = as_values(shared[:40].view(5, 8), (5, 8))
    d["shared.second"] = as_values(shared[40:64].view(2, 3, 4), (2, 3, 4))
    d["shared.same"] = d["shared.first"]
    d["expanded"] = values((1, 1), torch.float32).expand(3, 1)[:1]
    d["not a tensor"] = 7
    return d


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
        with torch.no_grad():
            self.inner.weight.copy_(values((2, 3), torch.float32))
            self.inner.bias.copy_(values((2,), torch.float32))
        self.register_buffer("kept", values((4,), torch.float32))
        self.register_buffer("dropped", values((4,), torch.float32), persistent=False)
        self.register_buffer("none", None)


class Persistent:
    """What EDM's torch_utils.persistence pickles: a call of its function with a description of the object."""

    def __init__(self, class_name, **state):
        self.meta = dict(type="class", version=6, module_src="", class_name=class_name, state=state)

    def __reduce__(self):
        return (sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,))


def reconstruct(meta):
    raise NotImplementedError


def persistent_module(class_name, tensors, modules, kwargs):
    parameters = collections.OrderedDict((k, torch.nn.Parameter(v)) for k, v in tensors.items() if k != "resample_filter")
    buffers = collections.OrderedDict((k, v) for k, v in tensors.items() if k == "resample_filter")
    parameters["off"] = None
    return Persistent(class_name, training=False, _parameters=parameters, _buffers=buffers, _non_persistent_buffers_set=set(),
                      _modules=collections.OrderedDict(modules), _init_args=(), _init_kwargs=kwargs, **kwargs)


def edm_pickle():
    reconstruct.__module__, reconstruct.__qualname__ = "torch_utils.persistence", "_reconstruct_persistent_obj"
    sys.modules["torch_utils"] = types.ModuleType("torch_utils")
    sys.modules["torch_utils.persistence"] = types.ModuleType("torch_utils.persistence")
    sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = reconstruct
    half = values((2, 2), torch.float16)
    inner = persistent_module("Linear", {"weight": half, "bias": values((3,), torch.float32), "resample_filter": values((1, 1, 2, 2), torch.float32)},
                              {}, {"in_features": 2})
    net = persistent_module("VPPrecond", {"scalar": values((), torch.float32)}, {"model": inner, "none": None},
                            {"beta_d": 19.9, "label_dim": 0, "channel_mult": [1, 2], "sigma_max": float("inf")})
    return {"ema": net, "loss_fn": None, "augment_pipe": Persistent("AugmentPipe", _parameters={}, _modules={})}


if __name__ == "__main__":
    folder = sys.argv[1] + "/"
    d = state()
    torch.save(d, folder + "zip.pt")
    torch.save(d, folder + "zip4.pt", pickle_protocol=4)
    torch.save(d, folder + "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(d, folder + "legacy4.pt", _use_new_zipfile_serialization=False, pickle_protocol=4)
    with zipfile.ZipFile(folder + "zip.pt") as source, zipfile.ZipFile(folder + "deflated.pt", "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    net = {"w": values((2, 2), torch.float32)}
    ema = {"w": values((3, 3), torch.float32)}
    torch.save({"model": net, "ema": ema, "opt": {"state": {0: {"exp_avg": net["w"]}}}, "epoch": 3}, folder + "nested.pt")
    torch.save({"state_dict": {"module.w": ema["w"]}, "optimizer": {}}, folder + "wrapped.pt")
    torch.save(Module(), folder + "module.pt")
    torch.save(Module(), folder + "module_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"big": torch.tensor([1.0, 70000.0])}, folder + "big.pt")
    torch.save({"inf": torch.tensor([1.0, float("inf"), float("nan")])}, folder + "inf.pt")
    torch.save([1, 2, 3], folder + "list.pt")
    for protocol in range(3, 6):
        with open(folder + "edm%d.pkl" % protocol, "wb") as f:
            pickle.dump(edm_pickle(), f, protocol=protocol)
