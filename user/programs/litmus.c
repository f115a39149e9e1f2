/*
 * litmus [CELL] [ROUNDS] [lenient]: litmus tests of the memory-ordering
 * contract of map and unmap.
 *
 * For an access M of one thread and a call S of another, on the same page x:
 *
 *                  | map over an old page | unmap              | code
 *   M precedes S   | old                  | old                | old
 *   M follows S    | new                  | page fault         | page fault
 *   M overlaps S   | old or new           | old or page fault  | either
 *
 * "code" is unmap again, with instruction fetches for accesses: each round
 * writes other code and shows it at x by share, which must be what runs.
 *
 * One thread, the caller, makes the calls; on every other hart an accessor
 * loads from x, stores to it, or jumps to it. Accessors keep no step with the
 * caller: they look at what it says it is doing, the *phase*, access x, and
 * look again. Phases only ever go up, four a round:
 *
 *   4·round + PREPARE   x gets ready: mapped if it was not; its first word, or
 *                       its code, becomes the number of the round
 *           + OLD       x is ready
 *           + CALL      the call S begins, and ends
 *           + NEW       the call has returned
 *
 * So the phases before and after an access tell which column it belongs to,
 * and what it may have seen. Phases are published by release and looked at by
 * acquire; that is what makes an access follow the call, or precede it.
 *
 * For stores this is not all: one that went to the wrong page looks like any
 * other. Each accessor stores rising numbers to a word of its own, and the
 * caller keeps every old page in view at another address, an *alias*:
 *   - what it has loaded from x before the call, it must find in the old page:
 *     a store that was seen by a load that precedes the call, precedes it;
 *   - once the call has returned, the old page must not change any more.
 * That is in even rounds. In odd ones the call frees the old page. The
 * accessors map fresh pages too, one of which may be that one, and look for
 * numbers that somebody stored there by a translation that should be gone.
 *
 * An access that faults is a real page fault. The main thread supervises all
 * others: it gets EVENT_CHILD, inspects who has faulted, and starts it anew at
 * fault_landing with FAULTED for the result of the access.
 *
 * The accesses of a burst stand in one straight line of instructions, and
 * between them are loads from *dull* pages, whose translations must be looked
 * up each time. QEMU looks for interrupts only between such lines; so a hart
 * is late to notice a shootdown, which is what we want.
 *
 * A cell passes if no access was wrong and the good outcomes were witnessed:
 * accesses in that column did happen, with both outcomes where two are right.
 * `lenient` lets a cell pass that has witnessed nothing, for a few rounds.
 */
#include "stag.h"

#define ROUNDS 2000

/* Where the pages are: x alone, so that its tables come and go with it. (No
 * two pages of a burst agree in the low bits of their numbers: they would
 * drive each other out of the small cache that QEMU has for translations.) */
#define TARGET         0x8000e0000ul
#define DULL           0xc00050000ul /* pages that a burst loads from */
#define ALIASES        0x900000000ul
#define WINDOW         0xa00000000ul /* where code for x is written */
#define SCRATCH        0xb00000000ul /* fresh pages of the accessors */
#define SCRATCH_STRIDE 0x1000000ul

#define ACCESSORS_MAX 15
#define BURST         16  /* accesses of one; assembly below knows it too */
#define DULL_PAGES    128 /* 8 for each access of a burst */
#define ALIASES_MAX   16  /* old pages in view */
#define BURSTS_MAX    8   /* between two sleeps of an accessor */
#define FRESH_PAGES   8   /* that an accessor maps at a time */
#define FRESH_TIMES   8   /* and how often between two sleeps */

#define PAUSE_TICKS 2000 /* an accessor sleeps for less than that */
#define SPINS       512  /* the caller spins for less than that */
#define SPINS_MAX   8192 /* … and for no more while no accessor is in a burst */

#define EVENT_NEVER (1u << 30)
#define FAULTED     0xfffffffffffffffful
#define TAG         0 /* word of x with the number of the round */

#define FAULT_FETCH 12
#define FAULT_LOAD  13
#define FAULT_STORE 15

