/*
 * pingpong [rounds]: two executors wake each other in turn.
 *
 * Each sleeps until it gets the other's event, then sends its own. Events stay
 * pending until they are taken, so it does not matter whether the other sleeps
 * already when an event is sent, and none is lost.
 */
#include "call.h"
#include "print.h"
#include "string.h"
#include "thread.h"
#include "time.h"

#define EVENT_PING (1u << 3)
#define EVENT_PONG (1u << 4)

#define ROUNDS 10000

static int64_t rounds = ROUNDS;

/* The second executor: answer each ping. The argument is the thread that sends
 * them. */
static int64_t answer(void *argument) {
    uint64_t other = thread_handle(argument);

    for (int64_t i = 0; i < rounds; i++) {
        park(EVENT_PING, DEADLINE_NONE);
        unpark(other, EVENT_PONG);
    }
    return rounds;
}

int main(int argc, char **argv) {
    struct thread *partner;
    int64_t answered;

    if (argc > 2 || (argc == 2 && !string_number(argv[1], &rounds)) || rounds < 1) {
        printf("usage: pingpong [ROUNDS]\n");
        return 1;
    }
    if (thread_create(answer, thread_self(), &partner) < 0) {
        printf("pingpong: no memory for a thread\n");
        return 1;
    }
    uint64_t begin = time_now();
    for (int64_t i = 0; i < rounds; i++) {
        unpark(thread_handle(partner), EVENT_PING);
        park(EVENT_PONG, DEADLINE_NONE);
    }
    uint64_t microseconds = time_microseconds(time_now() - begin);

    thread_join(partner, &answered);
    printf("%ld round trips in %lu us, %lu ns each\n", answered, microseconds,
           microseconds * 1000 / rounds);
    return 0;
}
