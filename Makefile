# make demo    set everything up and run the main job: Sokoban, warm start, HiMAC, evaluation before and after
# make test    set everything up and run the tests
# make check   lint, types, tests, docs: what CI runs, without the small demo
# make campaign   kills, full disks, damaged files, broken servers: an hour; SHORT=1 for the minutes that CI gives it
# make audit   known holes in what is installed
# make lock    requirements-lock.txt anew: every package of `make setup` but PyTorch, with hashes; LOCKED=1 make setup takes it
# make parity  ALFWorld against the real TextWorld, every game at hand (needs the extra `textworld`)
#
# Nothing is needed but Python 3.11 or newer and make. Everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# PyTorch without CUDA comes from an index of its own and stands outside the lock
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell grep '^torch==' constraints-cpu.txt)
CUDA := cuda-bindings cuda-toolkit nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13 triton

.PHONY: setup demo test check lint types campaign audit lock parity clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-cpu.txt requirements-lock.txt
	$(PYTHON) -m venv $(VENV)
ifdef LOCKED
	$(BIN)/pip install --quiet --no-deps --require-hashes --only-binary :all: -r requirements-lock.txt
	$(BIN)/pip install --quiet --no-deps --index-url $(TORCH_INDEX) $(TORCH)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/pip check
else
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints-cpu.txt
endif
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

lock: setup
	$(BIN)/pip install --quiet uv
	for name in $(CUDA); do echo "$$name ; sys_platform == 'none'"; done > $(VENV)/no-cuda.txt
	echo 'setuptools>=77' | $(BIN)/uv pip compile --quiet pyproject.toml - --extra dev -c constraints-cpu.txt \
	  --override $(VENV)/no-cuda.txt --python-version 3.11 --python-platform linux --generate-hashes \
	  --no-emit-package torch --no-emit-package himac --no-annotate --custom-compile-command 'make lock' -o requirements-lock.txt

parity: setup
	$(BIN)/python benchmarks/alfworld_parity.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
