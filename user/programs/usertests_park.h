/*
 * usertests: park, park_if, park_and_swap, unpark, and the console.
 */
#pragma once
#include "usertests_harness.h"

/* Addresses at which park_if and its like find no word of ours. The program's
 * code can be read, not written. */
static const uint64_t no_words[] = {
    0,         4,         AREA,       HANDLE_SELF,        1ul << 38,
    1ul << 47, 1ul << 63, ~0ul << 12, 0xffffffc000000000, 0xfffffffffffffffc,
};

/* Rounds of those that wake each other. */
#define ANSWERS 200

#define NO_WORDS (sizeof(no_words) / sizeof(no_words[0]))

/* What worker 0 sleeps on, and what its park calls answered. */
static uint32_t park_word, park_old;
static int64_t park_results[4];

static void test_park_pending(void) {
    for (uint64_t bit = 0; bit < 32; bit++) {
        check(unpark(me(), 1ul << bit) == 0);
        check(park(1ul << bit, DEADLINE_NONE) == 1l << bit);
        check(park(1ul << bit, 0) == -ETIMEDOUT);
    }
    /* Those of the mask are taken, all others stay. */
    check(unpark(me(), EVENT_A) == 0);
    check(unpark(me(), EVENT_B | 1u << 30) == 0);
    check(park(EVENT_A | EVENT_B | EVENT_WAKE, 0) == (EVENT_A | EVENT_B));
    check(park(EVENT_A | EVENT_B, 0) == -ETIMEDOUT);
    check(park(0xffffffff & ~EVENT_CHILD, 0) == 1u << 30);
    /* Twice is once. */
    check(unpark(me(), EVENT_A) == 0);
    check(unpark(me(), EVENT_A) == 0);
    check(park(EVENT_A, 0) == EVENT_A);
    check(park(EVENT_A, 0) == -ETIMEDOUT);
}

static void test_park_arguments(void) {
    check(park(0, 0) == -EINVAL);
    check(park(0, DEADLINE_NONE) == -EINVAL);
    check(park(1ul << 32, DEADLINE_NONE) == -EINVAL);
    check(park(1ul << 32 | EVENT_A, 0) == -EINVAL);
    check(park(~0ul, 0) == -EINVAL);
    check(unpark(me(), 0) == -EINVAL);
    check(unpark(me(), 1ul << 32) == -EINVAL);
    check(unpark(me(), ~0ul) == -EINVAL);
    check(park(0xffffffff & ~EVENT_CHILD, 0) == -ETIMEDOUT);
}

static void test_park_deadline(void) {
    check(park(EVENT_A, 0) == -ETIMEDOUT);
    check(park(EVENT_A, time_now()) == -ETIMEDOUT);
    for (uint64_t ms = 1; ms <= 16; ms *= 2) {
        uint64_t deadline = time_after(ms);
        check(park(EVENT_A, deadline) == -ETIMEDOUT);
        check(time_now() >= deadline);
    }
    /* What is pending wins over a deadline that has passed. */
    check(unpark(me(), EVENT_A) == 0);
    check(park(EVENT_A, 0) == EVENT_A);
    /* A deadline that is not waited for leaves nothing behind. */
    check(unpark(me(), EVENT_A) == 0);
    check(park(EVENT_A, time_after(2)) == EVENT_A);
    check(park(EVENT_B, time_after(10)) == -ETIMEDOUT);
}

/* Worker 0: tells what two parks return. */
static void worker_park_twice(void) {
    park_results[0] = park(EVENT_A, DEADLINE_NONE);
    park_results[1] = park(EVENT_A | EVENT_B, 0);
    terminate(0);
}

/* An event that is not waited for does not wake, and stays. */
static void test_unpark_mask(void) {
    worker_begin(0, worker_park_twice, 0);
    check((at_rest(0).state & STATE_PARKED) != 0);
    check(start(handle(0), (uint64_t)code_end, 0, 0) == -EBUSY);
    check(resume(handle(0)) == -EBUSY);
    check(unpark(handle(0), EVENT_B) == 0);
    sleep_ms(2);
    struct executor_info info = at_rest(0);
    check((info.state & STATE_PARKED) != 0);
    check(info.state >> STATE_EVENTS_SHIFT == EVENT_B);
    check(unpark(handle(0), EVENT_A) == 0);
    check_status(0, 0);
    check(park_results[0] == EVENT_A);
    check(park_results[1] == EVENT_B);
}

/* Worker 0: answers ANSWERS events that come one by one. */
static void worker_answer(uint64_t other) {
    for (uint64_t i = 0; i < ANSWERS; i++) {
        park(EVENT_A, DEADLINE_NONE);
        unpark(other, EVENT_B);
    }
    terminate(ANSWERS);
}

