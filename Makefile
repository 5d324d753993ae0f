# make          builds ./dg_cuda (CUDA, oneDNN, zlib, stb_image_write are found automatically; each is optional)
# make demo     installs what is missing, builds, makes images with the embedded model: demo/shapes32.png
# make test     installs what is missing, builds, runs the tests (under 10 minutes on 2 cores)
# make test-full  the long ones too: full-size networks, mutations, fuzzers
# make emu      ./dg_cuda-emu: the same program with its CUDA kernels executed on the CPU (--device emu)
# make asan     the tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make bench    timings of this machine; make fuzz; make format; make clean
# Variables: BUILD=dir  MARCH=native|x86-64-v3|...  DNNL=0 ZLIB=0 STB=0 CUDA=0 (leave one out)  V=1

MAKEFLAGS += --no-builtin-rules
BUILD ?= build
CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
CXX ?= g++
MARCH ?= native
SAN ?=
Q := $(if $(V),,@)

# ---- what this machine has: a test compile each, printed by `make` -----------------------------------------------------
HASH := \#
have = $(shell printf '$(HASH)include <$(1)>\nint main(void){return 0;}\n' | $(CC) -x c - $(2) -o /dev/null 2>/dev/null && echo 1 || echo 0)
DNNL ?= $(call have,oneapi/dnnl/dnnl.h,-ldnnl)
ZLIB ?= $(call have,zlib.h,-lz)
STB ?= $(call have,stb/stb_image_write.h,)
OPENMP ?= $(call have,omp.h,-fopenmp)
NVCC ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
CUDA ?= $(if $(NVCC),1,0)
DNNL := $(DNNL)
ZLIB := $(ZLIB)
STB := $(STB)
OPENMP := $(OPENMP)
CUDA := $(CUDA)

WARN := -Wall -Wextra -Werror -Wshadow -Wvla -Wpointer-arith -Wcast-qual -Wwrite-strings -Wno-missing-field-initializers
CWARN := $(WARN) -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
OPT ?= -O2
DEFS := -D_GNU_SOURCE $(if $(wildcard host/backend_cpu.c),-DDG_HAVE_CPU) $(if $(filter 1,$(DNNL)),-DDG_HAVE_DNNL) $(if $(filter 1,$(ZLIB)),-DDG_HAVE_ZLIB) \
        $(if $(filter 1,$(STB)),-DDG_HAVE_STB)
CFLAGS += -std=c11 $(OPT) -g -march=$(MARCH) $(CWARN) $(DEFS) $(if $(filter 1,$(OPENMP)),-fopenmp,-Wno-unknown-pragmas) $(SAN)
LDLIBS += $(if $(filter 1,$(DNNL)),-ldnnl) $(if $(filter 1,$(ZLIB)),-lz) $(if $(filter 1,$(OPENMP)),-fopenmp) -lpthread -lm
LDFLAGS += $(SAN)

# ---- the library: everything but main.c --------------------------------------------------------------------------------
SRC := $(filter-out host/main.c host/backend_ref.c host/backend_cuda.c host/device.c,$(wildcard host/*.c)) \
       $(wildcard models/*.c weights_tools/*.c)
OBJ := $(SRC:%.c=$(BUILD)/%.o) $(BUILD)/host/backend_ref_f32.o $(BUILD)/host/backend_ref_f64.o \
       $(patsubst %.S,$(BUILD)/%.o,$(wildcard models/shapes32/*.S))
LIB := $(BUILD)/libdg.a

.PHONY: all demo test test-full asan bench emu fuzz format clean deps found
all: found dg_cuda

found:
	@printf 'oneDNN %s  zlib %s  stb_image_write %s  OpenMP %s  CUDA %s\n' \
	  "$(if $(filter 1,$(DNNL)),found,not found (plain loops on the CPU: slow))" \
	  "$(if $(filter 1,$(ZLIB)),found,not found (no compressed npz or pt files))" \
	  "$(if $(filter 1,$(STB)),found,not found (no PNG, --format npz only))" \
	  "$(if $(filter 1,$(OPENMP)),found,not found (one thread))" \
	  "$(if $(filter 1,$(CUDA)),found ($(NVCC)),not found (--device cuda is left out))"

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.o: %.S
	@mkdir -p $(@D)
	$(Q)$(CC) -MMD -MP -c $< -o $@
$(BUILD)/models/shapes32/shapes32.o: $(wildcard models/shapes32/*.safetensors)
$(BUILD)/host/backend_ref_f32.o: host/backend_ref.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_REF_REAL=float -DDG_REF_NAME='"ref"' -DDG_REF_BACKEND=backend_ref -MMD -MP -c $< -o $@
$(BUILD)/host/backend_ref_f64.o: host/backend_ref.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_REF_REAL=double -DDG_REF_NAME='"ref64"' -DDG_REF_BACKEND=backend_ref64 -MMD -MP -c $< -o $@
$(LIB): $(OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

include kernels/rules.mk

dg_cuda: $(BUILD)/dg_cuda
	$(Q)ln -sf $< $@
$(BUILD)/dg_cuda: $(BUILD)/host/main.o $(LIB) $(CUDA_OBJ)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(BUILD)/host/main.o $(CUDA_OBJ) $(LIB) $(CUDA_LIBS) $(LDLIBS)

# ---- tests -----------------------------------------------------------------------------------------------------------
TEST_SRC := $(wildcard tests/test_*.c)
TESTS := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)
$(BUILD)/tests/test_ops: $(BUILD)/tests/backend_naive.o
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIB) $(CUDA_OBJ)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(CUDA_LIBS) $(LDLIBS)

include tests/fuzz/rules.mk

clean:
	rm -rf build dg_cuda dg_cuda-emu

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
