# make demo   the quickstart, from nothing to the figure
# make test   everything that must hold; what .ci/run calls
# make lint   the static part of it
# make docs   the documentation as a site
# make dist   the packages for pip, tested in an empty environment
# make bench  the benchmarks
# make notebooks  the notebooks with fresh outputs

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# More for the command: make demo ARGS="n=4 recipe.epochs=2"
ARGS ?=
SETUP = $(VENV)/bin/pip install -qq --disable-pip-version-check --constraint constraints.txt
ALONE = timm torchvision resnest mmengine segmentation-models-pytorch
SLURM = slurm-wlm munge slurmdbd mariadb-server faketime
BROWSER = chromium chromium-driver
IN_BROWSER = tests/analysis/test_report_browser.py tests/analysis/test_report_exploring.py
# One more than there are cores, since tests also wait; those of SLURM, which mostly wait, run beside them.
WORKERS = $$(( $$(getconf _NPROCESSORS_ONLN) + 1 ))
ON_FASHION_MNIST = tests/data/test_fashion_mnist.py tests/docs/test_documents.py

.PHONY: demo test test-slurm lint docs notebooks dist bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/ready
	$(RUN) -m designspace.explore experiment=quickstart $(ARGS)

test: $(VENV)/ready-dev
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint docs
	@echo "$(RUN) -m designspace.prepare data=fashion_mnist"; $(RUN) -m designspace.prepare data=fashion_mnist || \
		{ echo "$(ON_FASHION_MNIST) leave out what needs its images"; test -z "$$CI"; }
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then ignored=; else \
		echo "$(IN_BROWSER) left out: no Chromium here; on Debian: apt-get install $(BROWSER)"; test -z "$$CI" || exit 1; \
		ignored="$(addprefix --ignore=,$(IN_BROWSER))"; \
	fi; \
	slurm=0; $(MAKE) --no-print-directory test-slurm >$(VENV)/slurm.log 2>&1 & \
	main=0; $(RUN) -m pytest -n $(WORKERS) --dist worksteal --ignore=tests/slurm --ignore=tests/dist $$ignored $(ARGS) || main=$$?; \
	wait $$! || slurm=$$?; cat $(VENV)/slurm.log; exit $$(( main + slurm ))

test-slurm:
	@if PATH="$$PATH:/usr/sbin" command -v slurmctld >/dev/null; then \
		echo "$(RUN) -m pytest tests/slurm"; $(RUN) -m pytest tests/slurm; \
	else \
		echo "tests/slurm left out: no slurmctld here; on Debian: apt-get install $(SLURM)"; test -z "$$CI"; \
	fi

lint: $(VENV)/ready-dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

docs: $(VENV)/ready-dev
	$(RUN) -m sphinx -b html -W --keep-going -q docs docs/_build/html
	@echo "the documentation is in docs/_build/html/index.html"

notebooks: $(VENV)/ready-dev
	$(RUN) notebooks/refresh.py

dist: $(VENV)/ready-dev
	rm -rf dist
	$(RUN) -m build --outdir dist .
	$(RUN) -m pytest tests/dist

bench: $(VENV)/ready
	for file in experiments/benchmark_*/benchmark.py; do $(RUN) $$file || exit 1; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "designspace needs Python 3.11 or later; name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "setting up $(VENV): a minute or two, once"
	$(SETUP) --editable .
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(SETUP) --editable .[dev,docs,onnx]
	@# Without what they depend on: torchvision asks for a build of torch of its own, mmengine for OpenCV.
	$(SETUP) --no-deps $(ALONE)
	@touch $@

clean:
	rm -rf $(VENV)
