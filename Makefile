# demo: run a real task end to end.   devnet: the same over processes of their own.
# arena: attacks against defences, resumed.   check: all that CI runs besides the tests.   bench: figures.
# test: what CI runs.   test-long: what takes minutes and seldom changes: before a release, and when what it tests does.
PYTHON ?= python3
BIN := .venv/bin
# One thread each: two processes that share two cores are many times slower with more.
export OMP_NUM_THREADS := 1

BENCHMARKS := protocol round aggregate exactness reproducible compression evaluate gas
NETWORK := transfer idle chaos economics
CLAIMS := synergy scale

.PHONY: demo devnet arena test test-long check bench bench-network claims results contracts clean

demo: .venv/installed
	$(BIN)/openflock demo --out runs/demo

devnet: .venv/installed .anvil/installed
	$(BIN)/openflock devnet up --nodes 6 --rounds 4 --out runs/devnet --fresh

arena: .venv/installed
	$(BIN)/openflock arena configs/arena_core.toml --out runs/arena --economics benchmarks/results/economics.json

test: .venv/installed .venv-quantized/installed .anvil/installed
	$(BIN)/pytest -q -m "not long" -n 3 --dist loadfile --no-loadscope-reorder
	PYTHONPATH=.venv-quantized $(BIN)/pytest -q tests/learn/test_quantized.py

test-long: .venv/installed .anvil/installed
	$(BIN)/pytest -q -m long -n 2

check: .venv/installed
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/mypy
	$(BIN)/mypy scripts/*.py benchmarks/*.py
	$(BIN)/lint-imports
	$(BIN)/python scripts/compile_contracts.py --check

bench: .venv/installed .venv-rivals/installed .venv-older/installed .venv-quantized/installed
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py --quick --json runs/bench/$$name.json || exit 1; done
	PYTHONPATH=.venv-quantized $(BIN)/python benchmarks/seventy_b.py --quick --json runs/bench/seventy_b.json
	$(BIN)/python scripts/write_bench_table.py runs/bench README.md

bench-network: .venv/installed .anvil/installed
	for name in $(NETWORK); do $(BIN)/python benchmarks/$$name.py --quick --json runs/bench-network/$$name.json || exit 1; done

# Long: what the paper claims of synergy and scale, resumed; then the page of results.
claims: .venv/installed
	for name in $(CLAIMS); do $(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json || exit 1; done

results: .venv/installed
	$(BIN)/python scripts/write_results.py benchmarks/results docs/results.md

contracts: .venv/installed
	$(BIN)/python scripts/compile_contracts.py

# A pip of today, which resolves in a quarter of the time of Debian's, and no bytecode but of what is ever imported, which
# must then be written, whatever the machine says: to compile the libraries at each start takes fifteen seconds more.
# torch comes first: its CPU build is pinned, so that nothing after it pulls another.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := pip install --quiet --disable-pip-version-check --no-compile
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) --upgrade pip
	$(BIN)/$(INSTALL) -c constraints.txt torch
	$(BIN)/$(INSTALL) -c constraints.txt --editable '.[dev]'
	touch $@

# bitsandbytes lives beside the environment, not in it: peft would import it at every start.
.venv-quantized/installed: .venv/installed constraints.txt
	$(BIN)/$(INSTALL) --no-deps -c constraints.txt --upgrade --target .venv-quantized bitsandbytes
	touch $@

# A development chain; its package holds the binary. Without npm the tests that need it are skipped.
ANVIL := 1.7.1
.anvil/installed: Makefile
	mkdir -p .anvil
	if command -v npm >/dev/null; then npm install --silent --no-fund --no-audit --prefix .anvil @foundry-rs/anvil@$(ANVIL); \
	else echo "no npm: install it (Debian: apt-get install npm) for the tests over Anvil and for make devnet"; fi
	touch $@

# Rivals live apart: what they pin is none of ours.
.venv-rivals/installed: benchmarks/rivals.txt
	$(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/$(INSTALL) -r benchmarks/rivals.txt
	touch $@

# An older numpy, to see that digests do not depend on it.
.venv-older/installed: benchmarks/older.txt
	$(PYTHON) -m venv .venv-older
	.venv-older/bin/$(INSTALL) -r benchmarks/older.txt
	touch $@

clean:
	rm -rf .venv .anvil .venv-quantized .venv-rivals .venv-older build dist runs src/*.egg-info
