/*
 * usertests: who runs, and for how long.
 */
#pragma once
#include "usertests_harness.h"

/* A turn is a hundredth of a second long. */
static void test_quantum(void) {
    check(info_page()->quantum == info_page()->timebase / 100);
}

/* Two that spin for each hart, and we: all go on. */
static void test_preemption(void) {
    uint64_t count = 2 * info_page()->hart_count;
    uint64_t deadline = time_after(PATIENCE_MS);
    uint64_t moved = 0; /* bit n: worker n has counted since the round began */
    uint64_t before[2 * 16];

    map_rw(AREA, count);
    for (uint64_t i = 0; i < count; i++) code_begin(i, code_count, AREA + i * PAGE_SIZE);
    for (uint64_t round = 0; round < 2; round++, moved = 0) {
        for (uint64_t i = 0; i < count; i++) before[i] = words(AREA + i * PAGE_SIZE)[0];
        while (moved + 1 != 1ul << count) {
            check(time_now() < deadline);
            sleep_ms(10);
            for (uint64_t i = 0; i < count; i++)
                moved |= (uint64_t)(words(AREA + i * PAGE_SIZE)[0] != before[i]) << i;
        }
    }
}

/* Who takes turns by yield writes its number here, in the order of the turns. */
#define TURNERS 4
#define TURNS   64

static uint8_t turns[TURNERS * TURNS];
static uint64_t turns_taken, turners_ready;

static void worker_turns(uint64_t number) {
    /* They begin together. */
    __atomic_add_fetch(&turners_ready, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&turners_ready, __ATOMIC_SEQ_CST) < TURNERS) yield();
    for (uint64_t i = 0; i < TURNS; i++) {
        turns[__atomic_fetch_add(&turns_taken, 1, __ATOMIC_SEQ_CST)] = (uint8_t)number;
        yield();
    }
    terminate(0);
}

/* Between two turns of `one` after `start`, how many has `other`? */
static uint64_t turns_between(uint64_t start, uint8_t one, uint8_t other) {
    uint64_t count = 0;

    for (uint64_t i = start; i < TURNERS * TURNS && turns[i] != one; i++)
        count += turns[i] == other;
    return count;
}

/* The queue is first in, first out. With one hart that can be seen: nobody has
 * more than one turn between two of another. (Two, where the timer has taken
 * the hart from one that had not yet written down its turn.) */
static void test_yield_order(void) {
    turns_taken = 0;
    turners_ready = 0;
    for (uint64_t i = 0; i < TURNERS; i++) worker_begin(i, worker_turns, i);
    for (uint64_t i = 0; i < TURNERS; i++) check_status(i, 0);
    check(turns_taken == TURNERS * TURNS);
    if (info_page()->hart_count > 1) return;
    uint64_t twice = 0;
    for (uint64_t i = 0; i + 2 * TURNERS < TURNERS * TURNS; i++) {
        for (uint8_t other = 0; other < TURNERS; other++) {
            uint64_t between = turns_between(i + 1, turns[i], other);
            check(between <= 2);
            twice += between == 2;
        }
    }
    check(twice <= TURNERS * TURNERS);
}

/* Work that comes while all harts sleep is done at once: nobody waits for a
 * tick, or for ever. */
static void test_idle_wake(void) {
    uint64_t harts = info_page()->hart_count;

    for (uint64_t round = 0; round < 20; round++) {
        sleep_ms(1);
        for (uint64_t i = 0; i < harts; i++) code_begin(i, code_end, i);
        for (uint64_t i = 0; i < harts; i++) check_status(i, i);
        unmap(SPACE_OWN, handle(0), harts);
    }
}

/* Made, started and ended by several at once. */
static void worker_lives(uint64_t number) {
    uint64_t spare = handle(32 + number);
    uint64_t lives = 0;

    for (uint64_t i = 0; i < 50; i++) {
        if (create_space(spare) < 0) break;
        if (share(SPACE_OWN, (uint64_t)image_start, spare, (uint64_t)image_start, 1, PROT_RX) == 0)
            lives++;
        unmap(SPACE_OWN, spare, 1);
        if (create_executor(SPACE_OWN, spare) == 0 && supervise(spare, handle(number)) == 0 &&
            start(spare, (uint64_t)code_end, 0, 5) == 0 && park(EVENT_CHILD, DEADLINE_NONE) > 0)
            lives++;
        unmap(SPACE_OWN, spare, 1);
    }
    terminate(lives);
}

static void test_lives(void) {
    for (uint64_t i = 0; i < 8; i++) worker_begin(i, worker_lives, i);
    for (uint64_t i = 0; i < 8; i++) check_status(i, 100);
}

/* Map and unmap from several executors of one space, on any hart. */
static void worker_maps(uint64_t number) {
    uint64_t address = AREA + number * 3 * PAGE_SIZE;
    uint64_t good = 0;

    for (uint64_t i = 0; i < 50; i++) {
        if (map(SPACE_OWN, address, 3, PROT_RW, 0) != 0) break;
        words(address)[0] = i;
        words(address + 2 * PAGE_SIZE)[0] = i;
        good += words(address)[0] == i && words(address + PAGE_SIZE)[0] == 0;
        unmap(SPACE_OWN, address, 3);
    }
    terminate(good);
}

static void test_maps(void) {
    for (uint64_t i = 0; i < 8; i++) worker_begin(i, worker_maps, i);
    for (uint64_t i = 0; i < 8; i++) check_status(i, 50);
}

static const struct test schedule_tests[] = {
    {"quantum", test_quantum},
    {"preemption", test_preemption},
    {"yield_order", test_yield_order},
    {"idle_wake", test_idle_wake},
    {"lives", test_lives},
    {"maps", test_maps},
};
