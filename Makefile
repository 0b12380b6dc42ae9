# Sluice. make | make run | make test | make bench | make install; SAN=1 for sanitizers, CC=clang.
# Objects go to $(BUILD); every *.c of a room is compiled, every tests/test_*.c is a program.
# make would say cc; CI builds with gcc and clang by name
ifeq ($(origin CC),default)
CC       := gcc
endif
PREFIX   ?= /usr/local
SAN      ?= 0
GNU      := $(if $(findstring clang,$(CC)),,1)
BUILD    ?= $(if $(filter 1,$(SAN)),build/san,build)

ROOMS    := base schemas graph nodes kernels commands
LIBS     := libzmq lmdb libcurl yaml-0.1 jansson libpcre2-8 libutf8proc libzstd zlib libxxhash libsodium mpfr gmp
PKG      := pkg-config
CFLAGS   ?= -O2 -g
# -Wno-psabi: vectors of lanes.h are passed between inlined functions only.
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-psabi -Werror
# No contraction: a product's bits may not depend on the compiler. fmaf() is written where it is meant.
STD      := -std=gnu11 -ffp-contract=off -fno-strict-aliasing -D_GNU_SOURCE -I.

comma    := ,
SANFLAGS := $(if $(filter 1,$(SAN)),-fsanitize=address$(comma)undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer,)
ALL_CFLAGS  = $(STD) $(WARN) $(CFLAGS) $(SANFLAGS) $(shell $(PKG) --cflags $(LIBS) 2>/dev/null)
ALL_LDLIBS  = $(shell $(PKG) --libs $(LIBS) 2>/dev/null) -lmsgpackc -lm -lpthread -ldl

