# `make run` and `make test` are all a newcomer needs; both stand on `make install`.
PYTHON ?= python3
DATA ?= data
VGG ?= vgg16.safetensors
RUN ?= runs/default
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test quick lint install device tools contract train-gpu train-cpu export vectors bench release lock sbom clean

run: install device
	$(BIN)/stylizer serve

test: install tools
	@if [ -d node_modules/eslint ]; then node --test tests/js/*.test.js; fi
	$(BIN)/python -m pytest

# for daily work: under a minute and a half, no browser
quick: install
	$(BIN)/python -m pytest -m "not browser and not slow"

lint: install tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -d node_modules/eslint ]; then npx eslint . && npx tsc; fi

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

# What the page paints with in the browser. It is worth having and never needed, so nothing stops without it.
NODE_FILES := node_modules/.package-lock.json
NPM_CI := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

device:
	@if [ ! $(NODE_FILES) -nt package-lock.json ]; then \
		if ! command -v npm >/dev/null; then echo "npm is missing: the page will paint on the server alone"; \
		elif $(NPM_CI) --omit=dev; then touch $(NODE_FILES); \
		else echo "npm could not fetch onnxruntime-web: the page will paint on the server alone"; fi; fi

# What checks the page's scripts as well: eslint, tsc, axe.
tools:
	@if [ ! -d node_modules/eslint ] || [ ! $(NODE_FILES) -nt package-lock.json ]; then \
		if ! command -v npm >/dev/null; then echo "npm is missing: the page's scripts are not checked"; \
		elif $(NPM_CI); then touch $(NODE_FILES); \
		else echo "npm could not fetch its packages: the page's scripts are not checked"; fi; fi

# the numbers and names that Python and the page share, for the page
contract: install
	$(BIN)/python -m stylizer.contract

# docs/training.md says what is needed; both resume the run in $(RUN)
TRAIN = $(BIN)/python -m stylizer.training train --run $(RUN) --vgg $(VGG) --content $(DATA)/content.tar \
	--style $(DATA)/style.tar $(DATA)/texture.tar \
	--init models/predictor-mobilenet-v2.safetensors models/transformer-separable.safetensors

train-gpu: install
	$(TRAIN) --minutes 24 --call-minutes 8.5

train-cpu: install
	nice $(TRAIN) --minutes 84 --stages 0:176:5,0.75:256:3 --bank 640 --bank-steps 800 --predictor-rate 0 \
		--low-strength-share 0.2 --transformer-rate 8e-4 --warmup 50 --average 0.997

# after replacing weights: ONNX files, checksums and facts; then every stored style vector
export: install
	$(BIN)/python -m stylizer.training export

vectors: install
	$(BIN)/python -m stylizer.training vectors --masters $(DATA)/masters --paintings $(DATA)/style.tar $(DATA)/texture.tar

bench: install
	$(BIN)/python benchmarks/speed.py

release: install
	$(BIN)/python -m pip install --quiet --editable '.[release]'

# the container's packages with their hashes, as new as pyproject.toml allows, for every Linux and Python from 3.11 on
LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command 'make lock'

lock: release
	$(LOCK) pyproject.toml -o requirements.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' | \
		tr ' ' '\n' | $(LOCK) - -o requirements-build.lock

# what the container holds, by name, version, hash and licence (CycloneDX): sbom.json, and of the browser's part
# sbom-browser.json
sbom: release
	rm -rf build/container
	$(PYTHON) -m venv --without-pip build/container
	$(BIN)/python -m pip --python build/container install --quiet --require-hashes -r requirements.lock
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json build/container
	@if npm sbom --help >/dev/null 2>&1; then \
		npm sbom --package-lock-only --omit=dev --sbom-format=cyclonedx > sbom-browser.json; \
		else echo "npm 10 or newer is needed for sbom-browser.json"; fi

clean:
	rm -rf $(VENV) node_modules build dist *.egg-info
