# Recipes for building, testing and trying adwp. All but `edge` compile with the one profile `release`, so that nothing is compiled twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build edge demo runtime bench bench-pytorch test gpu-test gpu-bundle sanitize lint tools

CARGO ?= cargo
ADWP := $(or $(CARGO_TARGET_DIR),target)/release/adwp
DEPLOY := $(or $(CARGO_TARGET_DIR),target)/edge/adwp-deploy
RUNTIME := $(CURDIR)/.runtime
BENCH := $(CARGO) run --release --quiet -p adwp-bench --
BENCH_RESULT := $(or $(CARGO_TARGET_DIR),target)/bench/engine.json

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## builds target/release/adwp
	$(CARGO) build --release --bin adwp

# Everything is compiled anew for size, which takes long: no part of `make test`.
edge: ## builds target/edge/adwp-deploy, for devices, and fails where it takes more than 21 MB
	$(CARGO) build --profile edge -p adwp-edge --bin adwp-deploy
	@size=$$(wc -c <$(DEPLOY)); echo "$(DEPLOY): $$size bytes"; \
		if ((size > 21000000)); then echo "edge: that is more than 21 MB" >&2; exit 1; fi

# What an earlier demo left is removed: a run refuses a folder that another run has filled.
demo: runtime build ## a whole run on the sample images, afresh into runs/demo
	rm -rf runs/demo
	ORT_DYLIB_PATH="$(RUNTIME)/libonnxruntime.so" $(ADWP) run --preset demo --run runs/demo

runtime: ## fetches ONNX Runtime into .runtime, unless it is there
	@scripts/fetch-runtime

bench: ## times the engine against the peaks of this machine, operators and training steps
	$(BENCH) --out $(BENCH_RESULT)

bench-pytorch: ## the same beside PyTorch, which it fetches into .runtime/torch, gigabytes, unless it is there
	python=$$(scripts/fetch-torch) && $(BENCH) --out $(BENCH_RESULT) --pytorch "$$python"

# The engine's tests run again with the instructions that every machine has, on the stand-in for a GPU, and under the address sanitizer. Of the files
# that are made to break the program a sample is tried: all take half an hour.
test: tools runtime lint ## everything that must pass: format, clippy, all tests
	cuda=$$(scripts/fetch-cuda) && ADWP_CUDA_LIBRARIES="$$cuda" ADWP_REQUIRE_NVRTC=1 \
		ORT_DYLIB_PATH="$(RUNTIME)/libonnxruntime.so" ADWP_REQUIRE_ORT=1 ADWP_PYTHON="$(RUNTIME)/venv/bin/python" \
		$(CARGO) test --release --workspace
	ADWP_SIMD=portable $(CARGO) test --release --workspace --test engine
	scripts/check-hostile --sample 40
	@$(MAKE) --no-print-directory gpu-test
	@$(MAKE) --no-print-directory sanitize

# In the place of the driver is a library that runs the kernels, compiled for the processor, and checks what they do to memory.
gpu-test: runtime ## what needs a GPU, on one that a stand-in for the driver plays: engine, reference, the road
	scripts/build-standin --selftest
	cuda=$$(scripts/fetch-cuda) && standin=$$(scripts/build-standin) && \
		export LD_LIBRARY_PATH="$$standin" ADWP_CUDA_LIBRARIES="$$cuda" ADWP_TEST_DEVICE=cuda \
			ORT_DYLIB_PATH="$(RUNTIME)/libonnxruntime.so" && \
		$(CARGO) test --release --workspace --lib -- stored storage && \
		$(CARGO) test --release --workspace --test engine --test candle && \
		$(CARGO) test --release --workspace --test road gpu::

gpu-bundle: ## what runs on a GPU machine without a network, into dist/gpu: checks, benchmarks, search, retraining
	@CARGO="$(CARGO)" scripts/gpu-bundle

# Only a nightly compiler has the sanitizer; a build of its own, without the dependencies of the other crates.
sanitize: ## the engine's tests under the address sanitizer, where a nightly toolchain is installed
	@if $(CARGO) +nightly --version >/dev/null 2>&1; then \
		RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR="$(or $(CARGO_TARGET_DIR),target)/sanitize" \
			$(CARGO) +nightly test --release -p adwp-engine --target "$$(rustc -vV | sed -n 's/^host: //p')"; \
	else echo "sanitize: skipped, there is no nightly toolchain"; fi

lint: tools ## format, clippy and shell scripts alone
	scripts/check-scripts
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

# Not in the list: part of the others.
tools:
	@scripts/check-tools
