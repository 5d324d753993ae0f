# make            builds ./dg_cuda (CUDA, zlib, stb_image_write, libjpeg, LAPACKE, CBLAS are found automatically; each is optional)
# make demo       installs what is missing, builds, makes images with the embedded model: demo/guided.png
# make test       installs what is missing, builds, runs the tests (about 7 minutes on 2 cores)
# make test-full  the long ones too (alone: make test-long): full-size networks, races, planted bugs, fuzzers
# make emu        ./dg_cuda-emu: the same program with its CUDA kernels executed on the CPU (--device emu)
# make asan       the tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make bench      timings of this machine
# make pack       build/pack.tar.xz: the programs for another machine with a GPU, where nothing is compiled (docs/profiling.md)
# make fuzz       the readers of files against random input, FUZZ_SECONDS each (needs clang)
# make deps       installs what is missing (apt-get as root or with sudo; else it prints the command)
# make format     formats the sources (make format-check says what it would change); make clean
# Variables: BUILD=dir  MARCH=native|x86-64-v3|...  ZLIB=0 STB=0 JPEG=0 LAPACKE=0 CBLAS=0 CUDA=0 (leave one out)  STATIC=1  WERROR=  V=1

MAKEFLAGS += --no-builtin-rules --no-print-directory
# as many jobs as there are processors, where the command line says no number
ifeq ($(MAKELEVEL),0)
JOBS := $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))
MAKEFLAGS += $(JOBS)
endif
BUILD ?= build
CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
CXX ?= g++
MARCH ?= native
SAN ?=
Q := $(if $(V),,@)

# ---- what this machine has: a test compile each, printed by `make`. MISSING is what `make deps` installs: what was looked
# for and not found, not what was left out on the command line.
HASH := \#
COMMA := ,
have = $(shell printf '$(HASH)include <$(1)>\nint main(void){$(3);return 0;}\n' | $(CC) -x c - $(2) -o /dev/null 2>/dev/null && echo 1 || echo 0)
probe = $(if $(filter undefined,$(origin $(1))),$(eval $(1) := $(call have,$(2),$(3),$(4)))$(if $(filter 0,$($(1))),$(eval MISSING += $(1))))
MISSING :=
# STATIC=1: a program that needs no library but glibc's where it runs
library = $(if $(filter 1,$(STATIC)),-l:lib$(1).a,-l$(1))
$(call probe,ZLIB,zlib.h,$(call library,z))
$(call probe,STB,stb/stb_image_write.h)
$(call probe,JPEG,jpeglib.h,-include stdio.h $(call library,jpeg))
$(call probe,LAPACKE,lapacke.h,-llapacke)
# of the libraries that answer to cblas.h, those that are no slower than this program's own loops; CBLAS_LIB=NAME takes another
CBLAS_LIB ?= openblas
$(call probe,CBLAS,cblas.h,-l$(CBLAS_LIB),cblas_dgemm(CblasRowMajor$(COMMA)CblasTrans$(COMMA)CblasNoTrans$(COMMA)0$(COMMA)0$(COMMA)0$(COMMA)1$(COMMA)0$(COMMA)1$(COMMA)0$(COMMA)1$(COMMA)0$(COMMA)0$(COMMA)1))
$(call probe,OPENMP,omp.h,-fopenmp)
MISSING += $(if $(shell command -v $(CC)),,CC) $(if $(shell command -v $(CXX)),,CXX)
NVCC ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
CUDA ?= $(if $(NVCC),1,0)
CUDA := $(CUDA)
NO_CUDA ?= $(if $(NVCC),left out,not found (--device cuda is left out))

