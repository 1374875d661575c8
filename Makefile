# Needs Python >= 3.10 and make; everything else goes into .venv.
#   make demo    set up, then run the whole path on a generated PET/CT phantom in a real MRML scene
#   make test    set up, then lint, format check, types and tests
#   make slow    the tests that 'make test' leaves out as they take long
#   make mutations    see that the tests notice single changes to what docs/method.md describes (five minutes)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= demo_output

# Modules are compiled once, when they are first imported: most that are installed never are.
export PYTHONDONTWRITEBYTECODE =

.PHONY: setup demo test slow mutations lint format clean

setup: $(STAMP)

# Installs again only when a requirement has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: $(STAMP)
	$(BIN)/petsuperres demo --out $(OUT)

# An older mypy, which has one process, ignores the number.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPY_NUM_WORKERS=2 $(BIN)/mypy PETSuperResLib

test: lint
	$(BIN)/python -m pytest -m "not slow and not timing" -n 2 --dist loadfile --durations 15
	$(BIN)/python -m pytest Testing/slicer -m "timing and not slow"

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

mutations: $(STAMP)
	$(BIN)/python Testing/support/mutations.py

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
