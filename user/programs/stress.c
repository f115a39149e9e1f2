/*
 * stress [CALLS] [SEED]: random system calls. Whatever a program asks for, the
 * kernel must answer with a result or an error: no panic, no hang, no leak.
 *
 * The callers, one for each hart, live in nests (nest.h), two spaces or more,
 * and have handles to the spaces and executors of all nests. Each draws a call
 * number and arguments for it, which are mostly valid (of the right kind, from
 * a small pool of addresses), often nearly so (off by a bit), and sometimes
 * wild. So they map, share, unmap, stop, start and destroy each other and
 * themselves. A call counts once it is about to be made.
 *
 *   nest n:   POOL_HANDLES   handles, ours and those that calls make
 *             POOL_MEMORY    memory that comes and goes
 *             STACK_OF(c)    stack of caller c
 *             CONTROL_OF(c)  its control page, which we see too
 *
 * We, the keeper, put in order what they do to each other: a caller that has
 * stopped or faulted starts again, one that has ended gets another executor;
 * where that does not help, or a caller makes no calls all the same, the nest
 * is destroyed and built anew. A caller's parks have near deadlines. When all
 * have made their share of calls, everything is destroyed and dropped, and
 * every page must be free again.
 *
 * Nothing may stay when its nest is gone, in some space that only a caller had
 * the handle of. So a caller runs only as long as its control page says that
 * its *run* is still on; when it has lost that page it faults, or sees zero.
 * And only executors that we gave get supervisors: of another, which faults in
 * such a space and is stopped for its supervisor, that space may by then have
 * the last handle, and a started space lives by its executors.
 *
 * With the same seed the callers draw the same numbers; what comes of them
 * depends on time.
 */
#include "nest.h"

#define CALLS 20000

#define CALLERS_MAX 16
#define NESTS_MAX   8

#define POOL_MEMORY        0x10000000ul
#define POOL_HANDLES       0x2000000000ul
#define POOL_PAGES         24 /* of memory */
#define POOL_MADE          8  /* handles that calls make, behind those that we give */
#define STACK_OF(caller)   (0x30000000ul + (caller)*0x10000ul)
#define CONTROL_OF(caller) (0x40000000ul + (caller)*0x10000ul)

#define PARK_TICKS   2000 /* a caller parks for less than that */
#define LOOK_MS      2    /* how often the keeper looks */
#define STUCK_LOOKS  100  /* so often without any call */
#define RESTARTS_MAX 4    /* without a call between */
#define HANG_MS      30000

/* A page that a caller and the keeper see. */
struct control {
    uint64_t run;    /* of its caller; another number, or 0: end */
    uint64_t calls;  /* made, in all runs */
    uint64_t budget; /* to be made */
    uint64_t random;
    uint64_t index; /* of its caller */
    uint64_t given; /* handles in its nest, by the keeper */
    uint8_t rest[PAGE_SIZE - 48];
};

/* What the keeper knows of a caller. */
struct caller {
    uint64_t executor; /* handle */
    uint64_t nest;
    uint64_t share;    /* of the calls, which it is to make */
    uint64_t seen;     /* its calls when we last looked */
    uint64_t looks;    /* since it made one */
    uint64_t restarts; /* since it made one */
};

static struct control controls[CALLERS_MAX] __attribute__((aligned(PAGE_SIZE)));
static struct caller callers[CALLERS_MAX];
static uint64_t nests[NESTS_MAX]; /* handles of spaces */
static uint64_t caller_count;
static uint64_t nest_count;
static uint64_t last_run; /* every run has a number of its own */
static uint64_t nests_rebuilt;
static uint64_t callers_restarted;

/* Kinds of arguments. */
enum kind {
    ANY,
    SPACE,
    EXECUTOR,
    PLACE, /* where a handle, or memory, may be */
    NEW,   /* where a handle is to be made */
    GIVEN, /* a handle that the keeper has given */
    FREE,  /* where a handle, or memory, may come to be */
    MEMORY,
    PAGES,
    PROT,
    FLAGS,
    PC,
    STACK,
    CONTROL,
    EVENTS,
    LENGTH,
};

/* What a caller draws of a call: how often, and its arguments. The last row
 * stands for numbers that are no calls. */
