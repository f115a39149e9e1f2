/*
 * User programs.
 *
 * All spaces are laid out alike: memory in a few places, among them the ends
 * of tables and of the user half, and handles in a row of slots; so calls with
 * arguments chosen at random often mean something. Programs create spaces and
 * executors, share what they have, start, stop and kill one another, and park
 * with and without deadlines.
 *
 * An executor keeps a few things in registers that the kernel must not touch:
 * who it is, how many steps it has made (twice), and what its last park was
 * told. So it finds out when it is run with the registers of another or of an
 * earlier time, and when a call's result can't be true.
 */
#include "program.h"
#include "machine.h"
#include "riscv/csr.h"
#include "space.h"
#include "world.h"

/* Registers of a program's own. All but the last stay in place when the kernel
 * resumes whom it never let go of. */
enum {
    REG_WHO = 17,
    REG_STEPS = 18,
    REG_MASK = 19,
    REG_DEADLINE = 20,
    REG_START = 21, /* a handle it has just made, to be started; 0: none */
    REG_FILL = 22,  /* a space it has just made, to be filled */
    REG_CLEAR = 23, /* a place that was taken, or a handle to what has ended */
    REG_NEW = 24,   /* 1: it has just been started */
    REG_STEPS_TOO = 27
};

enum { EXECUTOR_SLOTS = 12, SPACE_SLOTS = 6 };

enum {
    DO_ACCESS = CALL_COUNT, /* below: a call of that number */
    DO_SPECULATE,
    DO_FAULT,
    DO_SPURIOUS,
    DO_KEY,
    DO_THINK,
    DO_GARBAGE,
    DEEDS
};

uint64_t program_profile;

const char *const call_names[CALL_COUNT] = {
    [CALL_YIELD] = "yield",
    [CALL_TERMINATE] = "terminate",
    [CALL_MAP] = "map",
    [CALL_UNMAP] = "unmap",
    [CALL_SHARE] = "share",
    [CALL_CREATE_SPACE] = "create_space",
    [CALL_CREATE_EXECUTOR] = "create_executor",
    [CALL_START] = "start",
    [CALL_RESUME] = "resume",
    [CALL_STOP] = "stop",
    [CALL_DESTROY] = "destroy",
    [CALL_SUPERVISE] = "supervise",
    [CALL_INSPECT] = "inspect",
    [CALL_PARK] = "park",
    [CALL_PARK_IF] = "park_if",
    [CALL_PARK_AND_SWAP] = "park_and_swap",
    [CALL_UNPARK] = "unpark",
    [CALL_CONSOLE_WRITE] = "console_write",
    [CALL_CONSOLE_READ] = "console_read",
};

/* How often each deed is done: a bit of everything; much sleep and few
 * programs; memory, by many executors in few spaces; birth and death. */
