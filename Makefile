# make demo    set everything up and run the main job: Sokoban, warm start, HiMAC, evaluation before and after
# make test    set everything up and run the tests
# make check   lint, types, tests, docs: what CI runs, without the small demo
# make campaign   kills, full disks, damaged files, broken servers: an hour; SHORT=1 for the minutes that CI gives it
# make audit   known holes in what is installed
# make parity  ALFWorld against the real TextWorld, every game at hand (needs the extra `textworld`)
# make adapters-test   worlds of other libraries (gymnasium, OpenEnv, TextArena, verifiers), each in an environment it fits into
#
# Nothing is needed but Python 3.11 or newer and make. Everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMMA := ,

.PHONY: setup demo test check lint types campaign audit parity adapters-test clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints-cpu.txt
	touch $(STAMP)

demo: setup
	$(BIN)/himac train configs/demo.toml

test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types test

campaign: setup
	$(BIN)/python -m campaign $(if $(SHORT),--short) $(if $(OUT),--out $(OUT))

audit: setup
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

parity: setup
	$(BIN)/python benchmarks/alfworld_parity.py

# Two environments, for openenv and verifiers pin versions of mcp that exclude each other. pygame draws FrozenLake, uv runs verifiers' own player.
adapters-test: .venv-openenv/.installed .venv-verifiers/.installed
	.venv-openenv/bin/python -m pytest tests/envs/adapters -rs
	PATH="$(CURDIR)/.venv-verifiers/bin:$$PATH" .venv-verifiers/bin/python -m pytest tests/envs/adapters/test_verifiers.py -rs

.venv-%/.installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv .venv-$*
	grep '^torch==' constraints-cpu.txt > .venv-$*/constraints.txt
	.venv-$*/bin/pip install --quiet -e '.[$(if $(filter openenv,$*),openenv$(COMMA)textarena$(COMMA)gym,$*)]' pytest pygame uv -c .venv-$*/constraints.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-openenv .venv-verifiers .pytest_cache .ruff_cache .mypy_cache .hypothesis