static const struct {
    uint8_t weight;
    uint8_t kinds[6];
} calls[CALL_COUNT + 1] = {
    [CALL_YIELD] = {4, {ANY}},
    [CALL_TERMINATE] = {1, {ANY}},
    [CALL_MAP] = {30, {SPACE, MEMORY, PAGES, PROT, FLAGS}},
    [CALL_UNMAP] = {20, {SPACE, PLACE, PAGES}},
    [CALL_SHARE] = {30, {SPACE, PLACE, SPACE, FREE, PAGES, PROT}},
    [CALL_CREATE_SPACE] = {8, {NEW}},
    [CALL_CREATE_EXECUTOR] = {12, {SPACE, NEW}},
    [CALL_START] = {12, {EXECUTOR, PC, STACK, CONTROL}},
    [CALL_RESUME] = {16, {EXECUTOR}},
    [CALL_STOP] = {3, {EXECUTOR}},
    [CALL_DESTROY] = {1, {SPACE}},
    [CALL_SUPERVISE] = {10, {GIVEN, EXECUTOR}},
    [CALL_INSPECT] = {16, {EXECUTOR, MEMORY}},
    [CALL_PARK] = {8, {EVENTS}},
    [CALL_PARK_IF] = {8, {MEMORY, FLAGS}},
    [CALL_PARK_AND_SWAP] = {8, {MEMORY, ANY}},
    [CALL_UNPARK] = {16, {EXECUTOR, EVENTS}},
    [CALL_CONSOLE_WRITE] = {2, {ANY, LENGTH}},
    [CALL_CONSOLE_READ] = {1, {MEMORY, LENGTH}},
    [CALL_COUNT] = {2, {ANY}},
};

/* Numbers at the edges of what is valid. */
static const uint64_t edges[] = {
    0,
    1,
    7,
    PAGE_SIZE,
    MAP_PAGES_MAX,
    MAP_PAGES_MAX + 1,
    USER_INFO_PAGE,
    USER_STACK_LOW,
    0x3ffffff000,
    0x4000000000,
    0x7ffffffff000,
    0x800000000000,
    0x7fffffffffffffff,
    0xffffffc000000000,
    0xffffffc040000000,
    0xffffffe000000000,
    0xfffffffffffff000,
    0xffffffffffffffff,
};

#define EDGES (sizeof(edges) / sizeof(edges[0]))

/* What a caller draws with. */
struct dice {
    uint64_t random;
    uint64_t caller; /* its index */
    uint64_t given;  /* handles that the keeper has given */
};

static uint64_t pick(struct dice *dice, uint64_t below) {
    return (random_next(&dice->random) >> 16) % below;
}

static void caller_run(struct control *control);

/* Any number at all. */
static uint64_t draw_wild(struct dice *dice) {
    if (pick(dice, 2) == 0) return edges[pick(dice, EDGES)];
    return random_next(&dice->random) >> pick(dice, 64);
}

/* A page where handles are, or may be. */
static uint64_t draw_handle(struct dice *dice) {
    return POOL_HANDLES + pick(dice, dice->given + POOL_MADE) * PAGE_SIZE;
}

static uint64_t draw_new(struct dice *dice) {
    return POOL_HANDLES + (dice->given + pick(dice, POOL_MADE)) * PAGE_SIZE;
}

static uint64_t draw_memory(struct dice *dice) {
    return POOL_MEMORY + pick(dice, POOL_PAGES) * PAGE_SIZE;
}