static const uint16_t weights[PROFILES][DEEDS] = {
    {[DO_THINK] = 30,          [DO_ACCESS] = 60,
     [DO_SPECULATE] = 10,      [DO_FAULT] = 1,
     [DO_SPURIOUS] = 2,        [DO_KEY] = 2,
     [DO_GARBAGE] = 2,         [CALL_YIELD] = 10,
     [CALL_TERMINATE] = 1,     [CALL_MAP] = 8,
     [CALL_UNMAP] = 8,         [CALL_SHARE] = 8,
     [CALL_CREATE_SPACE] = 4,  [CALL_CREATE_EXECUTOR] = 8,
     [CALL_START] = 12,        [CALL_RESUME] = 6,
     [CALL_STOP] = 4,          [CALL_DESTROY] = 1,
     [CALL_SUPERVISE] = 4,     [CALL_INSPECT] = 4,
     [CALL_PARK] = 10,         [CALL_PARK_IF] = 6,
     [CALL_PARK_AND_SWAP] = 4, [CALL_UNPARK] = 15,
     [CALL_CONSOLE_WRITE] = 1, [CALL_CONSOLE_READ] = 2},
    {[DO_THINK] = 400,          [DO_ACCESS] = 8,
     [DO_SPECULATE] = 2,        [DO_FAULT] = 1,
     [DO_SPURIOUS] = 1,         [DO_KEY] = 3,
     [DO_GARBAGE] = 1,          [CALL_YIELD] = 8,
     [CALL_TERMINATE] = 1,      [CALL_MAP] = 2,
     [CALL_UNMAP] = 2,          [CALL_SHARE] = 3,
     [CALL_CREATE_SPACE] = 1,   [CALL_CREATE_EXECUTOR] = 4,
     [CALL_START] = 8,          [CALL_RESUME] = 10,
     [CALL_STOP] = 4,           [CALL_DESTROY] = 1,
     [CALL_SUPERVISE] = 4,      [CALL_INSPECT] = 2,
     [CALL_PARK] = 40,          [CALL_PARK_IF] = 20,
     [CALL_PARK_AND_SWAP] = 12, [CALL_UNPARK] = 50,
     [CALL_CONSOLE_WRITE] = 1,  [CALL_CONSOLE_READ] = 3},
    {[DO_THINK] = 30,          [DO_ACCESS] = 300,
     [DO_SPECULATE] = 60,      [DO_FAULT] = 1,
     [DO_SPURIOUS] = 5,        [DO_KEY] = 1,
     [DO_GARBAGE] = 2,         [CALL_YIELD] = 5,
     [CALL_TERMINATE] = 1,     [CALL_MAP] = 25,
     [CALL_UNMAP] = 20,        [CALL_SHARE] = 12,
     [CALL_CREATE_SPACE] = 1,  [CALL_CREATE_EXECUTOR] = 5,
     [CALL_START] = 10,        [CALL_RESUME] = 6,
     [CALL_STOP] = 2,          [CALL_DESTROY] = 1,
     [CALL_SUPERVISE] = 2,     [CALL_INSPECT] = 2,
     [CALL_PARK] = 2,          [CALL_PARK_IF] = 3,
     [CALL_PARK_AND_SWAP] = 2, [CALL_UNPARK] = 6,
     [CALL_CONSOLE_WRITE] = 1, [CALL_CONSOLE_READ] = 1},
    {[DO_THINK] = 10,          [DO_ACCESS] = 20,
     [DO_SPECULATE] = 5,       [DO_FAULT] = 2,
     [DO_SPURIOUS] = 1,        [DO_KEY] = 1,
     [DO_GARBAGE] = 2,         [CALL_YIELD] = 5,
     [CALL_TERMINATE] = 6,     [CALL_MAP] = 6,
     [CALL_UNMAP] = 8,         [CALL_SHARE] = 10,
     [CALL_CREATE_SPACE] = 10, [CALL_CREATE_EXECUTOR] = 14,
     [CALL_START] = 20,        [CALL_RESUME] = 8,
     [CALL_STOP] = 6,          [CALL_DESTROY] = 4,
     [CALL_SUPERVISE] = 6,     [CALL_INSPECT] = 4,
     [CALL_PARK] = 6,          [CALL_PARK_IF] = 3,
     [CALL_PARK_AND_SWAP] = 3, [CALL_UNPARK] = 10,
     [CALL_CONSOLE_WRITE] = 1, [CALL_CONSOLE_READ] = 1},
};

static uint64_t choose(void) {
    static uint64_t totals[PROFILES];
    const uint16_t *weight = weights[program_profile];
    uint64_t total = __atomic_load_n(&totals[program_profile], __ATOMIC_RELAXED);
    if (total == 0) {
        for (uint64_t i = 0; i < DEEDS; i++) total += weight[i];
        __atomic_store_n(&totals[program_profile], total, __ATOMIC_RELAXED);
    }
    uint64_t at = random_below(total), deed = 0;
    while (at >= weight[deed]) at -= weight[deed++];
    return deed;
}

/* Arguments. */

/* Half of the time in a few pages that first programs start with. */
static uint64_t memory_va(void) {
    const uint64_t bases[] = {USER_HEAP, (1ul << 30) - 4 * PAGE_SIZE, USER_IMAGE,
                              user_end() - 8 * PAGE_SIZE};
    uint64_t choice = random_below(8);
    return choice < 4 ? USER_HEAP + choice * PAGE_SIZE
                      : bases[choice - 4] + random_below(8) * PAGE_SIZE;
}