static void test_unpark_answer(void) {
    worker_begin(0, worker_answer, me());
    for (uint64_t i = 0; i < ANSWERS; i++) {
        check(unpark(handle(0), EVENT_A) == 0);
        check(park(EVENT_B, time_after(PATIENCE_MS)) == EVENT_B);
    }
    check_status(0, ANSWERS);
}

/* The events that are pending for what is behind this handle. */
static uint64_t pending(uint64_t number) {
    struct executor_info info;
    check(inspect(handle(number), &info) == 0);
    return info.state >> STATE_EVENTS_SHIFT;
}

/* What a handle led to is not what it leads to. */
static void test_unpark_changed_handle(void) {
    for (uint64_t i = 0; i < 2; i++) check(create_executor(SPACE_OWN, handle(i)) == 0);
    for (int i = 0; i < 20; i++) {
        check(share(SPACE_OWN, handle(i % 2), SPACE_OWN, handle(2), 1, PROT_READ) == 0);
        check(unpark(handle(2), EVENT_A << i) == 0);
        check(unpark(handle(2), EVENT_A << i) == 0);
        check(resume(handle(2)) == -EINVAL);
        check((pending(i % 2) & EVENT_A << i) != 0);
        check((pending(1 - i % 2) & EVENT_A << i) == 0);
        if (i % 4 < 2)
            check(unmap(SPACE_OWN, handle(2), 1) == 0);
        else
            check(map(SPACE_OWN, handle(2), 1, PROT_RW, MAP_REPLACE) == 0);
        check(resume(handle(2)) == -EBADF);
        check(unpark(handle(2), EVENT_A << i) == -EBADF);
        check(unmap(SPACE_OWN, handle(2), 1) == 0);
    }
}

/* Worker 1, in another space: sends B, and lets others run. */
static void worker_send_in_turn(uint64_t other) {
    for (int i = 0; i < ANSWERS; i++) {
        if (unpark(other, EVENT_B) != 0) terminate(1);
        yield();
    }
    terminate(0);
}

/* The same address is another handle in another space. */
static void test_unpark_same_address(void) {
    for (uint64_t i = 2; i < 4; i++) check(create_executor(SPACE_OWN, handle(i)) == 0);
    space_begin(0);
    check(share(SPACE_OWN, handle(3), handle(0), handle(2), 1, PROT_READ) == 0);
    process_begin(1, 0, worker_send_in_turn, handle(2));
    for (int i = 0; i < ANSWERS; i++) {
        check(unpark(handle(2), EVENT_A) == 0);
        yield();
    }
    check_status(1, 0);
    check(pending(2) == EVENT_A);
    check(pending(3) == EVENT_B);
}

/* Worker 0: when the word changes, sends A, and a little later B. */
static void worker_send_two(uint64_t other) {
    for (uint32_t round = 1;; round++) {
        while (__atomic_load_n(&park_word, __ATOMIC_ACQUIRE) < round) yield();
        for (volatile uint32_t i = 0; i < (round & 63) << 6; i = i + 1)
            ;
        unpark(other, EVENT_A);
        for (volatile uint32_t i = 0; i < (round & 7) << 8; i = i + 1)
            ;
        unpark(other, EVENT_B);
    }
}

/* An event and a deadline that come together: one of the two ends the park,
 * and the deadline never ends the next. */
static void test_park_late_timeout(void) {
    uint64_t step = info_page()->timebase >> 16; /* about 15 microseconds */
    uint32_t rounds = deep ? 20000 : 300;

    park_word = 0;
    worker_begin(0, worker_send_two, me());
    for (uint32_t round = 1; round <= rounds; round++) {
        uint64_t deadline = time_now() + step * (round & 31);
        __atomic_store_n(&park_word, round, __ATOMIC_RELEASE);
        int64_t first = park(EVENT_A, deadline);
        check(first == EVENT_A || first == -ETIMEDOUT);
        check(first == EVENT_A || time_now() >= deadline);
        check(park(EVENT_B, DEADLINE_NONE) == EVENT_B);
        int64_t rest = park(EVENT_A, 0);
        check(first == EVENT_A ? rest == -ETIMEDOUT : rest == EVENT_A);
    }
}

/* Many deadlines at once, in any order. */
static void worker_sleep(uint64_t ms) {
    uint64_t deadline = time_after(ms);
    int64_t result = park(EVENT_A, deadline);
    terminate(result == -ETIMEDOUT && time_now() >= deadline ? ms : 1000);
}

