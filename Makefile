# SPDX-License-Identifier: BSD-3-Clause
# `make help` lists what there is. Everything a target needs it sets up itself, inside this directory.

include csrc/sources.mk

ifeq ($(origin CC),default)
CC := $(or $(firstword $(foreach cc,cc gcc clang,$(if $(shell command -v $(cc)),$(cc)))),cc)
endif
export CC

VENV ?= .venv
DEMO_VENV ?= .venv-demo
DEMO_COMMAND := folio-perf demo
PYTEST_ARGS ?=
BIN := $(VENV)/bin
# make V=1 shows whole commands.
Q := $(if $(filter 1,$(V)),,@)
comma := ,

# The compiler's -j; nothing below depends on the order beyond what its prerequisites say.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
MAKEFLAGS += --no-print-directory

# matplotlib would write its font list under HOME.
export MPLCONFIGDIR := $(CURDIR)/build/matplotlib

.PHONY: help demo test live pytest notebook bench venv ext lib ctest asan valgrind check-inline lint format clean distclean FORCE compiler
.DEFAULT_GOAL := help
.SECONDARY:
.DELETE_ON_ERROR:

help:
	@echo 'make demo           install folio_perf into $(DEMO_VENV) as a user would and run: $(DEMO_COMMAND)'
	@echo 'make test           C tests, then Python tests (PYTEST_ARGS="-k membrane" to choose)'
	@echo 'make live           as root: all scenarios and 200 random ones on the running kernel, held against the model'
	@echo 'make ext            build libfperf and the Cython modules in place, for work on the code'
	@echo 'make ctest          C tests alone; needs no Python'
	@echo 'make asan           C tests and the shipped scenarios under AddressSanitizer and UBSan'
	@echo 'make valgrind       C tests under valgrind'
	@echo 'make check-inline   no hook of a scheme, and nothing in mm, may make an indirect call'
	@echo 'make notebook       run notebooks/01_the_seed.py and keep it with its pictures in build/notebooks'
	@echo 'make bench          speed of the engine and the modelled tables (BENCH="track_ns" to choose)'
	@echo 'make lint           ruff, mypy --strict, clang-format'
	@echo 'make format         let ruff and clang-format rewrite the code'
	@echo 'make clean          remove what was built; distclean: the virtual environments too'

# ---- C: build/c/<variant>/, the same objects and rules as setup.py -----------------------------------------------

SOURCES := $(sort $(filter-out $(wildcard $(FPERF_NOT_SOURCES)),$(wildcard $(FPERF_SOURCES))))
PER_BACKEND := $(wildcard $(FPERF_PER_BACKEND))
NO_INDIRECT := $(wildcard $(FPERF_NO_INDIRECT))
TABLE_CALLERS := $(wildcard $(FPERF_TABLE_CALLERS))
TESTS := $(sort $(wildcard csrc/tests/test_*.c))

objects_of = $(if $(filter $1,$(PER_BACKEND)),$(foreach b,$(FPERF_BACKENDS),$(1:csrc/%.c=%.$b.o)),$(1:csrc/%.c=%.o))
OBJECTS := $(foreach source,$(SOURCES),$(call objects_of,$(source)))
NO_INDIRECT_OBJECTS := $(foreach source,$(NO_INDIRECT),$(call objects_of,$(source)))
TO_CHECK := $(foreach source,$(filter-out $(TABLE_CALLERS),$(NO_INDIRECT)),$(call objects_of,$(source)))

CC_FLAGS = $(CC) $(FPERF_CFLAGS)$(if $(filter x86_64%,$(MACHINE)), $(FPERF_CFLAGS_X86_64))$(if $(CFLAGS), $(CFLAGS))
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)

# What decides whether everything must be compiled again; rewritten only when it changes.
define write_if_changed
@mkdir -p $(@D)
@printf '%s\n' $(CONTENT) >$@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
endef

# $(1) variant, $(2) options it adds
define variant
OUT_$(1) := build/c/$(1)
TESTS_$(1) := $$(TESTS:csrc/tests/%.c=build/c/$(1)/tests/%)

build/c/$(1)/flags: private CONTENT = '$$(CC_FLAGS)$(if $(2), $(2))'
build/c/$(1)/flags: FORCE | compiler
	$$(write_if_changed)

build/c/$(1)/members: private CONTENT = $$(OBJECTS:%=build/c/$(1)/%)
build/c/$(1)/members: FORCE
	$$(write_if_changed)

$$(NO_INDIRECT_OBJECTS:%=build/c/$(1)/%): private EXTRA := $$(FPERF_NO_INDIRECT_CFLAGS)