static uint64_t executor_va(void) {
    return USER_HANDLES + random_below(EXECUTOR_SLOTS) * PAGE_SIZE;
}

static uint64_t space_va(void) {
    return USER_HANDLES + level_size(1) + random_below(SPACE_SLOTS) * PAGE_SIZE;
}

static uint64_t handle_va(void) {
    return random_below(3) != 0 ? executor_va() : space_va();
}

/* Mostly of the right type. */
static uint64_t executor_or_not(void) {
    return random_below(32) != 0 ? executor_va() : space_va();
}

static uint64_t any_va(uint64_t one_handle_in) {
    return random_below(one_handle_in) != 0 ? memory_va() : handle_va();
}

static uint64_t space_or_own(void) {
    return random_below(4) == 0 ? space_va() : 0;
}

static uint64_t page_count(void) {
    uint64_t choice = random_below(64);
    return choice == 0 ? 1 + random_below(1100) : choice < 8 ? 16 : 1 + random_below(3);
}

static uint64_t rights(void) {
    const uint64_t all[] = {1, 3, 3, 3, 5, 1, 3, 7};
    return all[random_below(8)];
}

/* Soon, already past, or never. */
static uint64_t deadline(void) {
    uint64_t choice = random_below(24);
    return choice == 0 ? DEADLINE_NONE : choice < 4 ? 0 : machine_time() + random_below(4000);
}

static uint64_t random_word(void) {
    return random_below(1ul << 32) << 32 | random_below(1ul << 32);
}

static void set_arguments(uint64_t *x, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3) {
    x[REG_A0] = a0;
    x[REG_A1] = a1;
    x[REG_A2] = a2;
    x[REG_A3] = a3;
}

static void set_park(uint64_t *x, uint64_t mask, uint64_t at, uint64_t deadline) {
    x[REG_MASK] = mask;
    x[REG_DEADLINE] = deadline;
    x[at] = deadline;
}

static void choose_arguments(uint64_t *x, uint64_t number) {
    uint64_t word = memory_va() + random_below(4) * 4;
    switch (number) {
    case CALL_MAP:
        set_arguments(x, space_or_own(), any_va(32), page_count(), rights());
        x[REG_A4] = random_below(3) == 0;
        break;
    case CALL_UNMAP:
        set_arguments(x, space_or_own(), any_va(3), page_count(), 0);
        if (random_below(150) == 0) set_arguments(x, x[REG_A0], 0, user_end() >> PAGE_SHIFT, 0);
        break;
    case CALL_SHARE:
        set_arguments(x, space_or_own(), any_va(2), space_or_own(), 0);
        x[REG_A3] = x[REG_A1] < USER_HANDLES || x[REG_A1] > USER_HANDLES + level_size(2)
                        ? memory_va()
                    : random_below(2) ? x[REG_A1]
                                      : handle_va();
        x[REG_A4] = 1 + random_below(3) / 2;
        x[REG_A5] = rights();
        break;
    case CALL_CREATE_SPACE:
        set_arguments(x, space_va(), 0, 0, 0);
        x[REG_FILL] = x[REG_A0];
        break;
    case CALL_CREATE_EXECUTOR: set_arguments(x, space_or_own(), executor_va(), 0, 0); break;
    case CALL_START:
        set_arguments(x, executor_or_not(), PC_START, USER_STACK_HIGH, random_word());
        break;
    case CALL_DESTROY: set_arguments(x, random_below(16) == 0 ? 0 : space_va(), 0, 0, 0); break;
    case CALL_PARK:
        set_arguments(x, 1 + random_below(31), 0, 0, 0);
        set_park(x, x[REG_A0], REG_A1, deadline());
        break;
    case CALL_PARK_IF:
    case CALL_PARK_AND_SWAP:
        set_arguments(x, word, random_below(2), 0, 0);
        set_park(x, EVENT_WAKE, REG_A2, deadline());
        break;
    case CALL_UNPARK: set_arguments(x, executor_or_not(), 1 + random_below(31), 0, 0); break;
    case CALL_CONSOLE_WRITE:
    case CALL_CONSOLE_READ:
        set_arguments(x, memory_va() + random_below(PAGE_SIZE), random_below(300), 0, 0);
        break;
    case CALL_INSPECT: set_arguments(x, executor_or_not(), memory_va(), 0, 0); break;
    default: set_arguments(x, executor_or_not(), executor_or_not(), 0, 0);
    }
}

