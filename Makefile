# Two commands do all the set-up: `make figures` and `make test`. Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

PORT ?= 5000

# what a rule's subprocess calls is this environment's; make 3.81 (macOS) does not look there for
# the command of a recipe itself, so recipes say $(BIN)/
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

figures: $(READY) ## every figure of config/config.yaml, into results/figures
	$(BIN)/snakemake

test: lint ## format, lint, types, then all tests
	$(BIN)/pytest --numprocesses auto --dist loadgroup # tests of a group share a checkout

lint: $(READY) ## format, lint and types only
	$(BIN)/ruff format --check src tests workflow/scripts benchmarks
	$(BIN)/ruff check src tests workflow/scripts benchmarks
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/mypy

report: figures ## the figures with their captions on one page, results/report.html
	$(BIN)/snakemake --report results/report.html

bundle: $(READY) ## one archive of a figure with all to redo it: make bundle FIGURE=figure2
	$(BIN)/labelnoise bundle $(FIGURE)

check-bundle: $(READY) ## redo it and compare: make check-bundle BUNDLE=results/bundles/figure2.zip
	$(BIN)/labelnoise check-bundle $(BUNDLE)

ui: $(READY) ## MLflow in the browser, at http://127.0.0.1:5000, or make ui PORT=5001
	$(BIN)/labelnoise ui --port $(PORT)

track: $(READY) ## log to MLflow what is not there yet
	$(BIN)/snakemake track

verify: $(READY) ## every result against its recorded digest; says what is damaged and how to heal it
	$(BIN)/labelnoise verify

bench: figures ## steps per second beside other ways; what each part costs
	$(BIN)/python benchmarks/bench_simulate.py
	$(BIN)/python benchmarks/bench_kernels.py
	$(BIN)/python benchmarks/bench_rules.py
	$(BIN)/python benchmarks/bench_ntk.py
	$(BIN)/python benchmarks/bench_merging.py
	$(BIN)/python benchmarks/bench_train.py
	$(BIN)/python benchmarks/bench_tracking.py

gpu-check: $(READY) ## what needs a GPU, on a machine with one: tests, times, one table
	python benchmarks/gpu_check.py

docs: $(READY) ## write what is generated: the schema and the configuration reference
	$(BIN)/labelnoise docs

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean: ## remove results, keep the environment
	find results -mindepth 1 ! -name README.md -delete; rm -rf .snakemake

.PHONY: help figures test lint report ui track verify bundle check-bundle bench gpu-check docs clean