enum step { PREPARE, OLD, CALL, NEW, STEPS };
enum test { MAP, UNMAP, CODE, TESTS };
enum column { PRECEDES, FOLLOWS, OVERLAPS, COLUMNS };
enum access { LOAD, STORE, FETCH };

static const char *const test_names[TESTS] = {"map", "unmap", "code"};
static const char *const column_names[COLUMNS] = {"precedes", "follows", "overlaps"};

/* One access: the phase before it, and what it gave: the word loaded, the
 * number that the code returned, the number stored, or FAULTED. */
struct record {
    uint64_t before;
    uint64_t result;
};

/* What a thread has witnessed; only it writes this. */
struct tally {
    uint64_t old[COLUMNS];    /* accesses that saw the old page */
    uint64_t new[COLUMNS];    /* … the new page, or none */
    uint64_t stored[COLUMNS]; /* stores: the old pages tell where they went */
    uint64_t wrong[COLUMNS];
};

struct accessor {
    struct record records[BURST + 1]; /* the last: the phase after all */
    struct tally tally;
    struct thread *thread;
    uint64_t word;   /* of x, that it stores to */
    uint64_t stored; /* the last number */
    uint64_t random;
} __attribute__((aligned(64)));

/* What the accessors look at all the time, on a line of its own; and how many
 * of them are in the middle of a burst, on another. */
static struct {
    uint64_t phase;
    uint64_t line[7];
    uint64_t bursting;
    uint64_t next_line[7];
} now __attribute__((aligned(64)));

/* The old page of a round, in view, and what it held when the call had
 * returned. */
struct alias {
    uint64_t round;
    uint64_t words[1 + ACCESSORS_MAX];
};

static enum test test; /* the one that runs */
static uint64_t rounds;
static uint32_t finished; /* the accessors shall end */
static struct accessor accessors[ACCESSORS_MAX];
static uint64_t accessor_count;
static struct thread *caller;
static struct tally caller_tally;
static struct alias aliases[ALIASES_MAX];
static uint64_t alias_count;
static uint64_t faults_served;
static uint32_t complaints;

/*
 * A burst: BURST accesses to `x`, each noted in `records` with the value of
 * *phase before it; after the last, the phase alone. A fault ends the burst.
 * `number` is the first that burst_store stores. Each returns the address of
 * the last record. probe_load and probe_fetch make one access.
 *
 * Inside: a0 result, a1 phase, a2 record, a3 number, a4 x, a5 free, a6 return
 * address, t0 dull page, t1 size of a page.
 */
struct record *burst_load(uint64_t x, const uint64_t *phase, struct record *records);
struct record *burst_store(uint64_t x, const uint64_t *phase, struct record *records,
                           uint64_t number);
struct record *burst_fetch(uint64_t x, const uint64_t *phase, struct record *records);
struct record *probe_load(uint64_t x, const uint64_t *phase, struct record *records);
struct record *probe_fetch(uint64_t x, const uint64_t *phase, struct record *records);

/* Where an executor goes on after a fault, with a0 = FAULTED. */
extern const char fault_landing[];

__asm__("    .macro  one access:vararg\n"
        "    .rept   8\n"
        "    ld      a5, 0(t0)\n"
        "    add     t0, t0, t1\n"
        "    .endr\n"
        "    ld      a5, 0(a1)\n"
        "    sd      a5, 0(a2)\n"
        "    fence   r, rw\n"
        "    \\access\n"
        "    sd      a0, 8(a2)\n"
        "    addi    a2, a2, 16\n"
        "    fence   rw, r\n"
        "    .endm\n"
        "    .macro  burst name, count, access:vararg\n"
        "    .balign 2048\n" /* QEMU's lines end where a page does */
        "    .globl  \\name\n"
        "\\name:\n"
        "    mv      a4, a0\n"
        "    mv      a6, ra\n"
        "    li      t0, 0xc00050000\n" /* DULL */
        "    li      t1, 4096\n"
        "    .rept   \\count\n"
        "    one     \\access\n"
        "    .endr\n"
        "    j       burst_end\n"
        "    .endm\n"
        "    .macro  store_number\n"
        "    mv      a0, a3\n"
        "    sd      a3, 0(a4)\n"
        "    addi    a3, a3, 1\n"
        "    .endm\n"

        "    .text\n"
        "    burst   burst_load, 16, ld a0, 0(a4)\n"
        "    burst   burst_store, 16, store_number\n"
        "    burst   burst_fetch, 16, jalr ra, 0(a4)\n"
        "    burst   probe_load, 1, ld a0, 0(a4)\n"
        "    burst   probe_fetch, 1, jalr ra, 0(a4)\n"

        "    .globl  fault_landing\n"
        "fault_landing:\n"
        "    sd      a0, 8(a2)\n"
        "    addi    a2, a2, 16\n"
        "burst_end:\n"
        "    ld      a5, 0(a1)\n"
        "    sd      a5, 0(a2)\n"
        "    mv      a0, a2\n"
        "    jr      a6\n");