# warnings are errors with the compilers that this is tested with; a newer one's new warnings do not stop a build
ifeq ($(origin WERROR),undefined)
WERROR := $(if $(filter 12 14,$(shell $(CC) -dumpversion 2>/dev/null | cut -d. -f1)),-Werror)
endif
WARN := -Wall -Wextra $(WERROR) -Wshadow -Wvla -Wpointer-arith -Wcast-qual -Wwrite-strings -Wno-missing-field-initializers
CWARN := $(WARN) -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
OPT ?= -O2
DEFS := -D_GNU_SOURCE $(if $(filter 1,$(ZLIB)),-DDG_HAVE_ZLIB) \
        $(if $(filter 1,$(STB)),-DDG_HAVE_STB) $(if $(filter 1,$(JPEG)),-DDG_HAVE_JPEG) \
        $(if $(filter 1,$(LAPACKE)),-DDG_HAVE_LAPACK) $(if $(filter 1,$(CBLAS)),-DDG_HAVE_CBLAS -DDG_CBLAS_LIB='"$(CBLAS_LIB)"')
# a source names a header by its folder: base/error.h, models/models.h, kernels/kernels.h
INCLUDE := -Ihost -I.
CFLAGS += -std=c11 $(INCLUDE) $(OPT) -g -march=$(MARCH) $(CWARN) $(DEFS) $(if $(filter 1,$(OPENMP)),-fopenmp,-Wno-unknown-pragmas) $(SAN)
LDLIBS += $(if $(filter 1,$(ZLIB)),$(call library,z)) $(if $(filter 1,$(JPEG)),$(call library,jpeg)) $(if $(filter 1,$(OPENMP)),$(if $(filter 1,$(STATIC)),-l:libgomp.a,-fopenmp)) -lpthread -ldl -lm
LDFLAGS += $(SAN) $(if $(filter 1,$(STATIC)),-static-libgcc)
# What objects depend on beside their sources: the host's, CUDA's, and what programs are linked from. Written at the end.
STAMP := $(BUILD)/config
CUDA_STAMP := $(BUILD)/config-cuda
LINK_STAMP := $(BUILD)/config-link

# ---- the library: everything but main.c --------------------------------------------------------------------------------
# compiled for CUDA, or for its emulation (kernels/rules.mk)
CUDA_HOST := $(addprefix device/cuda/,backend ops norm_folded upsampled_ops pooled_ops device replay span_events choice providers provider_cudnn provider_cublaslt)
HOST_SRC := $(wildcard host/*/*.c host/*/*/*.c)
SRC := $(filter-out host/program/main.c host/device/ref.c $(CUDA_HOST:%=host/%.c) host/device/device.c,$(HOST_SRC)) \
       $(wildcard models/*.c weights_tools/*.c)
OBJ := $(SRC:%.c=$(BUILD)/%.o) $(BUILD)/host/device/ref_f32.o $(BUILD)/host/device/ref_f64.o \
       $(patsubst %.S,$(BUILD)/%.o,$(wildcard models/*/*.S))
LIB := $(BUILD)/libdg.a

.PHONY: all demo bench emu fuzz format format-check clean deps found run-demo run-bench
all: found dg_cuda

found:
	@printf 'zlib %s  stb_image_write %s  libjpeg %s  LAPACKE %s  CBLAS %s  OpenMP %s  CUDA %s\n' \
	  "$(if $(filter 1,$(ZLIB)),found,not found (no compressed npz or pt files))" \
	  "$(if $(filter 1,$(STB)),found,not found (no PNG, --format npz only))" \
	  "$(if $(filter 1,$(JPEG)),found,not found (no JPEG files))" \
	  "$(if $(filter 1,$(LAPACKE)),found,not found (no Frechet distances))" \
	  "$(if $(filter 1,$(CBLAS)),found ($(CBLAS_LIB)),not found (products by loops of this program))" \
	  "$(if $(filter 1,$(OPENMP)),found,not found (one thread))" \
	  "$(if $(filter 1,$(CUDA)),found ($(NVCC); compiled for $(ARCH:%=sm_%)),$(NO_CUDA))"

