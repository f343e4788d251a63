# Everything that a person repeats; `make` alone lists it. All it takes is Python 3.11 or newer, git, and GNU make 3.81
# or newer (macOS has that one). PYTHON=... chooses the interpreter: tools/python.sh says which are looked for.

.DEFAULT_GOAL := help
# A stamp of an install that failed, or a python of an environment that was not finished, must not look made.
.DELETE_ON_ERROR:
# Two installs into one environment would disturb each other.
.NOTPARALLEL:
.PHONY: help run cloud demo test campaign check format test-core aws-tools azure-tools azure-host ibm-tools send events bench size lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

run: .venv/.run ## Start the local receiver; sets everything up the first time
	@exec .venv/bin/python -m local $(ARGS)

cloud: .venv/.run ## Start DT Cloud on your desk: its API, sensors and Data Connectors (ARGS="--help")
	@exec .venv/bin/python -m dt_cloud $(ARGS)

demo: .venv/.run ## Start DT Cloud with sensors, and the local receiver beside it
	@exec .venv/bin/python -m dt_cloud.demo $(ARGS)

# The machine's own PostgreSQL, or else one in a wheel.
POSTGRES := $(if $(wildcard /usr/lib/postgresql/*/bin/initdb)$(shell command -v initdb 2>/dev/null),,.venv/.postgres)

# Built from source: without a compiler, the tests that need it skip.
AMQP := $(if $(shell command -v cc 2>/dev/null),.venv/.amqp)

# Servers that are to be had from npm alone. Without it, the tests that need them skip.
NODE := $(if $(shell command -v npm 2>/dev/null),tests/support/node/node_modules/.package-lock.json)

# All tests run in four processes, since most of them wait. With ARGS one process runs a part, which says nothing about
# coverage. Whether core's is whole, `make test-core` decides.
MEASURED := COVERAGE_PROCESS_START=pyproject.toml COVERAGE_PARALLEL=true

test: .venv/.dev $(POSTGRES) $(AMQP) $(NODE) ## Run all tests (ARGS="tests/local -x" for some)
	@$(if $(ARGS),,rm -f .coverage.* && $(MEASURED)) .venv/bin/python -m pytest $(if $(ARGS),$(ARGS),--numprocesses 4 --dist worksteal)
	@$(if $(ARGS),:,.venv/bin/python -m coverage combine --quiet && .venv/bin/python -m coverage report --fail-under=0)

campaign: .venv/.dev $(POSTGRES) $(AMQP) $(NODE) ## Send deliveries while faults happen (ARGS="--help")
	@exec .venv/bin/python -m tests.campaign $(ARGS)

check: .venv/.dev ## Check format, lint and types
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

format: .venv/.dev ## Format the code and mend what ruff can mend
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

test-core: .venv-core/.core-test ## Run the tests of core, without any cloud's SDK, at 100 % branch coverage
	@.venv-core/bin/python $(if $(ARGS),,-m coverage run) -m pytest tests/core $(ARGS)
	@$(if $(ARGS),:,.venv-core/bin/python -m coverage report)

aws-tools: .venv-aws/.aws-tools ## Install what checks aws_lambda/template.yaml, for its tests

azure-tools: .venv-azure/.azure-tools ## Install what checks azure_functions/infra, for its tests

azure-host: .venv-azure-host/.azure-host ## Install what Azure's own Functions host runs the function with, for its tests

ibm-tools: .venv-ibm/.ibm-tools ## Install what checks ibm_actions/deploy and its Dockerfile, for their tests

send: .venv/.run ## Send signed test events (ARGS="--count 10")
	@exec .venv/bin/python -m cli send $(ARGS)

events: .venv/.run ## Show the events that are stored (ARGS="--help")
	@exec .venv/bin/python -m cli events $(ARGS)

bench: .venv/.dev ## Measure the receiver on this machine
	@exec .venv/bin/python -m bench $(ARGS)

size: ## Count the lines of each folder, and the imports between folders
	@python=$$(sh tools/python.sh) && exec "$$python" tools/size.py

# One for each entry of the table in tools/package.py.
.PHONY: package-aws package-gcp package-azure package-heroku package-ibm deploy-aws deploy-gcp deploy-azure deploy-ibm
# The one with pip, for the libraries; Lambda's own version of Python, if that is there, for their bytecode.
package-aws: .venv/.run ## Write dist/aws_lambda.zip, with all libraries inside (ARGS=--help)
	@exec .venv/bin/python tools/package.py aws $(ARGS)

package-gcp: ## Write dist/gcp_functions/ and the same zipped: all that Google Cloud needs, and nothing else
	@python=$$(sh tools/python.sh) && exec "$$python" tools/package.py gcp

package-azure: ## Write dist/azure_functions/ and the same zipped: all that Azure needs, and nothing else
	@python=$$(sh tools/python.sh) && exec "$$python" tools/package.py azure

package-heroku: ## Write dist/heroku/: all that Heroku needs, and nothing else
	@python=$$(sh tools/python.sh) && exec "$$python" tools/package.py heroku

package-ibm: ## Write dist/ibm_actions/ and the same zipped: all that IBM Cloud needs, and nothing else
	@python=$$(sh tools/python.sh) && exec "$$python" tools/package.py ibm

deploy-gcp: package-gcp ## Deploy dist/gcp_functions.zip by Terraform (ARGS=-var=project=...)
	@command -v terraform >/dev/null || { echo "No Terraform: see gcp_functions/README.md." >&2; exit 1; }
	@terraform -chdir=gcp_functions/terraform init -input=false && exec terraform -chdir=gcp_functions/terraform apply $(ARGS)

deploy-azure: package-azure ## Deploy dist/azure_functions/ by the Azure Developer CLI; asks for everything the first time
	@command -v azd >/dev/null || { echo "No Azure Developer CLI: see azure_functions/README.md." >&2; exit 1; }
	@cd azure_functions && exec azd up $(ARGS)

deploy-ibm: package-ibm ## Deploy dist/ibm_actions/ to Code Engine by the IBM Cloud CLI (ARGS="--region eu-de")
	@exec sh ibm_actions/deploy/code_engine.sh $(ARGS)

deploy-aws: package-aws ## Deploy dist/aws_lambda.zip by SAM; asks for everything the first time
	@command -v sam >/dev/null || { echo "No SAM CLI: see aws_lambda/README.md." >&2; exit 1; }
	@cd aws_lambda && exec sam deploy $$([ -e samconfig.toml ] || echo --guided)

# dev first: it holds everything, so its versions hold for all the others.
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--annotation-style line --no-emit-index-url
LOCKED := requirements/core requirements/es256 requirements/run requirements/core-test requirements/postgres requirements/amqp heroku/requirements aws_lambda/requirements gcp_functions/requirements azure_functions/requirements requirements/azure-host ibm_actions/requirements ibm_actions/app-requirements

lock: .venv/.dev ## Pin all requirements (ARGS=--upgrade for newer versions)
	@unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL; \
	export UV_CUSTOM_COMPILE_COMMAND="make lock" UV_PYTHON_DOWNLOADS=never; set -e; \
	echo "Pinning requirements/dev.txt"; \
	$(COMPILE) $(ARGS) requirements/dev.in --output-file requirements/dev.txt; \
	for name in $(LOCKED); do \
		echo "Pinning $$name.txt"; \
		$(COMPILE) $(ARGS) "$$name.in" --constraints requirements/dev.txt --output-file "$$name.txt"; \
	done; \
	for name in aws-tools azure-tools ibm-tools; do \
		echo "Pinning requirements/$$name.txt"; \
		$(COMPILE) $(ARGS) requirements/$$name.in --output-file requirements/$$name.txt; \
	done; \
	if grep -nE '://|^-|(^|[ =])/' requirements/*.txt */*requirements.txt; then \
		echo "These lines name an index or a folder, which means nothing elsewhere." >&2; \
		echo "Find what configures uv so (UV_... variables, uv.toml), and try again without it." >&2; \
		exit 1; \
	fi

clean: ## Remove everything that was made; the events in var/ stay
	rm -rf .venv .venv-core .venv-aws .venv-azure .venv-azure-host .venv-ibm tests/support/node/node_modules dist build *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments ----------------------------------------------------------------------------------------------------
# Each has a stamp for each requirement file that it holds: an install is made again only when that file, or the Python
# below it, is newer. .dev holds all of .run, so that it makes both, and `make run` after `make test` starts at once.

.venv/.run: requirements/run.txt .venv/bin/python | .venv/bin/dtconn
	$(call install,.venv,$<)
	@touch $@

.venv/.dev: requirements/dev.txt .venv/bin/python | .venv/bin/dtconn
	$(call install,.venv,$<)
	@touch $@ .venv/.run

.venv/.postgres: requirements/postgres.txt .venv/.dev
	$(call install,.venv,$<)
	@touch $@

.venv/.amqp: requirements/amqp.txt .venv/.dev
	$(call install,.venv,$<)
	@touch $@

tests/support/node/node_modules/.package-lock.json: tests/support/node/package-lock.json
	@echo "Installing $< into $(@D)"
	@npm ci --silent --prefix tests/support/node
	@touch $@

.venv-aws/.aws-tools: requirements/aws-tools.txt .venv-aws/bin/python
	$(call install,.venv-aws,$<)
	@touch $@

.venv-azure/.azure-tools: requirements/azure-tools.txt .venv-azure/bin/python
	$(call install,.venv-azure,$<)
	@touch $@

.venv-azure-host/.azure-host: requirements/azure-host.txt .venv-azure-host/bin/python
	$(call install,.venv-azure-host,$<)
	@touch $@

.venv-ibm/.ibm-tools: requirements/ibm-tools.txt .venv-ibm/bin/python
	$(call install,.venv-ibm,$<)
	@touch $@

.venv-core/.core-test: requirements/core-test.txt .venv-core/bin/python
	$(call install,.venv-core,$<)
	@touch $@

.venv/bin/python .venv-core/bin/python .venv-aws/bin/python .venv-azure/bin/python .venv-ibm/bin/python:
	$(call create,$(@:/bin/python=))

# The worker beside the host is for this version alone.
.venv-azure-host/bin/python:
	$(call create,$(@:/bin/python=),3.11)

# dtconn from any folder, through a link too. -P: a folder called cli or core where it is called must not stand in ours.
.venv/bin/dtconn: Makefile .venv/bin/python
	@printf '%s\n' '#!/bin/sh' \
		'self=$$(readlink -f "$$0" 2>/dev/null || echo "$$0")' \
		'root=$$(cd "$$(dirname "$$self")/../.." && pwd)' \
		'PYTHONPATH=$$root$${PYTHONPATH:+:$$PYTHONPATH} exec "$$root/.venv/bin/python" -P -m cli "$$@"' >$@
	@chmod +x $@

define create
@python=$$(sh tools/python.sh $(2)) && \
echo "Creating $(1) with Python $$("$$python" -c 'import platform; print(platform.python_version())')" && \
"$$python" -m venv --clear $(1)
endef

# Without dependencies, because the files name them all; pip says nothing below an error.
define install
@echo "Installing $(2) into $(1)"
@$(1)/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --require-hashes -r $(2) || { \
	echo "$(2) could not be installed: see pip's message above. Is the package index to be reached from here?" >&2; \
	echo "Then try again; if it goes on, \`make clean\` begins from scratch." >&2; \
	exit 1; }
endef