/* The next number of a generator (xorshift; Marsaglia 2003). */
static uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Count something that must not be, and print the first few. */
static void wrong(struct tally *tally, enum column column, const char *what, uint64_t round,
                  uint64_t value) {
    tally->wrong[column]++;
    if (__atomic_fetch_add(&complaints, 1, __ATOMIC_RELAXED) < 5)
        printf("%s-%s, round %lu: %s (%lu)\n", test_names[test], column_names[column], round, what,
               value);
}

static enum step step_of(uint64_t phase) {
    return phase % STEPS;
}

/* Is there a phase of this step between the two? */
static bool touches(uint64_t before, uint64_t after, enum step step) {
    if (after - before >= STEPS) return true;
    for (uint64_t phase = before; phase <= after; phase++) {
        if (step_of(phase) == step) return true;
    }
    return false;
}

/* The column of an access between two phases; COLUMNS if it met no call, and
 * x was perhaps just getting ready. After a fault it takes a while before the
 * phase is looked at again. */
static enum column column_of(uint64_t before, uint64_t after, bool faulted) {
    if (touches(before, after, CALL)) return OVERLAPS;
    if (before == after && step_of(before) == OLD) return PRECEDES;
    if (step_of(before) == NEW && (before == after || faulted)) return FOLLOWS;
    return COLUMNS;
}

/* May an access between these phases fault? */
static bool may_fault(uint64_t before, uint64_t after) {
    if (test == MAP) return false;
    return before != after || step_of(before) != OLD;
}

/* May a load, or the code, give `result`: a round's number, or 0, what a fresh
 * page holds? */
static bool may_see(uint64_t before, uint64_t after, uint64_t result) {
    if (result != 0) return before <= result * STEPS + CALL && after >= result * STEPS + PREPARE;
    switch (test) {
    case MAP: return before != after || step_of(before) != OLD;
    case UNMAP: return touches(before, after, PREPARE);
    default: return false;
    }
}

/* May a store between these phases succeed? */
static bool may_store(uint64_t before, uint64_t after) {
    return test == MAP || before != after || step_of(before) != NEW;
}

/* Judge one access, and count it. */
static void judge(struct tally *tally, enum access access, uint64_t before, uint64_t after,
                  uint64_t result) {
    enum column column = column_of(before, after, result == FAULTED);
    bool right = result == FAULTED ? may_fault(before, after)
                 : access == STORE ? may_store(before, after)
                                   : may_see(before, after, result);
    if (!right) {
        bool stale = access != STORE && result != FAULTED && before > result * STEPS + CALL;
        wrong(tally,
              stale               ? FOLLOWS
              : column == COLUMNS ? OVERLAPS
                                  : column,
              access == LOAD    ? "a load saw"
              : access == STORE ? "a store succeeded or failed"
                                : "a fetch saw",
              before / STEPS, result);
        return;
    }
    if (column == COLUMNS) return;
    if (access == STORE && result != FAULTED)
        tally->stored[column]++;
    else if (result == 0 || result == FAULTED)
        tally->new[column]++;
    else
        tally->old[column]++;
}

static void judge_all(struct tally *tally, enum access access, const struct record *records,
                      const struct record *last) {
    for (; records != last; records++)
        judge(tally, access, records[0].before, records[1].before, records[0].result);
}

