/*
 * primes [count]: the first primes, by a pipeline of threads.
 *
 *   source 2 3 4 5 … -> filter 2 -> filter 3 -> filter 5 -> … -> main
 *
 * A filter takes a number from its queue; the first one is its prime, and of
 * the rest it passes on those that its prime does not divide. Main takes the
 * first number that comes out of the last filter: it is the next prime, and a
 * new filter for it goes behind the last. All filters work at the same time,
 * on as many harts as there are.
 *
 * A number 0 means that no more come; every filter passes it on and ends.
 */
#include "heap.h"
#include "print.h"
#include "semaphore.h"
#include "string.h"
#include "thread.h"
#include <stdbool.h>

#define PRIMES       25
#define PRIMES_MAX   200
#define PRIMES_A_ROW 10

/* A power of two. The longer a queue, the less often a thread has to sleep. */
#define QUEUE_LENGTH 32

/*
 * A queue between two threads, one that puts and one that takes. Each of the
 * two indices belongs to one of them; the semaphores keep the taker behind the
 * putter, and the putter at most QUEUE_LENGTH before the taker.
 */
struct queue {
    struct semaphore filled; /* numbers in it */
    struct semaphore empty;  /* room in it */
    uint64_t put;            /* of the thread that puts */
    uint64_t take;           /* of the thread that takes */
    uint64_t numbers[QUEUE_LENGTH];
};

/* A filter, and the queues on either side of it. */
struct filter {
    uint64_t prime;
    struct queue *from;
    struct queue *to;
    struct thread *thread;
};

/* Set by main when it has seen enough. */
static uint32_t enough;

static struct queue *queue_create(void) {
    struct queue *queue = calloc(1, sizeof(*queue));

    if (queue != 0) queue->empty.count = QUEUE_LENGTH;
    return queue;
}

static void queue_put(struct queue *queue, uint64_t number) {
    semaphore_wait(&queue->empty);
    queue->numbers[queue->put++ % QUEUE_LENGTH] = number;
    semaphore_post(&queue->filled);
}

static uint64_t queue_take(struct queue *queue) {
    semaphore_wait(&queue->filled);
    uint64_t number = queue->numbers[queue->take++ % QUEUE_LENGTH];
    semaphore_post(&queue->empty);
    return number;
}

/* The thread that all numbers come from. */
static int64_t run_source(void *argument) {
    /* Relaxed: nothing else hangs on it, and a few numbers more do no harm. */
    for (uint64_t number = 2; !__atomic_load_n(&enough, __ATOMIC_RELAXED); number++)
        queue_put(argument, number);
    queue_put(argument, 0);
    return 0;
}

static int64_t run_filter(void *argument) {
    struct filter *filter = argument;
    uint64_t number;

    do {
        number = queue_take(filter->from);
        if (number == 0 || number % filter->prime != 0) queue_put(filter->to, number);
    } while (number != 0);
    return 0;
}

/* Put a filter for `prime` behind the queue `from`. Returns the queue that it
 * puts into, or 0 if there is no memory. */
static struct queue *filter_add(struct filter *filter, uint64_t prime, struct queue *from) {
    struct queue *to = queue_create();
    if (to == 0) return 0;
    *filter = (struct filter){.prime = prime, .from = from, .to = to};
    if (thread_create(run_filter, filter, &filter->thread) < 0) {
        free(to);
        return 0;
    }
    return to;
}

/* Print the numbers in rows. A row is written at once, since other programs may
 * be writing too. */
static void print_prime(uint64_t prime, bool last) {
    static char row[80];
    static int length;

    length += snprintf(row + length, sizeof(row) - length, "%5lu", prime);
    if (last || length == PRIMES_A_ROW * 5) {
        printf("%s\n", row);
        length = 0;
    }
}

/* Let all threads come to their end: `last` is the end of the pipeline. */
static void pipeline_drain(struct queue *last) {
    __atomic_store_n(&enough, 1, __ATOMIC_RELAXED);
    while (queue_take(last) != 0)
        ;
}

int main(int argc, char **argv) {
    static struct filter filters[PRIMES_MAX];
    struct thread *source;
    int64_t wanted = PRIMES;
    int64_t found = 0;

    if (argc > 2 || (argc == 2 && !string_number(argv[1], &wanted)) || wanted < 1 ||
        wanted > PRIMES_MAX) {
        printf("usage: primes [COUNT], from 1 to %d\n", PRIMES_MAX);
        return 1;
    }
    struct queue *first = queue_create();
    if (first == 0 || thread_create(run_source, first, &source) < 0) {
        printf("primes: no memory\n");
        return 1;
    }
    struct queue *last = first;
    while (found < wanted) {
        uint64_t prime = queue_take(last);
        struct queue *next = filter_add(&filters[found], prime, last);
        if (next == 0) break;
        last = next;
        found++;
        print_prime(prime, found == wanted);
    }
    pipeline_drain(last);
    thread_join(source, 0);
    for (int64_t i = 0; i < found; i++) {
        thread_join(filters[i].thread, 0);
        free(filters[i].to);
    }
    free(first);
    if (found < wanted) printf("primes: no memory after %ld of them\n", found);
    return found < wanted;
}
