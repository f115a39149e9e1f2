/*
 * The user library's mutex, condition variable, semaphore and slots in a stress
 * run, with threads of the host as threads.
 *
 *   library [-s seed] [-n steps of a thread] [-c threads, an even number]
 *           [-w seconds]
 *
 * -w is a watchdog for a run that hangs, not a measure of anything. What the
 * locks guard is plain memory, so that ThreadSanitizer sees what they do not
 * order. Ends with "passed" and status 0, or with what failed.
 */
#include "../check.h"
#include "call.h"
#include "semaphore.h"
#include "slots.h"
#include "sync.h"
#include "thread.h"
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MODEL_THREADS_MAX 16
#define RING              3 /* places in a buffer */

static uint64_t seed = 1, steps = 20000, thread_count = 4;
static struct thread threads[MODEL_THREADS_MAX];
static uint32_t woken[MODEL_THREADS_MAX]; /* EVENT_WAKE is pending */

static _Thread_local struct thread *running;
static _Thread_local unsigned random_state;

/* interleave.h: the next time that a thread is held up, in atomic steps. */
_Thread_local uint32_t model_countdown = 1;

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "FAILED (seed %lu): ", seed);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    abort();
}

static uint32_t random_below(uint32_t limit) {
    return (uint32_t)rand_r(&random_state) % limit;
}

void model_hold_up(void) {
    model_countdown = 1 + random_below(100);
    sched_yield();
}

/*
 * What the library needs of a kernel. An event stays pending in its word until
 * a park takes it; unpark releases, park acquires. A park that finds none waits
 * for one, and looks at the caller's word only once, before: if the library
 * could miss a wake-up, it would sleep for ever.
 */

struct thread *model_thread_self(void) {
    return running;
}

struct thread *thread_by_number(uint32_t number) {
    return &threads[number];
}

static bool event_take(void) {
    return __atomic_exchange_n(&woken[running->number], 0, __ATOMIC_ACQUIRE) != 0;
}

static int64_t event_wait(void) {
    while (!event_take()) sched_yield();
    return EVENT_WAKE;
}

int64_t unpark(uint64_t executor, uint64_t events) {
    CHECK(events == EVENT_WAKE, "unpark with events 0x%lx", events);
    __atomic_exchange_n(&woken[(executor - HANDLE_AT(0)) >> PAGE_SHIFT], 1, __ATOMIC_ACQ_REL);
    return 0;
}

int64_t park_if(const uint32_t *word, uint32_t expected, uint64_t deadline) {
    CHECK(deadline == DEADLINE_NONE, "a deadline");
    if (event_take()) return EVENT_WAKE;
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != expected) return -EAGAIN;
    return event_wait();
}

int64_t park_and_swap(uint32_t *word, uint32_t value, uint64_t deadline, uint32_t *old) {
    CHECK(deadline == DEADLINE_NONE, "a deadline");
    bool taken = event_take();
    *old = __atomic_exchange_n(word, value, __ATOMIC_ACQ_REL);
    return taken ? EVENT_WAKE : event_wait();
}

/* Mutex: a sum that each thread adds to. */

static struct mutex mutex;
static uint64_t sum;

static void add_under_mutex(void) {
    for (uint64_t i = 0; i < steps; i++) {
        if (random_below(4) != 0 || !mutex_try_lock(&mutex)) mutex_lock(&mutex);
        sum++;
        mutex_unlock(&mutex);
    }
}

static void check_sum(void) {
    CHECK(sum == thread_count * steps, "sum %lu of %lu threads", sum, thread_count);
    CHECK(mutex.word == 0 && mutex.queue == 0, "the mutex is not free");
    sum = 0;
}

/* A buffer: threads with an even number fill it, the others empty it. */

static uint64_t ring[RING], ring_filled, ring_taken, sum_taken;

static void ring_put(uint64_t value) {
    CHECK(ring_filled - ring_taken < RING, "the buffer is full");
    ring[ring_filled++ % RING] = value;
}

static void ring_take(void) {
    CHECK(ring_filled > ring_taken, "the buffer is empty");
    sum_taken += ring[ring_taken++ % RING];
}

static void check_ring(void) {
    CHECK(ring_filled == ring_taken, "%lu were put, %lu taken", ring_filled, ring_taken);
    CHECK(sum_taken == thread_count / 2 * (steps * (steps - 1) / 2), "sum %lu", sum_taken);
    ring_filled = ring_taken = sum_taken = 0;
}

