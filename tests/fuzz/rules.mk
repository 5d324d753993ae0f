# make fuzz [FUZZ_SECONDS=20]   runs every tests/fuzz/fuzz_*.c under libFuzzer, AddressSanitizer and UBSan, from the inputs in
# tests/fuzz/corpus/*. What a run finds anew is kept in $(BUILD)/fuzz; an input that fails is written there as crash-*.

FUZZ_SECONDS ?= 20
FUZZ_CC ?= clang
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_CFLAGS := -std=c11 -O1 -g $(CWARN) $(DEFS) -Wno-unknown-pragmas $(FUZZ_SAN) -fsanitize=fuzzer-no-link
# The readers and what they stand on: no device.
FUZZ_SRC := $(filter-out host/main.c host/device.c host/exec.c $(wildcard host/backend_*.c host/cpu*.c),$(wildcard host/*.c)) \
            $(wildcard models/*.c weights_tools/*.c)

$(BUILD)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/fuzz/libdg.a: $(FUZZ_SRC:%.c=$(BUILD)/fuzz/obj/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/libdg.a
	$(Q)$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer -o $@ $^ $(if $(filter 1,$(ZLIB)),-lz) -lpthread -lm

.PHONY: $(FUZZ_TARGETS:%=fuzz-%)
$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: $(BUILD)/fuzz/fuzz_%
	@mkdir -p $(BUILD)/fuzz/found/$*
	@echo "fuzz $*: $(FUZZ_SECONDS) s"
	@$< -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
	  -artifact_prefix=$(BUILD)/fuzz/$*- $(BUILD)/fuzz/found/$* tests/fuzz/corpus/$* 2>$(BUILD)/fuzz/$*.log \
	  && sed -n 's/^stat::number_of_executed_units: */  inputs tried: /p' $(BUILD)/fuzz/$*.log \
	  || { tail -n 60 $(BUILD)/fuzz/$*.log; exit 1; }

# One after another: each may use all of the memory it is allowed.
fuzz:
	@if printf '#include <stddef.h>\nint LLVMFuzzerTestOneInput(const char *p, size_t n) { return !p && n; }\n' | \
	  $(FUZZ_CC) -x c - $(FUZZ_SAN) -fsanitize=fuzzer -o /dev/null 2>/dev/null; \
	then for t in $(FUZZ_TARGETS); do $(MAKE) --no-print-directory fuzz-$$t || exit 1; done; \
	else echo "NOT RUN: fuzz: $(FUZZ_CC) with libFuzzer is not installed (Debian: clang)"; fi
