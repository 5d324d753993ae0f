# rules.mk -- how the tests are built, and the lists of what `make test`, `make test-long`, `make test-full` and `make asan` run

TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
TEST_SCRIPTS := $(wildcard tests/test_*.sh)
$(BUILD)/tests/test_ops $(BUILD)/tests/test_cpu: $(BUILD)/tests/backend_naive.o
$(BUILD)/tests/test_toy_model: $(BUILD)/tests/toy_model.o
$(BUILD)/tests/test_programs: $(BUILD)/tests/gauss_model.o
$(addprefix $(BUILD)/tests/test_,cli eval eval_stored eval_vectors options outputs signals limits words lines bench checkpoint cache folders shared latents classes encode run_measure sweep_run trace): | $(BUILD)/dg_cuda
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(LIB) $(CUDA_OBJ) $(LINK_STAMP)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(CUDA_LIBS) $(LDLIBS)

# ---- the lists, the longest first. The programs that they need are built by the first words of their lines.
NETS := tests/golden/nets
GUIDES := tests/golden/guidance
OTHER_TESTS := $(BUILD)/tests/test_ops tests/test_gpu_report.sh \
               $(filter-out %/test_golden %/test_ops %/test_gpu_report.sh %/test_eval_vectors %/test_dependent,$(TESTS) $(TEST_SCRIPTS))
EMU := $(BUILD)/emu/tests
QUICK = "$(BUILD)/tests/test_golden cpu full sample" "$(BUILD)/tests/test_eval_vectors" $(EMU_QUICK) "$(BUILD)/tests/test_golden ref quick" \
        "$(BUILD)/tests/test_precision range $(GUIDES)/disc_cifar10_uncond.safetensors" $(OTHER_TESTS) "$(BUILD)/tests/test_golden cpu quick"
# Hopper's own kernels, on few multiprocessors, so that a block makes several tiles
SM90 := env EMU_CC=90 EMU_SMS=2
EMU_QUICK = $(foreach p,tf32 fp32 fp16,"$(EMU)/test_ops emu $(p)") $(foreach p,fp16 bf16,"$(SM90) $(EMU)/test_ops emu $(p) conv") $(foreach p,fp16 bf16,"$(SM90) $(EMU)/test_ops emu $(p) attn_d64" "$(SM90) $(EMU)/test_ops emu $(p) attn_129") "$(SM90) $(EMU)/test_ops emu fp16 attn_steep" "$(SM90) $(EMU)/test_stats emu fp16" "$(SM90) $(EMU)/test_norm_fold emu" "$(EMU)/test_norm_fold emu bf16" "$(SM90) $(EMU)/test_dit emu" "$(EMU)/test_dit emu fp16" "$(EMU)/test_linear_range emu" "$(SM90) $(EMU)/test_upsampled emu fp16" "$(EMU)/test_pooled emu fp16" "$(EMU)/test_latents emu" "$(EMU)/test_ranges emu" "$(EMU)/test_trace emu" "$(EMU)/test_golden emu quick" \
            "$(EMU)/test_sampler emu churn second boosting ddim" "$(BUILD)/emu/choice_test" "$(BUILD)/emu/finish_test" $(if $(filter 1,$(CUDA)),"$(BUILD)/cuda/cudnn_plans_test") "$(EMU)/test_memory" \
            $(foreach p,tf32 fp16 bf16,"$(EMU)/test_golden emu=$(p) edm_tiny_ddpmpp. disc_tiny_cond. adm_tiny_plain dit_tiny_p2 vae_tiny.") \
            "$(EMU)/test_extremes emu=fp16 $(NETS)/edm_tiny_ddpmpp.safetensors $(GUIDES)/disc_tiny_cond.safetensors" \
            "$(EMU)/test_stats emu fp32" "$(EMU)/test_stats emu fp16" "$(EMU)/test_toy_model emu=fp32" "$(EMU)/test_toy_model emu=fp16" \
            "$(EMU)/test_programs emu=fp32" "$(EMU)/test_state emu" "$(EMU)/test_features emu=fp32" "$(EMU)/test_features emu=fp16" "$(EMU)/test_posterior emu" "$(EMU)/test_exec emu" "$(EMU)/test_fuse emu fp32" "$(EMU)/test_fuse emu fp16" "$(EMU)/test_gather emu fp32" "$(EMU)/test_gather emu fp16" "$(EMU)/test_views emu" \
            "$(EMU)/test_dependent" "env EMU_CC=90 $(EMU)/test_state emu" "env EMU_CC=90 $(EMU)/test_posterior emu" \
            "$(BUILD)/emu/prims_test" "tests/cuda_on_cpu/neg.sh $(BUILD)"
