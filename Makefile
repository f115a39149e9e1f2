# Stag: build, run, debug and check. `make help` lists what can be done.
# All output is under build/.
ifneq ($(filter 3.% 4.0 4.0.% 4.1 4.1.%,$(MAKE_VERSION)),)
  $(error GNU make 4.2 or newer is needed, not $(MAKE_VERSION). On macOS: brew install make, then type gmake)
endif
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := kernel
.DELETE_ON_ERROR:
.SECONDARY:

# Settings, given as `make qemu HARTS=2`. CROSS, GDB, QEMU and PYTHON are found.
HARTS := 4
MEM   := 128M
MMU   := sv39
RUN   :=
TEST  :=
SETTINGS := HARTS MEM MMU RUN TEST LAB SUBMISSIONS OUT BREAK ALL CHALLENGE TIMES BUSY PRIOR DEPTH CASE STEP V CROSS GDB QEMU PYTHON
PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache
export RUN CROSS QEMU GDB STEP PYTHONPYCACHEPREFIX

# A mistake gets one line.
GOALS := $(or $(MAKECMDGOALS),kernel)
NONE := $(filter-out build/% $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile),$(GOALS))
$(if $(NONE),$(error There is no target '$(firstword $(NONE))': `make help` lists them))
NONE := $(filter-out $(SETTINGS),$(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $v)),$v)))
$(if $(NONE),$(error There is no setting '$(firstword $(NONE))': there are $(SETTINGS)))
quote = '$(subst ','\'',$1)'
check = $(if $(shell printf %s $(call quote,$($1)) | grep -Ex '$2'),,$(error $1=$($1): give $3))
$(call check,HARTS,[1-9]|1[0-6],a number of harts from 1 to 16)
$(call check,MEM,(3[2-9]|[4-9][0-9]|[1-9][0-9]{2,4})M|([1-9]|[1-9][0-9]|1[01][0-9]|12[0-8])G,a size from 32M to 128G)
$(call check,MMU,sv39|sv48,sv39 or sv48)
$(if $(LAB),$(call check,LAB,[1-6],a number from 1 to 6))
$(if $(PRIOR),$(call check,PRIOR,reference|mine,reference or mine))
$(if $(BREAK),$(call check,BREAK,1,1))
$(if $(ALL),$(call check,ALL,1,1))
$(if $(CHALLENGE),$(call check,CHALLENGE,1,1))
$(if $(TIMES),$(call check,TIMES,[1-9][0-9]*,how many times))
$(if $(BUSY),$(call check,BUSY,[0-9][0-9]?,a number of busy loops up to 99))
$(if $(DEPTH),$(call check,DEPTH,[1-9][0-9]?,a number from 1 to 99))
$(if $(TEST),$(call check,TEST,[][A-Za-z0-9_.:][][A-Za-z0-9_.:-]*,a word of a test's name))
$(if $(filter and or not,$(TEST)),$(error TEST=$(TEST): give another word))

# What the goals need is found, and installed or named if it is missing (with -n named).
ifneq ($(filter-out help doctor clean lint format,$(GOALS)),)
  NEEDS := $(or $(if $(filter handouts branches starter test%,$(GOALS)),handouts),$(if $(filter bench grade% replay submit,$(GOALS)),test),$(if $(filter qemu%,$(GOALS)),qemu),$(filter gdb,$(GOALS)),build)
  TOOLS := $(shell $(if $(findstring n,$(filter-out -%,$(firstword $(MAKEFLAGS)))),STAG_INSTALL=no) CROSS=$(call quote,$(CROSS)) GDB=$(call quote,$(GDB)) QEMU=$(call quote,$(QEMU)) PYTHON=$(call quote,$(PYTHON)) tools/setup $(NEEDS))
  $(if $(filter CROSS=%,$(TOOLS)),$(foreach t,$(TOOLS),$(eval override $t)),$(error $(TOOLS)))
endif

CC := $(CROSS)gcc
# Most loops go round once here: what is kept for one is saved on each way through.
CFLAGS := -march=rv64ia_zicsr_zifencei -mabi=lp64 -mcmodel=medany -ffreestanding -std=gnu2x -O2 -g \
	-fno-omit-frame-pointer -fno-move-loop-invariants -fno-pic -fno-pie -fno-stack-protector -fno-jump-tables \
	-fno-asynchronous-unwind-tables -Wall -Wextra -Werror
LDFLAGS := -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096
build/kernel/%: INCLUDES := -Iinclude -Ikernel -Ikernel/riscv -Ibuild/kernel
build/user/%: INCLUDES := -Iinclude -Iuser/lib
# What was read stands in $@.d, and what the assembler has read in $@.read.
COMPILE = $(CC) $(CFLAGS) $(INCLUDES) -MD -MP -MT $@ -MF $@.d -Wa,--MD,$@.read

objects = $(patsubst %,build/%.o,$(basename $1))
KERNEL_SOURCES := $(filter-out kernel/riscv/asm_offsets.c,$(wildcard kernel/*.[cS] kernel/riscv/*.[cS]))
LIB_SOURCES := $(wildcard user/lib/*.[cS])
SHELL_SOURCES := $(wildcard user/shell/*.[cS])
PROGRAMS := $(patsubst user/programs/%.c,%,$(wildcard user/programs/*.c))

# $(call do,VERB): shows "VERB target", or with V=1 the command that follows.
do = $(if $(V),,@)mkdir -p $(@D)$(if $(V),, && printf '  %-6s %s\n' $1 $@) &&

kernel: build/kernel.elf ## build the kernel, with the shell and all programs in it (the default)
user: $(PROGRAMS:%=build/user/%.elf) build/user/shell.elf ## build the user programs alone

build/%.o: %.c build/flags ; $(call do,CC) $(COMPILE) -c $< -o $@
build/%.o: %.S build/flags ; $(call do,AS) $(COMPILE) -c $< -o $@
%.o: %.S ; $(call do,AS) $(COMPILE) -c $< -o $@
build/%.ld: %.ld build/flags ; $(call do,CPP) $(COMPILE) -E -P -x assembler-with-cpp $< -o $@

# The kernel is linked twice: the second time with a table of its functions'
# names, for backtraces, which must not have moved them.
KERNEL_OBJECTS := $(call objects,$(KERNEL_SOURCES))
$(KERNEL_OBJECTS): | build/kernel/asm_offsets.h
build/kernel/first_program_image.o: build/user/shell.stripped
build/kernel/asm_offsets.h: kernel/riscv/asm_offsets.c build/flags
	$(call do,GEN) $(COMPILE) -S $< -o $(@:.h=.s) && sed -n 's/.*"->\(.*\)".*/#define \1/p' $(@:.h=.s) >$@
build/kernel/no_symbols.S: tools/symbols.awk ; $(call do,GEN) awk -f $< /dev/null >$@
build/kernel/symbols.S: build/kernel/unnamed.elf tools/symbols.awk
	$(call do,GEN) $(CROSS)nm -n $< >$(@:.S=.nm) && awk -f tools/symbols.awk $(@:.S=.nm) >$@
build/kernel/unnamed.elf: build/kernel/no_symbols.o
build/kernel.elf: build/kernel/symbols.o
build/kernel/unnamed.elf build/kernel.elf: $(KERNEL_OBJECTS) build/kernel/riscv/kernel.ld build/sources
	$(call do,LD) $(CC) $(CFLAGS) $(LDFLAGS) $(filter %.o,$^) -T $(filter %.ld,$^) -o $@
	@test $@ != build/kernel.elf || $(CROSS)nm -n $@ | awk -f tools/symbols.awk | \
		cmp - build/kernel/symbols.S # else the names of a backtrace would be wrong

# User programs, each with the library; the shell carries all the others.
build/user/lib.a: $(call objects,$(LIB_SOURCES)) build/sources
	$(call do,AR) rm -f $@ && $(CROSS)ar rcs $@ $(filter %.o,$^)
$(PROGRAMS:%=build/user/%.elf): build/user/%.elf: build/user/programs/%.o
build/user/shell.elf: $(call objects,$(SHELL_SOURCES)) build/user/archive.o
build/user/%.elf: build/user/lib.a build/user/user.ld build/sources
	$(call do,LD) $(CC) $(CFLAGS) $(LDFLAGS) $(filter %.o,$^) $< -T build/user/user.ld -o $@
build/user/%.stripped: build/user/%.elf ; $(call do,STRIP) $(CROSS)objcopy --strip-all $< $@
build/user/archive.S: tools/archive build/sources ; $(call do,GEN) $< $(PROGRAMS) >$@
build/user/archive.o: $(PROGRAMS:%=build/user/%.stripped)

# Files that change when what they hold changes: other flags or a new compiler
# rebuild everything, a source that comes or goes links anew.
build/flags: IS = $(CC) $(CFLAGS) $(LDFLAGS) $(shell $(CC) --version | head -n 1)
build/sources: IS = $(KERNEL_SOURCES) $(LIB_SOURCES) $(SHELL_SOURCES) $(PROGRAMS)
build/flags build/sources: FORCE
	@mkdir -p build && echo '$(IS)' | cmp -s - $@ || echo '$(IS)' >$@

MACHINE = $(QEMU) -machine virt -smp $(HARTS) -m $(MEM) -nographic -no-reboot \
	-kernel build/kernel.elf -append "mmu=$(MMU)$${RUN:+ run=$$RUN}"
qemu: build/kernel.elf ## run it: HARTS=4 MEM=128M MMU=sv39 RUN="ps; mem"
	@$(if $(RUN),,echo "To leave, type poweroff, or ctrl-A and then x.";) \
		[ $${#RUN} -le 1000 ] || { echo "RUN is longer than 1000 characters: run fewer commands at a time"; exit 1; }; \
		$(MACHINE)

qemu-gdb: build/kernel.elf ## run it, waiting for a debugger
	@! kill -0 "$$(cat build/gdb.pid 2>/dev/null)" 2>/dev/null || \
		{ echo "A machine waits here already: end it, or type make gdb in another terminal"; exit 1; }
	@rm -f build/gdb.sock
	@echo "In another terminal, in this folder, type: make gdb. To leave, here: ctrl-A and then x."
	@$(MACHINE) -S -gdb unix:build/gdb.sock,server=on,wait=off -pidfile build/gdb.pid

gdb: ## attach a debugger to what make qemu-gdb runs
	@kill -0 "$$(cat build/gdb.pid 2>/dev/null)" 2>/dev/null || { echo "No machine waits here: first type make qemu-gdb in another terminal"; exit 1; }
	@printf '%s\n' 'set osabi none' 'set architecture riscv:rv64' 'file build/kernel.elf' \
		'source tools/stag.gdb' 'target remote build/gdb.sock' >build/gdbinit
	@$(GDB) -q -x build/gdbinit

PYTEST = unset MAKEFLAGS MAKELEVEL MFLAGS RUN; $(PYTHON) -m pytest -n 2 $(if $(TEST),-k '$(TEST)') tests
test: kernel user ## run the tests that are quick (TEST=word: those with that word in their name)
	@$(PYTEST) -m 'not slow'
test-slow: kernel user ## run all tests
	@$(PYTEST)
bench: kernel user ## count the instructions of each operation
	@$(PYTHON) grading/bench.py

grade: ## grade a lab: LAB=2 (TEST=word DEPTH=3 CHALLENGE=1 PRIOR=mine: your files of earlier labs)
	@$(PYTHON) grading/grade.py $(if $(LAB),--lab $(LAB)) $(if $(TEST),--test '$(TEST)') \
		$(if $(CHALLENGE),--challenge) $(if $(PRIOR),--prior $(PRIOR)) $(if $(DEPTH),--depth $(DEPTH)) $(if $(V),--verbose)
grade-class: ## grade what a class has handed in: LAB=2 SUBMISSIONS=dir (OUT=dir PRIOR=mine)
	@$(PYTHON) grading/grade_class.py $(if $(LAB),--lab $(LAB)) $(if $(PRIOR),--prior $(PRIOR)) \
		$(if $(SUBMISSIONS),--submissions $(call quote,$(SUBMISSIONS))) $(if $(OUT),--out $(call quote,$(OUT)))
replay: ## stop in the debugger in a schedule that failed: CASE=file STEP=12
	@$(PYTHON) grading/replay.py $(call quote,$(CASE))
grade-solutions: ## test the graders with right and wrong solutions (LAB=2 TEST=word ALL=1 TIMES=10)
	@$(PYTHON) grading/solutions.py $(if $(LAB),--lab $(LAB)) $(if $(TEST),--test '$(TEST)') \
		$(if $(ALL),--all) $(if $(TIMES),--times $(TIMES))
grade-steady: ## see that the verdict is the same every time: TIMES=100 BUSY=8 (LAB=2)
	@$(PYTHON) grading/steady.py --times $(or $(TIMES),10) --busy $(or $(BUSY),0) $(if $(LAB),--lab $(LAB))

starter: kernel ## derive what a lab's students begin with: LAB=2 OUT=../lab2
	@$(PYTHON) tools/starter $(LAB) $(if $(OUT),$(call quote,$(OUT))) --kernel build/kernel.elf
branches: kernel ## cut the course's repositories, or bring them up to date: OUT=dir (build/course) BREAK=1
	@$(PYTHON) tools/branches $(if $(OUT),$(call quote,$(OUT))) $(if $(BREAK),--break) --kernel build/kernel.elf
submit: ## pack what students of a lab have written, to hand it in: LAB=2
	@$(PYTHON) grading/submit.py $(if $(LAB),--lab $(LAB))

handouts: kernel ## make the handouts, a web site and a PDF: build/handouts
	@$(PYTHON) tools/handouts

lint: ## check the form of the sources
	@tools/lint check
format: ## put the sources into that form
	@tools/lint fix
doctor: ## check the tools and their versions, and say what to type
	@tools/doctor $(MAKE_VERSION)
clean: ## remove build/
	@rm -rf build
# Not while another goal is built, as in `make -j8 clean qemu`.
ifneq ($(filter clean,$(GOALS)),)
.NOTPARALLEL:
endif
help: ## show this list
	@echo "make TARGET [SETTING=value]. V=1 shows the commands. The targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1 \2/p' Makefile | awk '{ name = $$1; $$1 = ""; printf "  %-16s%s\n", name, $$0 }'

.PHONY: FORCE kernel user qemu qemu-gdb gdb test test-slow bench grade grade-class replay grade-solutions grade-steady starter branches submit handouts lint format doctor clean help
-include $(shell find build -name '*.d' 2>/dev/null)
