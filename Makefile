# Andon: every task has a name here; `make help` lists them. Variables are given after the task: make demo SECONDS=30
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := gateway cloud workbench dashboards
STUBS := .cache/stubs
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the tasks
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{split($$1, name, " "); printf "  make %-14s %s\n", name[1], $$2}'
	@echo "  settings of make demo: SECONDS= NODES= STORE=embedded|influxdb LOSS= SEED= VM=64|32 JSON=1 HTTP_PORT= COAP_PORT= INFLUXDB_PORT="

# --- environments ---------------------------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Andon needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make environments; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.run: requirements/run.txt $(ROOMS:%=%/pyproject.toml) | $(BIN)/python
	@echo "installing the demo's parts into $(VENV) (once, about a minute)"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation $(ROOMS:%=-e ./%)
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/stubs.txt $(VENV)/.run
	@echo "installing the test tools into $(VENV) (once)"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@rm -rf $(STUBS)
	@$(PIP) install --require-hashes --no-deps --target $(STUBS) -r requirements/stubs.txt
	@touch $@

.PHONY: env dev
env: $(VENV)/.run ## create the environment that the demo needs
dev: $(VENV)/.dev ## create the environment that tests and checks need

# --- use it -----------------------------------------------------------------------------------------------------------

# A setting reaches `andon demo` only when it was given: the command's own defaults stand in one place.
given = $(if $(filter command% environment%,$(origin $(1))),$(2) $($(1)))

.PHONY: demo
demo: $(VENV)/.run ## a small factory on loopback: emulated boards, gateway, cloud, console
	@$(BIN)/andon demo $(call given,SECONDS,--seconds) $(call given,NODES,--nodes) $(call given,STORE,--store) \
	  $(call given,LOSS,--loss) $(call given,SEED,--seed) $(call given,HTTP_PORT,--http-port) \
	  $(call given,COAP_PORT,--coap-port) $(call given,INFLUXDB_PORT,--influxdb-port) $(call given,VM,--vm) $(if $(JSON),--json)

.PHONY: influxd
influxd: ## build a real InfluxDB 2.9 server into the user's cache (about three minutes, once)
	@tools/influxd/build

.PHONY: micropython32
micropython32: ## fetch Debian's 32-bit MicroPython, on which boards have a chip's words, into the user's cache
	@tools/micropython32/fetch

.PHONY: dashboards
dashboards: $(VENV)/.dev ## generate the Grafana dashboards' JSON
	@$(BIN)/andon-dashboards build

.PHONY: hardware
hardware: $(VENV)/.dev ## check and draw the hardware: circuits, harnesses, pin maps, bill of materials (needs graphviz)
	@PYTHONPATH=hardware $(BIN)/python -m andon_hardware

.PHONY: soak
soak: $(VENV)/.run ## simulated days of power cuts, outages and loss against the ledger (NODES= HOURS= SEED= JSON=1)
	@$(BIN)/andon soak $(call given,NODES,--nodes) $(call given,HOURS,--hours) $(call given,SEED,--seed) $(if $(JSON),--json)

.PHONY: chaos
chaos: $(VENV)/.run ## kill -9 of the gateway under load, loss and cuts (KILLS= NODES= BOARDS= LOSS= SEED= STORE= WORKERS= OSCORE=0 JSON=1)
	@$(BIN)/andon chaos $(call given,KILLS,--kills) $(call given,NODES,--nodes) $(call given,BOARDS,--boards) \
	  $(call given,LOSS,--loss) $(call given,SEED,--seed) $(call given,STORE,--store) \
	  $(call given,WORKERS,--workers) $(if $(filter 0 no off,$(OSCORE)),--no-oscore) $(if $(JSON),--json)

# --- measure it -------------------------------------------------------------------------------------------------------

.PHONY: bench-gateway
bench-gateway: $(VENV)/.dev ## the gateway's CPU per message beside its peers (MESSAGES= SECONDS= PEERS= ONLY= JSON=1)
	@$(BIN)/python -m bench.gateway $(call given,SECONDS,--seconds) $(call given,MESSAGES,--messages) $(call given,PEERS,--peers) \
	  $(call given,ONLY,--only) $(if $(JSON),--json)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## hostile datagrams and packs against the real gateway (DATAGRAMS= PACKS= SEED= RATE= JSON=1)
	@$(BIN)/python -m bench.fuzz $(call given,DATAGRAMS,--datagrams) $(call given,PACKS,--packs) $(call given,SEED,--seed) \
	  $(call given,RATE,--rate) $(if $(JSON),--json)

# --- check it ---------------------------------------------------------------------------------------------------------

.PHONY: test
test: $(VENV)/.dev ## run every test that can run on this machine; says what it skipped and why
	@$(BIN)/python -m pytest $(TESTS)

.PHONY: test-boards
test-boards: $(VENV)/.dev ## the end-to-end tests on a rung: BOARD=unix|renode|serial:/dev/ttyUSB0 (REPORT=file.xml)
	@$(BIN)/python -m pytest tests/e2e --board $(or $(BOARD),unix) $(if $(REPORT),--junit-xml=$(REPORT)) $(TESTS)

.PHONY: lint
lint: $(VENV)/.dev ## format and lint rules, room boundaries
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache

.PHONY: types
types: $(VENV)/.dev ## strict types; the firmware against the ESP32 stubs
	@$(BIN)/mypy gateway/andon_gateway cloud/andon_cloud workbench/andon_workbench dashboards/andon_dashboards hardware/andon_hardware bench/gateway bench/fuzz tests
	@$(BIN)/mypy --config-file firmware/mypy.ini

.PHONY: format
format: $(VENV)/.dev ## apply the format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: images scan-images
images: ## build the container images (needs Docker)
	@for room in gateway cloud; do docker build -t andon-$$room $$room || exit 1; done

SCANNER ?= aquasec/trivy:0.57.1
scan-images: ## look for known holes in the container images (needs Docker; SCANNER= another release of the scanner)
	@for room in gateway cloud; do docker run --rm -v /var/run/docker.sock:/var/run/docker.sock $(SCANNER) image \
	  --exit-code 1 --ignore-unfixed --severity HIGH,CRITICAL andon-$$room || exit 1; done

.PHONY: deps-test
deps-test: ## install the Debian packages that the tests use (needs root)
	@command -v apt-get >/dev/null || { echo "make deps-test knows Debian only; install chromium, libcoap's tools and PostgreSQL with your system's packages" >&2; exit 1; }
	@[ "$$(id -u)" = 0 ] || { echo "make deps-test needs root: sudo make deps-test" >&2; exit 1; }
	@apt-get update -qq
	@DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core libcoap3-bin postgresql docker-compose graphviz mosquitto ngspice systemd pkg-config gcc libc6-dev >/dev/null

.PHONY: lock
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: $(VENV)/.dev ## pin the dependencies with hashes, without index addresses (UPGRADE=1 takes newer ones)
	@$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/dev.in $(ROOMS:%=%/pyproject.toml) -o requirements/dev.txt
	@$(COMPILE) requirements/run.in $(ROOMS:%=%/pyproject.toml) -c requirements/dev.txt -o requirements/run.txt
	@for room in $(ROOMS); do $(COMPILE) $$room/pyproject.toml -c requirements/dev.txt -o $$room/requirements.txt || exit 1; done
	@$(COMPILE) $(if $(UPGRADE),--upgrade) requirements/stubs.in -o requirements/stubs.txt

.PHONY: clean
clean: ## remove the environment and caches
	@rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
