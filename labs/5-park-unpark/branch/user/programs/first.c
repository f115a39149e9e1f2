/*
 * The first program of lab 5: two threads wake each other in turn; several
 * share a counter under a mutex, and the last to come wakes who waits for
 * them; a park ends by its deadline. No thread is joined: that would unmap its
 * stack, which comes with lab 6.
 */
#include "call.h"
#include "lab.h"
#include "print.h"
#include "sync.h"
#include "thread.h"
#include "time.h"

#define EVENT_BALL (1u << 3)
#define ROUNDS     1000
#define PLAYERS    4

static struct mutex mutex;
static struct condition all_here;
static uint64_t counter, here; /* under the mutex */

static struct thread *must_create(int64_t (*function)(void *), void *argument) {
    struct thread *thread;
    if (thread_create(function, argument, &thread) < 0) {
        printf("no memory for a thread\n");
        terminate(1);
    }
    return thread;
}

static int64_t return_balls(void *partner) {
    for (int i = 0; i < ROUNDS; i++) {
        park(EVENT_BALL, DEADLINE_NONE);
        unpark(thread_handle(partner), EVENT_BALL);
    }
    return 0;
}

static void ping_pong(void) {
    struct thread *partner = must_create(return_balls, thread_self());
    for (int i = 0; i < ROUNDS; i++) {
        unpark(thread_handle(partner), EVENT_BALL);
        park(EVENT_BALL, DEADLINE_NONE);
    }
    printf("ping-pong: %d balls came back\n", ROUNDS);
}

static int64_t count_up(void *unused) {
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        mutex_lock(&mutex);
        counter++;
        mutex_unlock(&mutex);
    }
    mutex_lock(&mutex);
    if (++here == PLAYERS) condition_signal(&all_here);
    mutex_unlock(&mutex);
    return 0;
}

static void count_together(void) {
    for (int i = 0; i < PLAYERS; i++) must_create(count_up, 0);
    mutex_lock(&mutex);
    while (here < PLAYERS) condition_wait(&all_here, &mutex);
    printf("mutex: %d threads counted to %lu\n", PLAYERS, counter);
    mutex_unlock(&mutex);
}

int main(void) {
    ping_pong();
    count_together();
    bool passed = park(EVENT_BALL, time_after(20)) == -ETIMEDOUT;
    printf("deadline: %s\n", passed ? "it passed" : "the park ended otherwise");
    if (!passed || counter != PLAYERS * ROUNDS) return 1;
    lab_done(5);
}
