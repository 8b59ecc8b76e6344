# Two commands for a fresh machine: `make demo` and `make test`. Everything is installed into .venv.
# Variables: PYTHON (3.11 or newer), VIDEO and CONSENT (a real clip for the demo), TORCH (what pip installs as torch),
# WORKERS (processes that run tests).
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
TORCH ?= torch==2.13.0
VENV ?= .venv
# Processes that test files are dealt out to; each takes up to 2 GB.
WORKERS ?= 2
DEMO ?= demo
BIN := $(VENV)/bin
# The install is editable: changes in src/ need no new one, changes in the native part and the metadata do.
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
SYSTEM_LIBRARIES := libegl1 libgles2 libgl1 libglib2.0-0

.PHONY: demo test check format constraints system-libraries clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(BIN)/talksplat demo --out "$(DEMO)" $(if $(VIDEO),--video "$(VIDEO)") $(if $(CONSENT),--consent "$(CONSENT)")

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The folder's own package, build tools that pip brings itself and torch's local version suffix are left out.
constraints: $(INSTALLED)
	{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/python -m pip freeze --exclude-editable --exclude talksplat | sed 's/^\(torch==[0-9.]*\)+.*/\1/'; } > constraints.tmp
	mv constraints.tmp constraints.txt

$(INSTALLED): $(SOURCES) | system-libraries
	@test -n "$(PYTHON)" || { echo "No python3 found. Install Python 3.11 or newer, or name it: make PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is `$(PYTHON) --version`; Python 3.11 or newer is needed: make PYTHON=/path/to/python"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); this takes some minutes."
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[perceptual,dev]"
	touch $@

# MediaPipe is linked against these even though it runs on the processor alone.
system-libraries:
	@$(PYTHON) -c 'import ctypes; [ctypes.CDLL(n) for n in ("libEGL.so.1", "libGLESv2.so.2", "libGL.so.1", "libglib-2.0.so.0")]' 2>/dev/null || \
	if [ "`uname -s`" != Linux ]; then :; \
	elif [ "`id -u`" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && apt-get install -q -y --no-install-recommends $(SYSTEM_LIBRARIES); \
	else \
	  echo "The face tracker needs system libraries. Install them, then run make again:"; \
	  echo "  sudo apt-get install $(SYSTEM_LIBRARIES)      (Fedora: mesa-libEGL mesa-libGLES mesa-libGL glib2)"; exit 2; \
	fi

clean:
	rm -rf $(VENV) build $(DEMO) .pytest_cache .ruff_cache
