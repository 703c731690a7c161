# Every command of the project. `make` alone prints this list; what runs here is what CI runs.
# Needs Linux, Python 3.10 or later with its headers and venv, gcc and make. All else goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(origin CC),default)
CC := gcc
endif
export CC

C_SOURCES := $(sort $(wildcard csrc/*.c))
C_HEADERS := $(sort $(wildcard csrc/*.h csrc/python/*.h))
HOT_SOURCES := $(sort $(wildcard csrc/python/*.c))
C_TESTS := $(sort $(wildcard tests/c/test_*.c tests/c/fault_*.c))
C_ALL := $(C_SOURCES) $(C_HEADERS) $(HOT_SOURCES) $(sort $(wildcard tests/c/*.[ch] bench/c/*.[ch]))

.PHONY: model-queue
.PHONY: help demo test test-c cuts faults power requests rot seeded spin kills fuzz fuzz-parsers proof coverage mutants test-c-sanitize test-c-tsan test-sanitize stress model bench lint lint-c format wheel sdist clean
.DELETE_ON_ERROR:

help: ## Print this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-24s%s\n", $$1, $$2 }'

# ---- The environment. A stamp file says what is in it; it is as old as what it was made from. ----

$(VENV)/.made: scripts/missing-packages
	@missing=$$(PYTHON=$(PYTHON) sh scripts/missing-packages) || exit 1; \
	if [ -n "$$missing" ]; then \
	    echo "Something is missing on this machine. On Debian or Ubuntu:" >&2; \
	    echo "    sudo apt-get install $$missing" >&2; exit 1; \
	fi
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check 'setuptools>=77' 'cffi>=1.17'
	@touch $@

$(VENV)/.built: $(VENV)/.made pyproject.toml setup.py csrc/build_core.py $(C_SOURCES) $(C_HEADERS) $(HOT_SOURCES)
	@echo "Building and installing streamstore ..."
	@$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -e .
	@touch $@

# An extra of what is already installed: pip takes its list from the metadata of the step above.
$(VENV)/.extra-%: pyproject.toml | $(VENV)/.built
	@echo "Installing what '$*' needs ..."
	@$(BIN)/pip install -q --disable-pip-version-check 'streamstore-kinesis[$*]'
	@touch $@

# The rows over HTTP and boto3 need what users of those doors install.
$(VENV)/.rivals: bench/rivals/requirements.txt | $(VENV)/.extra-bench $(VENV)/.extra-server $(VENV)/.extra-boto3
	@echo "Installing the rivals to measure against ..."
	@$(BIN)/pip install -q --disable-pip-version-check -r $<
	@touch $@

# ---- Using it ----

demo: $(VENV)/.built ## Write, kill a writer, lose nothing, read back: the whole story in a minute
	@$(BIN)/python -m streamstore demo

# A file's tests stay in one process, in their order; most wait for programs that they start.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadfile

test: test-c $(VENV)/.built $(VENV)/.extra-test ## All tests but the long ones (ARGS="-k name" for some)
	@$(BIN)/python -X dev -m pytest $(or $(ARGS),$(SIDE_BY_SIDE))

stress: $(VENV)/.built $(VENV)/.extra-test ## The long suites: random kills, many processes
	@$(BIN)/python -X dev -m pytest -m stress $(ARGS)

model: $(VENV)/.built $(VENV)/.extra-test ## Random operations against plain lists, 20,000 of them (STEPS=n, SEED=n)
	@PYTHONPATH=tests $(BIN)/python -X dev -m oracle --steps $(or $(STEPS),20000) $(if $(SEED),--seed $(SEED))

seeded: $(VENV)/.built $(VENV)/.extra-test ## Put in each of some 50 bugs; the suite that is named for it must find it (ARGS="name")
	@PYTHONPATH=tests CC=$(CC) $(BIN)/python -m seeded $(ARGS)

cuts: $(VENV)/.built $(VENV)/.extra-test ## Power cuts simulated: 100,000 images of what they could leave (IMAGES=n, SEED=n)
	@PYTHONPATH=tests $(BIN)/python -m cuts --images $(or $(IMAGES),100000) $(if $(SEED),--seed $(SEED))

spin: $(VENV)/.made ## Check the models of locks, publishing, rolls, group commit and resharding, and that broken ones are found
	@$(BIN)/python tests/spin $(ARGS)

rot: $(VENV)/.built $(VENV)/.extra-test ## One file of a store spoilt in 2,000 ways: read, verified, repaired (CASES=n, SEED=n)
	@PYTHONPATH=tests $(BIN)/python -m rot --cases $(or $(CASES),2000) $(if $(SEED),--seed $(SEED))

power: $(VENV)/.built $(VENV)/.extra-test ## Power cuts of a real ext4 under several processes, as root (CUTS=n, SEED=n)
	@PYTHONPATH=tests $(BIN)/python -m power --cuts $(or $(CUTS),500) $(if $(SEED),--seed $(SEED))

faults: $(VENV)/.built $(VENV)/.extra-test ## Fail call 1, 2, 3 ... of every kind the core makes, and cut the power on top (STRIDE=n, SEED=n)
	@PYTHONPATH=tests $(BIN)/python -m faults --stride $(or $(STRIDE),1) $(if $(SEED),--seed $(SEED))

kills: $(VENV)/.built $(VENV)/.extra-test ## 2,000 kills at random moments and at named points, held to a history (KILLS=n, SEED=n)
	@$(BIN)/python tests/kills.py --kills $(or $(KILLS),2000) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.made ## Hostile bytes under sanitizers, 15 seconds a target (SECONDS=n, SEED=n)
	@$(BIN)/python tests/fuzz --seconds $(or $(SECONDS),15) $(if $(SEED),--seed $(SEED))

requests: $(VENV)/.built $(VENV)/.extra-test ## A million requests, nearly right: no 5xx, nobody past the gate (REQUESTS=n, SEED=n)
	@PYTHONPATH=tests $(BIN)/python tests/stress/fuzz_requests.py --figures --requests $(or $(REQUESTS),1000000) \
	    $(if $(SEED),--seed $(SEED))

fuzz-parsers: $(VENV)/.built $(VENV)/.extra-test $(VENV)/.atheris ## The parsers in Python under Atheris, 15 seconds each (SECONDS=n, SEED=n)
	@$(BIN)/python tests/fuzz/parsers.py --seconds $(or $(SECONDS),15) $(if $(SEED),--seed $(SEED))

# There is none for every Python: then the target says so.
$(VENV)/.atheris: | $(VENV)/.built
	@$(BIN)/pip install -q --disable-pip-version-check --only-binary :all: atheris || echo "no Atheris for this Python"
	@touch $@

coverage: $(VENV)/.built $(VENV)/.extra-test ## Which branches of the core any test takes, and why not the others (ARGS="--lines")
	@PYTHONPATH=tests $(BIN)/python -m branches $(ARGS)

mutants: $(VENV)/.made ## Small changes of the core: a suite notices each, or a reason is kept why none can (COUNT=n of a file, SEED=n)
	@PYTHONPATH=tests CC=$(CC) $(BIN)/python -m seeded.mutants --count $(or $(COUNT),20) $(if $(SEED),--seed $(SEED))

PROOFS := seeded spin fuzz fuzz-parsers kills cuts faults power rot requests coverage mutants
proof: ## All suites of docs/reliability.md, and its table from their figures; hours
	@for suite in $(PROOFS); do $(MAKE) --no-print-directory $$suite || exit 1; done
	@$(BIN)/python tests/figures.py docs/reliability.md

model-queue: $(VENV)/.built $(VENV)/.extra-test ## Queues against plain lists: two handles and a process that is killed, for an hour
	@$(BIN)/python -X dev -m pytest -v -m stress tests/test_queue_model.py tests/kinesis/test_one_queue.py $(ARGS)

interop: $(VENV)/.built $(VENV)/.extra-test ## Clients of other makers against the server: JS and Java SDK, KCL, KPL, AWS CLI, async-kinesis
	@$(BIN)/python -m pytest -m stress tests/interop $(ARGS)

bench: $(VENV)/.built $(VENV)/.extra-bench $(VENV)/.rivals ## Time it against its rivals on this machine
	@$(BIN)/python -m bench $(ARGS)

# ---- The core alone: every tests/c/test_*.c is a program of its own, linked with the whole core. ----

C_WARNINGS := -Wall -Wextra -Wconversion -Wshadow $(if $(filter 1,$(STREAMSTORE_WERROR)),-Werror)
C_FLAGS := -std=c11 -g -pthread -Icsrc -Itests/c $(C_WARNINGS)
C_FLAGS_plain := -O2
C_FLAGS_sanitize := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
C_FLAGS_tsan := -O1 -fsanitize=thread -fno-omit-frame-pointer -Wno-tsan
# The only build whose processes die where a test says (csrc/killpoint.h), and its only programs.
C_FLAGS_kill := -O2 -DSS_KILLPOINTS
C_TESTS_kill := $(sort $(wildcard tests/c/kill_*.c))
# Programs whose calls can be failed (tests/c/calls_fail.h); under ThreadSanitizer they find nothing that others do not.
C_LINK_calls := @tests/c/calls_wrapped
C_TESTS_tsan := $(filter-out tests/c/fault_%,$(C_TESTS))

# $(1) is the variant: its objects, its programs and the list of them.
define C_VARIANT
C_OBJECTS_$(1) := $$(C_SOURCES:csrc/%.c=build/c/$(1)/%.o)
C_PROGRAMS_$(1) := $$(patsubst tests/c/%.c,build/c/$(1)/%,$$(or $$(C_TESTS_$(1)),$$(C_TESTS)))
$$(C_OBJECTS_$(1)): build/c/$(1)/%.o: csrc/%.c Makefile
	@mkdir -p $$(@D)
	@$$(CC) $$(C_FLAGS) $$(C_FLAGS_$(1)) -MMD -MP -c $$< -o $$@
$$(C_PROGRAMS_$(1)): build/c/$(1)/%: tests/c/%.c $$(C_OBJECTS_$(1)) Makefile
	@$$(CC) $$(C_FLAGS) $$(C_FLAGS_$(1)) -MMD -MP $$< $$(C_OBJECTS_$(1)) $$(if $$(filter fault_%,$$*),$$(C_LINK_calls)) -o $$@
-include $$(wildcard build/c/$(1)/*.d)
endef
$(foreach variant,plain sanitize tsan kill,$(eval $(call C_VARIANT,$(variant))))

test-c: $(C_PROGRAMS_plain) $(C_PROGRAMS_kill) ## The C tests
	@sh scripts/run-c-tests $^

test-c-sanitize: $(C_PROGRAMS_sanitize) ## The C tests under AddressSanitizer and UBSan
	@sh scripts/run-c-tests $^

test-c-tsan: $(C_PROGRAMS_tsan) ## The C tests under ThreadSanitizer
	@sh scripts/run-c-tests $^

# The same tree once more under build/, so that the modules in use here stay as they are. Leaks are CPython's own habit.
INSTRUMENTED := build/sanitize
test-sanitize: $(VENV)/.made ## The Python tests with both modules under AddressSanitizer and UBSan
	@mkdir -p $(INSTRUMENTED)
	@tar -c --exclude='*.so' --exclude=__pycache__ --exclude=./build --exclude=./.git --exclude=./$(VENV) . | \
	    tar -x -C $(INSTRUMENTED)
	@STREAMSTORE_SANITIZE=address,undefined $(MAKE) --no-print-directory -C $(INSTRUMENTED) $(VENV)/.extra-test
	@cd $(INSTRUMENTED) && ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	    LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	    $(BIN)/python -m pytest $(ARGS)

# ---- Keeping it clean ----

# With the extras there, so that what is imported from them is checked too.
lint: lint-c $(VENV)/.built $(VENV)/.extra-lint $(VENV)/.extra-test ## Warnings as errors, layout, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(if $(C_ALL),$(BIN)/clang-format --dry-run -Werror $(C_ALL))
	@bash -n .ci/run && sh -n scripts/run-c-tests && sh -n scripts/missing-packages

# Optimised, because some warnings come only then; a header must compile on its own.
lint-c: $(VENV)/.made ## Our C with every warning an error, by gcc and by clang if it is there
	@include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	for compiler in $(CC) $$(command -v clang || true); do \
	    for file in $(C_SOURCES) $(HOT_SOURCES) $(wildcard tests/c/*.c bench/c/*.c); do \
	        $$compiler -std=c11 -O2 -pthread -Wall -Wextra -Wconversion -Wshadow -Werror -DPy_LIMITED_API=0x030A0000 \
	            -Icsrc -Itests/c -isystem $$include -c $$file -o /dev/null || exit 1; \
	    done; \
	    for header in $$(grep -l '^#ifndef STREAMSTORE_' $(C_HEADERS)); do \
	        $$compiler -std=c11 -Wall -Wextra -Wconversion -Wshadow -Werror -Wno-unused-function -Icsrc \
	            -isystem $$include -include $$header -fsyntax-only -x c /dev/null || exit 1; \
	    done; \
	done

format: $(VENV)/.built $(VENV)/.extra-lint ## Lay out Python and C the way lint wants it
	@$(BIN)/ruff check -q --fix --exit-zero .
	@$(BIN)/ruff format .
	@$(if $(C_ALL),$(BIN)/clang-format -i $(C_ALL))

# ---- Packages ----

wheel: $(VENV)/.extra-package ## dist/*.whl, one for all CPythons from 3.10 (checked)
	@$(BIN)/python -m build -q --no-isolation --wheel .
	@$(BIN)/abi3audit --strict dist/*-cp310-abi3-*.whl

sdist: $(VENV)/.extra-package ## dist/*.tar.gz, which builds and tests like a clone
	@$(BIN)/python -m build -q --no-isolation --sdist .

clean: ## Remove all that was made, .venv too
	rm -rf $(VENV) build dist *.egg-info streamstore/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