static void test_park_many(void) {
    static const uint8_t ms[] = {9, 3, 7, 3, 1, 12, 5, 2, 30, 4, 11, 6, 3, 8, 200, 10};

    for (uint64_t i = 0; i < sizeof(ms); i++) worker_begin(i, worker_sleep, ms[i]);
    for (uint64_t i = 0; i < sizeof(ms); i++) {
        if (ms[i] < 100) check_status(i, ms[i]);
    }
    check(stop(handle(14)) == 0);
    at_rest(14);
    check(start(handle(14), (uint64_t)code_end, 0, 4) == 0);
    check_status(14, 4);
    /* Who ends while it sleeps takes its deadline along. */
    space_begin(16);
    for (uint64_t i = 17; i < 25; i++) process_begin(i, 16, worker_sleep, 10000 + i);
    at_rest(24);
    check(destroy(handle(16)) == 0);
    for (uint64_t i = 17; i < 25; i++) check_status(i, STATUS_KILLED);
}

/* Stopped in a park: it goes on parking, or comes back with what came. */
static void test_park_stopped(void) {
    worker_begin(0, worker_park_twice, 0);
    at_rest(0);
    check(stop(handle(0)) == 0);
    check((at_rest(0).state & (STATE_PARKED | STATE_STOPPED)) == (STATE_PARKED | STATE_STOPPED));
    check(resume(handle(0)) == 0);
    check((at_rest(0).state & (STATE_PARKED | STATE_STOPPED)) == STATE_PARKED);
    check(stop(handle(0)) == 0);
    check(unpark(handle(0), EVENT_A) == 0);
    check((at_rest(0).state & (STATE_PARKED | STATE_STOPPED)) == STATE_STOPPED);
    check(resume(handle(0)) == 0);
    check_status(0, 0);
    check(park_results[0] == EVENT_A);

    /* Its deadline passes while it is stopped; unless we were too slow to stop
     * it, and it has ended. */
    worker_begin(1, worker_sleep, 20);
    if (stop(handle(1)) == 0) {
        at_rest(1);
        sleep_ms(40);
        int64_t result = resume(handle(1));
        check(result == 0 || result == -ESRCH);
    }
    check_status(1, 20);

    /* Started anew, it parks no more; events stay. */
    worker_begin(2, worker_park_twice, 0);
    at_rest(2);
    check(stop(handle(2)) == 0);
    check(start(handle(2), (uint64_t)worker_park_twice, worker_stack_end(2), 0) == 0);
    check((at_rest(2).state & STATE_PARKED) != 0);
    check(unpark(handle(2), EVENT_A) == 0);
    check_status(2, 0);
}

static void test_park_if(void) {
    map_rw(AREA + PAGE_SIZE, 1);
    uint32_t *word = (uint32_t *)(AREA + 2 * PAGE_SIZE - 4);

    check(park_if(word, 1, DEADLINE_NONE) == -EAGAIN);
    check(park_if(word, 1, 0) == -EAGAIN);
    check(park_if(word, 0, 0) == -ETIMEDOUT);
    check(park_if(word, 0, time_after(3)) == -ETIMEDOUT);
    *word = 0x80000000;
    check(park_if(word, 0x80000000, 0) == -ETIMEDOUT);
    check(park_if((uint32_t *)USER_IMAGE, *(uint32_t *)USER_IMAGE, 0) == -ETIMEDOUT);
    /* A wake-up from before counts; no other event does. */
    check(unpark(me(), EVENT_A | EVENT_WAKE) == 0);
    check(park_if(word, 0x80000000, DEADLINE_NONE) == EVENT_WAKE);
    check(park_if(word, 0x80000000, time_after(2)) == -ETIMEDOUT);
    check(park(EVENT_A, 0) == EVENT_A);
    /* After a value that differs it does not sleep. */
    check(park_if(word, 5, DEADLINE_NONE) == -EAGAIN);
    check(unpark(me(), EVENT_WAKE) == 0);
    check(park(EVENT_WAKE, 0) == EVENT_WAKE);

    for (uint64_t i = 0; i < NO_WORDS; i++)
        check(park_if((uint32_t *)no_words[i], 0, DEADLINE_NONE) == -EFAULT);
    for (uint64_t i = 1; i < 4; i++)
        check(park_if((uint32_t *)(AREA + PAGE_SIZE + i), 0, 0) == -EINVAL);
}

static void test_park_and_swap(void) {
    uint32_t old = 9;

    map_rw(AREA + PAGE_SIZE, 1);
    uint32_t *word = (uint32_t *)(AREA + 2 * PAGE_SIZE - 4);
    *word = 0xfffffff0;
    check(park_and_swap(word, 5, 0, &old) == -ETIMEDOUT);
    check(*word == 5 && old == 0xfffffff0);
    check(park_and_swap(word, 6, time_after(3), &old) == -ETIMEDOUT);
    check(*word == 6 && old == 5);
    /* The wake-up came first. */
    check(unpark(me(), EVENT_WAKE | EVENT_A) == 0);
    check(park_and_swap(word, 7, DEADLINE_NONE, &old) == EVENT_WAKE);
    check(*word == 7 && old == 6);
    check(park(EVENT_A, 0) == EVENT_A);

    for (uint64_t i = 0; i < NO_WORDS; i++)
        check(park_and_swap((uint32_t *)no_words[i], 0, DEADLINE_NONE, &old) == -EFAULT);
    check(park_and_swap((uint32_t *)USER_IMAGE, 0, DEADLINE_NONE, &old) == -EFAULT);
    check(park_and_swap((uint32_t *)USER_INFO_PAGE, 0, DEADLINE_NONE, &old) == -EFAULT);
    for (uint64_t i = 1; i < 4; i++)
        check(park_and_swap((uint32_t *)(AREA + PAGE_SIZE + i), 0, 0, &old) == -EINVAL);
    check(words(AREA + PAGE_SIZE)[0] == 0);
}

