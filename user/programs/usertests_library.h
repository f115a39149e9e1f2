/*
 * usertests: the library. Most of these tests stand on the kernel's sleep calls.
 */
#pragma once
#include "usertests_harness.h"

#define HEAP_BYTES 200000 /* no test takes more at a time */
#define THREADS    4
#define ROUNDS     150

static struct mutex lock;
static struct condition not_empty, not_full;
static struct semaphore units;
static uint64_t shared_count; /* under lock */
static uint64_t inside;       /* threads in the region that `units` guards */

/* Run `function` in THREADS threads, with 0 … as arguments, and join them. */
static void threads_run(int64_t (*function)(void *argument), int64_t sum_wanted) {
    struct thread *threads[THREADS];
    int64_t sum = 0, result;

    for (uint64_t i = 0; i < THREADS; i++)
        check(thread_create(function, (void *)i, &threads[i]) == 0);
    for (uint64_t i = 0; i < THREADS; i++) {
        check(thread_join(threads[i], &result) == 0);
        sum += result;
    }
    check(sum == sum_wanted);
}

static int64_t thread_number(void *argument) {
    if ((uint64_t)argument % 2) thread_exit((int64_t)argument);
    return thread_self()->number != 0 ? (int64_t)argument : 100;
}

static void test_threads(void) {
    for (uint64_t round = 0; round < 10; round++) threads_run(thread_number, 0 + 1 + 2 + 3);
}

/* With something in the way of its stack, or of its handle, a thread is not made.
 * What it had got is given back: the next gets the same number and place. */
static void test_thread_fails(void) {
    struct thread *thread;

    check(thread_create(thread_number, 0, &thread) == 0);
    uint32_t number = thread->number;
    uint64_t stack = USER_STACKS + (number + 1ul) * STACK_STRIDE - PAGE_SIZE;
    const uint64_t ways[] = {stack, thread_handle_of(number)};
    check(thread_join(thread, 0) == 0);
    for (uint64_t i = 0; i < 2; i++) {
        check(map(SPACE_OWN, ways[i], 1, PROT_READ, 0) == 0);
        int64_t error = thread_create(thread_number, 0, &thread);
        check(unmap(SPACE_OWN, ways[i], 1) == 0);
        check(error == -EEXIST);
        check(thread_create(thread_number, 0, &thread) == 0);
        check(thread->number == number);
        check(thread_join(thread, 0) == 0);
    }
}

static uint32_t may_end;

static int64_t thread_until_told(void *argument) {
    (void)argument;
    while (__atomic_load_n(&may_end, __ATOMIC_ACQUIRE) == 0) yield();
    return 7;
}

static int64_t thread_join_other(void *other) {
    int64_t result;
    return thread_join(other, &result) == 0 ? result : -1;
}

/* Who comes second, or joins itself, is refused. */
static void test_join_once(void) {
    struct thread *thread, *first;
    int64_t result;

    may_end = 0;
    check(thread_join(thread_self(), 0) == -EINVAL);
    check(thread_create(thread_until_told, 0, &thread) == 0);
    check(thread_create(thread_join_other, thread, &first) == 0);
    while (__atomic_load_n(&thread->joined, __ATOMIC_RELAXED) == 0) yield();
    check(thread_join(thread, 0) == -EBUSY);
    __atomic_store_n(&may_end, 1, __ATOMIC_RELEASE);
    check(thread_join(first, &result) == 0 && result == 7);
}

static int64_t thread_count(void *argument) {
    (void)argument;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        mutex_lock(&lock);
        uint64_t before = shared_count;
        if (i % 16 == 0) yield();
        shared_count = before + 1;
        mutex_unlock(&lock);
    }
    return 1;
}

static void test_mutex(void) {
    shared_count = 0;
    threads_run(thread_count, THREADS);
    check(shared_count == THREADS * ROUNDS);
    check(mutex_try_lock(&lock));
    check(!mutex_try_lock(&lock));
    mutex_unlock(&lock);
}

/* Even threads put one into a store of at most 2, odd ones take. */
static int64_t thread_store(void *argument) {
    for (uint64_t i = 0; i < ROUNDS; i++) {
        mutex_lock(&lock);
        if ((uint64_t)argument % 2 == 0) {
            while (shared_count == 2) condition_wait(&not_full, &lock);
            shared_count++;
            condition_signal(&not_empty);
        } else {
            while (shared_count == 0) condition_wait(&not_empty, &lock);
            shared_count--;
            condition_signal(&not_full);
        }
        mutex_unlock(&lock);
    }
    return 1;
}

