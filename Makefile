# Every target does its own set-up, and sets up only what has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTHON_READY := $(VENV)/.ready
NODE_READY := node_modules/.package-lock.json
MINISTACK := .make/ministack
MINISTACK_READY := $(MINISTACK)/.ready
SLS := npx --no-install sls
# Twice the cores: most tests wait, for a deployment or a time-out.
TEST_WORKERS = $(shell echo $$((2 * $$(nproc))))

.DEFAULT_GOAL := help
.PHONY: help run up test load conformance conformance-table bench lint format package deploy remove clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(PYTHON_READY) $(NODE_READY) ## Deploy into a local cloud, publish three messages, show what became of them
	@$(BIN)/startonce demo

up: $(PYTHON_READY) $(NODE_READY) ## Run the local cloud with the service deployed, until Ctrl-C
	@$(BIN)/startonce up --deploy

test: $(PYTHON_READY) $(NODE_READY) ## Run all tests
	$(BIN)/pytest $(if $(CI),-n $(TEST_WORKERS)) $(ARGS)

load: $(PYTHON_READY) $(NODE_READY) ## Publish many messages with a fault on 30% of the attempts: make load EVENTS=5000
	@$(BIN)/python -m tests.load --events $(or $(EVENTS),5000) $(ARGS)

conformance: $(PYTHON_READY) ## Compare with AWS's behaviour: make conformance ENDPOINT=http://127.0.0.1:4566 SPEED=1, or ENDPOINT=aws
	CONFORMANCE_ENDPOINT=$(ENDPOINT) CONFORMANCE_SPEED=$(SPEED) \
		$(BIN)/pytest tests/conformance $(if $(CI),-n auto) $(ARGS)

conformance-table: $(PYTHON_READY) $(MINISTACK_READY) ## Write docs/conformance.md, beside moto and ministack
	$(BIN)/python -m tests.conformance.table $(ARGS)

bench: $(PYTHON_READY) $(NODE_READY) $(MINISTACK_READY) ## Measure beside ministack and write docs/benchmarks.md: make bench ARGS=--only-startonce
	$(BIN)/python -m benchmarks $(if $(ARGS),$(ARGS),--write docs/benchmarks.md)

lint: $(PYTHON_READY) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(PYTHON_READY) ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

package: $(NODE_READY) ## Build the template and the zip into .serverless/
	$(SLS) package --stage $(or $(STAGE),dev)

deploy: $(NODE_READY) ## Deploy to AWS: make deploy STAGE=prod ARGS='--param alarmTopicArn=arn:aws:sns:…'
	@test -n "$(STAGE)" || { echo "make deploy: say which stage, like STAGE=dev" >&2; exit 2; }
	$(SLS) deploy --stage $(STAGE) $(ARGS)

remove: $(NODE_READY) ## Remove from AWS: make remove STAGE=dev
	@test -n "$(STAGE)" || { echo "make remove: say which stage, like STAGE=dev" >&2; exit 2; }
	$(SLS) remove --stage $(STAGE) $(ARGS)

clean: ## Forget all that was set up
	rm -rf $(VENV) $(MINISTACK) node_modules .serverless .serverless-resources-env *.egg-info

$(PYTHON_READY): requirements.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or later is needed: set PYTHON=/path/to/it" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(NODE_READY): package.json package-lock.json .npmrc
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 20 || (+a === 20 && +b >= 19) ? 0 : 1)' 2>/dev/null || \
		{ echo "Node.js 20.19 or later is needed" >&2; exit 2; }
	npm ci --no-fund --no-audit --loglevel=error
	@touch $@

$(MINISTACK_READY): benchmarks/ministack.txt
	test -x $(MINISTACK)/bin/python || $(PYTHON) -m venv $(MINISTACK)
	$(MINISTACK)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
