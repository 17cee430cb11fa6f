# Needs nothing installed but make and Python 3.11 or newer: every target makes .venv first.
#   CACHE=dir make test     uses an empty (or other) cache folder for everything that is downloaded or built
#   STACK=full make demo    shows the run in Jaeger, Prometheus and OpenSearch instead of files
#   MODEL=openai make demo  asks a real model (needs OPENAI_API_KEY)
#   ARGS="-k name" make unit  passes arguments to pytest
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# A pyenv shim can be on PATH and still not run, so each candidate is tried.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v "$$python"; break; }; done)
TASK = @$(or $(PYTHON),$(error no Python 3.11 or newer with venv found: install one, on Debian with "apt-get install python3-venv")) .ci/tasks.py

TARGETS := setup demo test check unit property export complaints kaizen crash trail contract collector backends containers audit e2e view chart chart-cluster coverage bench bench-audit bench-collector campaign-audit campaign-chart campaign-encoder campaign-collector sbom vulnerabilities docs changelog clean help
.PHONY: $(TARGETS)
$(TARGETS):
	$(TASK) $@
