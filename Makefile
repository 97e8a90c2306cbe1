# Training with PyTorch, shipped to an iPhone. `make` alone lists the commands.
# PYTHON=python3.12 make setup   chooses the interpreter that .venv is made with.
PYTHON ?= python3
PORT ?= 8888
MODE ?= $(or $(CHAPTER_MODE),quick)
IN_VENV = .venv/bin/
ANY_PYTHON = $(or $(wildcard .venv/bin/python),$(PYTHON))
# -S: the interpreter starts within milliseconds, and is there to answer Ctrl-C.
SETUP = command -v '$(PYTHON)' >/dev/null || { echo "There is no program '$(PYTHON)'. Install Python 3.11, 3.12 or 3.13, or name yours: PYTHON=python3.12 make" >&2; exit 2; }; \
	CHAPTER_MODE='$(MODE)' exec '$(PYTHON)' -S helpers/workshop/environment.py

.DEFAULT_GOAL := help
.PHONY: help setup tools run lab doctor reset test swift proof bench notebooks slides book translate lint pins newest clean

help: ## list these commands
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## /  make \1|/' | column -t -s '|'

setup: ## make .venv and install the pinned packages
	@$(SETUP)
	@$(IN_VENV)python -m helpers.workshop.reset keep

# What only the workshop needs (requirements-dev.txt) comes into .venv with the first command that needs it.
tools:
	@$(SETUP) tools

run: ## run every notebook in order (MODE=quick, full or smoke)
	@$(SETUP) run

lab: setup ## open JupyterLab at the first notebook (PORT=8889: at another port; LAB=…: its own options)
	@CHAPTER_MODE='$(MODE)' exec $(IN_VENV)python -m helpers.workshop.lab --port '$(PORT)' $(LAB)

doctor: ## say what is right here and what is not, and what to type
	@$(SETUP) doctor

reset: ## put the notebooks back as they were shipped; yours move to artifacts/mine/
	@$(ANY_PYTHON) -m helpers.workshop.reset

test: tools ## run the tests, the notebooks among them (TESTS=tests/test_model.py: some)
	@OMP_NUM_THREADS=1 $(IN_VENV)python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -p tests.scratch --nbval-lax --nbval-current-env --nbval-cell-timeout 180 $(TESTS)

swift: ## install a Swift compiler for the tests of the app, on Debian and as root (3 GB, in a cache folder)
	@tests/swift/install.sh

proof: tools ## prove at length what `make test` samples, and write the tables in helpers/measured
	@OMP_NUM_THREADS=1 $(IN_VENV)python -m tests.proof

bench: setup ## time the training against a beginner's loop, and every trick (goes on where it stopped; with --plan its module says how long it takes)
	@$(IN_VENV)python -m helpers.workshop.bench

notebooks: setup ## run all notebooks (quick, for its times, then full) and the solutions, and save their outputs
	@CHAPTER_MODE=quick $(IN_VENV)python -m helpers.workshop.run --measure
	@CHAPTER_MODE=full $(IN_VENV)python -m helpers.workshop.run --save --measure
	@CHAPTER_MODE=full $(IN_VENV)python -m helpers.workshop.exercises --run
	@$(IN_VENV)python -m helpers.workshop.translate

slides: tools ## make slides of the saved notebooks, and a sheet of each to print
	@$(IN_VENV)python -m helpers.workshop.slides

book: tools ## make the book of the saved notebooks, in every language: artifacts/book/index.html
	@$(IN_VENV)python -m helpers.workshop.book

translate: tools ## bring the other languages up to date with the English, and say what is left to translate
	@$(IN_VENV)python -m helpers.workshop.translate

lint: tools ## check the style of code and notebooks, and the types
	@$(IN_VENV)ruff check . && $(IN_VENV)ruff format --check . && $(IN_VENV)mypy

pins: setup ## pin anew what the packages of requirements*.txt need in turn (constraints.txt, .ci/hashes*.txt)
	@$(IN_VENV)python .ci/pins.py

newest: setup ## take the newest versions of all packages, and pin them
	@$(IN_VENV)python .ci/pins.py --newest

clean: ## delete everything that was made, but not data/ and .venv; asks where you wrote something
	@$(ANY_PYTHON) -S helpers/workshop/clean.py
