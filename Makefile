# What a person or a machine runs here. Everything works without a terminal, and asks for root only
# when something has to be installed.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help needs build install uninstall deb demo test fmt lint docs unit test-install test-systemd loom loom-deep sim sim-mutants stress stress-mutants soak-isolation bench bench-peers bench-quick bench-full bench-guard results release-pgo sanitize test-wasm fuzz fuzz-corpus clean

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

needs: ## Installs what the build needs and this machine has not
	@scripts/install-needs

build: needs ## Builds the daemon and the command line, optimised
	$(CARGO) build --release --locked -p deltaworksd -p deltaworks

install: ## Builds, and installs: PREFIX (/usr/local), SYSCONFDIR (/etc), DESTDIR
	@# Root may have no cargo of its own: then what `make build` left is installed.
	@if command -v $(CARGO) >/dev/null; then $(MAKE) --no-print-directory build; fi
	@scripts/install

uninstall: ## Removes what `make install` installed, but no configuration
	@scripts/install --uninstall

deb: ## Packs both programs into a Debian package, in target/debian
	@scripts/deb

demo: build ## Replays a small editing trace through a daemon of its own, and verifies it
	@scripts/demo

test: needs fmt lint docs unit test-install loom sim ## Formatting, lints, docs, all tests, the models, the simulator
	@echo "make test: passed"

fmt:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path benches/peers/Cargo.toml --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@if command -v shellcheck >/dev/null; then \
		shellcheck .ci/run scripts/* tools/packaging/guest/steps; \
	else \
		echo "SKIPPED: the scripts' lints, because shellcheck is not installed"; \
	fi
	@scripts/check-unit

docs:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

unit:
	$(CARGO) test --workspace --locked --no-fail-fast
	$(CARGO) test --workspace --locked --no-fail-fast --features deltaworksd/planted_faults --test planted

test-install:
	@scripts/test-install

test-systemd: ## Installs the package in a guest with a real systemd, and operates it (15 minutes at most)
	@scripts/test-systemd

loom: ## The models of what two cores share, and their mutants
	$(CARGO) run --locked -p deltaworks-loom-tests --bin loom-models

loom-deep: ## The models with ever higher preemption bounds: MINUTES=480
	$(CARGO) run --locked -p deltaworks-loom-tests --bin loom-models -- --deep --minutes $(or $(MINUTES),480)

stress: ## The stress tests, optimised: TIMES=100 times as long as in `make test`
	@TIMES=$(or $(TIMES),100) scripts/stress

sim: ## The simulator: 10,000 seeds, or SEEDS=0..1000000
	$(CARGO) run --locked --profile sim -p deltaworks-simulator --bin sim -- --seeds $(or $(SEEDS),0..10000)

sim-mutants: ## Plants bugs in the server: a seed of the simulator must find each (OPTIONS="--part 1/4")
	$(CARGO) run --locked --profile sim -p deltaworks-simulator --bin sim-mutants -- $(OPTIONS)

stress-mutants: ## Plants faults of logic, and wants the stress tests to find each
	$(CARGO) run --locked -p deltaworks-stress-tests --bin stress-mutants

soak-isolation: ## Random publishers and subscribers of all policies against the daemon, each accounted for: MINUTES=60
	$(CARGO) build --release --locked -p deltaworksd -p deltaworks-benches
	$(CARGO) run --release --locked -p deltaworks-benches --bin throughput -- soak --minutes $(or $(MINUTES),60) $(if $(JSON),--json)

bench: needs ## Every scenario, the limits and the peers, in turns, into bench-report/: about 50 minutes (OPTIONS="--only idle")
	@scripts/bench standard $(OPTIONS)

bench-peers: needs ## Lints and tests the rivals' programs, which the workspace leaves out
	$(CARGO) clippy --release --locked --manifest-path benches/peers/Cargo.toml --all-targets -- -D warnings
	$(CARGO) test --release --locked --manifest-path benches/peers/Cargo.toml

bench-quick: needs ## The same with few cells and short samples: about 5 minutes
	@scripts/bench quick $(OPTIONS)

bench-full: needs ## The same with every combination, for as long as it takes
	@scripts/bench full $(OPTIONS)

bench-guard: needs ## Compares the work tree with a commit in pairs, and fails beyond a loss: BASE=<commit> LOSS=5
	@BASE="$(BASE)" LOSS="$(or $(LOSS),5)" scripts/bench-guard $(OPTIONS)

results: ## RESULTS.md and the README's table out of the last `make bench`
	@$(CARGO) run --quiet --locked -p deltaworks-harness --bin bench -- results bench-report/results.json > RESULTS.md.half
	@mv RESULTS.md.half RESULTS.md
	@$(CARGO) run --quiet --locked -p deltaworks-harness --bin bench -- results bench-report/results.json --readme README.md

release-pgo: needs ## Builds with a profile of the harness's load, and compares with the ordinary release
	@scripts/release-pgo

sanitize: ## Stress, inline pipeline and daemon under sanitizers, inline pipeline under memcheck: STEPS="thread address memcheck helgrind"
	@scripts/sanitize $(STEPS)

test-wasm: ## The pipeline's inline form on wasm32, under Node
	@scripts/test-wasm

fuzz: ## Fuzzes each target: SECONDS=60 each, TARGET=one of them
	@SECONDS_EACH=$(or $(SECONDS),60) scripts/fuzz run $(TARGET)

fuzz-corpus: ## Takes what fuzzing found into the corpora, and keeps them small
	@scripts/fuzz corpus $(TARGET)

clean: ## Removes what was built
	$(CARGO) clean