SOURCES  := $(sort $(wildcard $(addsuffix /*.c,$(ROOMS)) $(addsuffix /*/*.c,$(ROOMS))))
MAIN     := commands/main.c
LIBOBJ   := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(MAIN),$(SOURCES)))
# Named one by one: main's table refers to them weakly, which would not pull them out of the library.
COMMANDS := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard commands/*.c)))
TESTSRC  := $(sort $(wildcard tests/test_*.c))
TESTS    := $(patsubst tests/%.c,$(BUILD)/tests/%,$(TESTSRC))
TESTLIB  := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(TESTSRC),$(sort $(wildcard tests/*.c))))
TOOLS    := $(patsubst tools/%.c,$(BUILD)/tools/%,$(sort $(wildcard tools/*.c)))

# One short line for each file; V=1 shows the commands, -s nothing.
Q        := $(if $(V),,@)
SAY      := @$(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),:,echo)

.PHONY: all setup tests tools run table test test-core chaos chaos-judges bench bench-torch install clean manual \
         check-layers fuzz-verifier simt race cuda bench-gpu
.DEFAULT_GOAL := all
.SECONDARY:

all: setup
	@$(MAKE) --no-print-directory $(BUILD)/sluice

setup:
	@tools/setup.sh

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) "  CC   $<"
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# The assembler reads these files into the object; no compiler says so.
$(BUILD)/nodes/llm_judge/prompt_shipped.o: $(sort $(wildcard examples/prompts/*.txt))

$(BUILD)/libsluice.a: $(LIBOBJ)
	@rm -f $@
	$(SAY) "  AR   $@"
	$(Q)ar rcs $@ $^

$(BUILD)/sluice: $(COMMANDS) $(BUILD)/libsluice.a
	$(SAY) "  LINK $@"
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(ALL_LDLIBS)

# For tools/gpu_check --pack: its libraries lie in lib/ beside it.
$(BUILD)/sluice.pack: $(COMMANDS) $(BUILD)/libsluice.a
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -Wl,--disable-new-dtags,-rpath,'$$ORIGIN/lib' -o $@ $^ $(ALL_LDLIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(TESTLIB) $(BUILD)/libsluice.a
	$(SAY) "  LINK $@"
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lcmocka -lmicrohttpd

# Objectives of users: the example's, and those a test refuses.
OWN      := clip_free no_symbol wrong_abi no_run unresolved
OWNFLAGS := -std=c99 -pedantic $(WARN) -O2 -ffp-contract=off -fPIC -shared -I$(BUILD)/include

$(BUILD)/include/sluice/objective_kind.h: kernels/objective_kind.h
	@mkdir -p $(@D)
	$(Q)cp $< $@

$(BUILD)/objective/%.so: tests/objective/%.c $(BUILD)/include/sluice/objective_kind.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(OWNFLAGS) -o $@ $<

$(BUILD)/objective/%.so: examples/objective/%.c $(BUILD)/include/sluice/objective_kind.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(OWNFLAGS) -o $@ $<

OWNERS   := $(patsubst %,$(BUILD)/tests/test_%,objective_load learner_device)
$(OWNERS): | $(OWN:%=$(BUILD)/objective/%.so)
$(OWNERS:=.o): STD += -DOBJECTIVE_FILES='"$(BUILD)/objective"'

# Libraries that a device's loader refuses, and one that goes by the driver's name.
FAKES    := wrong_abi another half driver
$(BUILD)/device/driver.so: FAKEFLAGS := -Wl,-soname,libcuda.so.1

$(BUILD)/device/%.so: tests/device/%.c kernels/sluice_cuda.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(STD) $(WARN) -O2 -fPIC -shared $(FAKEFLAGS) -o $@ $<

ON_DEVICE := $(patsubst %,$(BUILD)/tests/test_%,device adamw_device head_device train_device learner_device)
$(ON_DEVICE): | $(FAKES:%=$(BUILD)/device/%.so) $(if $(GNU),$(BUILD)/simt/libsluice-cuda.so)
$(ON_DEVICE:=.o) $(BUILD)/tests/on_device.o: STD += -DDEVICE_FILES='"$(BUILD)/device"' -DDEVICE_SIMULATED='"$(BUILD)/simt/libsluice-cuda.so"'

$(BUILD)/tools/%: $(BUILD)/tools/%.o $(BUILD)/libsluice.a
	$(SAY) "  LINK $@"
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lopenblas

# The tests' scripted judge, as a program for test scripts.
JUDGE    := judge_server judge_marks pooling_answer
$(BUILD)/tools/judge_server: $(BUILD)/tools/judge_server.o $(JUDGE:%=$(BUILD)/tests/%.o) $(BUILD)/libsluice.a
	$(SAY) "  LINK $@"
	$(Q)$(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $^ $(ALL_LDLIBS) -lmicrohttpd

# ---- CUDA: libsluice-cuda.so by nvcc where there is one; the same files by g++ against tests/simt, a device
# made of fibers. No C file knows of either: kernels/device.c looks the library up when it runs.
NVCC     ?= $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc))
ifeq ($(origin CXX),default)
CXX      := $(if $(findstring ccache,$(CC)),ccache g++,g++)
endif
CUSRC    := $(sort $(wildcard kernels/cuda/*.cu))
CUTEST   := $(sort $(wildcard tests/cuda/test_*.cu))
# Targets the compiler has, of those with code of their own; CUDA_TARGETS=90 for one alone. 90a: wgmma (fused.cu).
CUDA_TARGETS ?= $(if $(NVCC),$(filter $(patsubst compute_%,%,$(shell $(NVCC) --list-gpu-arch)),80 90 100))
GENCODE   = $(foreach t,$(CUDA_TARGETS),-gencode arch=compute_$(t)$(comma)code=sm_$(t)) -gencode arch=compute_90$(comma)code=compute_90
$(BUILD)/cuda/kernels/cuda/fused.o: GENCODE = -gencode arch=compute_90a$(comma)code=sm_90a
$(BUILD)/cuda/tests/cuda/test_hopper.o: GENCODE = -gencode arch=compute_90a$(comma)code=sm_90a
CUFLAGS  := -std=c++20 -O3 --fmad=false -lineinfo -I. -Xcompiler -fPIC$(comma)-fvisibility=hidden$(comma)-Wall$(comma)-Wextra \
            --Werror all-warnings --expt-relaxed-constexpr -Xptxas -v,-warn-spills
SIMTFLAGS := -std=gnu++20 -x c++ -DSLUICE_SIMT -Itests/simt -I. -ffp-contract=off -fno-strict-aliasing -fPIC \
             -Wall -Wextra -Wno-unknown-pragmas -Wno-psabi -Werror -fvisibility=hidden $(SANFLAGS)
SIMTOBJ  := $(CUSRC:%.cu=$(BUILD)/simt/%.o) $(patsubst %.cc,$(BUILD)/simt/%.o,$(sort $(wildcard tests/simt/*.cc)))
CUOBJ    := $(CUSRC:%.cu=$(BUILD)/cuda/%.o)

# What ptxas says of each kernel (registers, spills, shared memory) stays beside its object.
$(BUILD)/cuda/%.o: %.cu
	@mkdir -p $(@D)
	$(SAY) "  NVCC $<"
	$(Q)$(NVCC) $(CUFLAGS) $(GENCODE) -MMD -MP -c $< -o $@ 2>$@.ptxas || { cat $@.ptxas >&2; rm -f $@; exit 1; }

$(BUILD)/libsluice-cuda.so: $(CUOBJ)
	$(SAY) "  LINK $@"
	$(Q)$(NVCC) -shared -cudart static -o $@ $^ -Xlinker --exclude-libs=ALL -ldl

$(BUILD)/simt/%.o: %.cu
	@mkdir -p $(@D)
	$(SAY) "  SIMT $<"
	$(Q)$(CXX) $(SIMTFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/simt/%.o: %.cc
	@mkdir -p $(@D)
	$(SAY) "  SIMT $<"
	$(Q)$(CXX) $(SIMTFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/simt/libsluice-cuda.so: $(SIMTOBJ)
	$(SAY) "  LINK $@"
	$(Q)$(CXX) $(SANFLAGS) -shared -o $@ $^ -ldl

# A test of tests/cuda twice: on fibers (test_simt_NAME) and for a device (test_cuda_NAME), which skips without one.
SIMTTESTS := $(patsubst tests/cuda/test_%.cu,$(BUILD)/tests/test_simt_%,$(CUTEST))
CUDATESTS := $(patsubst tests/cuda/test_%.cu,$(BUILD)/tests/test_cuda_%,$(CUTEST))
CUTESTLIB := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/cuda/*.c)))

# Of the C files these tests take those that a bare GPU host can compile (tools/gpu_check): no libraries but C's.
BARE     := $(patsubst %.c,$(BUILD)/%.o,$(shell cat tools/gpu_sources))
$(BUILD)/libbare.a: $(BARE)
	$(Q)rm -f $@ && ar rcs $@ $^

# Archives: a test takes the objects it calls.
$(BUILD)/simt/kernels.a: $(SIMTOBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/cuda/kernels.a: $(CUOBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/test_simt_%: $(BUILD)/simt/tests/cuda/test_%.o $(CUTESTLIB) $(BUILD)/simt/kernels.a $(BUILD)/libbare.a
	@mkdir -p $(@D)
	$(SAY) "  LINK $@"
	$(Q)$(CXX) $(SANFLAGS) -o $@ $^ -lm -lpthread -ldl

$(BUILD)/tests/test_cuda_%: $(BUILD)/cuda/tests/cuda/test_%.o $(CUTESTLIB) $(BUILD)/cuda/kernels.a $(BUILD)/libbare.a
	@mkdir -p $(@D)
	$(SAY) "  LINK $@"
	$(Q)$(NVCC) -cudart static -o $@ $^ -lm -lpthread -ldl

# The third time: kernels compiled so that tests/simt/race.cc looks at each of their loads and stores.
RACETESTS := $(SIMTTESTS:$(BUILD)/tests/test_simt_%=$(BUILD)/tests/test_race_%)
RACEOBJ   := $(CUSRC:%.cu=$(BUILD)/race/%.o)
RACEFLAGS := -fsanitize=thread --param tsan-instrument-func-entry-exit=0 -DSIMT_RACE

$(BUILD)/race/%.o: %.cu
	@mkdir -p $(@D)
	$(SAY) "  RACE $<"
	$(Q)$(CXX) $(SIMTFLAGS) $(CFLAGS) $(RACEFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/race/kernels.a: $(RACEOBJ) $(filter $(BUILD)/simt/tests/%,$(SIMTOBJ))
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/test_race_%: $(BUILD)/race/tests/cuda/test_%.o $(CUTESTLIB) $(BUILD)/race/kernels.a $(BUILD)/libbare.a
	@mkdir -p $(@D)
	$(SAY) "  LINK $@"
	$(Q)$(CXX) -o $@ $^ -lm -lpthread -ldl

# tools/cuda/bench_gpu.cu likewise: for a device, and on fibers to see that it works.
$(BUILD)/tools/bench_gpu: $(BUILD)/cuda/tools/cuda/bench_gpu.o $(BUILD)/cuda/kernels.a $(BUILD)/libbare.a
	@mkdir -p $(@D)
	$(SAY) "  LINK $@"
	$(Q)$(NVCC) -cudart static -o $@ $^ -lm -lpthread -ldl

$(BUILD)/simt/bench_gpu: $(BUILD)/simt/tools/cuda/bench_gpu.o $(BUILD)/simt/kernels.a $(BUILD)/libbare.a
	$(SAY) "  LINK $@"
	$(Q)$(CXX) $(SANFLAGS) -o $@ $^ -lm -lpthread -ldl

simt: $(BUILD)/simt/libsluice-cuda.so $(SIMTTESTS) $(BUILD)/simt/bench_gpu
race: $(RACETESTS)
cuda: $(BUILD)/libsluice-cuda.so $(CUDATESTS) $(BUILD)/tools/bench_gpu

# Kernels' tests in the build that sees the most: every load and store here, the sanitizers' in theirs. CC=clang
# compiles what is C; the device's sources are g++'s and nvcc's.
tests: $(TESTS) $(if $(GNU),$(if $(filter 1,$(SAN)),$(SIMTTESTS),$(RACETESTS) $(BUILD)/simt/bench_gpu) $(BUILD)/simt/libsluice-cuda.so) tools
tools: $(TOOLS)

run: all
	@$(MAKE) --no-print-directory tools
	@examples/arith/run.sh

# Eight objectives, five seeds, three epochs: under an hour on two cores.
table: all
	@$(MAKE) --no-print-directory tools
	@examples/arith/table.sh

test: setup
	@tools/test.sh

test-core: setup
	@$(MAKE) --no-print-directory $(BUILD)/sluice tests
	@BUILD=$(BUILD) tests/run.sh

# make chaos N=20 SEED=1: kills spread over examples/arith/short.yaml, then again with the judge behind HTTP.
N    ?= 20
SEED ?= 1
chaos: setup
	@$(MAKE) --no-print-directory $(BUILD)/sluice $(BUILD)/tools/judge_server
	@CHAOS_KILLS=$(N) CHAOS_SEED=$(SEED) CHAOS_HTTP_KILLS=$(N) BUILD=$(BUILD) tests/test_chaos.sh

# make chaos-judges ROLLOUTS=20000 KILLS=50: an HTTP judge killed again and again, its server misbehaving at 30 % of the calls.
ROLLOUTS ?= 20000
KILLS    ?= 50
chaos-judges: setup
	@$(MAKE) --no-print-directory $(BUILD)/sluice $(BUILD)/tools/judge_server
	@BUILD=$(BUILD) tests/chaos_judges.sh $(ROLLOUTS) $(KILLS) $(SEED)

bench: setup
	@$(MAKE) --no-print-directory $(BUILD)/sluice tools
	@tools/bench.sh

# make bench-torch PYTHON=... BENCH="--widths 128": training steps next to PyTorch's; needs torch and safetensors there.
PYTHON   ?= python3
BENCH    ?=
bench-torch: setup
	@if $(PYTHON) -c 'import torch, safetensors, numpy' 2>/dev/null; then \
	    $(MAKE) --no-print-directory $(BUILD)/tools/bench_step && \
	    $(PYTHON) tools/bench_torch.py --ours $(BUILD)/tools/bench_step $(BENCH); \
	else echo "bench-torch: skipped: $(PYTHON) lacks torch, safetensors or numpy; PYTHON=... names another"; fi

manual: setup
	@$(MAKE) --no-print-directory $(BUILD)/sluice
	@tools/manual.sh

check-layers:
	@tools/check_layers.sh

# make fuzz-verifier FUZZ=10000000 SEED=1: random answers against `verify: math`, under ASan and UBSan; half an hour.
FUZZ ?= 10000000
fuzz-verifier: setup
	@$(MAKE) --no-print-directory SAN=1 CFLAGS="-O1 -g" build/san/tests/test_answer_fuzz
	@ASAN_OPTIONS=quarantine_size_mb=16 ANSWER_FUZZ=$(FUZZ) ANSWER_FUZZ_SEED=$(SEED) build/san/tests/test_answer_fuzz

# make bench-gpu: kernels and the fused loss on a CUDA device (tools/gpu_check does it on a bare host).
bench-gpu:
	@tools/bench_gpu

# The device's library goes along where `make cuda` has built it; the program finds it in ../lib of its folder.
install: all
	install -D -m 755 $(BUILD)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install -D -m 644 kernels/objective_kind.h $(DESTDIR)$(PREFIX)/include/sluice/objective_kind.h
	install -D -m 644 kernels/sluice_cuda.h $(DESTDIR)$(PREFIX)/include/sluice/sluice_cuda.h
	[ ! -f $(BUILD)/libsluice-cuda.so ] || install -D -m 755 $(BUILD)/libsluice-cuda.so $(DESTDIR)$(PREFIX)/lib/libsluice-cuda.so

clean:
	rm -rf build

-include $(LIBOBJ:.o=.d) $(BUILD)/commands/main.d $(TESTS:=.d) $(TESTLIB:.o=.d) $(TOOLS:=.d) \
         $(SIMTOBJ:.o=.d) $(RACEOBJ:.o=.d) $(CUOBJ:.o=.d) $(patsubst %.cu,$(BUILD)/race/%.d,$(CUTEST)) $(patsubst %.cu,$(BUILD)/simt/%.d,$(CUTEST)) $(patsubst %.cu,$(BUILD)/cuda/%.d,$(CUTEST)) $(CUTESTLIB:.o=.d) \
         $(BUILD)/cuda/tools/cuda/bench_gpu.d $(BUILD)/simt/tools/cuda/bench_gpu.d
