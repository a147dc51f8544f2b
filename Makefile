# The work is in .ci/setup: it finds Python, makes .venv on first use, and keeps it in step.
SETUP := ./.ci/setup
# Targets put their arguments here: make audit ARGS="--profile web"
ARGS ?=

.PHONY: audit test lint bench soak fuzz clean help
.DEFAULT_GOAL := audit

audit: ## audit this host (sets up what it needs on first use)
	@$(SETUP) audit $(ARGS) || { status=$$?; test $$status -eq 1 || exit $$status; }

test: ## run the tests; all of them as root, else those that need no root
	@./.ci/test $(ARGS)

lint: ## check style, types, and that generated files are up to date
	@$(SETUP) dev ruff check .
	@$(SETUP) dev ruff format --check .
	@$(SETUP) dev mypy
	@$(SETUP) dev python -m rstaudit.export --check

bench: ## measure speed against ss, side by side (as root)
	@$(SETUP) packages
	@$(SETUP) dev python benchmarks $(ARGS)

soak: ## run the slow tests: long kernel timers, a freshly installed system (as root)
	@$(SETUP) packages
	@$(SETUP) dev pytest -m slow --timeout 1800 $(ARGS)

fuzz: ## fuzz the reading of captures: an hour, or ARGS=-max_total_time=SECONDS
	@$(SETUP) dev tests/fuzz/run $(or $(ARGS),-max_total_time=3600)

clean: ## remove what the other targets made
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this
	@sed -n 's/^\([a-z]*\): ## /\1\t/p' Makefile | expand -t 10