static void test_condition(void) {
    shared_count = 0;
    threads_run(thread_store, THREADS);
    check(shared_count == 0);
}

/* At most two are inside. */
static int64_t thread_enter(void *argument) {
    int64_t too_many = 0;

    (void)argument;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        semaphore_wait(&units);
        too_many += __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST) > 2;
        if (i % 16 == 0) yield();
        __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
        semaphore_post(&units);
    }
    return too_many;
}

static void test_semaphore(void) {
    units.count = 2;
    inside = 0;
    threads_run(thread_enter, 0);
    check(units.count == 2);
}

/* Blocks of many sizes: none lies on another, each keeps what is in it. */
static int64_t thread_heap(void *argument) {
    uint8_t *blocks[16] = {0};
    uint64_t sizes[16] = {0};
    uint64_t random = (uint64_t)argument + 1;
    int64_t wrong = 0;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        uint64_t slot = random & 15;
        for (uint64_t j = 0; j < sizes[slot]; j++)
            wrong += blocks[slot][j] != (uint8_t)(slot + (uint64_t)argument);
        free(blocks[slot]);
        sizes[slot] = random >> 8 & 0x3ff;
        blocks[slot] = malloc(sizes[slot]);
        wrong += blocks[slot] == 0 || ((uint64_t)blocks[slot] & 15) != 0;
        memset(blocks[slot], (int)(slot + (uint64_t)argument), sizes[slot]);
    }
    for (uint64_t slot = 0; slot < 16; slot++) free(blocks[slot]);
    return wrong;
}

static void test_heap(void) {
    threads_run(thread_heap, 0);
    check(malloc(USER_STACKS) == 0);
    check(malloc(~0ul) == 0);
    check(calloc(1ul << 33, 1ul << 33) == 0);
    uint64_t *zeroes = calloc(100, 8);
    for (uint64_t i = 0; i < 100; i++) check(zeroes[i] == 0);
    free(zeroes);
    free(0);
}

/* Free blocks that touch become one, whichever of them is freed last. */
static void test_heap_joins(void) {
    for (uint64_t last = 0; last < 3; last++) {
        char *blocks[3], *guard;

        for (uint64_t i = 0; i < 3; i++) check((blocks[i] = malloc(1000)) != 0);
        check((guard = malloc(1000)) != 0);
        for (uint64_t i = 1; i <= 3; i++) free(blocks[(last + i) % 3]);
        char *joined = malloc(3000);
        check(joined == blocks[0]);
        free(joined);
        free(guard);
    }
}

static void check_text(const char *wanted, const char *text, int length) {
    check(strcmp(wanted, text) == 0);
    check(length == (int)strlen(wanted));
}

static void test_print(void) {
    char text[100], zeros[100];

#define CHECK_TEXT(wanted, ...) check_text(wanted, text, snprintf(text, sizeof(text), __VA_ARGS__))
    CHECK_TEXT("-9223372036854775808 18446744073709551615", "%ld %lu", (int64_t)(1ul << 63), ~0ul);
    CHECK_TEXT("   -7|-7   |-0007|-7", "%5d|%-5i|%05d|%0d", -7, -7, -7, -7);
    CHECK_TEXT("ab   |   ab|x|%", "%*s|%*s|%c|%%", -5, "ab", 5, "ab", 'x');
    CHECK_TEXT("ff|00ff|0x1f", "%x|%04x|%p", 255, 255, (void *)31);
    memset(zeros, '0', 80);
    zeros[79] = '1', zeros[80] = 0;
    CHECK_TEXT(zeros, "%080d", 1);
    CHECK_TEXT("1 X %s", "%d %X %s", 1, 10, "not read");
}

static void test_number(void) {
    int64_t value = 5;

    check(!string_number("", &value) && !string_number("-", &value) &&
          !string_number("0x", &value));
    check(!string_number("12a", &value) && !string_number("18446744073709551616", &value));
    check(!string_number("0x10000000000000000", &value));
    check(!string_number("-9223372036854775809", &value) && value == 5);
    check(string_number("18446744073709551615", &value) && value == -1);
    check(string_number("-9223372036854775808", &value) && value == (int64_t)(1ul << 63));
    check(string_number("0xfF", &value) && value == 255);
}

static const struct test library_tests[] = {
    {"threads", test_threads},       {"join_once", test_join_once},
    {"mutex", test_mutex},           {"condition", test_condition},
    {"semaphore", test_semaphore},   {"heap", test_heap},
    {"print", test_print},           {"number", test_number},
    {"heap_joins", test_heap_joins}, {"thread_fails", test_thread_fails},
};