# less than half an hour
LONG = "$(BUILD)/tests/test_evaluation all" "tests/first_light_test.sh $(BUILD)/pack.tar.xz $(BUILD)/emu/sm_rates" "$(BUILD)/tests/test_shapes32 cpu 32" $(RANDOM_LONG) $(EMU_LONG) "tests/sass_counts.sh" "tests/sass_waits.sh" $(FUZZ_QUICK)
RANDOM_LONG = \
  "$(BUILD)/tests/test_shared pairs 20 kills 30" \
  "$(BUILD)/tests/test_lines 1000" \
  "tests/sanitized.sh test_mutants 10000"
EMU_LONG = "$(EMU)/test_bench emu" "$(EMU)/test_ops emu bf16" "$(EMU)/test_run_measure emu" "env EMU_SCHED=rand EMU_ASYNC=early $(EMU)/test_ops emu fp16" $(SM90_LONG) "$(EMU)/test_golden emu cifar10" \
           "$(EMU)/test_golden emu=fp16 disc_cifar10_uncond" "$(EMU)/test_golden emu dit_chain" "$(EMU)/test_golden emu=bf16 dit_chain" "$(EMU)/test_batch emu=fp16" "$(EMU)/test_batch emu=fp32" "$(EMU)/test_sampler emu" \
           "$(EMU)/test_extremes emu=fp16 $(GUIDES)/disc_cifar10_uncond.safetensors shapes32" \
           "$(BUILD)/race/tests/test_state emu" "$(BUILD)/race/tests/test_posterior emu" "$(EMU)/test_stats emu tf32" "$(EMU)/test_stats emu bf16" \
           "$(BUILD)/race/prims_test" "$(BUILD)/race/finish_test" "$(BUILD)/race/tests/test_dependent emu=fp32" "env EMU_CC=90 $(EMU)/test_ops emu fp16"
SM90_LONG = "$(SM90) EMU_SCHED=rand EMU_ASYNC=early $(EMU)/test_ops emu fp16 conv" "$(SM90) EMU_SCHED=rand EMU_ASYNC=rand $(EMU)/test_ops emu fp16 conv" \
            "$(SM90) EMU_SCHED=rev $(EMU)/test_ops emu bf16 conv" "$(SM90) EMU_SCHED=rev $(EMU)/test_ops emu bf16 attn" "$(SM90) EMU_SCHED=rand EMU_ASYNC=early $(EMU)/test_ops emu fp16 attn" \
            "$(SM90) EMU_SCHED=rand EMU_ASYNC=rand $(EMU)/test_ops emu fp16 attn_d64" "$(SM90) EMU_SCHED=rand EMU_ASYNC=rand $(EMU)/test_ops emu bf16 attn_129" "$(SM90) $(BUILD)/race/tests/test_ops emu fp16 attn_d64" \
            "$(SM90) $(BUILD)/race/tests/test_ops emu fp16 conv" "$(SM90) $(BUILD)/race/tests/test_stats emu fp16" \
            "$(SM90) EMU_SCHED=rand EMU_ASYNC=rand $(EMU)/test_stats emu bf16" "$(SM90) EMU_SCHED=rand EMU_ASYNC=early $(EMU)/test_norm_fold emu fp16" \
            "$(SM90) EMU_SCHED=rand EMU_ASYNC=rand $(EMU)/test_norm_fold emu bf16" "$(SM90) EMU_SCHED=rev $(EMU)/test_norm_fold emu bf16" "$(SM90) $(BUILD)/race/tests/test_norm_fold emu" "$(SM90) $(EMU)/test_batch emu=fp16" \
            "$(SM90) EMU_SCHED=rand EMU_ASYNC=early $(EMU)/test_upsampled emu fp16" "$(SM90) EMU_SCHED=rand EMU_ASYNC=rand $(EMU)/test_upsampled emu bf16" "$(SM90) $(BUILD)/race/tests/test_upsampled emu" "$(SM90) $(EMU)/test_upsampled emu bf16" "$(EMU)/test_upsampled emu" "$(EMU)/test_pooled emu bf16" "env EMU_SMS=1 $(EMU)/test_ops emu fp16 norm" "env EMU_SMS=1 $(EMU)/test_pooled emu fp16" "env EMU_SCHED=rev $(EMU)/test_pooled emu fp16" "$(BUILD)/race/tests/test_pooled emu"
