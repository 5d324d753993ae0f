# rules.mk -- how kernels/*.cu are compiled: by nvcc for --device cuda, and by g++ over tests/cuda_on_cpu for --device emu.
CUDA_OBJ := $(BUILD)/host/device.o
CUDA_LIBS :=
