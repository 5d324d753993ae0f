"""decode.py -- the text of `cuobjdump -sass` as functions of instructions, with the control codes of each (sm_70 to sm_90).

An instruction is 128 bits, printed as its text and two words. Bits 105 to 121 are for the scheduler: how many clocks until the
next instruction of the warp (stall), whether to prefer another warp, the scoreboard that its result (write) or the reading of its
operands (read) releases, and those that it waits for (wait). 7 is no scoreboard.                                             """
import os
import re
import shutil
import subprocess
import sysconfig

NONE = 7
TEXT = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(.*?);\s+/\* 0x([0-9a-f]{16}) \*/")
SECOND_WORD = re.compile(r"^\s+/\* 0x([0-9a-f]{16}) \*/")
GUARD = re.compile(r"@(!?)(U?P\w)\s+(.*)")
USAGE = re.compile(r"Function (\S+):\s*\n\s*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)(?: CONSTANT\[[1-9]\]:\d+)* CONSTANT\[0\]:(\d+)")


class Unreadable(Exception):
    """Text or machine code that this model does not know; the message says where."""


class Instruction:
    __slots__ = ("address", "text", "guard", "op", "root", "mods", "operands", "stall", "write", "read", "wait", "index", "pipe")

    def __init__(self, address, text):
        self.address, self.text, self.guard, self.pipe = address, text, None, None
        found = GUARD.match(text)
        if found:
            self.guard, text = (found.group(2), found.group(1) == "!"), found.group(3)
        head, _, rest = text.partition(" ")
        self.op = head
        self.root, *self.mods = head.split(".")
        rest = rest.replace(".reuse", "")
        if self.root == "RET":  # RET.REL.NODEC R2 0x0: the only one without a comma
            rest = rest.replace(" ", ",")
        self.operands = [o.strip() for o in rest.split(",")] if rest.strip() else []

    def set_control(self, word):
        control = word >> 41
        self.stall, self.write, self.read, self.wait = control & 15, control >> 5 & 7, control >> 8 & 7, control >> 11 & 63

    def target(self):
        """Of a branch, BSSY or call: an address in the function."""
        return int(self.operands[-1], 16)


class Function:
    def __init__(self, name):
        self.name, self.code = name, []
        self.registers = self.shared = self.local = self.stack = self.constant_bytes = None

    def finish(self):
        for index, i in enumerate(self.code):
            i.index = index
        self.at = {i.address: i.index for i in self.code}


def parse(text):
    """Functions by name."""
    functions, function, last = {}, None, None
    for line in text.splitlines():
        if "Function :" in line:
            name = line.split()[-1]
            function, last = functions.setdefault(name, Function(name)), None
            continue
        found = TEXT.match(line)
        if found and function:
            last = Instruction(int(found.group(1), 16), found.group(2).strip())
            function.code.append(last)
            continue
        found = SECOND_WORD.match(line)
        if found and last:
            last.set_control(int(found.group(1), 16))
            last = None
    for f in functions.values():
        f.finish()
        for i in f.code:
            if not hasattr(i, "stall"):
                raise Unreadable("%s: no control codes at %#x: %s" % (f.name, i.address, i.text))
    return functions


def add_usage(functions, text):
    """Registers and memory, from the text of `cuobjdump -res-usage`."""
    for name, registers, stack, shared, local, constant in USAGE.findall(text):
        if name in functions:
            f = functions[name]
            f.registers, f.stack, f.shared, f.local, f.constant_bytes = (int(v) for v in (registers, stack, shared, local, constant))
    for f in functions.values():
        if f.registers is None:
            raise Unreadable("%s: no line of -res-usage" % f.name)


def find_tool(name):
    """cuobjdump or nvdisasm: on the PATH, or where Python's wheels put it; None."""
    found = shutil.which(name)
    for package in ("cu13", "cuda_" + name):
        path = os.path.join(sysconfig.get_paths()["purelib"], "nvidia", package, "bin", name)
        if not found and os.access(path, os.X_OK):
            found = path
    return found


def disassemble(cubin):
    tool, nvdisasm = find_tool("cuobjdump"), find_tool("nvdisasm")
    env = dict(os.environ, PATH=os.path.dirname(nvdisasm) + os.pathsep + os.environ.get("PATH", ""))  # cuobjdump starts it
    run = lambda option: subprocess.run([tool, option, cubin], env=env, check=True, capture_output=True, text=True).stdout
    functions = parse(run("-sass"))
    add_usage(functions, run("-res-usage"))
    return functions
