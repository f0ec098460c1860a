# Everything that a fresh machine needs: Python 3.11 or newer, and nothing else.
PYTHON ?= python3
# Empty: the default index. For PyTorch's CPU builds: make install TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
TORCH := torch==2.13.0
# One thread a process while pytest runs two processes: faster on two cores, and the same numbers everywhere.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: install demo test check lint unit peer nightly bench docs bundle clean

install: $(VENV)/.runtime

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rtplan needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --editable '.[dev,docs,interop,serve,batch,view]'
	$(PIP) --no-deps rt-utils==1.2.7
	@touch $@

# The whole chain on a digital patient; prints where the report is.
demo: $(VENV)/.runtime
	$(BIN)/rtplan demo --out out/demo --overwrite

# Every check: style, types, imports, tests with doctests and examples.
test: check
check: lint unit

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist worksteal -m 'not peer and not slow and not gpu'

# Against other programs (dciodvfy, DCMTK, plastimatch, chromium …); each test skips with a reason where its program is absent.
peer: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist worksteal -m 'peer and not slow'

nightly: $(VENV)/.dev
	$(TEST_ENV) $(BIN)/pytest -n 2 --dist worksteal -m 'slow or peer'

# Every claim of speed or accuracy; writes benchmarks/results/*.md.
bench: $(VENV)/.dev
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

$(VENV)/.docs: $(VENV)/.runtime
	$(PIP) --editable '.[docs]'
	@touch $@

# The documentation site, in site/.
docs: $(VENV)/.docs
	$(BIN)/mkdocs build --quiet
	@echo "Documentation: site/index.html"

# Everything for a machine without network, in dist/bundle: wheels, hashes, licences, install script.
EXTRAS ?= serve,batch,view
bundle: $(VENV)/.runtime
	$(BIN)/python bundle/make.py --out dist/bundle --overwrite --extras '$(EXTRAS)' --torch-index '$(TORCH_INDEX)'

clean:
	rm -rf out build dist site .mypy_cache .ruff_cache .pytest_cache
