#!/usr/bin/env python3
"""sass_waits.py -- in the machine code of kernels/*.cu for sm_90a, that no access to device memory has moved above the wait for the kernel
before (griddepcontrol.wait, ACQBULK): in a kernel that has one, every access comes after one on every path from the start.
Run in the repository's root. NOT RUN without nvcc and the disassemblers.                                                            """
import glob
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench"))
from sass.decode import find_tool, parse  # noqa: E402
from sass_model import Missing, find_nvcc  # noqa: E402

WAIT = "ACQBULK"
ACCESSES = {"LD", "LDG", "LDGSTS", "ST", "STG", "ATOM", "ATOMG", "RED", "REDG", "UTMALDG", "UTMASTG", "UBLKCP", "UBLKRED", "UTMAREDG"}


def successors(function, i):
    """Of instruction i; of a jump through a register, none is known."""
    next_one = [i.index + 1] if i.index + 1 < len(function.code) else []
    if i.root in ("BRX", "JMX", "JMP"):
        raise Missing("%s: %s: this check does not follow it" % (function.name, i.text))
    if i.root in ("EXIT", "RET", "KILL"):
        return next_one if i.guard else []
    if i.root == "BRA":
        unconditional = not i.guard and len(i.operands) == 1
        return [function.at[i.target()]] + ([] if unconditional else next_one)
    if i.root == "CALL":  # of a function within: what it does comes after what is before it
        return [function.at[i.target()]] + next_one
    return next_one


def too_early(function):
    """Accesses to device memory that a path without the wait reaches."""
    seen, todo, early = set(), [0], []
    while todo:
        index = todo.pop()
        if index in seen:
            continue
        seen.add(index)
        i = function.code[index]
        if i.root == WAIT and not i.guard:
            continue
        if i.root in ACCESSES:
            early.append(i)
        todo.extend(successors(function, i))
    return early


def functions_of(path, folder):
    cubin = os.path.join(folder, "kernels.cubin")
    command = [find_nvcc(), "-std=c++17", "-Ihost", "-I.", "-O3", "-arch=sm_90a", "-cubin", path, "-o", cubin]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError("%s does not compile:\n%s" % (path, done.stderr))
    tool, nvdisasm = find_tool("cuobjdump"), find_tool("nvdisasm")
    env = dict(os.environ, PATH=os.path.dirname(nvdisasm) + os.pathsep + os.environ.get("PATH", ""))  # cuobjdump starts it
    return parse(subprocess.run([tool, "-sass", cubin], env=env, check=True, capture_output=True, text=True).stdout)


def main():
    passed, failed, without = 0, 0, []
    try:
        for tool in ("cuobjdump", "nvdisasm"):
            if not find_tool(tool):
                raise Missing("no %s: neither on the PATH nor in the wheel nvidia-cuda-%s" % (tool, tool))
        with tempfile.TemporaryDirectory() as folder:
            for path in sorted(sys.argv[1:] or glob.glob("kernels/*.cu")):
                for f in functions_of(path, folder).values():
                    if not any(i.root == WAIT for i in f.code):
                        without.append("%s: %s" % (path, f.name))
                        continue
                    early = too_early(f)
                    failed, passed = failed + bool(early), passed + (not early)
                    if early:
                        print("FAIL %s: %s: %s at %#x before the wait" % (path, f.name, early[0].text, early[0].address))
    except Missing as e:
        print("NOT RUN: %s\nsass_waits: %d passed, %d failed, 1 not run" % (e, passed, failed))
        return int(failed > 0)
    print("%d kernels wait for nothing: they are launched after the kernel before them" % len(without))
    print("sass_waits: %d passed, %d failed, 0 not run" % (passed, failed))
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
