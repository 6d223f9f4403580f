# gpuhost: `make demo` shows it, `make test` tests it, `make help` lists the rest.

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
DEMO_HOST ?= lab-01
DEMO_GPUS ?= 4
HEALTHY_RUNS ?= 200

# What the rehearsal lab and the virtual environment need of Debian.
DEBIAN_PACKAGES := python3 python3-venv mmdebstrap systemd-container iproute2 iptables gcc \
    libc6-dev skopeo docker-registry openssh-client openssl dpkg-dev apt-utils gnupg \
    debian-archive-keyring zstd kmod pci.ids rpm createrepo-c dnf

.DEFAULT_GOAL := help
.PHONY: help setup setup-lab demo test test-slow test-unit fault-score bench check lock wheel clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## A virtual environment with gpuhost and its tools

$(VENV)/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "gpuhost needs Python 3.11 or newer; try: make PYTHON=python3.12 setup"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	    echo "There is no venv module; try: apt-get install python3-venv"; exit 1; }
	@echo "Installing gpuhost and its Python packages in $(VENV)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps \
	    --no-build-isolation --editable .
	@touch $@

# The Debian packages are installed only where they can be: as root, on Debian.
setup-lab: setup  ## What `gpuhost lab` needs of this machine
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    missing=$$(dpkg-query -W -f '$${db:Status-Abbrev}$${Package}\n' $(DEBIAN_PACKAGES) 2>/dev/null \
	        | sed -n 's/^ii *//p' | sort | comm -13 - <(printf '%s\n' $(DEBIAN_PACKAGES) | sort)); \
	    if [ -n "$$missing" ]; then \
	        echo "Installing Debian packages:" $$missing; \
	        apt-get update -qq 2>/dev/null; DEBIAN_FRONTEND=noninteractive \
	            apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	    fi; \
	else echo "Not root on Debian: the lab cannot run here, its tests will be skipped."; fi

demo: setup-lab  ## A rehearsal host, provisioned and verified
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/demo $(DEMO_HOST) $(DEMO_GPUS)

test: setup-lab  ## Static checks, unit, roles and lab tests
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -m 'not slow'

test-slow: setup-lab  ## The lab tests that take minutes each: pasts that are mended, killed controllers
	$(BIN)/python -m pytest -m slow

test-unit: setup  ## The fast tests
	$(BIN)/python -m pytest -m 'not lab' -n auto

fault-score: setup-lab  ## Every fault of the lab made in a healthy host: is it found? (docs/faults.md)
	$(BIN)/python tests/bench/fault_score.py --write --healthy $(HEALTHY_RUNS)

bench: setup-lab  ## Figures that have to hold, as ratios measured in one run
	PYTHONPATH=tests $(BIN)/python tests/bench/history_scale.py
	$(BIN)/python tests/bench/fleet_cost.py
	PYTHONPATH=tests $(BIN)/python tests/bench/trials_cost.py
	$(BIN)/python tests/bench/provision_cost.py

check: setup  ## ruff, mypy, yamllint, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint --offline

lock:  ## Renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-header --group dev pyproject.toml -o requirements.lock

wheel: setup  ## dist/*.whl
	$(BIN)/python -m build --wheel

clean:  ## Remove what make made here (rehearsal hosts: gpuhost lab down --all)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