/* With condition variables. A broadcast wakes some who find nothing. */

static struct condition has_room, has_value;

static void wake(struct condition *condition) {
    if (random_below(8) == 0)
        condition_broadcast(condition);
    else
        condition_signal(condition);
}

static void buffer_with_conditions(void) {
    for (uint64_t i = 0; i < steps; i++) {
        mutex_lock(&mutex);
        if (running->number % 2 == 0) {
            while (ring_filled - ring_taken == RING) condition_wait(&has_room, &mutex);
            ring_put(i);
            wake(&has_value);
        } else {
            while (ring_filled == ring_taken) condition_wait(&has_value, &mutex);
            ring_take();
            wake(&has_room);
        }
        mutex_unlock(&mutex);
    }
}

/* With semaphores, one of which guards the indices. A mutex that was waited for
 * may leave a wake-up behind, which then ends a semaphore's park too early. */

static struct semaphore room = {.count = RING}, values, one = {.count = 1};

static void buffer_with_semaphores(void) {
    bool puts = running->number % 2 == 0;
    for (uint64_t i = 0; i < steps; i++) {
        semaphore_wait(puts ? &room : &values);
        semaphore_wait(&one);
        if (puts)
            ring_put(i);
        else
            ring_take();
        semaphore_post(&one);
        semaphore_post(puts ? &values : &room);
        mutex_lock(&mutex);
        sum++;
        mutex_unlock(&mutex);
    }
}

static void check_ring_and_sum(void) {
    check_ring();
    check_sum();
}

/* Slots, fewer than threads: each belongs to one thread at a time. */

static struct slots slots;
static uint64_t owners[MODEL_THREADS_MAX];

static void own_slots(void) {
    for (uint64_t i = 0; i < steps; i++) {
        int64_t slot = slots_take(&slots, thread_count - 1);
        if (slot < 0) continue;
        CHECK(owners[slot] == 0, "slot %ld is taken", slot);
        owners[slot] = running->number + 1;
        model_hold_up();
        CHECK(owners[slot] == running->number + 1, "slot %ld was taken", slot);
        owners[slot] = 0;
        slots_give(&slots, (uint64_t)slot);
    }
}

static void check_slots(void) {
    CHECK(slots.taken[0] == 0, "slots 0x%lx are left", slots.taken[0]);
}

static const struct {
    void (*work)(void);
    void (*check)(void);
} parts[] = {
    {add_under_mutex, check_sum},
    {buffer_with_conditions, check_ring},
    {buffer_with_semaphores, check_ring_and_sum},
    {own_slots, check_slots},
};

static void (*work)(void);

static void *run_thread(void *thread) {
    running = thread;
    random_state = (unsigned)seed * MODEL_THREADS_MAX + running->number;
    work();
    return NULL;
}

static void run_part(void) {
    pthread_t hosts[MODEL_THREADS_MAX];
    for (uint32_t i = 0; i < thread_count; i++) {
        threads[i].number = i;
        if (pthread_create(&hosts[i], NULL, run_thread, &threads[i]) != 0) fail("no thread %u", i);
    }
    for (uint32_t i = 0; i < thread_count; i++) pthread_join(hosts[i], NULL);
}

static void hung(int number) {
    (void)number;
    static const char message[] = "FAILED: the watchdog's time is up\n";
    _exit(write(STDERR_FILENO, message, sizeof(message) - 1) > 0 ? 3 : 4);
}

int main(int count, char **values_given) {
    signal(SIGALRM, hung);
    for (int letter; (letter = getopt(count, values_given, "s:n:c:w:")) != -1;) {
        uint64_t value = optarg != NULL ? strtoul(optarg, NULL, 0) : 0;
        switch (letter) {
        case 's': seed = value; break;
        case 'n': steps = value; break;
        case 'c': thread_count = value; break;
        case 'w': alarm((unsigned)value); break;
        default: exit(2);
        }
    }
    CHECK(thread_count >= 2 && thread_count <= MODEL_THREADS_MAX && thread_count % 2 == 0,
          "an even number of threads up to %d", MODEL_THREADS_MAX);
    for (uint64_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        work = parts[i].work;
        run_part();
        parts[i].check();
    }
    printf("passed\n");
    return 0;
}