/* What the last call's result gives it to do. */
static void plan(uint64_t *x) {
    uint64_t number = x[REG_A7];
    int64_t result = (int64_t)x[REG_A0];
    if (number == CALL_CREATE_EXECUTOR && result == 0)
        x[REG_START] = x[REG_A1];
    else if (number == CALL_CREATE_EXECUTOR && result == -EEXIST)
        x[REG_CLEAR] = x[REG_A1];
}

/* What it has planned, as a call: returns its number, 0 if there is no plan. */
static uint64_t planned(uint64_t *x) {
    if (x[REG_NEW] != 0) {
        x[REG_NEW] = 0;
        set_arguments(x, 0, USER_HEAP, 4, PROT_READ | PROT_WRITE);
        x[REG_A4] = 0;
        return CALL_MAP;
    }
    if (x[REG_START] != 0) {
        set_arguments(x, x[REG_START], PC_START, USER_STACK_HIGH, 0);
        x[REG_START] = 0;
        return CALL_START;
    }
    if (x[REG_CLEAR] != 0) {
        set_arguments(x, 0, x[REG_CLEAR], 1, 0);
        x[REG_CLEAR] = 0;
        return CALL_UNMAP;
    }
    if (x[REG_FILL] == 0) return 0;
    switch (random_below(8)) {
    case 0:
        set_arguments(x, x[REG_FILL], executor_va(), 0, 0);
        x[REG_FILL] = 0;
        return CALL_CREATE_EXECUTOR;
    case 1:
    case 2:
    case 3:
    case 4:
        set_arguments(x, 0, handle_va(), x[REG_FILL], 0);
        x[REG_A3] = x[REG_A1];
        break;
    default: set_arguments(x, 0, memory_va(), x[REG_FILL], memory_va());
    }
    x[REG_A4] = 1;
    x[REG_A5] = rights();
    return CALL_SHARE;
}

/* Results. */

static bool is_error(int64_t result) {
    switch (-result) {
    case EPERM:
    case ESRCH:
    case EBADF:
    case EAGAIN:
    case ENOMEM:
    case EACCES:
    case EFAULT:
    case EBUSY:
    case EEXIST:
    case EINVAL:
    case ENOSYS:
    case ETIMEDOUT: return true;
    }
    return false;
}

static bool may_return_positive(uint64_t number) {
    return number == CALL_PARK || number == CALL_PARK_IF || number == CALL_PARK_AND_SWAP ||
           number == CALL_CONSOLE_READ || number == CALL_CONSOLE_WRITE;
}

static void check_result(struct cpu *cpu) {
    uint64_t *x = cpu->x;
    uint64_t number = x[REG_A7];
    int64_t result = (int64_t)x[REG_A0];
    CHECK(result >= 0 || is_error(result), "call %lu returned %ld", number, result);
    if (number == 0 || number >= CALL_COUNT) {
        CHECK(result == -ENOSYS, "call %lu returned %ld", number, result);
        return;
    }
    CHECK(result <= 0 || may_return_positive(number), "%s returned %ld", call_names[number],
          result);
    (result < 0 ? cpu->failed : cpu->succeeded)[number]++;
    if (number < CALL_PARK || number > CALL_PARK_AND_SWAP || x[REG_MASK] == 0) return;
    if (result == -ETIMEDOUT)
        CHECK(x[REG_DEADLINE] <= machine_time(), "%s timed out before its deadline",
              call_names[number]);
    else
        CHECK(result < 0 || (result != 0 && !((uint64_t)result & ~x[REG_MASK])),
              "%s for events 0x%lx returned %ld", call_names[number], x[REG_MASK], result);
}

/* Deeds. */

static void access_memory(struct cpu *cpu, struct executor *self) {
    for (uint64_t n = 1 + random_below(4); n > 0; n--) {
        bool store = random_below(2);
        uint64_t *word = tlb_translate(cpu, self, memory_va() + random_below(8) * 8,
                                       store                  ? PTE_W
                                       : random_below(4) == 0 ? PTE_X
                                                              : PTE_R);
        if (word == NULL) continue; /* it knew, and did not */
        if (store)
            __atomic_store_n(word, random_below(2), __ATOMIC_RELAXED);
        else
            (void)__atomic_load_n(word, __ATOMIC_RELAXED);
    }
}

