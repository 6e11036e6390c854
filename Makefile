# Thin names for commands that also stand in README.md.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install demo test test-slow lint bench bench-learning

install: $(STAMP)

# The constraints keep torch at its CPU build: unpinned, it brings gigabytes of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: $(STAMP)
	$(BIN)/roborl demo

# A file's tests share what they trained: they stay together.
test: lint
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python tests/bench/stepping.py
	$(BIN)/python tests/bench/throughput.py
	$(BIN)/python tests/bench/planning.py
	$(BIN)/python tests/bench/ilqr.py
	$(BIN)/python tests/bench/ddp.py
	$(BIN)/python tests/bench/mpc.py
	$(BIN)/python tests/bench/train_speed.py
	$(BIN)/python tests/bench/ppo_speed.py
	$(BIN)/python tests/bench/table.py

bench-learning: $(STAMP)
	$(BIN)/python tests/bench/updates.py
	$(BIN)/python tests/bench/learning.py
	$(BIN)/python tests/bench/collapse.py