/*
 * Map fresh pages in place of the last ones; nobody may have stored anything
 * there. New ones are taken before old ones are let go: so few pages are in
 * the kernel's queue of used ones, and one that a call frees too early soon
 * comes to us.
 */
static void fresh_look(struct accessor *self) {
    uint64_t base = SCRATCH + self->word * SCRATCH_STRIDE;

    if (map(SPACE_OWN, base, FRESH_PAGES, PROT_READ | PROT_WRITE, MAP_REPLACE) < 0) {
        wrong(&self->tally, OVERLAPS, "no memory for pages", now.phase / STEPS, FRESH_PAGES);
        return;
    }
    for (uint64_t page = base; page < base + FRESH_PAGES * PAGE_SIZE; page += PAGE_SIZE) {
        for (uint64_t i = 0; i <= accessor_count; i++) {
            uint64_t value = ((volatile uint64_t *)page)[i];
            if (value != 0)
                wrong(&self->tally, OVERLAPS, "a fresh page holds", now.phase / STEPS, value);
        }
    }
}

/* One burst of an accessor. */
static void burst_run(struct accessor *self) {
    uint64_t choice = random_next(&self->random);
    struct record *records = self->records;

    if (test == CODE) {
        judge_all(&self->tally, FETCH, records, burst_fetch(TARGET, &now.phase, records));
    } else if (choice & 1) {
        judge_all(&self->tally, LOAD, records, burst_load(TARGET, &now.phase, records));
    } else {
        uint64_t word = TARGET + self->word * sizeof(uint64_t);
        judge_all(&self->tally, STORE, records,
                  burst_store(word, &now.phase, records, self->stored + 1));
        self->stored += BURST;
    }
}

/* Some bursts of an accessor; and the caller knows of them. */
static void bursts_run(struct accessor *self, uint64_t count) {
    __atomic_fetch_add(&now.bursting, 1, __ATOMIC_RELAXED);
    for (; count > 0; count--) burst_run(self);
    __atomic_fetch_sub(&now.bursting, 1, __ATOMIC_RELAXED);
}

static int64_t accessor_run(void *argument) {
    struct accessor *self = argument;

    while (!__atomic_load_n(&finished, __ATOMIC_RELAXED)) {
        uint64_t choice = random_next(&self->random);
        if (choice % 4 == 0 && test != CODE) {
            for (uint64_t i = 0; i < FRESH_TIMES; i++) fresh_look(self);
        } else {
            bursts_run(self, choice / 4 % BURSTS_MAX + 1);
        }
        /* Our host may have fewer processors than we have harts. */
        park(EVENT_NEVER, time_now() + random_next(&self->random) % PAUSE_TICKS);
    }
    unmap(SPACE_OWN, SCRATCH + self->word * SCRATCH_STRIDE, FRESH_PAGES);
    return 0;
}

/* Say what the caller does next. What it has done is seen before that, and
 * what it does is seen after. */