static uint64_t fault_at(struct cpu *cpu, uint64_t va) {
    const uint64_t causes[] = {CAUSE_LOAD_PAGE_FAULT, CAUSE_STORE_PAGE_FAULT,
                               CAUSE_FETCH_PAGE_FAULT, CAUSE_ILLEGAL};
    cpu->stval = va;
    cpu->counts[COUNT_FAULTS]++;
    return causes[random_below(4)];
}

/* A call is an instruction: it is fetched from a page that is mapped. The info
 * page, which spaces begin with, stands for that. */
static uint64_t call(struct cpu *cpu, struct executor *self, uint64_t number) {
    if (number != CALL_TERMINATE && tlb_translate(cpu, self, USER_INFO_PAGE, PTE_R) == NULL) {
        cpu->stval = USER_INFO_PAGE;
        return CAUSE_FETCH_PAGE_FAULT;
    }
    cpu->x[REG_A7] = number;
    self->pc = PC_CALL;
    return CAUSE_ECALL_USER;
}

/* Who am I, where was I? */
static void come_back(struct cpu *cpu, struct executor *self) {
    uint64_t *x = cpu->x;
    uint64_t who = (uint64_t)self ^ 0x5741470000000000;
    if (self->pc == PC_START) {
        x[REG_WHO] = who;
        x[REG_STEPS] = x[REG_STEPS_TOO] = x[REG_MASK] = 0;
        x[REG_START] = x[REG_FILL] = x[REG_CLEAR] = 0;
        x[REG_NEW] = 1;
    }
    CHECK(x[REG_WHO] == who && x[REG_STEPS] == x[REG_STEPS_TOO],
          "an executor has lost its registers (pc 0x%lx, steps %lu and %lu)", self->pc,
          x[REG_STEPS], x[REG_STEPS_TOO]);
    if (self->pc == PC_CALL + 4) {
        check_result(cpu);
        plan(x);
    }
    self->pc = PC_RUN;
}

uint64_t program_run(struct cpu *cpu, struct executor *self) {
    for (;;) {
        time_pass(1 + random_below(64));
        uint64_t cause = cpu_interrupt(cpu);
        if (cause != 0) return cause;
        check_nobody_oversleeps();
        if (self->pc == PC_CALL) /* the kernel wants the call again */
            return CAUSE_ECALL_USER;
        come_back(cpu, self);
        world_step();
        cpu->counts[COUNT_STEPS]++;
        cpu->x[REG_STEPS]++;
        cpu->x[REG_STEPS_TOO]++;
        if (world_is_ending()) return call(cpu, self, CALL_TERMINATE);
        uint64_t deed = planned(cpu->x);
        if (deed != 0) return call(cpu, self, deed);
        deed = choose();
        switch (deed) {
        case DO_ACCESS: access_memory(cpu, self); break;
        case DO_SPECULATE: /* the hardware may walk for what nobody asked for */
            tlb_translate(cpu, self, memory_va(), PTE_R);
            break;
        case DO_FAULT: return fault_at(cpu, any_va(4));
        case DO_SPURIOUS: {
            uint64_t va = memory_va();
            if (tlb_translate(cpu, self, va, PTE_R) != NULL) {
                cpu->stval = va;
                return CAUSE_LOAD_PAGE_FAULT; /* as if it had not been there yet */
            }
            break;
        }
        case DO_THINK: break;
        case DO_KEY: world_press_key(); break;
        case DO_GARBAGE:
            for (uint64_t at = REG_A0; at <= REG_A5; at++)
                cpu->x[at] = random_below(2) ? random_word() : random_below(10) * PAGE_SIZE;
            cpu->x[REG_MASK] = 0;
            deed = random_below(2) ? random_below(CALL_COUNT) : random_word();
            return call(cpu, self, deed == CALL_PARK ? 0 : deed);
        default: choose_arguments(cpu->x, deed); return call(cpu, self, deed);
        }
    }
}
