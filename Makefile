# Every target sets up what it needs in a virtual environment of its own, and is quick the second time.
# PYTHON chooses the interpreter (3.11 or newer), OUT the report's folder, PRESET its size.
PYTHON ?= python3
VENV ?= .venv
# PyTorch serves the tests as a twin to compare with; `make test TORCH=` leaves it and those tests out.
TORCH ?= torch==2.13.0 torchax==0.0.13
# Its dependencies are many, and torchvision is not built for every PyTorch; the tests stand in for what is not there.
ROBUSTBENCH ?= robustbench==1.1.1
# Files of tests that run at the same time.
JOBS ?= 2
OUT ?= out/report
PRESET ?= quick
BIN := $(VENV)/bin

.PHONY: help report test quick check lint types docs artifacts benchmark notebook clean

help:
	@echo "make report      Tables 1 and 3, Figures 1 and 2 and one HTML page in $(OUT)   (PRESET=quick|standard|paper)"
	@echo "make test        the test suite"
	@echo "make quick       lint, and the tests of what changed since BASE (default: the last commit)"
	@echo "make check       what continuous integration runs, and types: lint, tests, documentation"
	@echo "make docs        the documentation as a site in out/docs; warnings are errors"
	@echo "make artifacts   train the shipped weights again, in resumable pieces (RECIPE=reduced|full, DATA=folder of MNIST)"
	@echo "make benchmark   speed against PyTorch, side by side"
	@echo "make notebook    run both notebooks and store them with their output"

# A stamp for each set of packages: set-up runs again only when what is wanted changes.
$(VENV)/.run: requirements.txt setup.cfg pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what irob needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "installing what the tests need into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]' $(TORCH)
	@test -z "$(TORCH)" || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(ROBUSTBENCH)
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	@echo "installing what the documentation needs into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

report: $(VENV)/.run
	$(BIN)/python -m irob report --preset $(PRESET) --out $(OUT)

# What the tests must find, so that none of them is skipped in silence.
test: export IROB_TESTED_WITH = $(if $(TORCH),torch torchax robustbench)
test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

BASE ?= HEAD
quick: lint
	@files=$$($(BIN)/python tests/changed.py $(BASE)); \
	if [ -z "$$files" ]; then echo "nothing changed since $(BASE)"; \
	else $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations=3 $$files; fi

lint: $(VENV)/.test
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy

check: lint types test docs

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

RECIPE ?= reduced
DATA ?= data/mnist
artifacts: $(VENV)/.run
	$(BIN)/python -m train.artifacts --recipe $(RECIPE) --data-dir $(DATA)

benchmark: $(VENV)/.test
	@for b in algorithm1 maximised pgd pytorch_module apgd in_distribution manifold adv_step trades_step lp_certify_step dual smoothing biggan; do $(BIN)/python -m benchmarks.$$b || exit 1; done

notebook: $(VENV)/.test
	$(BIN)/python notebooks/run.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
