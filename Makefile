# The two commands most people need:  make demo  and  make test.  Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.bigray-installed

.PHONY: help install demo tour test check test-all bench clean

help:
	@echo "make install    .venv with bigray and everything its tests and demo need (a few minutes, once)"
	@echo "make demo       train, compress, verify, serve and call three models on this machine"
	@echo "make tour       every task from data to endpoint, on small data (minutes)"
	@echo "make test       all tests but those that take minutes each"
	@echo "make check      format, lint, types and the fast tests"
	@echo "make test-all   every test; those of a service behind either proxy"
	@echo "make bench      all benchmarks (DATA=folder of real data sets); results in benchmarks/results"
	@echo "make clean      remove caches and build leftovers (not .venv, not runs/)"

install: $(STAMP)

# Byte-compiling all of torch and transformers takes longer than compiling what is used when it is used.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing bigray and its packages into $(VENV) (once; some gigabytes, a few minutes) ..."
	@$(BIN)/python -m pip install -qq --no-compile --prefer-binary --disable-pip-version-check -e ".[dev,demo]"
	@touch $@
	@echo "installed: $$($(BIN)/bigray --version)"

demo: $(STAMP)
	$(BIN)/bigray demo

# How long it takes is shown, not judged: a busy machine is no fault of the code.
tour: $(STAMP)
	$(BIN)/python -m benchmarks.tasks --only tour --untimed

test: $(STAMP)
	$(BIN)/python -m pytest -m "not slow"

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not cluster and not shared"

test-all: $(STAMP)
	$(BIN)/python -m pytest
	BIGRAY_TEST_HAPROXY=1 $(BIN)/python -m pytest tests/serve/test_http.py tests/serve/test_clients.py tests/serve/test_client_alone.py tests/serve/test_console_browser.py

# DATA is a folder of real data sets; measures that need one say so and are skipped without it.
bench: $(STAMP)
	$(BIN)/python -m benchmarks.spine --save $(if $(DATA),--data $(DATA))
	$(BIN)/python -m benchmarks.tasks --save $(if $(DATA),--data $(DATA))
	@$(BIN)/python -m pip install -qq --no-compile --prefer-binary --disable-pip-version-check -e ".[dev,demo,bench]"
	$(BIN)/python -m benchmarks.endpoints --save $(if $(DATA),--data $(DATA))

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find bigray tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
