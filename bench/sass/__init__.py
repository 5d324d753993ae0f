"""A model of one streaming multiprocessor that runs the machine code nvcc makes of kernels/*.cu; bench/sass_model.py is its program.

decode.py          the text of `cuobjdump -sass` as instructions with operands and control codes
operands.py        what its operands name, and what an access to memory costs
instructions.py    what each instruction does to a warp
hopper.py          what Hopper's own instructions do: wgmma, TMA, barriers in shared memory
machine.py         executes the warps of a block: which instructions a launch issues, and what its addresses ask of the memories
multiprocessor.py  times those traces: schedulers, pipes, shared-memory port, barriers, asynchronous copies
parameters.py      the kernels' parameter blocks
launches.py        from an op of a network to the launches that kernels/*.cu makes of it
wgmma.py           the same for kernels/conv_sm90.cu
narrow.py          the same for kernels/conv_narrow_sm90.cu
counts.py          the counted table of the hot loops, and what is worse than the table kept
predict.py         time of every op, of a network call, of a guided run
report.py          a prediction as text
"""
