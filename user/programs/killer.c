/*
 * killer [TIMES] [SEED]: build a process whose executors are in every state
 * that there is, and destroy it at a random moment. TIMES times.
 *
 *   spin        executing, or queued: one more of them than harts
 *   sleep       parked, without a deadline
 *   doze        parked with a deadline, over and over
 *   wait        parked in park_if
 *   swap        parked in park_and_swap
 *   map         in the middle of calls that change its address space
 *   stopped     by us
 *   faulted     stopped by a fault, and we, the supervisor, let it lie
 *   unstarted   never started
 *
 * The moment may come at once, when most have not yet got there, or after a
 * few milliseconds, when all have. Half of the times the handles of the
 * executors go first.
 *
 * Then every executor must come to an end, and every page come back.
 */
#include "nest.h"

#define TIMES 50

#define ROLES_MAX   (16 + 1 + 8)
#define BOARD       0x5000000ul /* in the nest: a page with the words to wait for */
#define STACKS      0x6000000ul /* in the nest: a page for each */
#define SCRATCH     0x7000000ul /* what `map` maps */
#define NOWHERE     0x12345678ul
#define DOZE_TICKS  1000
#define DELAY_TICKS 40000
#define END_MS      5000 /* all must have ended by then */

enum role { SPIN, SLEEP, DOZE, WAIT, SWAP, MAP, STOPPED, FAULTED, UNSTARTED, ROLES };

struct victim {
    enum role role;
    uint64_t executor; /* handle */
};

static struct victim victims[ROLES_MAX];
static uint64_t victim_count;
static uint64_t space; /* handle of the nest */

/* What the executors of the nest do, for ever. */
__attribute__((noreturn)) static void victim_run(enum role role) {
    uint32_t *board = (uint32_t *)BOARD;
    uint32_t old;

    for (;;) {
        switch (role) {
        case SLEEP: park(EVENT_WAKE, DEADLINE_NONE); break;
        case DOZE: park(EVENT_WAKE, time_now() + DOZE_TICKS); break;
        case WAIT: park_if(&board[0], 0, DEADLINE_NONE); break;
        case SWAP: park_and_swap(&board[1], 1, DEADLINE_NONE, &old); break;
        case MAP:
            if (map(SPACE_OWN, SCRATCH, 8, PROT_READ | PROT_WRITE, 0) == 0)
                unmap(SPACE_OWN, SCRATCH, 8);
            break;
        case FAULTED: *(volatile char *)NOWHERE = 0; break;
        default: __asm__ volatile("" : : : "memory");
        }
    }
}

/* Make one executor, with its stack, and start it unless its role is not to be
 * started. Returns 0 or an error. */
static int64_t victim_create(enum role role) {
    struct victim *victim = &victims[victim_count];
    uint64_t stack = STACKS + victim_count * PAGE_SIZE;
    int64_t handle = handle_take();
    if (handle < 0) return handle;
    *victim = (struct victim){.role = role, .executor = handle};
    victim_count++;

    int64_t error = map(space, stack, 1, PROT_READ | PROT_WRITE, 0);
    if (error == 0) error = create_executor(space, handle);
    if (error == 0 && role != UNSTARTED) error = supervise(handle, thread_handle(thread_self()));
    if (error == 0 && role != UNSTARTED)
        error = start(handle, (uint64_t)victim_run, stack + PAGE_SIZE, role);
    if (error == 0 && role == STOPPED) error = stop(handle);
    return error;
}

/* Build the process. Returns 0 or an error. */
static int64_t nest_create(void) {
    int64_t handle = handle_take();
    if (handle < 0) return handle;
    space = handle;
    victim_count = 0;

    int64_t error = create_space(space);
    if (error == 0) error = nest_show_image(space);
    if (error == 0) error = map(space, BOARD, 1, PROT_READ | PROT_WRITE, 0);
    for (uint64_t i = 0; error == 0 && i < info_page()->hart_count; i++)
        error = victim_create(SPIN);
    for (enum role role = 0; error == 0 && role < ROLES; role++) error = victim_create(role);
    return error;
}

/* Wait for an executor of the nest to end. Returns false if it takes forever. */
static bool victim_ends(const struct victim *victim) {
    struct executor_info info;
    uint64_t deadline = time_after(END_MS);

    while (!child_settled(victim->executor, &info) || !(info.state & STATE_TERMINATED)) {
        if (time_now() > deadline) {
            printf("killer: an executor, role %d, has not ended: %s, state 0x%lx\n", victim->role,
                   state_name(info.state), info.state);
            return false;
        }
        park(EVENT_CHILD, time_after(1));
    }
    if (info.status != STATUS_KILLED) {
        printf("killer: an executor, role %d, has ended by itself\n", victim->role);
        return false;
    }
    return true;
}

static void victims_drop(void) {
    while (victim_count > 0) handle_drop(victims[--victim_count].executor);
}

/* Build a process and destroy it. Returns whether all went well. */
static bool kill_once(uint64_t *random) {
    int64_t error = nest_create();
    bool right = error == 0;

    if (error < 0) printf("killer: can't build a process: %s\n", error_name(error));

    /* Some at once, some a little later, some when all have come to rest. */
    uint64_t choice = random_next(random);
    if (choice % 4 != 0)
        park(1u << 30, time_now() + random_next(random) % (DELAY_TICKS >> choice / 4 % 8));
    if (choice / 32 % 2 != 0) victims_drop();

    error = destroy(space);
    if (error < 0) {
        printf("killer: destroy: %s\n", error_name(error));
        right = false;
    }
    for (uint64_t i = 0; i < victim_count; i++) right = victim_ends(&victims[i]) && right;
    if (destroy(space) != -ESRCH) {
        printf("killer: the process could be destroyed twice\n");
        right = false;
    }
    victims_drop();
    handle_drop(space);
    return right;
}

int main(int argc, char **argv) {
    int64_t times = TIMES;
    uint64_t seed = time_now();

    if (!arguments_read(argc, argv, &times, &seed)) {
        printf("usage: killer [TIMES] [SEED]\n");
        return 1;
    }
    printf("killer: seed %lu\n", seed);
    uint64_t random = seed;
    uint64_t pages = free_pages_begin();
    bool right = true;
    int64_t killed = 0;
    while (right && killed < times) {
        right = kill_once(&random);
        killed += right;
    }
    if (!free_pages_end(pages)) {
        printf("killer: pages were left behind, unless another program ran beside it\n");
        right = false;
    }
    printf("killer: %ld times, seed %lu: %s\n", killed, seed, right ? "ok" : "FAILED");
    return right ? 0 : 1;
}
