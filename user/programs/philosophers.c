/*
 * philosophers [meals]: five philosophers at a round table, with five forks.
 *
 * Each thinks, then needs the forks on both sides to eat. Nobody may take a
 * fork that is in use (safety), and everybody gets to eat (no deadlock, no
 * starvation).
 *
 * One mutex guards the table. A philosopher who can't have both forks takes
 * none and waits on a condition of their own; whoever puts forks down signals
 * the neighbours. That alone could starve one between two who take turns, so
 * philosophers who wait get more and more hungry, and nobody eats beside a
 * neighbour who has waited for longer.
 */
#include "print.h"
#include "string.h"
#include "sync.h"
#include "thread.h"
#include "time.h"

#define SEATS 5
#define MEALS 100

/* The table; under the mutex, but for `meals`. */
static struct mutex table;
static struct condition forks_free[SEATS];
static bool eating[SEATS];
static uint64_t hungry_since[SEATS]; /* a number from `tickets`, 0: not hungry */
static uint64_t tickets;
static uint64_t waits; /* how often somebody had to wait */
static uint64_t eaten[SEATS];
static bool wrong; /* two neighbours ate at the same time */

static int64_t meals = MEALS;

static uint64_t left_of(uint64_t seat) {
    return seat == 0 ? SEATS - 1 : seat - 1;
}

static uint64_t right_of(uint64_t seat) {
    return seat == SEATS - 1 ? 0 : seat + 1;
}

/* True if `neighbour` keeps the one at `seat` from eating. */
static bool in_the_way(uint64_t seat, uint64_t neighbour) {
    if (eating[neighbour]) return true;
    return hungry_since[neighbour] != 0 && hungry_since[neighbour] < hungry_since[seat];
}

static void take_forks(uint64_t seat) {
    mutex_lock(&table);
    hungry_since[seat] = ++tickets;
    while (in_the_way(seat, left_of(seat)) || in_the_way(seat, right_of(seat))) {
        waits++;
        condition_wait(&forks_free[seat], &table);
    }
    hungry_since[seat] = 0;
    eating[seat] = true;
    mutex_unlock(&table);
}

static void put_forks(uint64_t seat) {
    mutex_lock(&table);
    if (eating[left_of(seat)] || eating[right_of(seat)]) wrong = true;
    eating[seat] = false;
    eaten[seat]++;
    condition_signal(&forks_free[left_of(seat)]);
    condition_signal(&forks_free[right_of(seat)]);
    mutex_unlock(&table);
}

/* Let some time pass. */
static void eat(void) {
    for (volatile int bite = 0; bite < 1000; bite++)
        ;
}

static int64_t run_philosopher(void *argument) {
    uint64_t seat = (uint64_t)argument;

    for (int64_t meal = 0; meal < meals; meal++) {
        take_forks(seat);
        eat();
        put_forks(seat);
    }
    return 0;
}

int main(int argc, char **argv) {
    struct thread *philosophers[SEATS];

    if (argc > 2 || (argc == 2 && !string_number(argv[1], &meals)) || meals < 1) {
        printf("usage: philosophers [MEALS]\n");
        return 1;
    }
    for (uint64_t seat = 0; seat < SEATS; seat++) {
        if (thread_create(run_philosopher, (void *)seat, &philosophers[seat]) < 0) {
            printf("philosophers: no memory\n");
            return 1;
        }
    }
    for (uint64_t seat = 0; seat < SEATS; seat++) {
        thread_join(philosophers[seat], 0);
        printf("philosopher %lu has eaten %lu times\n", seat, eaten[seat]);
    }
    printf("%lu waits, %s\n", waits,
           wrong ? "and neighbours ate at the same time" : "and never two neighbours at once");
    return wrong;
}
