# Two commands do all the set-up: `make figures` and `make test`. Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# what a rule's subprocess calls is this environment's
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

figures: $(READY) ## every figure of config/config.yaml, into results/figures
	snakemake

test: lint ## format, lint, types, then all tests
	pytest --numprocesses auto --dist loadgroup # tests of a group share a checkout

lint: $(READY) ## format, lint and types only
	ruff format --check src tests workflow/scripts benchmarks
	ruff check src tests workflow/scripts benchmarks
	snakefmt --check Snakefile workflow
	snakemake --lint
	mypy

report: figures ## the figures with their captions on one page, results/report.html
	snakemake --report results/report.html

bundle: $(READY) ## one archive of a figure with all to redo it: make bundle FIGURE=figure2
	labelnoise bundle $(FIGURE)

check-bundle: $(READY) ## redo it and compare: make check-bundle BUNDLE=results/bundles/figure2.zip
	labelnoise check-bundle $(BUNDLE)

ui: $(READY) ## MLflow in the browser, at http://127.0.0.1:5000
	labelnoise ui

track: $(READY) ## log to MLflow what is not there yet
	snakemake track

verify: $(READY) ## every result against its recorded digest; says what is damaged and how to heal it
	labelnoise verify

bench: figures ## steps per second beside other ways; what each part costs
	python benchmarks/bench_simulate.py
	python benchmarks/bench_kernels.py
	python benchmarks/bench_rules.py
	python benchmarks/bench_ntk.py
	python benchmarks/bench_merging.py
	python benchmarks/bench_train.py
	python benchmarks/bench_tracking.py

docs: $(READY) ## write what is generated: the schema and the configuration reference
	labelnoise docs

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean: ## remove results, keep the environment
	rm -rf results .snakemake

.PHONY: help figures test lint report ui track verify bundle check-bundle bench docs clean
