# make demo    set everything up and run the main job: Sokoban, warm start, HiMAC, evaluation before and after
# make test    set everything up and run the tests
# make check   lint, types, tests, docs: what CI runs, without the small demo
# make docs    the site, into site/: pages, API reference, a notebook, a sample report; warnings are errors
# make campaign   kills, full disks, damaged files, broken servers: an hour; SHORT=1 for the minutes that CI gives it
# make audit   known holes in what is installed
# make parity  ALFWorld against the real TextWorld, every game at hand (needs the extra `textworld`)
#
# Nothing is needed but Python 3.11 or newer and make. Everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check lint types docs campaign audit parity clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints-cpu.txt
	touch $(STAMP)

demo: setup
	$(BIN)/himac train demo

test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types test

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict
	$(BIN)/python docs/make_sample_report.py site/sample-report.html

$(VENV)/.docs: $(STAMP)
	$(BIN)/pip install --quiet -e '.[docs]' -c constraints-cpu.txt
	touch $@

campaign: setup
	$(BIN)/python -m campaign $(if $(SHORT),--short) $(if $(OUT),--out $(OUT))

audit: setup
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

parity: setup
	$(BIN)/python benchmarks/alfworld_parity.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