# hours
WHOLE = "$(BUILD)/tests/test_golden ref sample" "$(BUILD)/tests/test_golden cpu large" $(RANDOM_WHOLE) $(EMU_WHOLE) "tests/mutate.sh kernels" "tests/mutate.sh core"
RANDOM_WHOLE = \
  "$(BUILD)/tests/test_shared pairs 200 kills 300" \
  "tests/sanitized.sh test_lines 10000" \
  "tests/sanitized.sh test_mutants 100000"
EMU_WHOLE = $(foreach p,fp16 bf16 tf32,"$(EMU)/test_golden emu=$(p) quick") "$(EMU)/test_golden emu=fp16 full sample" \
            $(foreach g,disc_cifar10_cond edm_cifar10_cond,"env EMU_CC=90 $(EMU)/test_golden emu=fp16 $(g)") \
            "$(EMU)/test_extremes emu=fp16 $(NETS)/edm_ffhq64.safetensors $(NETS)/edm_imagenet64.safetensors $(GUIDES)/disc_ffhq64.safetensors" \
            $(foreach p,bf16 tf32,"$(EMU)/test_batch emu=$(p)") "$(BUILD)/tests/test_precision $(GUIDES)/disc_ffhq64.safetensors" \
            $(foreach p,fp32 fp16,"$(BUILD)/race/tests/test_ops emu $(p)") "$(BUILD)/race/tests/test_stats emu fp16"
# the sanitizers leave out full-size networks, large eigenvalue problems and the emulated kernels
SANITIZED = "$(BUILD)/tests/test_golden cpu quick" $(filter-out %/test_evaluation,$(OTHER_TESTS))

# what is a file to be built in such a list; neg.sh runs two programs that no list names
built = $(filter $(BUILD)/%,$(subst ",,$(1)))
NEG := $(BUILD)/emu/neg_test $(BUILD)/race/neg_test
RUN = BUILD=$(BUILD) tests/run.sh $(BUILD)/logs

# ---- the targets. `make test` is run-test after deps, in a make of its own that finds what was installed
.PHONY: test test-long test-full asan test-emu test-race run-test run-test-long run-test-full run-asan run-sanitized
test test-long test-full asan: deps
	$(Q)$(MAKE) run-$@
run-test: all $(NEG) $(BUILD)/bench/op_list $(call built,$(QUICK))
	$(Q)$(RUN) $(QUICK)
run-test-long: all $(call built,$(LONG))
	$(Q)$(RUN) $(LONG)
run-test-full: all $(NEG) $(BUILD)/bench/op_list $(call built,$(QUICK) $(LONG) $(WHOLE))
	$(Q)DG_TEST_FULL=1 TEST_SECONDS=7200 $(RUN) $(WHOLE) $(LONG) $(QUICK)
SANITIZERS := BUILD=$(BUILD)/asan CUDA=0 OPT=-O1 SAN="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"
run-asan:
	$(Q)$(MAKE) $(SANITIZERS) run-sanitized
sanitized-%:
	$(Q)$(MAKE) $(SANITIZERS) $(BUILD)/asan/dg_cuda $(BUILD)/asan/tests/$*
run-sanitized: $(BUILD)/dg_cuda $(BUILD)/bench/op_list $(call built,$(SANITIZED))
	$(Q)$(RUN) $(SANITIZED)
test-emu: $(NEG) $(call built,$(EMU_QUICK))
	$(Q)$(RUN) $(EMU_QUICK)
test-race: $(call built,$(EMU_LONG) $(EMU_WHOLE))
	$(Q)$(RUN) $(EMU_LONG) $(EMU_WHOLE)
