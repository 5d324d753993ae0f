"""A model of one streaming multiprocessor that runs the machine code nvcc makes of kernels/*.cu; bench/sass_model.py is its program.

decode.py          the text of `cuobjdump -sass` as instructions with operands and control codes
operands.py        what its operands name, and what an access to memory costs
instructions.py    what each instruction does to a warp
machine.py         executes the warps of a block: which instructions a launch issues, and what its addresses ask of the memories
multiprocessor.py  times those traces: schedulers, pipes, shared-memory port, barriers, asynchronous copies
launches.py        from an op of a network to the launches that kernels/*.cu makes of it
counts.py          the counted table of the hot loops, and what is worse than the table kept
predict.py         time of every op, of a network call, of a guided run
"""
