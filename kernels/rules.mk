# rules.mk -- how kernels/*.cu are compiled: by nvcc for --device cuda, by g++ over tests/cuda_on_cpu for --device emu, and by
# g++ with the race detector's hooks for its tests. The three share host/device/cuda and every launcher.

KERNELS := $(wildcard kernels/*.cu)

# ---- nvcc: machine code for the GPUs that nvidia-smi shows (the nearest that nvcc knows, from sm_80), or, where it shows none,
# for sm_80 (runs on 8.x) and sm_90; and PTX for what comes later. Warnings, spills included, are errors
# with the compilers that this is tested with: the host's (WERROR) and nvcc 13.0.
ifeq ($(CUDA)$(origin GPU_ARCH),1undefined)
GPU_ARCH := $(shell nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | tr -dc '0-9\n' | \
              awk -v known="$$($(NVCC) --list-gpu-arch 2>/dev/null | tr -dc '0-9\n' | tr '\n' ' ')" \
                '{ n = split(known, k); best = 0; for (i = 1; i <= n; i++) if (k[i] + 0 <= $$1 && k[i] > best) best = k[i] + 0 } \
                 best >= 80 { print best }' | sort -nu)
export GPU_ARCH
endif
ARCH ?= $(or $(GPU_ARCH),80 90)
NEWEST := $(shell printf '%s\n' $(ARCH) | sort -n | tail -n 1)
NVCC_VERSION := $(if $(NVCC),$(shell $(NVCC) --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p'))
NVWERROR := $(if $(WERROR),$(filter 13.0,$(NVCC_VERSION)))
NVFLAGS = -std=c++17 $(INCLUDE) -O3 -lineinfo $(if $(NVWERROR),-Werror all-warnings) -Xcompiler -Wall,-Wextra \
          -Xptxas -warn-spills,-warn-lmem-usage$(if $(NVWERROR),$(COMMA)-Werror)
# PTX is of the newest, which code for later devices is made of (gpu_prims.h: grid_waits)
NVARCH = $(foreach a,$(ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
         -gencode arch=compute_$(NEWEST),code=compute_$(NEWEST)
ifeq ($(CUDA),1)
CUDA_HOME ?= $(abspath $(dir $(shell readlink -f $(NVCC)))..)
NVTX := $(call have,nvtx3/nvToolsExt.h,-I$(CUDA_HOME)/include)
# cuDNN's and cuBLASLt's headers; the libraries are loaded when --provider asks for them. CUDNN_HOME, CUBLASLT_HOME: where they lie,
# else the toolkit's folder or Python's wheels (nvidia/cudnn, nvidia/cu13 or nvidia/cublas)
WHEELS := $(shell python3 -c 'import nvidia; print(*nvidia.__path__)' 2>/dev/null)
CUDNN_HOME ?= $(firstword $(patsubst %/include/cudnn.h,%,$(wildcard $(CUDA_HOME)/include/cudnn.h /usr/include/cudnn.h \
              $(addsuffix /cudnn/include/cudnn.h,$(WHEELS)))))
CUBLASLT_HOME ?= $(firstword $(patsubst %/include/cublasLt.h,%,$(wildcard $(CUDA_HOME)/include/cublasLt.h \
                 $(addsuffix /*/include/cublasLt.h,$(WHEELS)))))
CUDNN := $(if $(CUDNN_HOME),$(call have,cudnn.h,-I$(CUDNN_HOME)/include -I$(CUDA_HOME)/include),0)
CUDNN_FILE := $(firstword $(wildcard $(addprefix $(CUDNN_HOME)/,lib/libcudnn.so.9 lib64/libcudnn.so.9) \
              $(addsuffix /cudnn/lib/libcudnn.so.9,$(WHEELS))))
LT := $(if $(CUBLASLT_HOME),$(call have,cublasLt.h,-I$(CUDA_HOME)/include -I$(CUBLASLT_HOME)/include),0)
CUBLASLT_FILE := $(firstword $(wildcard $(addsuffix /libcublasLt.so.1[23],$(CUBLASLT_HOME)/lib $(CUDA_HOME)/lib64 $(CUDA_HOME)/lib \
                 $(CUDA_HOME)/targets/*/lib $(addsuffix /*/lib,$(WHEELS)))))