/* A valid argument of this kind, or one that might be. */
static uint64_t draw_valid(struct dice *dice, enum kind kind) {
    switch (kind) {
    case SPACE: return pick(dice, 2) == 0 ? SPACE_OWN : draw_handle(dice);
    case EXECUTOR: return draw_handle(dice);
    case PLACE: return pick(dice, 4) == 0 ? draw_handle(dice) : draw_memory(dice);
    case NEW: return draw_new(dice);
    case GIVEN: return POOL_HANDLES + pick(dice, dice->given) * PAGE_SIZE;
    case FREE: /* not for a handle among those that we give */
        return pick(dice, 4) == 0 ? draw_new(dice) : draw_memory(dice);
    case MEMORY: return draw_memory(dice);
    case PAGES: return pick(dice, 64) == 0 ? MAP_PAGES_MAX : 1 + pick(dice, 1 + pick(dice, 8));
    case PROT: return pick(dice, 8) == 0 ? pick(dice, 8) : 1 + 2 * pick(dice, 3);
    case FLAGS: return pick(dice, 2);
    case PC: return pick(dice, 16) != 0 ? (uint64_t)caller_run : draw_memory(dice);
    case STACK: /* below what the caller itself uses */
        return STACK_OF(dice->caller) + (1 + pick(dice, 2)) * PAGE_SIZE / 4;
    case CONTROL: return CONTROL_OF(dice->caller);
    case EVENTS: return 1 + pick(dice, 255);
    default: return draw_wild(dice);
    }
}

/* An argument of this kind: mostly valid, often nearly, sometimes wild. */
static uint64_t draw(struct dice *dice, enum kind kind) {
    uint64_t choice = pick(dice, 32);
    uint64_t value = draw_valid(dice, kind);

    if (kind == LENGTH) /* few bytes for the console, or far too many */
        return choice < 8 ? 0 : 257 + random_next(&dice->random) % 1000;
    if (choice == 0) return draw_wild(dice);
    if (choice == 1) return value + 1;
    if (choice == 2) return value ^ 1ul << pick(dice, 64);
    return value;
}

/* The number of a call, by weight. */
static uint64_t draw_call(struct dice *dice) {
    uint64_t sum = 0;
    for (uint64_t number = 0; number <= CALL_COUNT; number++) sum += calls[number].weight;

    uint64_t choice = pick(dice, sum);
    uint64_t number = 0;
    while (choice >= calls[number].weight) choice -= calls[number++].weight;
    if (number == CALL_COUNT)
        number = pick(dice, 8) == 0 ? draw_wild(dice) : pick(dice, 6) + CALL_COUNT;
    return number == CALL_COUNT + 5 ? 0 : number;
}

/* Make one random call. */
static void call_random(struct dice *dice) {
    uint64_t number = draw_call(dice);
    uint64_t row = number < CALL_COUNT ? number : CALL_COUNT;
    uint64_t arguments[6];
    uint64_t soon = time_now() + pick(dice, PARK_TICKS);

    for (uint64_t i = 0; i < 6; i++) arguments[i] = draw(dice, calls[row].kinds[i]);
    if (number == CALL_PARK) arguments[1] = soon;
    if (number == CALL_PARK_IF || number == CALL_PARK_AND_SWAP) arguments[2] = soon;
    call_any(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
             arguments[5]);
}

/*
 * A caller. It ends when the calls are made, or its run is over. It needs no
 * variables but those on its stack and its control page. Calls start more such
 * executors, which take part in the run.
 */
static void caller_run(struct control *control) {
    uint64_t run = __atomic_load_n(&control->run, __ATOMIC_RELAXED);
    struct dice dice = {
        .random = control->random ^ run * 0x9e3779b97f4a7c15,
        .caller = control->index,
        .given = control->given,
    };

    if (dice.random == 0) dice.random = 1;
    while (run != 0 && __atomic_load_n(&control->run, __ATOMIC_RELAXED) == run) {
        /* Never above the budget, even for a moment: the keeper reads it. */
        if (__atomic_load_n(&control->calls, __ATOMIC_RELAXED) >= control->budget) break;
        __atomic_fetch_add(&control->calls, 1, __ATOMIC_RELAXED);
        call_random(&dice);
    }
    terminate(0);
}

/* Show what there is of nest `from` to nest `to`: its space, and its callers'
 * executors. An error means that one of them has ended. */
static void nest_introduce(uint64_t from, uint64_t to) {
    uint64_t at = POOL_HANDLES + from * PAGE_SIZE;
    unmap(nests[to], at, 1);
    if (share(SPACE_OWN, nests[from], nests[to], at, 1, PROT_READ) < 0) return;
    for (uint64_t i = from; i < caller_count; i += nest_count) {
        at = POOL_HANDLES + (nest_count + i) * PAGE_SIZE;
        unmap(nests[to], at, 1);
        if (share(SPACE_OWN, callers[i].executor, nests[to], at, 1, PROT_READ) < 0) return;
    }
}

