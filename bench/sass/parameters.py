"""parameters.py -- the parameter blocks of kernels/*.cu as ctypes, and the constants that they hold. What changes in a kernel's struct
changes here: launches.py's check_parameters compares the size of every block with the machine code.                            """
import ctypes as c

F32, F16, BF16 = 0, 1, 2
TYPES = {"fp32": F32, "fp16": F16, "bf16": BF16}
BYTES = {F32: 4, F16: 2, BF16: 2}
MANGLED = {F16: "6__half", BF16: "13__nv_bfloat16", F32: "f"}
NORM_SEGMENT = 64
OPERAND_NONE, OPERAND_FULL, OPERAND_VECTOR, OPERAND_POSITIONS = range(4)
ACTS = {"none": 0, "relu": 1, "gelu_tanh": 2}


def pointers(*names):
    return [(n, c.c_void_p) for n in names]


def ints(*names):
    return [(n, c.c_int) for n in names]


def structure(name, *fields):
    return type(name, (c.Structure,), {"_fields_": [f for group in fields for f in group]})


def floats(*names):
    return [(n, c.c_float) for n in names]


Divider = structure("Divider", ints("factor", "shift"))
Epilogue = structure("Epilogue", pointers("add", "bias", "gate"), ints("add_type", "y_type", "add_kind", "act", "k", "rows", "out_pixels"), floats("scale"),
                     [("by_pixels", Divider)])
FilterWalk = structure("FilterWalk", ints("taps", "pieces", "row_pieces", "bytes", "row_end_bytes", "by_pieces", "by_row", "first_taps"))
ConvParams = structure("ConvParams", pointers("x", "w", "y", "stats"), [("end", Epilogue)],
                       ints("height", "width", "c", "out_width", "filter_height", "filter_width", "stride", "top", "left", "pieces", "row_pieces"),
                       [("by_width", Divider)], ints("across"), [("by_across", Divider), ("walk", FilterWalk)])
LinearParams = structure("LinearParams", pointers("x", "w", "bias", "gate", "add", "y"), ints("n", "c", "k", "add_stride"), floats("scale"), ints("act"))
LINEAR_LAYERS = 48
LinearGroup = structure("LinearGroup", [("layer", LinearParams * LINEAR_LAYERS)])
NormParams = structure("NormParams", pointers("x", "more", "dy", "add", "y", "gamma", "beta", "scale_shift"), ints("x_type", "dy_type", "add_type", "y_type"),
                       ints("pixels", "c", "x_c", "groups", "per_group", "segments", "parts", "n", "width"), [("by_width", Divider), ("by_half", Divider)], floats("eps", "share", "down", "up"), [("silu", c.c_bool), ("stats", c.c_void_p * 2)],
                       [("stats_c", c.c_int * 2)], pointers("moments", "own_moments", "partial"))
Slices = structure("Slices",
                   ints("channels", "groups", "across", "lanes", "of_across", "part", "team_bits", "side_bits", "teams", "sums", "pitch"),
                   [("whole", c.c_bool)])
RowBlock = structure("RowBlock", ints("c", "across", "lanes"))
AttnParams = structure("AttnParams", pointers("qkv", "dy", "y", "y_parts", "scores", "lengths", "query_stats", "bounds"), ints("qkv_type", "dy_type", "y_type", "tokens", "heads", "d", "blocks"),
                       floats("scale", "log2_scale"))
UnaryArgs = structure("UnaryArgs", pointers("x", "dy", "y"), ints("x_type", "dy_type", "y_type"), [("count", c.c_size_t)], ints("f"), floats("lo", "hi"))
AddArgs = structure("AddArgs", pointers("x", "z", "y"), ints("x_type", "z_type", "y_type", "z_kind", "n", "pixels", "c"), floats("a", "b"))
CopyArgs = structure("CopyArgs", pointers("x", "y"), ints("x_type", "y_type"), [("pixels", c.c_size_t)], ints("x_c", "x_first", "y_c", "y_first", "c"))
ResampleArgs = structure("ResampleArgs", pointers("x", "y"), ints("x_type", "y_type", "n", "height", "width", "out_height", "out_width", "c", "taps", "pad"),
                         [("up", c.c_bool), ("tap", c.c_float * 4)], floats("scale"))
PoolTokensArgs = structure("PoolTokensArgs", pointers("x", "embedding", "y"), ints("x_type", "y_type", "n", "pixels", "c"))
TokenArgs = structure("TokenArgs", pointers("x", "y"), ints("x_type", "y_type", "n", "tokens", "c"))
PoolOptions = structure("PoolOptions", [("max", c.c_bool)], ints("height", "width", "stride", "pad"))
PoolArgs = structure("PoolArgs", pointers("x", "y"), ints("x_type", "y_type", "n", "height", "width", "out_height", "out_width", "c"), [("options", PoolOptions)])
PixelNormArgs = structure("PixelNormArgs", pointers("x", "gamma", "beta", "shift_scale", "y"), ints("x_type", "y_type", "n", "pixels", "c"), floats("eps"),
                          [("rms", c.c_bool)])
FoldParams = structure("FoldParams", pointers("shift_scale", "partial", "moments", "rows"))
MomentParams = structure("MomentParams", pointers("partial", "moments"), ints("parts", "rows"), floats("eps"))
RowParams = structure("RowParams", pointers("shift_scale", "rows"), ints("type", "c"))
GateArgs = structure("GateArgs", pointers("x", "gate", "residual", "y"), ints("x_type", "residual_type", "y_type", "n", "pixels", "c"))
DepthToSpaceArgs = structure("DepthToSpaceArgs", pointers("x", "y"), ints("x_type", "y_type", "n", "height", "width", "c", "p"))
SoftmaxArgs = structure("SoftmaxArgs", pointers("x", "y"), ints("n", "c"), [("log", c.c_bool)])
Integer = structure("Integer", [("value", c.c_int)])
Count = structure("Count", [("value", c.c_size_t)])
