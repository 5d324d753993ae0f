# rules.mk -- programs that measure a GPU, and what carries them to another machine.

# ---- the primitives' test: for 9.0 (wgmma and TMA need sm_90a), and without these for any other
PRIMS := $(BUILD)/cuda/prims_test $(BUILD)/cuda/prims_test_80
NVPROGRAM = $(NVCC) -std=c++17 -O2 $(INCLUDE) $(if $(NVWERROR),-Werror all-warnings) \
            $(if $(filter 1,$(STATIC)),-Xcompiler -static-libstdc++$(COMMA)-static-libgcc)
$(BUILD)/cuda/prims_test: PRIMS_FLAGS := -gencode arch=compute_90a,code=sm_90a
$(BUILD)/cuda/prims_test_80: PRIMS_FLAGS := -DNO_SM90 -gencode arch=compute_80,code=[sm_80$(COMMA)compute_80]
$(PRIMS): tests/cuda_on_cpu/prims_test.cu tests/cuda_on_cpu/prims_sm90.h $(wildcard kernels/gpu_prims*.h) $(STAMP) $(CUDA_STAMP)
	@mkdir -p $(@D)
	$(Q)$(NVPROGRAM) $(PRIMS_FLAGS) $< -o $@
# ---- what a GPU can do at best, and what its parts can
CEILINGS := $(BUILD)/cuda/ceilings $(BUILD)/cuda/sm_rates
$(CEILINGS): $(BUILD)/cuda/%: bench/%.cu $(wildcard kernels/gpu_prims*.h) $(STAMP) $(CUDA_STAMP)
	@mkdir -p $(@D)
	$(Q)$(NVPROGRAM) $(foreach a,$(ARCH),-gencode arch=compute_$(a),code=sm_$(a)) $< -o $@ -ldl

# ---- everything that is worth knowing of a GPU, in an hour, as OUT/report.md, report.json and report.tgz. PART=correctness|speed
# OFFICIAL=checkout   DRY=1: the script's motions on the CPU
.PHONY: gpu-report pack pack-file
gpu-report:
	$(Q)bench/gpu_report.py $(or $(OUT),$(BUILD)/gpu-report) --part $(or $(PART),all) --build $(BUILD) $(if $(OFFICIAL),--official $(OFFICIAL)) \
	  $(if $(DRY),--dry)

# ---- make pack: $(BUILD)/pack.tar.xz, what bench/first_light.sh runs on a machine where nothing is compiled. ARCH=90 by default.
# The programs need glibc's libraries alone; without nvcc they are the CPU's.
given = $(if $(filter command environment,$(firstword $(origin $(1)))),$($(1)),$(2))
pack:
	$(Q)$(MAKE) BUILD=$(BUILD)/pack ARCH="$(call given,ARCH,90)" MARCH=$(call given,MARCH,x86-64-v3) LAPACKE=0 CBLAS=0 STATIC=1 PACK=$(BUILD)/pack.tar.xz pack-file
$(BUILD)/pack.tar.xz: pack ;
PACKED := dg_cuda $(addprefix tests/,test_ops test_state test_posterior test_golden test_sampler) \
          $(if $(filter 1,$(CUDA)),$(patsubst $(BUILD)/%,%,$(PRIMS) $(CEILINGS)))
pack-file: $(PACKED:%=$(BUILD)/%)
	$(Q)rm -rf $(BUILD)/stripped && mkdir -p $(addprefix $(BUILD)/stripped/,. tests cuda)
	$(Q)for f in $(PACKED); do strip -o $(BUILD)/stripped/$$f $(BUILD)/$$f || exit 1; done
	$(Q)git describe --always --dirty >$(BUILD)/stripped/revision 2>/dev/null || echo unknown >$(BUILD)/stripped/revision
	$(Q)tar -C $(BUILD)/stripped --owner=0 --group=0 -cf - . | xz -T1 --lzma2=preset=2,dict=64MiB >$(PACK).new && mv $(PACK).new $(PACK)
	@ls -l $(PACK)