CUDA_DEFS := -DDG_HAVE_CUDA -isystem $(CUDA_HOME)/include $(if $(filter 1,$(NVTX)),-DDG_HAVE_NVTX) \
             $(if $(filter 1,$(CUDNN)),-DDG_HAVE_CUDNN -isystem $(CUDNN_HOME)/include $(if $(CUDNN_FILE),-DDG_CUDNN_FILE='"$(CUDNN_FILE)"')) \
             $(if $(filter 1,$(LT)),-DDG_HAVE_CUBLASLT -isystem $(CUBLASLT_HOME)/include $(if $(CUBLASLT_FILE),-DDG_CUBLASLT_FILE='"$(CUBLASLT_FILE)"'))
# the kernels first: they take longest to compile
CUDA_OBJ := $(addprefix $(BUILD)/cuda/,$(KERNELS:%.cu=%.o) host/device/device.o $(CUDA_HOST:%=host/%.o))
# the static runtime, so that the program starts on machines without a GPU or a driver, and says so
CUDA_LIBS := $(firstword $(wildcard $(addsuffix /libcudart_static.a,$(CUDA_HOME)/lib64 $(CUDA_HOME)/lib $(CUDA_HOME)/targets/*/lib)) \
             -L$(CUDA_HOME)/lib64\ -lcudart) -ldl -lrt $(call library,stdc++)
else
CUDA_OBJ := $(BUILD)/host/device/device.o
CUDA_LIBS :=
endif

# cuDNN's plans, without a GPU
$(BUILD)/cuda/cudnn_plans_test: $(BUILD)/cuda/tests/cudnn_plans_test.o $(BUILD)/cuda/host/device/cuda/provider_cudnn.o $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(LDLIBS)
$(BUILD)/cuda/tests/%.o: tests/cuda_on_cpu/%.c $(STAMP) $(CUDA_STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(CUDA_DEFS) -MMD -MP -c $< -o $@
$(BUILD)/cuda/kernels/%.o: kernels/%.cu $(CUDA_STAMP)
	@mkdir -p $(@D)
	$(Q)$(NVCC) $(NVFLAGS) $(NVARCH) -MMD -MP -c $< -o $@
# What only compute capability 9.0 has is compiled for it alone, whatever ARCH says; the program asks the device before it runs it.
# ptxas says in a mere note that it has serialised a pipeline of wgmma.
$(BUILD)/cuda/kernels/%_sm90.o: kernels/%_sm90.cu $(CUDA_STAMP)
	@mkdir -p $(@D)
	$(Q)$(NVCC) $(NVFLAGS) -gencode arch=compute_90a,code=sm_90a -MMD -MP -c $< -o $@ >$@.notes 2>&1 || { cat $@.notes; exit 1; }
	$(Q)cat $@.notes
	$(Q)if [ "$(NVWERROR)" ] && grep -q serialized $@.notes; then rm -f $@; exit 1; fi
$(BUILD)/cuda/host/%.o: host/%.c $(STAMP) $(CUDA_STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(CUDA_DEFS) -MMD -MP -c $< -o $@

# ---- emu: the same kernels as plain C++. A misaligned access, which a GPU does not forgive, is an illegal instruction.
EMU_ALIGN := -fsanitize=alignment -fsanitize-undefined-trap-on-error
EMU_FLAGS = -std=c++17 $(INCLUDE) -g -march=$(MARCH) -fno-strict-aliasing -Itests/cuda_on_cpu -Wall -Wextra $(WERROR) -Wno-unknown-pragmas \
            -Wno-psabi -Wno-maybe-uninitialized
EMU_HOST := $(addprefix $(BUILD)/emu/host/,device/device.o $(CUDA_HOST:%=%.o))
LAYER := $(patsubst tests/cuda_on_cpu/%.cpp,%.o,$(wildcard tests/cuda_on_cpu/*.cpp))
EMU_OBJ := $(EMU_HOST) $(KERNELS:%.cu=$(BUILD)/emu/%.o) $(LAYER:%=$(BUILD)/emu/%)
EMU_LIBS := $(LDLIBS) -ldl -lstdc++

$(BUILD)/emu/kernels/%.o: kernels/%.cu $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) $(if $(SAN),,$(EMU_ALIGN)) $(OPT) $(SAN) -MMD -MP -x c++ -c $< -o $@
$(BUILD)/emu/%.o: tests/cuda_on_cpu/%.cu $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) -O1 $(SAN) -MMD -MP -x c++ -c $< -o $@
$(BUILD)/emu/%.o: tests/cuda_on_cpu/%.cpp $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) $(if $(SAN),$(OPT),-O3) $(if $(filter 1,$(OPENMP)),-fopenmp) $(SAN) -MMD -MP -c $< -o $@
$(BUILD)/emu/host/%.o: host/%.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_EMU -DDG_HAVE_NVTX -Itests/cuda_on_cpu -MMD -MP -c $< -o $@

emu: dg_cuda-emu
dg_cuda-emu: $(BUILD)/dg_cuda-emu
	$(Q)ln -sf $< $@
$(BUILD)/dg_cuda-emu: $(BUILD)/host/program/main.o $(EMU_OBJ) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(EMU_LIBS)
# any test program, with emu instead of cuda among its devices
$(BUILD)/emu/tests/test_ops: $(BUILD)/tests/backend_naive.o
$(BUILD)/emu/tests/test_toy_model: $(BUILD)/tests/toy_model.o
$(BUILD)/emu/tests/test_programs: $(BUILD)/tests/gauss_model.o
$(BUILD)/emu/tests/test_memory $(BUILD)/emu/tests/test_bench $(BUILD)/emu/tests/test_latents $(BUILD)/emu/tests/test_trace: | $(BUILD)/dg_cuda-emu
$(BUILD)/emu/tests/%: $(BUILD)/tests/%.o $(EMU_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(EMU_LIBS)
# the choice between implementations, with a made-up library among them: a test, and the program
$(BUILD)/emu/fake/%.o: tests/cuda_on_cpu/%.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -DDG_EMU -DDG_HAVE_NVTX -Itests/cuda_on_cpu -MMD -MP -c $< -o $@
FAKE_OBJ := $(filter-out %/cuda/provider_cudnn.o %/cuda/provider_cublaslt.o,$(EMU_OBJ)) $(BUILD)/emu/fake/fake_providers.o
$(BUILD)/emu/choice_test: $(BUILD)/emu/fake/choice_test.o $(FAKE_OBJ) $(LIB) | $(BUILD)/emu/fake/dg_cuda
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(EMU_LIBS)
$(BUILD)/emu/finish_test: $(BUILD)/emu/fake/finish_test.o $(EMU_OBJ) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(EMU_LIBS)
$(BUILD)/emu/fake/dg_cuda: $(BUILD)/host/program/main.o $(FAKE_OBJ) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(EMU_LIBS)
# the GPU's rates, whose accesses alone mean something here
$(BUILD)/emu/%.o: bench/%.cu $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) -O1 $(SAN) -MMD -MP -x c++ -c $< -o $@
$(BUILD)/emu/sm_rates: $(BUILD)/emu/sm_rates.o $(LAYER:%=$(BUILD)/emu/%)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ $(EMU_LIBS)
# the layer's own tests
$(BUILD)/emu/prims_test $(BUILD)/emu/neg_test: $(BUILD)/emu/%: $(BUILD)/emu/%.o $(LAYER:%=$(BUILD)/emu/%)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ $(EMU_LIBS)

# ---- race: kernels call the layer's race detector at every memory access. libtsan itself is not linked.
RACE_OBJ := $(EMU_HOST) $(KERNELS:%.cu=$(BUILD)/race/%.o) $(LAYER:%=$(BUILD)/race/%)
$(BUILD)/race/kernels/%.o: kernels/%.cu $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) -O1 -fsanitize=thread -MMD -MP -x c++ -c $< -o $@
$(BUILD)/race/%.o: tests/cuda_on_cpu/%.cu $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) -O1 -fsanitize=thread -MMD -MP -x c++ -c $< -o $@
$(BUILD)/race/%.o: tests/cuda_on_cpu/%.cpp $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(CXX) $(EMU_FLAGS) -O2 -DEMU_RACE -MMD -MP -c $< -o $@
$(BUILD)/race/tests/test_ops: $(BUILD)/tests/backend_naive.o
$(BUILD)/race/tests/%: $(BUILD)/tests/%.o $(RACE_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(EMU_LIBS)
$(BUILD)/race/finish_test: $(BUILD)/emu/fake/finish_test.o $(RACE_OBJ) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(EMU_LIBS)
$(BUILD)/race/prims_test $(BUILD)/race/neg_test: $(BUILD)/race/%: $(BUILD)/race/%.o $(LAYER:%=$(BUILD)/race/%)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ $(EMU_LIBS)