/* Start a caller where it begins, in a run of its own. */
static int64_t caller_start(uint64_t index) {
    struct control *control = &controls[index];
    uint64_t run = ++last_run;

    __atomic_store_n(&control->run, run, __ATOMIC_SEQ_CST);
    return start(callers[index].executor, (uint64_t)caller_run, STACK_OF(index) + PAGE_SIZE,
                 CONTROL_OF(index));
}

/* Make the executor of a caller, which has none. */
static int64_t caller_execute(uint64_t index) {
    struct caller *caller = &callers[index];
    int64_t error = create_executor(nests[caller->nest], caller->executor);

    if (error == 0) error = supervise(caller->executor, thread_handle(thread_self()));
    return error;
}

/* Make a caller, stopped, in its empty nest. */
static int64_t caller_create(uint64_t index) {
    struct caller *caller = &callers[index];
    uint64_t space = nests[caller->nest];

    caller->restarts = 0;
    caller->looks = 0;
    int64_t error = map(space, STACK_OF(index), 1, PROT_READ | PROT_WRITE, 0);
    if (error == 0)
        error = share(SPACE_OWN, (uint64_t)&controls[index], space, CONTROL_OF(index), 1,
                      PROT_READ | PROT_WRITE);
    if (error == 0) error = caller_execute(index);
    return error;
}

/* End a nest, if there is one, and all that its callers have left running. */
static void nest_destroy(uint64_t nest) {
    for (uint64_t i = nest; i < caller_count; i += nest_count) {
        __atomic_store_n(&controls[i].run, 0, __ATOMIC_SEQ_CST);
        unmap(SPACE_OWN, callers[i].executor, 1);
    }
    destroy(nests[nest]);
    unmap(SPACE_OWN, nests[nest], 1);
}

/* Build a nest and start its callers. On an error it is not complete. */
static int64_t nest_create(uint64_t nest) {
    int64_t error = create_space(nests[nest]);
    if (error == 0) error = nest_show_image(nests[nest]);
    for (uint64_t i = nest; error == 0 && i < caller_count; i += nest_count)
        error = caller_create(i);
    for (uint64_t i = nest; error == 0 && i < caller_count; i += nest_count)
        error = caller_start(i);
    for (uint64_t other = 0; error == 0 && other < nest_count; other++) {
        nest_introduce(nest, other);
        nest_introduce(other, nest);
    }
    return error;
}

/* Build a nest anew. If memory is all used up, or a caller has ended its nest
 * already, we shall find it incomplete when we look again. */
static void nest_rebuild(uint64_t nest) {
    nest_destroy(nest);
    nests_rebuilt++;
    if (nest_create(nest) == -ENOMEM) {
        for (uint64_t other = 0; other < nest_count; other++) nest_destroy(other);
    }
}

/* Put right what random calls have written on a caller's control page, and
 * return how many calls it has made: what they have written there can't be
 * told from what it has, unless it is more than its share or less than we saw
 * before. Only this number counts, for the page may change at any moment. */
static uint64_t caller_made(uint64_t index) {
    struct control *control = &controls[index];
    struct caller *caller = &callers[index];
    uint64_t made = __atomic_load_n(&control->calls, __ATOMIC_RELAXED);

    if (made > caller->share || made < caller->seen) {
        made = caller->seen;
        __atomic_store_n(&control->calls, made, __ATOMIC_RELAXED);
    }
    control->budget = caller->share;
    return made;
}

/* Note whether a caller, which has made so many calls, has made some since we
 * last looked. */
static void caller_look(struct caller *caller, uint64_t made) {
    caller->looks++;
    if (made != caller->seen) {
        caller->seen = made;
        caller->looks = 0;
        caller->restarts = 0;
    }
}

/* Look after a caller that has calls to make. Returns false if only a new nest
 * can help it. */
