/*
 * usertests: spaces, executors, their faults and their ends.
 */
#pragma once
#include "usertests_harness.h"

static void test_unknown_calls(void) {
    static const uint64_t numbers[] = {
        0, CALL_COUNT, CALL_COUNT + 1, 1ul << 32 | CALL_YIELD, ~0ul, 1ul << 63, 1000};

    for (uint64_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        check(call_any(numbers[i], 1, 2, 3, 4, 5, 6) == -ENOSYS);
    check(yield() == 0);
}

static void test_create(void) {
    static const uint64_t invalid[] = {0, 1, AREA + 8, 1ul << 63, ~0ul, ~0ul << 12};

    for (uint64_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        check(create_space(invalid[i]) == -EINVAL);
        check(create_executor(SPACE_OWN, invalid[i]) == -EINVAL);
    }
    check(create_space(user_end()) == -EINVAL);
    check(create_executor(SPACE_OWN, user_end()) == -EINVAL);
    check(create_space(user_end() - PAGE_SIZE) == 0);
    check(create_executor(user_end() - PAGE_SIZE, handle(0)) == 0);
    check(create_space(handle(0)) == -EEXIST);
    check(create_executor(SPACE_OWN, handle(0)) == -EEXIST);
    check(resume(handle(0)) == -EINVAL); /* of the one from before */
    check(create_space(USER_INFO_PAGE) == -EEXIST);
    check(create_executor(SPACE_OWN, (uint64_t)image_start) == -EEXIST);
    unmap(SPACE_OWN, user_end() - PAGE_SIZE, 1);
    /* The executor is still ours, but its space has gone. */
    check(start(handle(0), 0, 0, 0) == -ESRCH);
}

static int64_t create_in(uint64_t space) {
    return create_executor(space, handle(5));
}

static int64_t start_at(uint64_t executor) {
    return start(executor, (uint64_t)code_end, 0, 0);
}

static int64_t resume_at(uint64_t executor) {
    return resume(executor);
}

static int64_t stop_at(uint64_t executor) {
    return stop(executor);
}

static int64_t supervise_at(uint64_t executor) {
    return supervise(executor, 0);
}

static int64_t supervise_by(uint64_t executor) {
    return supervise(handle(2), executor);
}

static int64_t inspect_at(uint64_t executor) {
    struct executor_info info;
    return inspect(executor, &info);
}

static int64_t unpark_at(uint64_t executor) {
    return unpark(executor, EVENT_A);
}

/* Addresses that name no executor: all calls that want one. */
static void test_bad_executors(void) {
    static int64_t (*const calls[])(uint64_t) = {start_at,     resume_at,  stop_at,  supervise_at,
                                                 supervise_by, inspect_at, unpark_at};
    static const uint64_t never[] = {
        8,
        AREA,
        AREA + PAGE_SIZE,
        HANDLE_SELF + 8,
        1ul << 63,
        1ul << 47,
        1ul << 38,
        ~0ul,
        ~0ul << 12,
        USER_INFO_PAGE,
        TEST_HANDLES /* a space */,
        USER_IMAGE,
    };

    map_rw(AREA, 1);
    check(create_space(handle(0)) == 0);
    check(create_executor(SPACE_OWN, handle(2)) == 0);
    check(create_executor(SPACE_OWN, handle(3)) == 0);
    unmap(SPACE_OWN, handle(3), 1);
    for (uint64_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (uint64_t j = 0; j < sizeof(never) / sizeof(never[0]); j++)
            check(calls[i](never[j]) == -EBADF);
        check(calls[i](handle(3)) == -EBADF);
        check(calls[i] == supervise_by || calls[i](0) == -EBADF);
    }
    /* And those that want a space. */
    check_bad_spaces(create_in);
    check_bad_spaces(destroy);
}

/* Make an executor. */
static void check_new(uint64_t number) {
    struct executor_info info;

    check(create_executor(SPACE_OWN, handle(number)) == 0);
    check(inspect(handle(number), &info) == 0);
    check(info.state == STATE_STOPPED);
    check(info.pc == 0);
    for (int i = 0; i < 31; i++) check(info.x[i] == 0);
    check(info.fault_cause == FAULT_NONE && info.fault_address == 0);
    check(info.status == STATUS_KILLED);
    check(resume(handle(number)) == -EINVAL);
}

/* Made where memory of a program was, nothing of which is left in them. There is
 * so much of it that it is what the kernel has at hand, beside a few pages. */
static void test_create_on_used_pages(void) {
    const uint64_t pages = 4096;

    map_rw(AREA, pages);
    for (uint64_t at = AREA; at < AREA + pages * PAGE_SIZE; at += sizeof(uint64_t))
        *(volatile uint64_t *)at = ~0ul;
    unmap(SPACE_OWN, AREA, pages);
    for (uint64_t i = 0; i < 60; i++) check_new(i);
    for (uint64_t i = 0; i < 60; i++) unmap(SPACE_OWN, handle(i), 1);
}

static void test_start(void) {
    struct executor_info info;

    check_new(0);
    check(supervise(handle(0), me()) == 0);
    check(start(handle(0), (uint64_t)code_end, ~0ul, 1) == 0);
    check_status(0, 1);
    unmap(SPACE_OWN, handle(0), 1);
    /* Where one has run before, if this is the hart that has freed it. */
    check_new(0);
    check(supervise(handle(0), me()) == 0);
    check(start(handle(0), (uint64_t)code_end, 0, 77) == 0);
    check_status(0, 77);
    /* It has ended. */
    check(start(handle(0), (uint64_t)code_end, 0, 0) == -ESRCH);
    check(resume(handle(0)) == -ESRCH);
    check(stop(handle(0)) == -ESRCH);
    check(supervise(handle(0), 0) == -ESRCH);
    check(unpark(handle(0), EVENT_A) == 0);
    check(inspect(handle(0), &info) == 0);
    check(info.status == 77 && info.fault_cause == FAULT_NONE);
}

/* A program counter that makes no sense is the executor's own misfortune. */
static void test_start_anywhere(void) {
    check_code_faults((void *)0, 0, CAUSE_FETCH);
    static const uint64_t nowhere[] = {8,         AREA,      0xffffffc000000000, 0xffffffe000000000,
                                       1ul << 62, ~0ul << 12};

    for (uint64_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
        code_begin(0, (void *)nowhere[i], 0);
        check(settled(0).fault_cause != FAULT_NONE);
        unmap(SPACE_OWN, handle(0), 1);
    }
}

static void test_stop(void) {
    map_rw(AREA, 1);
    code_begin(0, code_count, AREA);
    while (words(AREA)[0] == 0) yield();
    check(start(handle(0), (uint64_t)code_end, 0, 0) == -EBUSY);
    check(resume(handle(0)) == -EBUSY);
    for (uint64_t round = 0; round < 20; round++) {
        check(stop(handle(0)) == 0);
        struct executor_info info = at_rest(0);
        check((info.state & STATE_STOPPED) != 0 && info.fault_cause == FAULT_NONE);
        uint64_t count = words(AREA)[0];
        check(count == info.x[4] || count + 1 == info.x[4]);
        check(stop(handle(0)) == 0); /* twice is once */
        check(words(AREA)[0] == count);
        check(resume(handle(0)) == 0);
        while (words(AREA)[0] == count) yield();
    }
    check(stop(handle(0)) == 0);
    at_rest(0);
    check(start(handle(0), (uint64_t)code_end, 0, 9) == 0);
    check_status(0, 9);
}

/* Worker 0: stops itself, then ends with what stop returned. */
static void worker_stop_self(void) {
    terminate((uint64_t)stop(handle(0)) + 5);
}

static void test_stop_self(void) {
    worker_begin(0, worker_stop_self, 0);
    check((at_rest(0).state & STATE_STOPPED) != 0);
    check(resume(handle(0)) == 0);
    check_status(0, 5);
}

/* A register of each executor, and what must be in it. */
static void check_patterns(const struct executor_info *info, uint64_t but_one, uint64_t but_two) {
    for (uint64_t n = 1; n <= 31; n++)
        check(n == but_one || n == but_two || info->x[n - 1] == PATTERN + n);
}

/* Let workers 0 … count - 1 spin for a while, then stop them all. */
static void spin_and_stop(uint64_t count) {
    park(EVENT_B, time_now() + 2 * info_page()->quantum);
    for (uint64_t i = 0; i < count; i++) check(stop(handle(i)) == 0);
    for (uint64_t i = 0; i < count; i++) at_rest(i);
}

/* No register is lost when an executor is preempted, stopped, or calls. */
static void test_registers(void) {
    uint64_t count = info_page()->hart_count + 1; /* so that they take turns */
    struct executor_info info;

    for (uint64_t i = 0; i < count; i++) code_begin(i, code_patterns, 0);
    for (uint64_t round = 0; round < 3; round++) {
        spin_and_stop(count);
        for (uint64_t i = 0; i < count; i++) {
            check(inspect(handle(i), &info) == 0);
            if (info.pc == (uint64_t)code_spin) /* it has set all */
                check_patterns(&info, 0, 0);
        }
        for (uint64_t i = 0; i < count && round < 2; i++) check(resume(handle(i)) == 0);
    }
    /* Started elsewhere, it keeps all but sp, a0, and a7 that it sets. */
    for (uint64_t i = 0; i < count; i++) {
        check(inspect(handle(i), &info) == 0);
        check(info.pc == (uint64_t)code_spin);
        check(start(handle(i), (uint64_t)code_yield, PATTERN + 2, 0) == 0);
    }
    spin_and_stop(count);
    for (uint64_t i = 0; i < count; i++) {
        check(inspect(handle(i), &info) == 0);
        check_patterns(&info, 10, 17);
        check(info.x[9] == 0);
    }
}

/* Workers 1 and 2: look at worker 0, and count how often, and how often it
 * executed then. */
static void worker_look(void) {
    struct executor_info info;

    for (;;) {
        if (inspect(handle(0), &info) != 0) continue;
        __atomic_fetch_add(&words(AREA)[0], 1, __ATOMIC_RELAXED);
        if (info.state & STATE_EXECUTING) __atomic_fetch_add(&words(AREA)[1], 1, __ATOMIC_RELAXED);
    }
}

/* One at rest is so, and can be started, also while others look at it. */
static void test_inspect_together(void) {
    struct executor_info info;

    map_rw(AREA, 1);
    check_new(0);
    for (uint64_t i = 1; i <= 2; i++) worker_begin(i, worker_look, 0);
    while (words(AREA)[0] < 20000) {
        check(inspect(handle(0), &info) == 0);
        check(info.state == STATE_STOPPED);
    }
    check(words(AREA)[1] == 0);
    for (uint64_t round = 0; round < 500; round++) {
        unmap(SPACE_OWN, handle(0), 1);
        check(create_executor(SPACE_OWN, handle(0)) == 0);
        check(start(handle(0), (uint64_t)code_end, 0, 0) == 0);
    }
}

/* Nothing is told of the registers of one that runs. */
static void check_untold(uint64_t executor) {
    struct executor_info info;

    check(inspect(executor, &info) == 0);
    check((info.state & (STATE_EXECUTING | STATE_QUEUED)) != 0);
    check(info.pc == 0);
    for (int i = 0; i < 31; i++) check(info.x[i] == 0);
}

/* Neither of one that executes, as the caller does, nor of one that is queued. */
static void test_inspect_running(void) {
    uint64_t count = info_page()->hart_count + 1; /* so that one waits */

    for (uint64_t i = 0; i < count; i++) code_begin(i, code_patterns, 0);
    for (uint64_t round = 0; round < 3; round++) {
        park(EVENT_B, time_now() + 2 * info_page()->quantum);
        check_untold(me());
        for (uint64_t i = 0; i < count; i++) check_untold(handle(i));
    }
}

static void test_inspect_buffer(void) {
    static const uint64_t nowhere[] = {0,         8,           AREA + PAGE_SIZE, 1ul << 38,
                                       1ul << 47, HANDLE_SELF, ~0ul - 7,         ~0ul << 12,
                                       1ul << 63, USER_IMAGE,  USER_INFO_PAGE};

    for (uint64_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++)
        check(inspect(me(), (struct executor_info *)nowhere[i]) == -EFAULT);
    /* Across the end of what is mapped, across two pages, and unaligned. */
    map_rw(AREA, 2);
    check(inspect(me(), (struct executor_info *)(AREA + 2 * PAGE_SIZE - 8)) == -EFAULT);
    check(inspect(me(), (struct executor_info *)(AREA + PAGE_SIZE - 9)) == 0);
    check((*(uint8_t *)(AREA + PAGE_SIZE - 9) & STATE_EXECUTING) != 0);
    map_rw(user_end() - PAGE_SIZE, 1);
    check(inspect(me(), (struct executor_info *)(user_end() - 8)) == -EFAULT);
    unmap(SPACE_OWN, user_end() - PAGE_SIZE, 1);
}

/* What a program must not do stops it, and is told with cause and address. */
static void test_faults(void) {
    check(create_space(handle(0)) == 0);
    check(create_executor(SPACE_OWN, handle(1)) == 0);
    const uint64_t forbidden[] = {0,
                                  8,
                                  AREA,
                                  handle(0),
                                  handle(1),
                                  HANDLE_SELF + 0x118,
                                  user_end() - 1,
                                  user_end(),
                                  1ul << 63,
                                  0xffffffc000000000,
                                  0xffffffc040000000,
                                  0xffffffe000000000,
                                  0xfffffffffffffffc,
                                  0x10000000,
                                  0x80200000};

    for (uint64_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        check_code_faults(code_load, forbidden[i], CAUSE_LOAD);
        check_code_faults(code_store, forbidden[i], CAUSE_STORE);
    }
    check_code_faults(code_jump, AREA, CAUSE_FETCH);
    check_code_faults(code_jump, handle(0), CAUSE_FETCH);
    check_code_faults(code_jump, handle(1), CAUSE_FETCH);
    check_code_faults(code_jump, (uint64_t)variables_start, CAUSE_FETCH);
    check_code_faults(code_store, (uint64_t)image_start, CAUSE_STORE);
    check_code_faults(code_store, (uint64_t)constants_start, CAUSE_STORE);
    check_code_faults(code_illegal, 0, CAUSE_ILLEGAL);
    check_code_faults(code_float, 0, CAUSE_ILLEGAL); /* nobody saves such registers */
    code_begin(2, code_break, 0);
    check(settled(2).fault_cause == CAUSE_BREAK);
}

/* A supervisor may repair what was missing: the access is made again. */
static void test_fault_repair(void) {
    code_begin(0, code_store, AREA + 5);
    check_fault(0, CAUSE_STORE, AREA + 5);
    check(map(SPACE_OWN, AREA, 1, PROT_READ, 0) == 0);
    check(resume(handle(0)) == 0);
    check_fault(0, CAUSE_STORE, AREA + 5); /* to read is not enough */
    check(map(SPACE_OWN, AREA, 1, PROT_RW, MAP_REPLACE) == 0);
    check(resume(handle(0)) == 0);
    check_status(0, AREA + 5);
    check(*(volatile uint8_t *)(AREA + 5) == 5);
    /* Or send it elsewhere: the fault is forgotten. */
    code_begin(1, code_load, 0);
    check_fault(1, CAUSE_LOAD, 0);
    check(start(handle(1), (uint64_t)code_end, 0, 6) == 0);
    check_status(1, 6);
    check(settled(1).fault_cause == FAULT_NONE);
}

/* EVENT_CHILD comes for a fault and for an end, once each. */
static void test_supervise(void) {
    park(EVENT_CHILD, 0);
    code_begin(0, code_load, 0);
    check(park(EVENT_CHILD, time_after(PATIENCE_MS)) == EVENT_CHILD);
    check(park(EVENT_CHILD, 0) == -ETIMEDOUT);
    check(start(handle(0), (uint64_t)code_end, 0, 0) == 0);
    check(park(EVENT_CHILD, time_after(PATIENCE_MS)) == EVENT_CHILD);
    check(park(EVENT_CHILD, 0) == -ETIMEDOUT);
    check(supervise(me(), me()) == -EINVAL);

    /* Who is supervised by nobody is not heard of. */
    check(create_executor(SPACE_OWN, handle(1)) == 0);
    check(supervise(handle(1), me()) == 0);
    check(supervise(handle(1), 0) == 0);
    check(start(handle(1), (uint64_t)code_end, 0, 0) == 0);
    settled(1);
    check(park(EVENT_CHILD, time_after(5)) == -ETIMEDOUT);

    /* Who drops the last handle of one that never ran has ended it. */
    check(create_executor(SPACE_OWN, handle(2)) == 0);
    check(supervise(handle(2), me()) == 0);
    unmap(SPACE_OWN, handle(2), 1);
    check(park(EVENT_CHILD, time_after(PATIENCE_MS)) == EVENT_CHILD);
}

/* The process of a space ends in a moment: nothing can be mapped any more. */
static void check_space_ends(uint64_t number) {
    uint64_t deadline = time_after(PATIENCE_MS);
    int64_t error;

    while ((error = map(handle(number), AREA, 1, PROT_RW, 0)) != -ESRCH) {
        check(error == 0 || error == -EEXIST);
        check(time_now() < deadline);
        sleep_ms(1);
    }
}

/* A fault that no living supervisor hears of ends the whole process. */
static void test_fault_alone(void) {
    struct executor_info info;

    space_begin(0);
    process_begin(1, 0, code_spin, 0);
    check(create_executor(handle(0), handle(2)) == 0);
    check(start(handle(2), (uint64_t)code_store, 0, 0x123) == 0);
    check_status(1, STATUS_KILLED);
    info = settled(2);
    check((info.state & STATE_TERMINATED) != 0 && info.status == STATUS_KILLED);
    check(info.fault_cause == CAUSE_STORE && info.fault_address == 0x123);
    check_space_ends(0);

    /* The supervisor has ended. */
    space_begin(3);
    process_begin(4, 3, code_spin, 0);
    check(create_executor(SPACE_OWN, handle(5)) == 0);
    check(create_executor(handle(3), handle(6)) == 0);
    check(supervise(handle(6), handle(5)) == 0);
    check(start(handle(5), (uint64_t)code_end, 0, 0) == 0);
    settled(5);
    check(start(handle(6), (uint64_t)code_illegal, 0, 0) == 0);
    check_status(4, STATUS_KILLED);
    check_space_ends(3);
}

/* A process ends with the last of its executors that was started. */
static void test_last_executor(void) {
    space_begin(0);
    check(create_executor(handle(0), handle(3)) == 0);
    process_begin(1, 0, code_end, 1);
    check_status(1, 1);
    check_space_ends(0);
    check_status(3, STATUS_KILLED); /* it was never started */
    check(create_executor(handle(0), handle(4)) == -ESRCH);
    check(share(SPACE_OWN, USER_IMAGE, handle(0), AREA, 1, PROT_READ) == -ESRCH);
    check(unmap(handle(0), AREA, 1) == -ESRCH);
    check(destroy(handle(0)) == -ESRCH);
    check(start(handle(3), 0, 0, 0) == -ESRCH);

    space_begin(5);
    process_begin(6, 5, code_spin, 0);
    process_begin(7, 5, code_end, 0);
    check_status(7, 0);
    check(map(handle(5), AREA, 1, PROT_RW, 0) == 0);
    check(stop(handle(6)) == 0);
    at_rest(6);
    check(map(handle(5), AREA + PAGE_SIZE, 1, PROT_RW, 0) == 0);
    check(start(handle(6), (uint64_t)code_end, 0, 0) == 0);
    check_space_ends(5);
}

/* Sleeps for ever. */
static void worker_park(void) {
    park(EVENT_A, DEADLINE_NONE);
    terminate(1);
}

/* Sleeps, with a deadline that does not come. */
static void worker_park_long(void) {
    park(EVENT_A, time_now() + (1ul << 40));
    terminate(1);
}

/* Ends its own process. */
static void worker_destroy_own(void) {
    destroy(SPACE_OWN);
    terminate(1);
}

/* Whatever its executors do: destroy ends a process at once. */
static void test_destroy(void) {
    for (uint64_t round = 0; round < 5; round++) {
        space_begin(0);
        process_begin(1, 0, code_spin, 0);
        process_begin(2, 0, worker_park, 0);
        process_begin(3, 0, worker_park_long, 0);
        process_begin(4, 0, code_load, 0);
        check(create_executor(handle(0), handle(5)) == 0);
        process_begin(6, 0, code_spin, 0);
        stop(handle(6));
        process_begin(7, 0, code_yield, 0);
        park(EVENT_B, time_now() + (info_page()->timebase >> 12 << round));
        check(destroy(handle(0)) == 0);
        for (uint64_t i = 1; i <= 7; i++) check_status(i, STATUS_KILLED);
        check(destroy(handle(0)) == -ESRCH);
        unmap(SPACE_OWN, handle(0), 8);
    }
    space_begin(0);
    process_begin(1, 0, worker_destroy_own, 0);
    check_status(1, STATUS_KILLED);
    check_space_ends(0);
}

/* A started process lives without handles, and ends without them. */
static void test_no_handles(void) {
    map_rw(AREA, 1);
    space_begin(0);
    check(share(SPACE_OWN, AREA, handle(0), AREA, 1, PROT_RW) == 0);
    process_begin(1, 0, code_count, AREA);
    unmap(SPACE_OWN, handle(0), 1);
    uint64_t count = words(AREA)[0];
    uint64_t deadline = time_after(PATIENCE_MS);
    while (words(AREA)[0] < count + 1000 && time_now() < deadline) sleep_ms(1);
    check(words(AREA)[0] >= count + 1000);
    check(stop(handle(1)) == 0);
    at_rest(1);
    /* Stopped, and nobody can start it any more: it ends. */
    unmap(SPACE_OWN, handle(1), 1);
    check(park(EVENT_CHILD, time_after(PATIENCE_MS)) == EVENT_CHILD);
}

static const struct test object_tests[] = {
    {"unknown_calls", test_unknown_calls},
    {"create", test_create},
    {"create_on_used_pages", test_create_on_used_pages},
    {"bad_executors", test_bad_executors},
    {"start", test_start},
    {"start_anywhere", test_start_anywhere},
    {"stop", test_stop},
    {"stop_self", test_stop_self},
    {"registers", test_registers},
    {"inspect_running", test_inspect_running},
    {"inspect_buffer", test_inspect_buffer},
    {"inspect_together", test_inspect_together},
    {"faults", test_faults},
    {"fault_repair", test_fault_repair},
    {"supervise", test_supervise},
    {"fault_alone", test_fault_alone},
    {"last_executor", test_last_executor},
    {"destroy", test_destroy},
    {"no_handles", test_no_handles},
};
