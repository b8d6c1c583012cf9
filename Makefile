# Each target installs what it needs. The two main ones are `make demo` and `make test`.
#
#   make demo                     run sample studies through the whole pipeline; the UI stays up
#   make demo ONCE=1 INPUT=folder-of-accession-folders OUT=results
#   make test                     lint, types, unit, policy and end-to-end tests
#   make test-containers          test the deployment, with the Docker on this machine
#   make chaos-containers ROUNDS=30  the same with one fault per round; delivery is checked
#   make benchmark                engine speed against the I/O floor and other tools, on one core
#   make chaos ROUNDS=200 SEED=7  run the pipeline with one fault per round; delivery is checked
#   make bench-clients            compare the output of researchers' tools before and after
#   make recall                   recall and false positives of the gate
#   make fuzz N=100000            run malformed files through the engine
#   make approve                  regenerate the approved test results, to be reviewed and committed
#   make mutation SAMPLE=100      mutation testing: change the code at random, run the tests
#   make docs                     build these pages and the API reference into build/docs
#   make install                  create .venv with .venv/bin/sendit

PYTHON ?= python3
VENV := .venv
DEMO_VENV := .venv-demo
BENCHMARK_VENV := .venv-benchmark
DOCS_VENV := .venv-docs
UV := $(VENV)/bin/uv
# Source distributions are built with locked build requirements, too.
UV_INSTALL := $(UV) pip install --quiet --require-hashes --excludes left-out.txt --compile-bytecode --build-constraints requirements.txt
LOCK := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet

.PHONY: install install-test install-demo demo chaos chaos-containers test test-containers check unit benchmark bench-clients recall fuzz approve mutation docs lock clean

install: $(VENV)/.installed

$(UV): requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
		{ echo "sendit needs Python 3.11 or 3.12; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@touch $@

$(VENV)/.installed: $(UV) requirements.txt pyproject.toml
	$(UV_INSTALL) --python $(VENV)/bin/python -r requirements.txt
	$(UV) pip install --quiet --python $(VENV)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(UV_INSTALL) --python $(VENV)/bin/python -r requirements-test.txt
	@touch $@

$(VENV)/.installed-clients: $(VENV)/.installed-test benchmarks/clients.txt
	$(UV_INSTALL) --python $(VENV)/bin/python -r benchmarks/clients.txt
	@touch $@

$(DEMO_VENV)/.installed: $(UV) demo/requirements.txt
	$(UV) venv --quiet --clear --python $(VENV)/bin/python $(DEMO_VENV)
	$(UV_INSTALL) --python $(DEMO_VENV)/bin/python -r demo/requirements.txt
	@touch $@

$(BENCHMARK_VENV)/.installed: $(UV) benchmarks/requirements.txt
	$(UV) venv --quiet --clear --python $(VENV)/bin/python $(BENCHMARK_VENV)
	$(UV_INSTALL) --python $(BENCHMARK_VENV)/bin/python -r benchmarks/requirements.txt
	@touch $@

$(DOCS_VENV)/.installed: $(UV) docs/requirements.txt
	$(UV) venv --quiet --clear --python $(VENV)/bin/python $(DOCS_VENV)
	$(UV_INSTALL) --python $(DOCS_VENV)/bin/python -r docs/requirements.txt
	@touch $@

install-test: $(VENV)/.installed-test
install-demo: $(DEMO_VENV)/.installed

demo: $(VENV)/.installed $(DEMO_VENV)/.installed
	@$(DEMO_VENV)/bin/python -m demo $(if $(ONCE),--once) $(if $(INPUT),--input '$(INPUT)') $(if $(OUT),--out '$(OUT)')

chaos: $(VENV)/.installed-test $(DEMO_VENV)/.installed
	@PYTHONPATH=. $(VENV)/bin/python -m chaos --rounds $(or $(ROUNDS),20) --seed $(or $(SEED),7) $(if $(FIRST),--first $(FIRST))

check: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

unit: $(VENV)/.installed-test $(DEMO_VENV)/.installed
	$(VENV)/bin/python -m pytest -m "not airflow and not e2e and not containers"

test: check $(DEMO_VENV)/.installed
	$(VENV)/bin/python -m pytest

test-containers: $(VENV)/.installed-test $(DEMO_VENV)/.installed
	$(VENV)/bin/python -m pytest -x -s -v -m containers tests/containers

chaos-containers: $(VENV)/.installed-test
	@PYTHONPATH=. $(VENV)/bin/python -m tests.containers.chaos --rounds $(or $(ROUNDS),30) --seed $(or $(SEED),7) $(if $(FIRST),--first $(FIRST))

benchmark: $(VENV)/.installed-test $(BENCHMARK_VENV)/.installed
	$(VENV)/bin/python -m benchmarks.deidentify $(ARGS)

bench-clients: $(VENV)/.installed-clients
	$(VENV)/bin/python -W ignore -m benchmarks.clients $(ARGS)

recall: $(VENV)/.installed-test
	$(VENV)/bin/python -W ignore -m benchmarks.recall $(ARGS)

fuzz: $(VENV)/.installed-test
	$(VENV)/bin/python -m tests.fuzz.run --number $(or $(N),100000) $(if $(SEED),--seed $(SEED)) $(if $(FIRST),--first $(FIRST))

approve: $(VENV)/.installed-test $(DEMO_VENV)/.installed
	$(VENV)/bin/python -m pytest -q --snapshot-update $$(find tests -name 'test_approved*.py')
	@git --no-pager diff --stat -- '*/__snapshots__/*'

mutation: $(VENV)/.installed-test $(DEMO_VENV)/.installed
	@$(VENV)/bin/python -m tests.mutation.run $(if $(PACKAGES),--packages $(PACKAGES)) \
		--sample $(or $(SAMPLE),100) --seed $(or $(SEED),1) --minutes $(or $(MINUTES),60) $(ARGS)

docs: $(DOCS_VENV)/.installed
	$(DOCS_VENV)/bin/mkdocs build --strict --quiet
	@echo "see build/docs/index.html"

lock: $(UV)
	$(LOCK) --excludes left-out.txt requirements.in -o requirements.txt
	$(LOCK) --excludes left-out.txt requirements-test.in -o requirements-test.txt
	$(LOCK) demo/requirements.in -o demo/requirements.txt
	$(LOCK) benchmarks/requirements.in -o benchmarks/requirements.txt
	$(LOCK) --excludes left-out.txt benchmarks/clients.in -o benchmarks/clients.txt
	$(LOCK) docs/requirements.in -o docs/requirements.txt
	$(LOCK) --excludes deploy/left-out.txt deploy/requirements.in -o deploy/requirements.txt
	$(LOCK) deploy/examples/ldap-requirements.in -o deploy/examples/ldap-requirements.txt
	$(LOCK) tests/containers/requirements.in -o tests/containers/requirements.txt
	echo 'uv==0.13.9' | $(LOCK) - -o requirements-uv.txt

clean:
	rm -rf $(VENV) $(DEMO_VENV) $(BENCHMARK_VENV) $(DOCS_VENV) .demo build
