/*
 * The end of the road.
 */
#include "panic.h"
#include "devicetree.h"
#include "executor.h"
#include "ipi.h"
#include "lock.h"
#include "machine.h"
#include "print.h"
#include "riscv/csr.h"
#include "riscv/kernel_frame.h"
#include "riscv/sbi.h"

/* Made from the linked kernel: functions by address. */
struct symbol {
    const char *address, *name;
};
extern const struct symbol symbol_table[], symbol_table_end[];

enum { CALL_SIZE = 4 }; /* bytes of an instruction that calls */

extern const char text_start[], text_end[]; /* kernel.ld */
extern uint8_t boot_stack[HART_STACK_SIZE]; /* boot.c */

static const char *const rank_names[] = {
    [LOCK_SPACE] = "space",         [LOCK_SPACE_SECOND] = "second space",
    [LOCK_EXECUTOR] = "executor",   [LOCK_CONSOLE] = "console",
    [LOCK_DEADLINES] = "deadlines", [LOCK_SCHEDULER] = "scheduler",
};

static const char *const cause_names[] = {
    [0] = "misaligned fetch", [1] = "fetch fault",       [2] = "illegal instruction",
    [3] = "breakpoint",       [4] = "misaligned load",   [5] = "load fault",
    [6] = "misaligned store", [7] = "store fault",       [12] = "fetch page fault",
    [13] = "load page fault", [15] = "store page fault",
};

/* The function with this address in it, 0 if there is none. */
static const struct symbol *find_symbol(const char *address) {
    const struct symbol *found = NULL;
    if (address < text_start || address >= text_end) return NULL;
    for (const struct symbol *s = symbol_table; s != symbol_table_end; s++) {
        if (s->address <= address) found = s;
    }
    return found;
}

const char *symbol(const void *return_address) {
    const struct symbol *found = find_symbol((const char *)return_address - CALL_SIZE);
    return found != NULL ? found->name : "?";
}

/* A line of a backtrace. A return address follows its call, which may be the
 * last instruction of a function: it is looked up by the call, `back` bytes
 * before. */
static void print_location(const char *address, int back) {
    const struct symbol *found = find_symbol(address - back);
    if (found != NULL)
        print("    %p %s+0x%lx\n", address, found->name, (uint64_t)(address - found->address));
    else
        print("    %p\n", address);
}

/* Is [frame - 16, frame) in memory that is a stack of this hart? */
static bool on_a_stack(uint64_t frame) {
    return frame % 8 == 0 && ((frame >= HART_STACK + 16 && frame <= HART_STACK_TOP) ||
                              (frame >= HART_PAGE + 16 && frame <= EMERGENCY_STACK_TOP) ||
                              (frame >= (uint64_t)boot_stack + 16 &&
                               frame <= (uint64_t)boot_stack + HART_STACK_SIZE));
}

/* From frame pointer to frame pointer: below each stand the return address and
 * the caller's frame pointer. */
static void print_callers(uint64_t frame) {
    enum { DEPTH_MAX = 32 };
    for (int depth = 0; depth < DEPTH_MAX && on_a_stack(frame); depth++) {
        const uint64_t *words = (const uint64_t *)frame;
        if (words[-1] == 0) break;
        print_location((const char *)words[-1], CALL_SIZE);
        if (words[-2] <= frame) break;
        frame = words[-2];
    }
}

static void print_registers(const uint64_t *x) {
    static const char names[31][4] = {
        "ra", "sp", "gp", "tp",  "t0",  "t1", "t2", "s0", "s1", "a0", "a1",
        "a2", "a3", "a4", "a5",  "a6",  "a7", "s2", "s3", "s4", "s5", "s6",
        "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
    };
    for (int i = 0; i < 31; i++)
        print("%3s %016lx%s", names[i], x[i], i % 4 == 3 || i == 30 ? "\n" : "  ");
}

static void print_hart(void) {
    struct hart *hart = this_hart();
    print("hart:     %lu (firmware's number %lu)\n", hart->index, hart->id);
    struct executor *e = hart->executor;
    if (e != NULL)
        print("executor: %p, user pc 0x%lx, state 0x%lx\n", e, e->pc, e->state);
    else
        print("executor: none\n");
    print("locks:    ");
    for (unsigned rank = 0; rank < sizeof(rank_names) / sizeof(rank_names[0]); rank++) {
        if (hart->ranks_held >> rank & 1) print("%s ", rank_names[rank]);
    }
    print("%s\n", hart->ranks_held == 0 ? "none held" : "held");
}

/* With commands to run nobody watches: fail. Else wait for a debugger. */
__attribute__((noreturn)) static void end(void) {
    enum { POWER_FAIL = 1 << 16 | 0x3333 }; /* sifive_test: exit code 1 */
    print("----------------------\n");
    if (machine_description.command[0] != 0 && machine_description.power != 0)
        *(volatile uint32_t *)machine_description.power = POWER_FAIL;
    panic_halt();
}

/* Stop the other harts; the first to panic goes on and prints. Its next panic, by
 * what it wanted to print, ends the block; one more is too many. */
static void begin(void) {
    if (this_hart()->panics++ == 1) end();
    if (__atomic_exchange_n(&global()->panicking, 1, __ATOMIC_ACQ_REL) != 0) panic_halt();
    for (uint64_t i = 0; i < hart_count; i++) {
        if (harts[i] != NULL && harts[i] != this_hart()->self) ipi_send(harts[i]);
    }
    print("\n---- kernel panic ----\n");
}

void panic_halt(void) {
    csr_clear(sie, ~0ul);
    for (;;) machine_wait();
}

void panic(const char *format, ...) {
    begin();
    va_list arguments;
    va_start(arguments, format);
    vprint(format, arguments);
    va_end(arguments);
    print("\n");
    print_hart();
    print("backtrace:\n");
    print_callers((uint64_t)__builtin_frame_address(0));
    end();
}

void panic_assert(const char *condition, const char *file, unsigned line) {
    panic("%s:%u: assertion failed: %s", file, line, condition);
}

void panic_trap(struct kernel_frame *frame) {
    begin();
    uint64_t cause = frame->cause, address = frame->address;
    bool named = cause < sizeof(cause_names) / sizeof(cause_names[0]) && cause_names[cause];
    if (address >= HART_STACK - PAGE_SIZE && address < HART_STACK)
        print("kernel stack overflow\n");
    else if (address < PAGE_SIZE && cause >= 12)
        print("null dereference\n");
    print("trap in the kernel: %s (cause 0x%lx) at pc 0x%lx, address 0x%lx\n",
          named ? cause_names[cause] : "?", cause, frame->pc, address);
    print_hart();
    print_registers(frame->x);
    print("backtrace:\n");
    print_location((const char *)frame->pc, 0);
    print_callers(frame->x[REG_FP]);
    end();
}

void stop(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print("stag: ");
    vprint(format, arguments);
    va_end(arguments);
    print("\n");
    sbi_shutdown();
    panic_halt();
}