/* Worker 0: sleeps on the word by both calls. */
static void worker_wait_word(void) {
    park_results[0] = park_if(&park_word, 3, DEADLINE_NONE);
    park_results[1] = park_and_swap(&park_word, 4, DEADLINE_NONE, &park_old);
    terminate(0);
}

static void test_park_word_wake(void) {
    park_word = 3;
    worker_begin(0, worker_wait_word, 0);
    check((at_rest(0).state & STATE_PARKED) != 0);
    park_word = 8;
    check(unpark(handle(0), EVENT_A) == 0); /* does not wake it */
    check((at_rest(0).state & STATE_PARKED) != 0);
    check(unpark(handle(0), EVENT_WAKE) == 0);
    while (__atomic_load_n(&park_word, __ATOMIC_ACQUIRE) != 4) yield();
    check(unpark(handle(0), EVENT_WAKE) == 0);
    check_status(0, 0);
    check(park_results[0] == EVENT_WAKE);
    check(park_results[1] == EVENT_WAKE);
    check(park_old == 8);
}

/* Worker 0: sleeps while the word is what it was, ANSWERS times. */
static void worker_follow(uint64_t other) {
    for (uint32_t value = 0; value < ANSWERS; value++) {
        while (__atomic_load_n(&park_word, __ATOMIC_ACQUIRE) == value)
            park_if(&park_word, value, DEADLINE_NONE);
        unpark(other, EVENT_B);
    }
    terminate(0);
}

/* No change of the word is slept over. */
static void test_park_if_race(void) {
    park_word = 0;
    worker_begin(0, worker_follow, me());
    for (uint32_t value = 1; value <= ANSWERS; value++) {
        for (volatile uint32_t i = 0; i < (value & 31) << 3; i = i + 1)
            ;
        __atomic_store_n(&park_word, value, __ATOMIC_SEQ_CST);
        check(unpark(handle(0), EVENT_WAKE) == 0);
        check(park(EVENT_B, time_after(PATIENCE_MS)) == EVENT_B);
    }
    check_status(0, 0);
}

/* Buffers from which, and to which, nothing can be copied. */
static void test_console(void) {
    static const char line[] = "";

    for (uint64_t i = 0; i < NO_WORDS; i++) {
        check(console_write((void *)no_words[i], 1) == -EFAULT);
        check(console_read((void *)no_words[i], 1) == -EFAULT);
    }
    check(console_write(line, 0) == 0);
    check(console_write(line, CONSOLE_WRITE_MAX + 1) == -EINVAL);
    check(console_write(line, ~0ul) == -EINVAL);
    check(console_read((void *)USER_IMAGE, 1) == -EFAULT);
    check(console_read((void *)USER_INFO_PAGE, 1) == -EFAULT);

    map_rw(AREA + PAGE_SIZE, 1);
    char *end = (char *)(AREA + 2 * PAGE_SIZE);
    check(console_read(end - 4, 0) == -EINVAL);
    check(console_read(end - 4, 5) == -EFAULT);
    check(console_write(end - 4, 5) == -EFAULT);
    check(console_write(end - 4, CONSOLE_WRITE_MAX) == -EFAULT);
    /* Nobody types. From here on it is us who would be told of a key, until
     * this thread ends. */
    check(console_read(end - 4, 4) == -EAGAIN);
}

static const struct test park_tests[] = {
    {"park_pending", test_park_pending},
    {"park_arguments", test_park_arguments},
    {"park_deadline", test_park_deadline},
    {"park_late_timeout", test_park_late_timeout},
    {"park_many", test_park_many},
    {"park_stopped", test_park_stopped},
    {"unpark_mask", test_unpark_mask},
    {"unpark_answer", test_unpark_answer},
    {"unpark_changed_handle", test_unpark_changed_handle},
    {"unpark_same_address", test_unpark_same_address},
    {"park_if", test_park_if},
    {"park_if_race", test_park_if_race},
    {"park_and_swap", test_park_and_swap},
    {"park_word_wake", test_park_word_wake},
    {"console", test_console},
};
