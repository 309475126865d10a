# The words a person types. Everything else is CMake (presets in CMakePresets.json).

JOBS ?= $(shell nproc)
BUILD := build/release
R1 := $(BUILD)/bin/r1

.PHONY: help run test test-peer test-chaos study study-mini bench fuzz build setup config-docs format clean

help:
	@echo "make run         set up, build, and train the default run: base, cold-start SFT, GRPO (2 minutes on 2 cores)"
	@echo "make test        set up, build, and run the whole test suite, sanitised parsers included"
	@echo "make test-peer   tests that need Python's transformers or Chromium (installs them)"
	@echo "make test-chaos  250 random kill schedules against real processes (20 minutes)"
	@echo "make study       the papers' claims in miniature, three seeds each, with docs/study.md and its plots (20 minutes)"
	@echo "make study-mini  the default run and R1-Zero in miniature for many seeds, with a table (about an hour)"
	@echo "make bench       benchmarks of kernels, engine and learner"
	@echo "make fuzz        the fuzz targets with libFuzzer (clang), MINUTES=1 of a processor each, and coverage"
	@echo "make build | setup | config-docs | format | clean"

setup:
	@cmake/setup.sh

build: setup
	@echo "build: configuring and building in $(BUILD) with $(JOBS) jobs"
	@cmake --preset release
	@cmake --build $(BUILD) -j $(JOBS)

run: setup
	@echo "run: configuring and building $(R1) with $(JOBS) jobs"
	@cmake --preset release
	@cmake --build $(BUILD) -j $(JOBS) --target r1
	$(R1) run configs/r1_mini.toml

# The parsers once more under AddressSanitizer and UndefinedBehaviorSanitizer, then everything.
# CTest's summary comes last, and then whether this machine's kernel could hold the escape tests.
test: build
	@echo "test: building the parsers with sanitizers in build/asan"
	@cmake --preset asan
	@cmake --build build/asan -j $(JOBS)
	ctest --test-dir build/asan --output-on-failure -j $(JOBS)
	ctest --test-dir $(BUILD) --output-on-failure -LE peer
	@$(BUILD)/bin/r1_sandbox_check

test-peer: build
	tests/peer/setup.sh
	ctest --test-dir $(BUILD) --output-on-failure -L peer

test-chaos: build
	python3 tests/chaos/chaos_test.py --r1 $(R1) --schedules 200
	python3 tests/chaos/chaos_test.py --r1 $(R1) --schedules 50 --config stages.toml

study: build
	python3 tests/study/study.py --r1 $(R1)

study-mini: build
	python3 tests/study/study_mini.py --r1 $(R1)

bench: build
	$(BUILD)/bin/r1_bench_engine
	$(BUILD)/bin/r1_bench_policy
	$(BUILD)/bin/r1_bench_rewards --code

MINUTES ?= 1
fuzz: setup
	cmake --preset fuzz
	cmake --build build/fuzz -j $(JOBS)
	cmake --preset coverage
	cmake --build build/coverage -j $(JOBS)
	python3 tests/fuzz/run.py --build build/fuzz --coverage build/coverage --minutes $(MINUTES)

config-docs: build
	$(BUILD)/bin/generate_config_reference $(BUILD)/proto/config.descriptor docs/config.md

format:
	git ls-files '*.cc' '*.h' '*.cu' '*.cuh' | xargs clang-format -i

clean:
	rm -rf build
