# Everything works from a clean clone on Debian 12, as root where the lab is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo rehearse test endurance unit lint bench launcher holder builder clean lab-setup lock \
	schemas

demo: $(READY)              ## one real job through policy, credentials and the sandbox
	@tests/lab/setup demo
	@$(BIN)/python -m tests.demo

rehearse: $(READY)          ## a machine image: provisioned, booted in QEMU, first job, reboot (half an hour)
	@tests/lab/setup rehearsal
	@$(BIN)/python -m tests.rehearsal

test: lint lab-setup        ## everything: lint, types, unit, end to end, attacks
	@$(BIN)/python -m tests.side_by_side

endurance: $(READY) lab-setup    ## every step of every fault, 500 jobs in a row (hours)
	AIRLOCK_LONG=1 $(BIN)/pytest tests/faults

unit: lint                  ## the tests that need neither root nor the lab
	$(BIN)/pytest -m "not lab"

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY) lab-setup   ## what Airlock costs (docs/speed.md); ONLY=first-byte for one subject
	@$(BIN)/python -m tests.bench

SHARED := launcher/freestanding.h launcher/build bootstrap/__init__.py

launcher: build/airlock-launcher    ## the static program that agents start (docs/launcher.md)

build/airlock-launcher: launcher/launcher.c $(SHARED)
	@launcher/build $@

holder: build/airlock-holder        ## the static program of a replay's network (docs/replay.md)

build/airlock-holder: launcher/holder.c $(SHARED)
	@launcher/build $@ holder

builder: build/airlock-builder      ## the static program of image builds (docs/builds.md)

build/airlock-builder: launcher/builder.c $(SHARED)
	@launcher/build $@ builder

lab-setup:
	@tests/lab/setup

$(READY): requirements-dev.lock pyproject.toml
	@tests/lab/setup python
	@echo "venv: installing the locked dependencies (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.lock || { \
	  echo "venv: pip could not install the locked dependencies; is there a network, or an index in pip's configuration?" >&2; \
	  exit 1; }
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock:                       ## resolve requirements*.lock again (needs uv)
	uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 --extra dev pyproject.toml -o requirements-dev.lock

schemas: $(READY)           ## write agent-config/*.schema.json from the grammar
	@for document in policy guardrails cases; do \
	  $(BIN)/airlock policy schema $$document >.schema.new && \
	  mv .schema.new agent-config/$$document.schema.json || exit 1; done

clean:                      ## remove what the lab and the build keep between runs
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@for mounted in /run/airlock /var/lib/airlock-lab/docker /var/lib/airlock-lab/remapped/*; do \
	  while mountpoint -q $$mounted; do umount $$mounted || exit 1; done; done
	rm -rf out/tests /var/lib/airlock-lab