$(BUILD)/%.o: %.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.o: %.S $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) -MMD -MP -c $< -o $@
$(BUILD)/models/shapes32/shapes32.o: $(wildcard models/shapes32/*.safetensors models/shapes32/*.npz)
$(BUILD)/models/imagenet/classes.o: models/imagenet/classes.txt
$(BUILD)/host/device/ref_f32.o: host/device/ref.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_REF_REAL=float -DDG_REF_NAME='"ref"' -DDG_REF_BACKEND=backend_ref -MMD -MP -c $< -o $@
$(BUILD)/host/device/ref_f64.o: host/device/ref.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_REF_REAL=double -DDG_REF_NAME='"ref64"' -DDG_REF_BACKEND=backend_ref64 -MMD -MP -c $< -o $@
$(LIB): $(OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

include kernels/rules.mk
include bench/rules.mk
include tests/fuzz/rules.mk
# the lists of tests, whose programs are built by the rules above
include tests/rules.mk

dg_cuda: $(BUILD)/dg_cuda
	$(Q)ln -sf $< $@
$(BUILD)/dg_cuda: $(CUDA_OBJ) $(BUILD)/host/program/main.o $(LIB) $(LINK_STAMP)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(BUILD)/host/program/main.o $(CUDA_OBJ) $(LIB) $(CUDA_LIBS) $(LDLIBS)

# programs that measure images and machines: bench/*.sh say how
$(BUILD)/bench/%: $(BUILD)/bench/%.o $(LIB) $(CUDA_OBJ) $(LINK_STAMP)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(CUDA_LIBS) $(LDLIBS)

deps:
	$(Q)tests/install_deps.sh $(MISSING)

# The same seeds without and with guidance; a column a class. Without a GPU the CUDA kernels are not compiled: they take longer
# than all the rest.
demo: deps
	$(Q)$(MAKE) run-demo $(if $(filter 1,$(CUDA)),$(if $(GPU_ARCH)$(filter command,$(origin CUDA)),,CUDA=0 \
	  NO_CUDA='left out: nvidia-smi shows no GPU (compiled by: make)'))
bench: deps
	$(Q)$(MAKE) run-bench
DEMO = ./dg_cuda generate --seeds 0-19 --class balanced --grid-columns 10 --grid-scale 2
run-demo: all
	@mkdir -p demo
	$(DEMO) --dg_weight_1st_order 0 --grid demo/unguided.png
	$(DEMO) --grid demo/guided.png
	@echo 'What guidance does, as numbers with a plot (25 minutes on 2 cores): ./dg_cuda sweep --vary dg_weight_1st_order=0,1,2,4 --ranges 3 --images 500 --metrics fd,pr --outdir weights --plot weights.svg'

# The example model, then EDM's network and DG's discriminator for CIFAR-10 at full size, with made-up weights.
BENCH = ./dg_cuda bench --ops
run-bench: all
	$(BENCH)
	$(BENCH) --synthetic tests/golden/nets/edm_cifar10_uncond.safetensors \
	  --synthetic-guide tests/golden/guidance/disc_cifar10_uncond.safetensors

format:
	$(Q)tests/format.sh apply
format-check: MISSING += $(if $(shell tests/format.sh find),,FORMAT)
format-check: deps
	$(Q)tests/format.sh check

clean:
	rm -rf $(BUILD) dg_cuda dg_cuda-emu

# The flags, the compiler and, with MARCH=native, this processor. The file changes only when they do: another setting, or a
# build folder carried to another machine, starts afresh.
CONFIG := $(CC) $(CXX) $(CFLAGS) $(EMU_FLAGS) $(shell $(CC) -march=$(MARCH) -dM -E -x c /dev/null 2>/dev/null | cksum)
CUDA_CONFIG := $(NVCC) $(NVFLAGS) $(NVARCH) $(CUDA_DEFS)
LINK_CONFIG := $(CUDA_OBJ) $(CUDA_LIBS) $(LDFLAGS) $(LDLIBS)
# record FILE,TEXT
record = $(if $(subst x$(strip $(file <$(1)))x,,x$(strip $(2))x),$(file >$(1),$(2)))
ifneq ($(filter-out clean format format-check deps found demo test test-long test-full asan bench pack gpu-report fuzz,$(or $(MAKECMDGOALS),all)),)
$(shell mkdir -p $(BUILD))
$(call record,$(STAMP),$(CONFIG))
$(call record,$(LINK_STAMP),$(LINK_CONFIG))
ifeq ($(CUDA),1)
$(call record,$(CUDA_STAMP),$(CUDA_CONFIG))
endif
endif
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