static void phase_set(uint64_t round, enum step step) {
    __atomic_store_n(&now.phase, round * STEPS + step, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Let a moment pass. */
static void spin(uint64_t *random) {
    uint64_t count = random_next(random) % SPINS;
    for (uint64_t i = 0; i < count; i++) __asm__ volatile("" : : : "memory");
}

/* Wait for an accessor to be in the middle of a burst, but not for long. */
static void burst_await(void) {
    for (uint64_t i = 0; i < SPINS_MAX; i++) {
        if (__atomic_load_n(&now.bursting, __ATOMIC_RELAXED) != 0) return;
    }
}

/* A call of the caller must succeed. */
static void must(int64_t error, const char *what) {
    if (error >= 0) return;
    printf("litmus: %s: %s\n", what, error_name(error));
    destroy(SPACE_OWN);
}

/* An access of the caller itself, where program order decides the column.
 * Returns what it gave. */
static uint64_t caller_access(void) {
    struct record records[2];

    if (test == CODE)
        probe_fetch(TARGET, &now.phase, records);
    else
        probe_load(TARGET, &now.phase, records);
    return records[0].result;
}

/* Write to the window code that returns `value`, 31 bits of it. */
static void code_write(uint32_t value) {
    volatile uint32_t *code = (volatile uint32_t *)WINDOW;

    /* addiw adds a signed number of 12 bits. */
    code[0] = ((value + 0x800) & 0xfffff000) | 0x537; /* lui   a0, … */
    code[1] = (value & 0xfff) << 20 | 0x0005051b;     /* addiw a0, a0, … */
    code[2] = 0x00008067;                             /* ret */
}

/* Make x ready for a round: its pages are mapped, and tell the round. */
static void target_prepare(uint64_t round) {
    if (test == CODE) {
        must(share(SPACE_OWN, WINDOW, SPACE_OWN, TARGET, 1, PROT_READ | PROT_EXECUTE), "share");
        return;
    }
    if (test == UNMAP) must(map(SPACE_OWN, TARGET, 1, PROT_READ | PROT_WRITE, 0), "map");
    ((volatile uint64_t *)TARGET)[TAG] = round;
}

/* The call S. */
static void target_call(void) {
    if (test == MAP)
        must(map(SPACE_OWN, TARGET, 1, PROT_READ | PROT_WRITE, MAP_REPLACE), "map");
    else
        must(unmap(SPACE_OWN, TARGET, 1), "unmap");
}

/* Where old page `index` is in view. */
static volatile uint64_t *alias_words(uint64_t index) {
    return (volatile uint64_t *)(ALIASES + index * PAGE_SIZE);
}

/* Get x in view at the next alias before the call, and note in `seen` what the
 * caller has loaded from it. */
static void alias_make(uint64_t seen[]) {
    must(share(SPACE_OWN, TARGET, SPACE_OWN, (uint64_t)alias_words(alias_count), 1, PROT_READ),
         "share");
    for (uint64_t i = 0; i <= accessor_count; i++) seen[i] = ((volatile uint64_t *)TARGET)[i];
}

/* The call has returned: what the old page holds now, it holds for ever, and
 * that is at least what was seen before. */
static void alias_settle(uint64_t round, const uint64_t seen[]) {
    volatile uint64_t *words = alias_words(alias_count);
    volatile uint64_t *fresh = (volatile uint64_t *)TARGET;
    struct alias *alias = &aliases[alias_count++];

    alias->round = round;
    for (uint64_t i = 0; i <= accessor_count; i++) {
        alias->words[i] = words[i];
        if (alias->words[i] < seen[i])
            wrong(&caller_tally, PRECEDES, "the old page lacks", round, seen[i]);
        else if (i != TAG && seen[i] != 0)
            caller_tally.stored[PRECEDES]++;
        if (test != MAP || i == TAG) continue;
        uint64_t later = fresh[i];
        if (later != 0 && later <= alias->words[i])
            wrong(&caller_tally, PRECEDES, "the new page holds", round, later);
    }
}

/* Are the old pages as they were when the calls had returned? Then they go. */
static void aliases_verify(void) {
    for (uint64_t index = 0; index < alias_count; index++) {
        const struct alias *alias = &aliases[index];
        for (uint64_t i = 0; i <= accessor_count; i++) {
            uint64_t value = alias_words(index)[i];
            if (value != alias->words[i])
                wrong(&caller_tally, FOLLOWS, "stored to the old page after the call", alias->round,
                      value);
        }
    }
    unmap(SPACE_OWN, ALIASES, ALIASES_MAX);
    alias_count = 0;
}

/* The caller's own access; `expected` is the only right result. What is of an
 * earlier round is stale: it follows the call of that. */
static void caller_expect(enum column column, uint64_t round, uint64_t expected) {
    uint64_t result = caller_access();

    if (result != expected)
        wrong(&caller_tally, result < round ? FOLLOWS : column, "the caller itself saw", round,
              result);
    else if (column == PRECEDES)
        caller_tally.old[column]++;
    else
        caller_tally.new[column]++;
}

/* One round, from PREPARE to NEW. */
static void round_run(uint64_t round, uint64_t *random) {
    uint64_t seen[1 + ACCESSORS_MAX];
    bool in_view = test != CODE && round % 2 == 0;

    if (test == CODE) code_write((uint32_t)round);
    phase_set(round, PREPARE);
    target_prepare(round);
    phase_set(round, OLD);
    burst_await();
    spin(random);
    caller_expect(PRECEDES, round, round);
    if (in_view) alias_make(seen);
    phase_set(round, CALL);
    target_call();
    phase_set(round, NEW);
    if (in_view) alias_settle(round, seen);
    if (test == MAP || round % 4 == 0 || round == rounds) /* a fault takes its time */
        caller_expect(FOLLOWS, round, test == MAP ? 0 : FAULTED);
    spin(random);
    if (alias_count == ALIASES_MAX || round == rounds) aliases_verify();
}

static int64_t caller_run(void *argument) {
    uint64_t random = *(uint64_t *)argument;

    for (uint64_t round = 1; round <= rounds; round++) round_run(round, &random);
    __atomic_store_n(&finished, 1, __ATOMIC_RELAXED);
    return 0;
}

/* Let an executor go on that has faulted on x. Any other fault is a bug: then
 * all ends. */
static void fault_serve(uint64_t executor, const struct executor_info *info) {
    bool expected = info->fault_cause == FAULT_FETCH || info->fault_cause == FAULT_LOAD ||
                    info->fault_cause == FAULT_STORE;

    if (!expected || (info->fault_address & -(uint64_t)PAGE_SIZE) != TARGET) {
        printf("litmus: %s 0x%lx, pc 0x%lx\n", fault_name(info->fault_cause), info->fault_address,
               info->pc);
        destroy(SPACE_OWN);
    }
    faults_served++;
    must(start(executor, (uint64_t)fault_landing, info->x[1], FAULTED), "start");
}

/* Serve the faults of a thread. Returns whether it has ended. */
static bool thread_serve(struct thread *thread) {
    struct executor_info info;

    if (!child_settled(thread_handle(thread), &info)) return false;
    if (info.state & STATE_TERMINATED) return true;
    fault_serve(thread_handle(thread), &info);
    return false;
}

/* Serve faults until all threads have ended. */
static void threads_serve(void) {
    for (;;) {
        bool ended = thread_serve(caller);
        for (uint64_t i = 0; i < accessor_count; i++)
            ended = thread_serve(accessors[i].thread) && ended;
        if (ended) return;
        park(EVENT_CHILD, DEADLINE_NONE);
    }
}

/* A thread that we supervise. It may run, and fault, before we do: so it waits
 * for `go`. */
static uint32_t go;

struct errand {
    int64_t (*function)(void *argument);
    void *argument;
};

static int64_t errand_run(void *argument) {
    struct errand errand = *(struct errand *)argument;

    while (__atomic_load_n(&go, __ATOMIC_ACQUIRE) == 0) sleep_ms(1);
    return errand.function(errand.argument);
}

static struct thread *supervised_create(struct errand *errand) {
    struct thread *thread = 0;

    must(thread_create(errand_run, errand, &thread), "thread_create");
    must(supervise(thread_handle(thread), thread_handle(thread_self())), "supervise");
    return thread;
}

/* Run all rounds of `test`. */
static void test_run(void) {
    static struct errand errands[1 + ACCESSORS_MAX];
    uint64_t random = time_now() | 1;

    go = 0;
    finished = 0;
    complaints = 0;
    caller_tally = (struct tally){0};
    now.phase = 1 * STEPS + PREPARE;
    must(map(SPACE_OWN, DULL, DULL_PAGES, PROT_READ, 0), "map");
    if (test == MAP) must(map(SPACE_OWN, TARGET, 1, PROT_READ | PROT_WRITE, 0), "map");
    if (test == CODE) must(map(SPACE_OWN, WINDOW, 1, PROT_READ | PROT_WRITE, 0), "map");

    errands[0] = (struct errand){caller_run, &random};
    caller = supervised_create(&errands[0]);
    for (uint64_t i = 0; i < accessor_count; i++) {
        struct accessor *accessor = &accessors[i];
        *accessor = (struct accessor){.word = 1 + i, .random = random + 1 + i};
        errands[1 + i] = (struct errand){accessor_run, accessor};
        accessor->thread = supervised_create(&errands[1 + i]);
    }
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    threads_serve();
    thread_join(caller, 0);
    for (uint64_t i = 0; i < accessor_count; i++) thread_join(accessors[i].thread, 0);
    unmap(SPACE_OWN, TARGET, 1);
    unmap(SPACE_OWN, WINDOW, 1);
    unmap(SPACE_OWN, DULL, DULL_PAGES);
}

/* Add what one thread has seen in a column to `sum`. */
static void tally_add(struct tally *sum, const struct tally *tally, enum column column) {
    sum->old[column] += tally->old[column];
    sum->new[column] += tally->new[column];
    sum->stored[column] += tally->stored[column];
    sum->wrong[column] += tally->wrong[column];
}

/* Have the outcomes that are right been seen? With one hart, nothing ever
 * overlaps a call. */
static bool is_witnessed(const struct tally *sum, enum column column) {
    switch (column) {
    case PRECEDES: return sum->old[column] != 0;
    case FOLLOWS: return sum->new[column] != 0;
    default:
        return (sum->old[column] != 0 && sum->new[column] != 0) || info_page()->hart_count == 1;
    }
}

/* Report on a column of `test`. Returns whether it passes. */
static bool cell_report(enum column column, bool lenient) {
    struct tally sum = {0};
    char cell[32];

    tally_add(&sum, &caller_tally, column);
    for (uint64_t i = 0; i < accessor_count; i++) tally_add(&sum, &accessors[i].tally, column);
    bool witnessed = is_witnessed(&sum, column);
    bool passes = sum.wrong[column] == 0 && (witnessed || lenient);
    snprintf(cell, sizeof(cell), "%s-%s", test_names[test], column_names[column]);
    printf("%-15s %8lu old %8lu new %8lu stored %4lu wrong: %s\n", cell, sum.old[column],
           sum.new[column], sum.stored[column], sum.wrong[column],
           sum.wrong[column] != 0 ? "FAILED"
           : witnessed            ? "ok"
                                  : "not witnessed");
    return passes;
}

/* Is this cell wanted? `wanted` is its name, or that of its test, or "all". */
static bool is_wanted(const char *wanted, enum column column) {
    char cell[32];

    snprintf(cell, sizeof(cell), "%s-%s", test_names[test], column_names[column]);
    return strcmp(wanted, cell) == 0 || strcmp(wanted, test_names[test]) == 0 ||
           strcmp(wanted, "all") == 0;
}

/* Run `test` if any cell of it is wanted. Adds to the cells run and passed. */
static void test_judge(const char *wanted, bool lenient, uint64_t *run, uint64_t *passed) {
    bool any = false;

    for (enum column column = 0; column < COLUMNS; column++) any = any || is_wanted(wanted, column);
    if (!any) return;
    test_run();
    for (enum column column = 0; column < COLUMNS; column++) {
        if (!is_wanted(wanted, column)) continue;
        *run += 1;
        *passed += cell_report(column, lenient);
    }
}

int main(int argc, char **argv) {
    const char *wanted = "all";
    int64_t count = ROUNDS;
    bool lenient = argc > 1 && strcmp(argv[argc - 1], "lenient") == 0;
    uint64_t run = 0;
    uint64_t passed = 0;

    argc -= lenient;
    if (argc > 1 && !string_number(argv[argc - 1], &count))
        count = ROUNDS;
    else if (argc > 1)
        argc--;
    if (argc > 1) wanted = argv[1];
    rounds = count;
    accessor_count = info_page()->hart_count - 1;
    if (accessor_count == 0) accessor_count = 1;

    uint64_t begin = time_now();
    if (argc <= 2 && count > 0 && count < 0x7fffffff) {
        for (test = 0; test < TESTS; test++) test_judge(wanted, lenient, &run, &passed);
    }
    if (run == 0) {
        printf("usage: litmus [all|(map|unmap|code)[-precedes|-follows|-overlaps]] [ROUNDS] "
               "[lenient]\n");
        return 1;
    }
    printf("litmus: %lu of %lu cells ok, %lu rounds, %lu page faults, %lu ms\n", passed, run,
           rounds, faults_served, time_microseconds(time_now() - begin) / 1000);
    return passed == run ? 0 : 1;
}