build/c/$(1)/%.o: csrc/%.c build/c/$(1)/flags
	@mkdir -p $$(@D)
	@echo "  CC  $$@"
	$(Q)$$(CC_FLAGS) $(2) $$(EXTRA) -MMD -MP -MF $$(@:.o=.d) -c $$< -o $$@

$(foreach b,$(FPERF_BACKENDS),
build/c/$(1)/%.$(b).o: csrc/%.c build/c/$(1)/flags
	@mkdir -p $$(@D)
	@echo "  CC  $$@"
	$(Q)$$(CC_FLAGS) $(2) $$(EXTRA) -DFPERF_BACKEND_$(shell echo $(b) | tr a-z A-Z) -MMD -MP -MF $$(@:.o=.d) -c $$< -o $$@
)
build/c/$(1)/libfperf.a: $$(OBJECTS:%=build/c/$(1)/%) build/c/$(1)/members
	@rm -f $$@
	$(Q)$$(AR) rcs $$@ $$(OBJECTS:%=build/c/$(1)/%)

build/c/$(1)/tests/%: build/c/$(1)/tests/%.o build/c/$(1)/libfperf.a
	$(Q)$$(CC_FLAGS) $(2) $$^ -lm -o $$@

-include $$(OBJECTS:%.o=build/c/$(1)/%.d) $$(wildcard build/c/$(1)/tests/*.d)
endef

$(eval $(call variant,release,))
$(eval $(call variant,asan,-O1 -fno-omit-frame-pointer -fsanitize=address$(comma)undefined -fno-sanitize-recover=all))

compiler:
	@tools/setup.sh compiler

lib: build/c/release/libfperf.a

# Each program names itself and ends in `N passed, N failed`.
run_tests = @set -e; for t in $(1); do echo "$$t"; $(2) $$t; done

ctest: $(TESTS_release)
	$(call run_tests,$^)

# Python only writes the scenarios down; what runs under the sanitizers is C.
asan: $(TESTS_asan) build/c/asan/tests/run_scenarios ext
	$(call run_tests,$(TESTS_asan))
	@$(BIN)/python tools/dump_scenarios.py build/scenarios
	@echo build/c/asan/tests/run_scenarios
	@build/c/asan/tests/run_scenarios build/scenarios/*.events

valgrind: $(TESTS_release)
	@command -v valgrind >/dev/null || { echo 'folio_perf: no valgrind; on Debian: apt install valgrind' >&2; exit 1; }
	$(call run_tests,$^,valgrind --quiet --leak-check=full --error-exitcode=1)

check-inline: build/c/release/libfperf.a
	@$(or $(PYTHON),python3) tools/check_inline.py $(TO_CHECK:%=build/c/release/%)

# ---- Python ------------------------------------------------------------------------------------------------------

venv:
	@tools/setup.sh venv $(VENV) test

ext: venv lib
	@tools/setup.sh inplace $(VENV)

pytest: ext
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test: ctest ext
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

live: ext
	@FOLIO_PERF_LIVE=1 $(BIN)/python -m pytest -rs tests/test_live_census.py tests/test_live_verify.py $(PYTEST_ARGS)

notebook: ext
	@mkdir -p build/notebooks
	@$(BIN)/python -m jupytext --quiet --to ipynb --output build/notebooks/01_the_seed.ipynb notebooks/01_the_seed.py
	@$(BIN)/python -m pytest -q -p no:cacheprovider --nbmake --overwrite build/notebooks/01_the_seed.ipynb
	@echo 'folio_perf: build/notebooks/01_the_seed.ipynb has the pictures'

bench: ext
	@$(BIN)/python tools/bench.py $(BENCH)
	@$(if $(BENCH),,$(BIN)/python tools/bench_cache.py)

demo:
	@tools/setup.sh user $(DEMO_VENV)
	@PATH="$(CURDIR)/$(DEMO_VENV)/bin:$$PATH" $(DEMO_COMMAND)

lint: ext
	@tools/setup.sh venv $(VENV) lint
	@failed=; for check in 'ruff check --quiet .' 'ruff format --quiet --check .' mypy \
		'clang-format --dry-run -Werror $(wildcard csrc/*/*.c)'; do \
		$(BIN)/$$check || failed="$$failed $${check%% *}"; \
	done; [ -z "$$failed" ] || { echo "lint: failed:$$failed"; exit 1; }

format:
	@tools/setup.sh venv $(VENV) lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(wildcard csrc/*/*.c)

clean:
	rm -rf build dist *.egg-info folio-perf-demo.png folio_perf/_native/*.so .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(DEMO_VENV)
