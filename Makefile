# Each target does its own set-up in .venv; `make test` and `make demo` need nothing but python3 and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# PyTorch is a second oracle for the tests and a peer for the benchmarks, never a dependency; tests skip where it is absent.
TORCH := torch==2.13.0
C_FILES := $(wildcard include/*.h src/convc/c/*.[ch] src/convc/c/kernels/*.[ch] tests/c/*.c examples/*/*.[ch] benchmarks/*.c)

.PHONY: demo test lint format docs sanitize bench bench-sweep bench-memory clean

demo: $(VENV)/.demo
	$(BIN)/python -m convc demo $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src/convc examples
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

# The site, in docs/_build/html: warnings are errors, and every example on it and in the docstrings is run.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b doctest docs docs/_build/doctest

# The suite on a build of its own under the address and undefined-behaviour sanitizers.
SANITIZED := .venv-sanitize
sanitize: $(SANITIZED)/.installed
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	CONVC_SANITIZED=1 $(SANITIZED)/bin/python -m pytest -n 2 -p no:cacheprovider $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)

# A heat map of efficiency over shapes.
bench-sweep: $(VENV)/.bench
	$(BIN)/python -m benchmarks.sweep $(ARGS)

# A table of working memory.
bench-memory: $(VENV)/.bench
	$(BIN)/python -m benchmarks.memory $(ARGS)

clean:
	rm -rf build dist src/*.egg-info src/convc/*.so docs/_build docs/_static/pictures $(VENV) $(SANITIZED)

# ---- set-up ----

SOURCES := setup.py pyproject.toml $(C_FILES) $(wildcard src/convc/*.pyx src/convc/*.pxi src/convc/*.pxd)

$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: $(BIN)/pip $(SOURCES)
	@echo "Building convc into $(VENV): a minute or two of compiling, once"
	$(BIN)/pip install --quiet -e ".[train,plot]"
	touch $@

# Editable, so that what is tested is the tree; the build tools stay for tests that build.
$(VENV)/.test: $(BIN)/pip $(SOURCES)
	@echo "Building convc into $(VENV): a minute or two of compiling, once"
	$(BIN)/pip install --quiet "setuptools>=80" "Cython>=3.1"
	CONVC_WERROR=1 $(BIN)/pip install --quiet --no-build-isolation -e ".[test,examples]"
	$(BIN)/pip install --quiet $(TORCH) || echo "PyTorch is not to be had here: the tests that compare with it are skipped"
	touch $@

$(VENV)/.lint: $(BIN)/pip pyproject.toml
	$(BIN)/pip install --quiet $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['lint'])")
	touch $@

$(VENV)/.docs: $(VENV)/.test
	$(BIN)/pip install --quiet $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/pip install --quiet ".[bench]"
	$(BIN)/pip install --quiet --no-build-isolation -e .
	touch $@

$(SANITIZED)/.installed: $(SOURCES)
	$(PYTHON) -m venv $(SANITIZED)
	$(SANITIZED)/bin/python -m pip install --quiet --upgrade pip "setuptools>=80" "Cython>=3.1"
	CONVC_SANITIZE=address,undefined $(SANITIZED)/bin/pip install --quiet --no-build-isolation ".[test]"
	touch $@
