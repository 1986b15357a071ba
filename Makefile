# Every verb of the project. Bare `make` explains them.
# They need python3 (3.11 or newer) and pip; everything else is brought into .venv.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help run base dev page docs picture pictures bench check test format lint types imports unit clean

help: ## explain the verbs
	@echo "Grandstand: train agents, record what they report, watch and steer them live."
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "More for a verb: make run PORT=8001 · make run ARGS='--help' · make test ARGS='-k session'"

run: base ## server and page at http://127.0.0.1:8000, then the demo trainings (PORT=… to move it)
	@exec $(BIN)/grandstand demo $(if $(PORT),--port $(PORT)) $(ARGS)

test: dev ## everything: unit, flow, process, browser, docs
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

proof: dev ## the full counts, by hand: many kills, thousands of watchers, millions of points
	@PROOF=1 $(BIN)/python -m pytest -s -p no:xdist -m proof $(ARGS)

check: dev lint types imports unit ## before a commit, half a minute: ruff, mypy, imports, unit tests

format: dev ## put the Python files into the project's form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix-only --quiet .

page: dev ## build the web page out of ui/ again
	@$(BIN)/python scripts/page.py

docs: dev ## write the generated pages of docs/ again
	@$(BIN)/python -m grandstand.settings.reference > docs/settings.md.new
	@mv docs/settings.md.new docs/settings.md
	@$(BIN)/python -m grandstand.web.vocabulary.page > docs/wire.md.new
	@mv docs/wire.md.new docs/wire.md
	@$(BIN)/python -m grandstand.web.vocabulary.asyncapi > docs/asyncapi.yaml.new
	@mv docs/asyncapi.yaml.new docs/asyncapi.yaml
	@$(BIN)/python -m grandstand.web.vocabulary.metrics > docs/metrics.md.new
	@mv docs/metrics.md.new docs/metrics.md
	@$(BIN)/python -m grandstand.web.vocabulary.metrics --page > ui/src/words/meanings.ts.new
	@mv ui/src/words/meanings.ts.new ui/src/words/meanings.ts

picture: dev ## take the README's screenshot again (needs chromium)
	@$(BIN)/python scripts/screenshot.py $(ARGS)

pictures: dev ## take the pictures of every page in docs/ again (needs chromium)
	@PICTURES=1 $(BIN)/python -m pytest -q -p no:xdist tests/browser/test_every_page.py $(ARGS)

bench: base ## every bar of telemetry beside a floor or a peer (make bench ARGS='fanout --quick')
	@$(BIN)/python -m bench $(ARGS)

clean: ## remove what was built and cached; data/ and .venv stay
	rm -rf dist build src/grandstand/web/dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# The parts the verbs are made of.
base:
	@$(PYTHON) scripts/environment.py base --venv $(VENV)

dev:
	@$(PYTHON) scripts/environment.py dev --venv $(VENV)

lint:
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "some files are not in form: make format"; exit 1; }

types:
	@$(BIN)/mypy

imports:
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

unit:
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not slow" tests/unit