static bool caller_tend(uint64_t index) {
    struct caller *caller = &callers[index];
    struct executor_info info;

    if (inspect(caller->executor, &info) < 0) return false;
    if (info.state & STATE_TERMINATED) {
        /* By itself, or with its nest: then there can't be another. */
        unmap(SPACE_OWN, caller->executor, 1);
        return caller_execute(index) == 0 && caller_start(index) == 0;
    }
    if (info.state & STATE_STOPPED) {
        if (info.state & (STATE_EXECUTING | STATE_QUEUED))
            return true; /* it is about to come to rest */
        if (caller->restarts++ == RESTARTS_MAX) return false;
        callers_restarted++;
        if (info.fault_cause == FAULT_NONE && caller->restarts == 1)
            return resume(caller->executor) != -ESRCH;
        return caller_start(index) != -ESRCH;
    }
    return caller->looks < STUCK_LOOKS;
}

/* Look after all callers. Returns the number of calls made. */
static uint64_t callers_tend(bool *finished) {
    uint64_t made = 0;

    *finished = true;
    for (uint64_t i = 0; i < caller_count; i++) {
        uint64_t calls = caller_made(i);

        made += calls;
        if (calls == callers[i].share) continue;
        *finished = false;
        caller_look(&callers[i], calls);
        if (!caller_tend(i)) nest_rebuild(callers[i].nest);
    }
    return made;
}

/* Let the callers make their calls. Returns how many they have made; fewer
 * than wanted if they hang. */
static uint64_t callers_run(void) {
    bool finished = false;
    uint64_t made = 0;
    uint64_t looks = 0;
    uint64_t deadline = time_after(HANG_MS);

    for (;;) {
        uint64_t before = made;
        made = callers_tend(&finished);
        if (finished) return made;
        if (made != before) deadline = time_after(HANG_MS);
        if (time_now() > deadline) {
            printf("stress: no call for %d ms\n", HANG_MS);
            return made;
        }
        /* They unmap handles too. */
        nest_introduce(looks % nest_count, looks / nest_count % nest_count);
        looks++;
        park(EVENT_CHILD, time_after(LOOK_MS));
    }
}

/* Set the table: who makes how many calls, and where handles will be. Returns
 * false if there is no room for handles. */
static bool callers_plan(uint64_t total, uint64_t seed) {
    caller_count = info_page()->hart_count;
    if (caller_count < 2) caller_count = 2;
    nest_count = (caller_count + 1) / 2;
    if (nest_count < 2) nest_count = 2;
    for (uint64_t i = 0; i < nest_count + caller_count; i++) {
        int64_t handle = handle_take();
        if (handle < 0) return false;
        if (i < nest_count)
            nests[i] = handle;
        else
            callers[i - nest_count].executor = handle;
    }
    for (uint64_t i = 0; i < caller_count; i++) {
        callers[i].nest = i % nest_count;
        callers[i].share = total / caller_count + (i < total % caller_count);
        controls[i].budget = callers[i].share;
        controls[i].random = random_next(&seed);
        controls[i].index = i;
        controls[i].given = nest_count + caller_count;
    }
    return true;
}

/* Destroy and drop everything. */
static void callers_end(void) {
    for (uint64_t nest = 0; nest < nest_count; nest++) nest_destroy(nest);
    for (uint64_t nest = 0; nest < nest_count; nest++) handle_drop(nests[nest]);
    for (uint64_t i = 0; i < caller_count; i++) handle_drop(callers[i].executor);
}

int main(int argc, char **argv) {
    int64_t total = CALLS;
    uint64_t seed = time_now();

    if (!arguments_read(argc, argv, &total, &seed)) {
        printf("usage: stress [CALLS] [SEED]\n");
        return 1;
    }
    printf("stress: seed %lu\n", seed);
    uint64_t pages = free_pages_begin();
    uint64_t begin = time_now();
    if (!callers_plan(total, seed)) {
        printf("stress: no handles\n");
        return 1;
    }
    uint64_t made = callers_run();
    callers_end();
    printf("stress: %lu nests built, %lu times a caller went on, %lu ms\n", nests_rebuilt,
           callers_restarted, time_microseconds(time_now() - begin) / 1000);
    bool right = made == (uint64_t)total;
    if (!free_pages_end(pages)) {
        printf("stress: pages were left behind, unless another program ran beside it\n");
        right = false;
    }
    printf("stress: %lu calls, seed %lu: %s\n", made, seed, right ? "ok" : "FAILED");
    return right ? 0 : 1;
}
