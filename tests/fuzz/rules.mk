# rules.mk -- make fuzz [FUZZ_SECONDS=20]: every tests/fuzz/fuzz_*.c under libFuzzer, AddressSanitizer and UBSan, from the inputs in
# tests/fuzz/corpus/*. What a run finds anew is kept in $(BUILD)/fuzz/found; an input that fails, in $(BUILD)/fuzz/*-crash-*.

FUZZ_SECONDS ?= 20
FUZZ_CC ?= clang
FUZZ_FOUND := $(shell ls $$($(FUZZ_CC) -print-resource-dir 2>/dev/null)/lib/*/libclang_rt.fuzzer* >/dev/null 2>&1 && echo 1)
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_CFLAGS := -std=c11 $(INCLUDE) -O1 -g $(CWARN) $(DEFS) -Wno-unknown-pragmas $(FUZZ_SAN) -fsanitize=fuzzer-no-link
# The readers and what they stand on: no device.
FUZZ_SRC := $(filter-out host/program/main.c $(wildcard host/device/*.c host/device/*/*.c),$(HOST_SRC)) $(wildcard host/device/host_*.c) \
            $(wildcard models/*.c weights_tools/*.c)
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_QUICK := $(if $(FUZZ_FOUND),$(foreach f,$(FUZZERS),"tests/fuzz/run.sh $(f) $(FUZZ_SECONDS)"),"tests/fuzz/run.sh")

$(BUILD)/fuzz/obj/%.o: %.c $(STAMP)
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(FUZZ_CFLAGS) -MMD -MP -c $< -o $@
$(BUILD)/fuzz/libdg.a: $(FUZZ_SRC:%.c=$(BUILD)/fuzz/obj/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/libdg.a
	$(Q)$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer -o $@ $^ $(if $(filter 1,$(ZLIB)),-lz) $(if $(filter 1,$(JPEG)),-ljpeg) -lpthread -lm

fuzz test-long test-full: MISSING += $(if $(FUZZ_FOUND),,CLANG)
fuzz: deps
	$(Q)$(MAKE) run-fuzz
.PHONY: run-fuzz
run-fuzz: $(if $(FUZZ_FOUND),$(FUZZERS))
	$(Q)TEST_SECONDS=$$(($(FUZZ_SECONDS) + 300)) $(RUN) $(FUZZ_QUICK)
