# `make run` and `make test` are all a newcomer needs; both stand on `make install`.
PYTHON ?= python3
MASTERS ?= ../shared/data/masters
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test install vectors export bench lint clean

run: install
	$(BIN)/stylizer serve

test: install
	$(BIN)/python -m pytest

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

# after replacing weights: ONNX files, checksums and every stored style vector
export: install
	$(BIN)/python -m stylizer.training.export

vectors: install
	$(BIN)/python -m stylizer.training.vectors --masters $(MASTERS)

bench: install
	$(BIN)/python benchmarks/speed.py

lint: install
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) build dist *.egg-info
