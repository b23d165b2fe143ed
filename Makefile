# Two commands, no preparation: `make demo` shows the whole station at work, `make test` checks everything.
# Both set up by themselves whatever is missing: Debian packages, the virtual environment, the firmware (setup/).

PYTHON  ?= python3
DEVICES ?= 8
# emulated (firmware under QEMU), native (the same firmware as a process) or in-process; empty: the best that is here
BENCH   ?=

BIN   := .venv/bin
STATE := .setup
UV    ?= uv

.PHONY: demo test lint format soak bench setup setup-dev firmware lock clean
.DEFAULT_GOAL := demo

demo: setup
	@bench='$(BENCH)'; exec $(BIN)/station demo --bench "$${bench:-$$(cat $(STATE)/board)}" --devices $(DEVICES)

# Lint first: it is quick, and pytest's own summary stays the last line.
test: setup-dev lint
	@$(BIN)/pytest -n 3 --dist loadgroup -m 'not soak'

soak: setup-dev
	@$(BIN)/pytest -m soak --timeout 0

bench: setup-dev
	@$(BIN)/python tests/bench/run.py

# each on its own, so that `make -k lint` shows everything at once
lint: lint-style lint-tree lint-arrows lint-types
lint-%: $(STATE)/dev $(STATE)/project
	@$(lint_$*)

lint_style  = $(BIN)/ruff check --quiet --output-format concise && \
              { $(BIN)/ruff format --check --quiet || { echo 'lint: not formatted; next: make format' >&2; exit 1; }; }
lint_tree   = $(BIN)/python setup/check_tree.py
lint_arrows = $(BIN)/lint-imports --no-logo >$(STATE)/arrows.log || { cat $(STATE)/arrows.log >&2; exit 1; }
lint_types  = $(BIN)/mypy --no-error-summary

format: $(STATE)/dev
	@$(BIN)/ruff check --quiet --fix-only --select I
	@$(BIN)/ruff format --quiet

# ---- set-up: stamps in .setup/, each redone when what it was made from changes -----------------------------------

setup: $(STATE)/python $(STATE)/project firmware
setup-dev: $(STATE)/dev $(STATE)/project firmware

$(STATE)/packages: setup/packages.sh setup/packages-base.txt
	@mkdir -p $(STATE)
	@setup/packages.sh base $(STATE)/apt-base.log
	@touch $@

# Large (some 100 MB) and not indispensable: without it the native build of the firmware is used.
$(STATE)/board-packages: setup/packages.sh setup/packages-board.txt $(STATE)/packages
	@setup/packages.sh board $(STATE)/apt-board.log || echo 'setup: no emulated board for now; to try again: rm $@' >&2
	@touch $@

$(STATE)/python: setup/python.sh requirements.txt $(STATE)/packages
	@setup/python.sh $(PYTHON) .venv $(STATE)/pip.log requirements.txt
	@touch $@

$(STATE)/dev: setup/python.sh requirements-dev.txt $(STATE)/python
	@setup/python.sh $(PYTHON) .venv $(STATE)/pip-dev.log requirements-dev.txt --add
	@touch $@

$(STATE)/project: pyproject.toml $(STATE)/python
	@setup/python.sh $(PYTHON) .venv $(STATE)/pip-project.log project
	@touch $@

firmware: $(STATE)/packages $(STATE)/board-packages
	@setup/firmware.sh $(STATE)/board $(STATE)/firmware.log

# The lock names versions and hashes of all wheels (CPython 3.11 and up, Linux on any processor) and no address.
COMPILE = UV_CUSTOM_COMPILE_COMMAND='make lock' $(UV) pip compile --quiet --universal --generate-hashes \
    --no-emit-index-url --no-annotate --only-binary :all: --python-version 3.11 --group build pyproject.toml
lock:
	@$(COMPILE) -o requirements.txt
	@$(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt

clean:
	@rm -rf $(STATE) .venv run *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
	@$(MAKE) --no-print-directory -s -C fixtures/firmware clean
