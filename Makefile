# Everything a person types. Each target sets the machine up first; a second call starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
FOOTAGE ?=
PACKAGES := infra ingest captioning modeling serving flows

.PHONY: demo test check bench-data bench-model bench-gpu bench-serving setup clean

demo: $(STAMP)
	$(BIN)/reel demo $(if $(FOOTAGE),--footage "$(FOOTAGE)")

test: $(STAMP)
	$(BIN)/python -m pytest tests/unit -n 2 --dist loadfile
	$(BIN)/python -m pytest tests/system -n 2 --dist loadfile
	$(BIN)/python -m pytest tests/contracts tests/integration

check: $(STAMP)
	$(BIN)/ruff check $(PACKAGES) tests
	$(BIN)/ruff format --check $(PACKAGES) tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-data: $(STAMP)
	$(BIN)/python -m tests.benchmarks.data

bench-model: $(STAMP)
	$(BIN)/python -m tests.benchmarks.model

# Needs a GPU and ten minutes, and nothing else: no demo, no service.
bench-gpu: $(STAMP)
	$(BIN)/python -m tests.benchmarks.gpu

bench-serving: $(STAMP)
	$(BIN)/python -m tests.benchmarks.serving

setup: $(STAMP)

# uv installs itself from the lock too, so pip is needed only until the first sync.
$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet "$$(grep '^uv==' requirements.lock)"
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --python $(BIN)/python --editable .
	touch $@

clean:
	rm -rf .reel build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
