# make            builds ./dg_cuda (CUDA, zlib, stb_image_write, LAPACKE are found automatically; each is optional)
# make demo       installs what is missing, builds, makes images with the embedded model: demo/guided.png
# make test       installs what is missing, builds, runs the tests (under 10 minutes on 2 cores)
# make test-full  the long ones too (alone: make test-long): full-size networks, races, planted bugs, fuzzers
# make emu        ./dg_cuda-emu: the same program with its CUDA kernels executed on the CPU (--device emu)
# make asan       the tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make bench      timings of this machine
# make fuzz       the readers of files against random input, FUZZ_SECONDS each (needs clang)
# make deps       installs what is missing (apt-get as root or with sudo; else it prints the command); make format; make clean
# Variables: BUILD=dir  MARCH=native|x86-64-v3|...  ZLIB=0 STB=0 LAPACKE=0 CUDA=0 (leave one out)  WERROR=  V=1

MAKEFLAGS += --no-builtin-rules --no-print-directory
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
have = $(shell printf '$(HASH)include <$(1)>\nint main(void){return 0;}\n' | $(CC) -x c - $(2) -o /dev/null 2>/dev/null && echo 1 || echo 0)
probe = $(if $(filter undefined,$(origin $(1))),$(eval $(1) := $(call have,$(2),$(3)))$(if $(filter 0,$($(1))),$(eval MISSING += $(1))))
MISSING :=
$(call probe,ZLIB,zlib.h,-lz)
$(call probe,STB,stb/stb_image_write.h)
$(call probe,LAPACKE,lapacke.h,-llapacke)
$(call probe,OPENMP,omp.h,-fopenmp)
MISSING += $(if $(shell command -v $(CC)),,CC) $(if $(shell command -v $(CXX)),,CXX)
NVCC ?= $(shell command -v nvcc 2>/dev/null || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
CUDA ?= $(if $(NVCC),1,0)
CUDA := $(CUDA)

# warnings are errors with the compilers that this is tested with; a newer one's new warnings do not stop a build
ifeq ($(origin WERROR),undefined)
WERROR := $(if $(filter 12 14,$(shell $(CC) -dumpversion 2>/dev/null | cut -d. -f1)),-Werror)
endif
WARN := -Wall -Wextra $(WERROR) -Wshadow -Wvla -Wpointer-arith -Wcast-qual -Wwrite-strings -Wno-missing-field-initializers
CWARN := $(WARN) -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
OPT ?= -O2
DEFS := -D_GNU_SOURCE $(if $(filter 1,$(ZLIB)),-DDG_HAVE_ZLIB) \
        $(if $(filter 1,$(STB)),-DDG_HAVE_STB) $(if $(filter 1,$(LAPACKE)),-DDG_HAVE_LAPACK)
# a source names a header by its folder: base/error.h, models/models.h, kernels/kernels.h
INCLUDE := -Ihost -I.
CFLAGS += -std=c11 $(INCLUDE) $(OPT) -g -march=$(MARCH) $(CWARN) $(DEFS) $(if $(filter 1,$(OPENMP)),-fopenmp,-Wno-unknown-pragmas) $(SAN)
LDLIBS += $(if $(filter 1,$(ZLIB)),-lz) $(if $(filter 1,$(LAPACKE)),-Wl$(COMMA)--as-needed -llapacke -Wl$(COMMA)--no-as-needed) $(if $(filter 1,$(OPENMP)),-fopenmp) -lpthread -lm
LDFLAGS += $(SAN)
# What objects depend on beside their sources: written at the end of this file
STAMP := $(BUILD)/config

# ---- the library: everything but main.c --------------------------------------------------------------------------------
# compiled for CUDA, or for its emulation (kernels/rules.mk)
CUDA_HOST := $(addprefix device/cuda/,backend device replay choice providers)
HOST_SRC := $(wildcard host/*/*.c host/*/*/*.c)
SRC := $(filter-out host/program/main.c host/device/ref.c $(CUDA_HOST:%=host/%.c) host/device/device.c,$(HOST_SRC)) \
       $(wildcard models/*.c weights_tools/*.c)
OBJ := $(SRC:%.c=$(BUILD)/%.o) $(BUILD)/host/device/ref_f32.o $(BUILD)/host/device/ref_f64.o \
       $(patsubst %.S,$(BUILD)/%.o,$(wildcard models/shapes32/*.S))
LIB := $(BUILD)/libdg.a

.PHONY: all demo test test-long test-full asan bench emu fuzz format clean deps found
.PHONY: run-demo run-bench run-test run-test-long run-test-full run-asan run-sanitized
all: found dg_cuda

found:
	@printf 'zlib %s  stb_image_write %s  LAPACKE %s  OpenMP %s  CUDA %s\n' \
	  "$(if $(filter 1,$(ZLIB)),found,not found (no compressed npz or pt files))" \
	  "$(if $(filter 1,$(STB)),found,not found (no PNG, --format npz only))" \
	  "$(if $(filter 1,$(LAPACKE)),found,not found (no Frechet distances))" \
	  "$(if $(filter 1,$(OPENMP)),found,not found (one thread))" \
	  "$(if $(filter 1,$(CUDA)),found ($(NVCC)),not found (--device cuda is left out))"

$(BUILD)/%.o: %.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/%.o: %.S $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) -MMD -MP -c $< -o $@
$(BUILD)/models/shapes32/shapes32.o: $(wildcard models/shapes32/*.safetensors)
$(BUILD)/host/device/ref_f32.o: host/device/ref.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_REF_REAL=float -DDG_REF_NAME='"ref"' -DDG_REF_BACKEND=backend_ref -MMD -MP -c $< -o $@
$(BUILD)/host/device/ref_f64.o: host/device/ref.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_REF_REAL=double -DDG_REF_NAME='"ref64"' -DDG_REF_BACKEND=backend_ref64 -MMD -MP -c $< -o $@
$(LIB): $(OBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

include kernels/rules.mk
include tests/fuzz/rules.mk

dg_cuda: $(BUILD)/dg_cuda
	$(Q)ln -sf $< $@
$(BUILD)/dg_cuda: $(BUILD)/host/program/main.o $(LIB) $(CUDA_OBJ)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(BUILD)/host/program/main.o $(CUDA_OBJ) $(LIB) $(CUDA_LIBS) $(LDLIBS)

# programs that measure images and machines: bench/*.sh say how
$(BUILD)/bench/%: $(BUILD)/bench/%.o $(LIB) $(CUDA_OBJ)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(CUDA_LIBS) $(LDLIBS)

# ---- tests: `make test` is the first two, in a make of its own that finds what the first has installed ------------------
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
TEST_SCRIPTS := $(wildcard tests/test_*.sh)
$(BUILD)/tests/test_ops $(BUILD)/tests/test_cpu: $(BUILD)/tests/backend_naive.o
$(BUILD)/tests/test_cli $(BUILD)/tests/test_bench $(BUILD)/tests/test_checkpoint: | $(BUILD)/dg_cuda
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIB) $(CUDA_OBJ)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(CUDA_LIBS) $(LDLIBS)

# What `make test` runs, the longest first. The programs that these lists need are built by the first words of their lines.
OTHER_TESTS := $(filter-out %/test_golden,$(TESTS)) $(TEST_SCRIPTS)
QUICK = "$(BUILD)/tests/test_golden cpu full sample" $(EMU_QUICK) \
        "$(BUILD)/tests/test_golden ref quick" "$(BUILD)/tests/test_golden cpu quick" \
        "$(BUILD)/tests/test_precision range $(GUIDES)/disc_cifar10_uncond.safetensors" $(OTHER_TESTS)
# What `make test-long` runs: less than half an hour
LONG = "$(BUILD)/tests/test_shapes32 cpu 32" $(EMU_LONG) $(FUZZ_QUICK)
# What `make test-full` adds: hours
WHOLE = "$(BUILD)/tests/test_golden ref sample" $(EMU_WHOLE) "tests/mutate.sh kernels" "tests/mutate.sh core"
# what is a file to be built in such a list
built = $(filter $(BUILD)/%,$(subst ",,$(1)))
RUN = BUILD=$(BUILD) tests/run.sh $(BUILD)/logs
deps:
	$(Q)tests/install_deps.sh $(MISSING)
test test-long test-full asan demo bench: deps
	$(Q)$(MAKE) run-$@
run-test: all $(EMU_BUILT) $(call built,$(QUICK))
	$(Q)$(RUN) $(QUICK)
run-test-long: all $(EMU_BUILT) $(call built,$(LONG))
	$(Q)$(RUN) $(LONG)
run-test-full: all $(EMU_BUILT) $(call built,$(QUICK) $(LONG) $(WHOLE))
	$(Q)DG_TEST_FULL=1 TEST_SECONDS=7200 $(RUN) $(WHOLE) $(LONG) $(QUICK)

# The tests once more with the sanitizers, in a folder of their own; full-size networks and the emulated kernels are left out.
run-asan:
	$(Q)$(MAKE) BUILD=$(BUILD)/asan CUDA=0 OPT=-O1 SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer" \
	  run-sanitized
SANITIZED = "$(BUILD)/tests/test_golden cpu quick" $(OTHER_TESTS)
run-sanitized: $(BUILD)/dg_cuda $(call built,$(SANITIZED))
	$(Q)$(RUN) $(SANITIZED)

# The same seeds without and with guidance; a column a class.
DEMO = ./dg_cuda generate --seeds 0-19 --class balanced --grid-columns 10 --grid-scale 2
run-demo: all
	@mkdir -p demo
	$(DEMO) --dg_weight_1st_order 0 --grid demo/unguided.png
	$(DEMO) --grid demo/guided.png

# The example model, then EDM's network and DG's discriminator for CIFAR-10 at full size, with made-up weights.
BENCH = ./dg_cuda bench --ops
run-bench: all
	$(BENCH)
	$(BENCH) --synthetic tests/golden/nets/edm_cifar10_uncond.safetensors \
	  --synthetic-guide tests/golden/guidance/disc_cifar10_uncond.safetensors

# The formatter's versions differ in what they write: only the one that the tree was formatted with is asked.
FORMATTED = $(shell git ls-files '*.c' '*.h' '*.cu' '*.cpp')
format:
	clang-format -i $(FORMATTED)

clean:
	rm -rf $(BUILD) dg_cuda dg_cuda-emu

# The flags, the compiler and, with MARCH=native, this processor. The file changes only when they do: another setting, or a
# build folder carried to another machine, starts afresh.
CONFIG := $(CC) $(CXX) $(CFLAGS) $(LDLIBS) $(NVCC) $(NVFLAGS) $(CUDA_DEFS) $(EMU_FLAGS) \
          $(shell $(CC) -march=$(MARCH) -dM -E -x c /dev/null 2>/dev/null | cksum)
ifneq ($(filter-out clean format deps found,$(or $(MAKECMDGOALS),all)),)
ifneq ($(strip $(file <$(STAMP))),$(strip $(CONFIG)))
$(shell mkdir -p $(BUILD))
$(file >$(STAMP),$(CONFIG))
endif
endif
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.SECONDARY:
