# Needs make and a Python >= 3.11, nothing else. `make help` lists the targets.

VENV := .venv
PYTHON ?= python3 python3.13 python3.12 python3.11 python
WORKERS := 3 # tests wait for the disk and for processes, so one more than the smallest machine has cores
SPREAD := -n $(WORKERS) --dist worksteal
ARGS :=

# The text exactly as it was given: make expands no $ in it, and no shell ever parses it.
ifneq ($(value MESSAGE),)
override MESSAGE := $(value MESSAGE)
export MESSAGE
endif

export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE # every start would be a cold one


BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
PEERS := build/peers/.installed
CLIENTS := build/clients/.installed
DOCS := build/docs/.installed
BROWSER := $(VENV)/.browser-installed
PIP := $(BIN)/python -m pip install -qq --no-input --no-compile
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# Empty where PostgreSQL is not installed.
INITDB := $(strip $(wildcard /usr/lib/postgresql/*/bin/initdb) $(shell command -v initdb))
# What only tests with PostgreSQL reach.
DATABASE := */stores/postgres/*,*/dispatch/*,*/server/pages/workers.py,*/cli/worker.py,*/cli/workers.py,*/cli/queue.py
LOCKED := $(PIP) --only-binary :all: --require-hashes
COMPILE := $(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib # on all cores; pip would take one

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check lint types layers cover bench docs peers clients faults distributed browser screenshots driver lock clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(RUNTIME) ## one question to a team of agents; your own: make demo MESSAGE="..."
	@$(BIN)/python examples/demo.py

test: $(DEV) ## the tests; some of them: make test ARGS="-k router"; make cover and make distributed run all
	@$(BIN)/python -m pytest $(SPREAD) --ignore=tests/engine/dispatch/test_worker.py \
		--ignore=tests/engine/dispatch/test_operations.py $(ARGS)

check: lint types layers cover ## all that a change must pass before it is pushed

lint: $(DEV) ## format, style, declared dependencies
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/deptry .

types: $(DEV) ## mypy and pyright, both strict
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

layers: $(DEV) ## who may import whom
	@$(BIN)/lint-imports

cover: $(DEV) ## all tests, and the branch coverage of the package
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(SPREAD) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report $(if $(INITDB),,--omit='$(DATABASE)')

bench: $(DEV) ## what a run costs, in CPU time
	@$(BIN)/python -m tests.benchmarks $(ARGS)

docs: $(DEV) $(DOCS) ## the documentation site, into build/site; its links are checked
	@$(BIN)/python -m tests.docs build/docs/bin/zensical

peers: $(DEV) $(PEERS) ## the same work done by other frameworks, side by side; ten minutes
	@$(BIN)/python -m tests.peers $(ARGS)

clients: $(DEV) $(CLIENTS) ## the newest clients of OpenAI and LangChain against the server
	@$(BIN)/python -m tests.clients

faults: $(DEV) ## kill, cut, flip and starve the store; one of them: make faults ARGS=kills
	@$(BIN)/python -m tests.faults $(ARGS)

distributed: $(DEV) ## PostgreSQL and workers, some killed; half an hour; installs it with apt where it is missing
	@$(if $(INITDB),,apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql >/dev/null)
	@$(BIN)/python -m pytest tests/engine/stores/test_postgres_store.py tests/engine/stores/test_copying.py \
		tests/engine/cli/test_database.py tests/engine/cli/test_store_copy.py tests/engine/dispatch $(ARGS)
	@$(BIN)/python -m tests.faults postgres distributed
	@$(BIN)/python -m tests.benchmarks distributed --short

browser: $(DEV) $(BROWSER) ## the pages in Chromium, which this installs with apt where it is missing
	@$(if $(CHROMIUM),,apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null)
	@$(BIN)/python -m pytest tests/browser $(ARGS)

screenshots: $(DEV) $(BROWSER) ## pictures of the pages, into docs/pages
	@$(BIN)/python -m tests.browser.screenshots

driver: $(BROWSER) # of the browser

# The first Python of the list that will do, in the shell's $python.
define find_python
for python in $(PYTHON) ''; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
		2>/dev/null && break; \
done; \
if [ -z "$$python" ]; then \
	echo "teamgraph needs Python 3.11 or newer, with venv; found none among: $(PYTHON)" >&2; \
	echo "say which: make PYTHON=/path/to/python (on Debian: apt install python3-venv)" >&2; \
	exit 2; \
fi
endef

# The stamp holds the directory: an environment that was moved, or has lost its Python, is made anew.
in_place = [ "$$(cat $(RUNTIME) 2>/dev/null || pwd -P)" = "$$(pwd -P)" ] && $(BIN)/python -c '' 2>/dev/null

$(RUNTIME): pyproject.toml requirements/base.txt requirements/build.txt requirements/local.txt
$(RUNTIME): $(shell $(in_place) || echo FORCE)
	@{ $(in_place); } || { $(find_python); "$$python" -m venv --clear $(VENV); }
	@echo "installing into $(VENV): about a minute the first time"
	@$(LOCKED) -r requirements/base.txt -r requirements/build.txt
	@$(LOCKED) --no-deps -r requirements/local.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(COMPILE)
	@pwd -P > $@

$(DEV): requirements/dev.txt $(RUNTIME)
	@echo "installing the development tools into $(VENV)"
	@$(LOCKED) -r requirements/dev.txt
	@$(COMPILE)
	@touch $@

build/%/.installed: requirements/%.txt
	@$(find_python); "$$python" -m venv --clear build/$*
	@echo "installing $< into build/$*"
	@build/$*/bin/python -m pip install -qq --no-input --only-binary :all: --require-hashes -r $<
	@touch $@

$(BROWSER): requirements/browser.txt $(DEV)
	@echo "installing the driver of the browser into $(VENV)"
	@$(LOCKED) -r requirements/browser.txt
	@touch $@

LOCK := build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock' --exclude-newer '7 days' $(ARGS)

lock: ## lock the dependencies; to move to newer versions: make lock ARGS=--upgrade
	@$(find_python); "$$python" -m venv --clear build/lock
	@build/lock/bin/python -m pip install -qq --require-hashes -r requirements/lock.txt
	@$(LOCK) pyproject.toml -c requirements/pins.in -o requirements/base.txt
	@$(LOCK) pyproject.toml --group dev -c requirements/base.txt -o requirements/dev.txt
	@$(LOCK) --group build -c requirements/dev.txt -o requirements/build.txt
	@$(LOCK) --group lock -o requirements/lock.txt
	@$(LOCK) --no-deps requirements/local.in -o requirements/local.txt
	@$(LOCK) requirements/peers.in -o requirements/peers.txt
	@$(LOCK) requirements/browser.in -c requirements/dev.txt -o requirements/browser.txt
	@$(LOCK) requirements/clients.in -o requirements/clients.txt
	@$(LOCK) requirements/docs.in -o requirements/docs.txt

clean: ## remove all that make made, the environment too
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
