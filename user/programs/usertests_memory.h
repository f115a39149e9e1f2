/*
 * usertests: map, unmap and share.
 */
#pragma once
#include "usertests_harness.h"

/* Addresses that name no space in any way. In their midst: a page of memory at
 * AREA, and an executor at handle(0), which the caller has made. */
static void check_bad_spaces(int64_t (*call)(uint64_t space)) {
    static const uint64_t never[] = {8,          AREA,           AREA + PAGE_SIZE, HANDLE_SELF + 1,
                                     1ul << 63,  1ul << 38,      1ul << 47,        ~0ul,
                                     ~0ul << 12, USER_INFO_PAGE, HANDLE_SELF};

    for (uint64_t i = 0; i < sizeof(never) / sizeof(never[0]); i++) check(call(never[i]) == -EBADF);
    /* Closed. */
    check(create_space(handle(9)) == 0);
    unmap(SPACE_OWN, handle(9), 1);
    check(call(handle(9)) == -EBADF);
    /* Ended. */
    check(create_space(handle(9)) == 0);
    check(destroy(handle(9)) == 0);
    check(call(handle(9)) == -ESRCH);
    unmap(SPACE_OWN, handle(9), 1);
}

static void test_map(void) {
    map_rw(AREA, 3);
    for (uint64_t i = 0; i < 3 * PAGE_SIZE / 8; i++) check(words(AREA)[i] == 0);
    words(AREA + 2 * PAGE_SIZE)[0] = 1;
    check(map(SPACE_OWN, AREA + 4 * PAGE_SIZE, 1, PROT_READ, 0) == 0);
    check(words(AREA + 4 * PAGE_SIZE)[511] == 0);
    check(words(AREA + 2 * PAGE_SIZE)[0] == 1);

    /* The last page of the user half, and the first that may be mapped. */
    map_rw(user_end() - PAGE_SIZE, 1);
    words(user_end() - 8)[0] = 1;
    unmap(SPACE_OWN, user_end() - PAGE_SIZE, 1);
    map_rw(PAGE_SIZE, 1);
    words(PAGE_SIZE)[0] = 1;
    unmap(SPACE_OWN, PAGE_SIZE, 1);
}

static void check_map_invalid(uint64_t va, uint64_t pages) {
    check(map(SPACE_OWN, va, pages, PROT_RW, 0) == -EINVAL);
    check(map(SPACE_OWN, va, pages, PROT_RW, MAP_REPLACE) == -EINVAL);
}

static void test_map_range(void) {
    uint64_t end = user_end();

    check_map_invalid(AREA, 0);
    check_map_invalid(AREA, 4097);
    check_map_invalid(AREA, 1ul << 52);
    check_map_invalid(AREA, (1ul << 52) + 1);
    check_map_invalid(AREA, ~0ul);
    check_map_invalid(AREA + 1, 1);
    check_map_invalid(AREA + 8, 1);
    check_map_invalid(0, 1);
    check_map_invalid(end, 1);
    check_map_invalid(end - PAGE_SIZE, 2);
    check_map_invalid(~0ul << 12, 1);
    check_map_invalid(~0ul << 12, 2);
    check_map_invalid(1ul << 63, 1);
    check_map_invalid(0xffffffc000000000, 1);

    check(map(SPACE_OWN, AREA, 4096, PROT_READ, 0) == 0);
    check(words(AREA + 4095 * PAGE_SIZE)[511] == 0);
    check(unmap(SPACE_OWN, AREA, 4096) == 0);
}

static void test_map_rights(void) {
    static const uint64_t invalid[] = {0,
                                       PROT_WRITE,
                                       PROT_EXECUTE,
                                       PROT_WRITE | PROT_EXECUTE,
                                       PROT_READ | PROT_WRITE | PROT_EXECUTE,
                                       8,
                                       8 | PROT_READ,
                                       1ul << 63 | PROT_READ};

    for (uint64_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++)
        check(map(SPACE_OWN, AREA, 1, invalid[i], 0) == -EINVAL);
    check(map(SPACE_OWN, AREA, 1, PROT_RW, 2) == -EINVAL);
    check(map(SPACE_OWN, AREA, 1, PROT_RW, 1ul << 32) == -EINVAL);

    check(map(SPACE_OWN, AREA, 1, PROT_READ, 0) == 0);
    check_code_ends(code_load, AREA);
    check_code_faults(code_store, AREA, CAUSE_STORE);
    check_code_faults(code_jump, AREA, CAUSE_FETCH);
    check(map(SPACE_OWN, AREA, 1, PROT_RW, MAP_REPLACE) == 0);
    check_code_ends(code_store, AREA);
    check_code_faults(code_jump, AREA, CAUSE_FETCH);
    check(map(SPACE_OWN, AREA, 1, PROT_RX, MAP_REPLACE) == 0);
    check_code_ends(code_load, AREA);
    check_code_faults(code_store, AREA, CAUSE_STORE);
}

static int64_t map_in(uint64_t space) {
    return map(space, AREA + 8 * PAGE_SIZE, 1, PROT_RW, 0);
}

static void test_map_space(void) {
    map_rw(AREA, 1);
    check_bad_spaces(map_in);
    /* In another space: it is not ours. */
    check(create_space(handle(1)) == 0);
    check(map(handle(1), AREA + PAGE_SIZE, 1, PROT_RW, 0) == 0);
    check(map(handle(1), AREA + PAGE_SIZE, 1, PROT_RW, 0) == -EEXIST);
    check_code_faults(code_load, AREA + PAGE_SIZE, CAUSE_LOAD);
}

static void test_map_occupied(void) {
    map_rw(AREA + 3 * PAGE_SIZE, 1);
    words(AREA + 3 * PAGE_SIZE)[0] = 5;
    check(map(SPACE_OWN, AREA + 3 * PAGE_SIZE, 1, PROT_RW, 0) == -EEXIST);
    check(map(SPACE_OWN, AREA, 4, PROT_RW, 0) == -EEXIST);
    check(map(SPACE_OWN, AREA + 3 * PAGE_SIZE, 600, PROT_RW, 0) == -EEXIST);
    check(words(AREA + 3 * PAGE_SIZE)[0] == 5);
    map_rw(AREA, 3); /* nothing was left there */
    check(map(SPACE_OWN, USER_INFO_PAGE, 1, PROT_RW, 0) == -EEXIST);
    check(map(SPACE_OWN, HANDLE_SELF, 1, PROT_RW, 0) == -EEXIST);
    check(map(SPACE_OWN, me(), 1, PROT_RW, 0) == -EEXIST);
}

static void test_map_replace(void) {
    map_rw(AREA, 2);
    words(AREA)[0] = 7;
    check(share(SPACE_OWN, AREA, SPACE_OWN, AREA + 64 * PAGE_SIZE, 1, PROT_READ) == 0);
    check(create_executor(SPACE_OWN, AREA + 5 * PAGE_SIZE) == 0);
    check(create_space(AREA + 6 * PAGE_SIZE) == 0);

    /* Over memory, holes and handles. */
    check(map(SPACE_OWN, AREA, 8, PROT_RW, MAP_REPLACE) == 0);
    for (uint64_t i = 0; i < 8; i++) {
        check(words(AREA + i * PAGE_SIZE)[0] == 0);
        words(AREA + i * PAGE_SIZE)[0] = i;
    }
    check(words(AREA + 64 * PAGE_SIZE)[0] == 7);
    check(stop(AREA + 5 * PAGE_SIZE) == -EBADF);
    check(destroy(AREA + 6 * PAGE_SIZE) == -EBADF);

    /* Many: what gives way fills more than a page of notes. */
    check(map(SPACE_OWN, AREA, 1200, PROT_RW, MAP_REPLACE) == 0);
    check(map(SPACE_OWN, AREA, 1200, PROT_READ, MAP_REPLACE) == 0);
    check(words(AREA + 7 * PAGE_SIZE)[0] == 0);
    check(words(AREA + 1199 * PAGE_SIZE)[0] == 0);
}

static int64_t unmap_in(uint64_t space) {
    return unmap(space, AREA + 8 * PAGE_SIZE, 1);
}

static void test_unmap(void) {
    map_rw(AREA, 5);
    map_rw(AREA + (1ul << 30), 1);
    check(unmap(SPACE_OWN, AREA + PAGE_SIZE, 2) == 0);
    check_code_ends(code_store, AREA);
    check_code_faults(code_load, AREA + PAGE_SIZE, CAUSE_LOAD);
    check_code_faults(code_store, AREA + 2 * PAGE_SIZE, CAUSE_STORE);
    check_code_ends(code_store, AREA + 3 * PAGE_SIZE);
    /* With holes, from below what is mapped to above it; and nothing at all. */
    check(unmap(SPACE_OWN, AREA - (1ul << 22), 1ul << 20) == 0);
    check(unmap(SPACE_OWN, AREA - (1ul << 22), 1ul << 20) == 0);
    check_code_faults(code_load, AREA + (1ul << 30), CAUSE_LOAD);
    check_code_faults(code_load, AREA, CAUSE_LOAD);
}

static void test_unmap_arguments(void) {
    uint64_t end = user_end();

    check(unmap(SPACE_OWN, AREA + 1, 1) == -EINVAL);
    check(unmap(SPACE_OWN, AREA, 0) == -EINVAL);
    check(unmap(SPACE_OWN, AREA, ~0ul) == -EINVAL);
    check(unmap(SPACE_OWN, AREA, 1ul << 52) == -EINVAL);
    check(unmap(SPACE_OWN, end, 1) == -EINVAL);
    check(unmap(SPACE_OWN, end - PAGE_SIZE, 2) == -EINVAL);
    check(unmap(SPACE_OWN, 0xffffffc000000000, 1) == -EINVAL);
    check(unmap(SPACE_OWN, ~0ul << 12, 1) == -EINVAL);
    check(unmap(SPACE_OWN, end - PAGE_SIZE, 1) == 0);
    check(unmap(SPACE_OWN, 0, 1) == 0);
    map_rw(AREA, 1);
    check_bad_spaces(unmap_in);
}

static void test_unmap_handles(void) {
    check(create_space(handle(0)) == 0);
    check(create_executor(handle(0), handle(1)) == 0);
    check(create_executor(SPACE_OWN, handle(3)) == 0);
    check(unmap(SPACE_OWN, handle(0), 5) == 0);
    check(destroy(handle(0)) == -EBADF);
    check(stop(handle(1)) == -EBADF);
    check(stop(handle(3)) == -EBADF);
    if (page_present(USER_RTC_PAGE)) {
        check(share(SPACE_OWN, USER_RTC_PAGE, SPACE_OWN, AREA, 1, PROT_READ) == 0);
        check(unmap(SPACE_OWN, AREA, 1) == 0);
        check_code_faults(code_load, AREA, CAUSE_LOAD);
    }
}

/* Ranges of any size cost what is mapped in them. */
static void test_unmap_huge(void) {
    uint64_t begin = time_now();

    for (uint64_t i = 0; i < 12; i++) map_rw(AREA + (i << 32), 1);
    map_rw(AREA + (1ul << 31), 4096);
    map_rw(AREA + (1ul << 31) + 4096ul * PAGE_SIZE, 1000);
    check(unmap(SPACE_OWN, AREA, (AREA_END - AREA) >> PAGE_SHIFT) == 0);
    for (uint64_t i = 0; i < 12; i++) map_rw(AREA + (i << 32), 1);
    unmap(SPACE_OWN, AREA, (AREA_END - AREA) >> PAGE_SHIFT);

    /* All that a space has, its info page too. */
    check(create_space(handle(0)) == 0);
    check(map(handle(0), user_end() - PAGE_SIZE, 1, PROT_RW, 0) == 0);
    check(map(handle(0), PAGE_SIZE, 1, PROT_RW, 0) == 0);
    check(unmap(handle(0), 0, user_end() >> PAGE_SHIFT) == 0);
    check(map(handle(0), USER_INFO_PAGE, 1, PROT_RW, 0) == 0);
    check(time_now() - begin < time_ticks(PATIENCE_MS / 2));
}

#define SPARSE_PAGES 12ul /* one in each table: more than a slice of unmap */
#define SPARSE_SHIFT 21

/* Runs in a space of its own, whose handle is the first that goes. */
static void unmap_by_own_handle(void) {
    terminate((uint64_t)unmap(AREA, AREA, SPARSE_PAGES << (SPARSE_SHIFT - PAGE_SHIFT)));
}

/* The call goes on, also when the handle by which it names its own space was in
 * what is done. */
static void test_unmap_own_handle(void) {
    space_begin(0);
    for (uint64_t i = 1; i < SPARSE_PAGES; i++)
        check(map(handle(0), AREA + (i << SPARSE_SHIFT), 1, PROT_RW, 0) == 0);
    process_begin(1, 0, code_spin, 0); /* so that the process goes on */
    check(share(SPACE_OWN, handle(0), handle(0), AREA, 1, PROT_READ) == 0);
    process_begin(2, 0, unmap_by_own_handle, 0);
    check_status(2, 0);
    for (uint64_t i = 0; i < SPARSE_PAGES; i++)
        check(map(handle(0), AREA + (i << SPARSE_SHIFT), 1, PROT_RW, 0) == 0);
    check(destroy(handle(0)) == 0);
}

/* What unmap takes away, an executor on another hart can't use any more. */
static void test_unmap_running(void) {
    for (uint64_t round = 0; round < 20; round++) {
        map_rw(AREA, 1);
        code_begin(0, code_count, AREA);
        while (words(AREA)[0] == 0) yield();
        check(share(SPACE_OWN, AREA, SPACE_OWN, AREA + PAGE_SIZE, 1, PROT_READ) == 0);
        check(unmap(SPACE_OWN, AREA, 1) == 0);
        uint64_t count = words(AREA + PAGE_SIZE)[0];
        check_fault(0, CAUSE_STORE, AREA);
        check(words(AREA + PAGE_SIZE)[0] == count);
        unmap(SPACE_OWN, handle(0), 1);
        unmap(SPACE_OWN, AREA + PAGE_SIZE, 1);
    }
}

/* Nor what MAP_REPLACE has put something else in place of. */
static void test_map_replace_running(void) {
    for (uint64_t round = 0; round < 20; round++) {
        map_rw(AREA, 1);
        check(share(SPACE_OWN, AREA, SPACE_OWN, AREA + PAGE_SIZE, 1, PROT_READ) == 0);
        code_begin(0, code_count, AREA);
        while (words(AREA)[0] == 0) yield();
        check(map(SPACE_OWN, AREA, 1, PROT_RW, MAP_REPLACE) == 0);
        uint64_t count = words(AREA + PAGE_SIZE)[0];
        while (words(AREA)[0] == 0) yield();
        check(words(AREA + PAGE_SIZE)[0] == count);
        stop(handle(0));
        at_rest(0);
        unmap(SPACE_OWN, handle(0), 1);
        unmap(SPACE_OWN, AREA, 2);
    }
}

static void test_share(void) {
    map_rw(AREA, 3);
    check(create_space(handle(0)) == 0);
    for (uint64_t i = 0; i < 3; i++) words(AREA + i * PAGE_SIZE)[0] = i + 1;
    /* To another space and back, to another place. */
    check(share(SPACE_OWN, AREA, handle(0), 0x600000, 3, PROT_RW) == 0);
    check(share(handle(0), 0x600000, SPACE_OWN, AREA + 8 * PAGE_SIZE, 3, PROT_RW) == 0);
    for (uint64_t i = 0; i < 3; i++) check(words(AREA + (8 + i) * PAGE_SIZE)[0] == i + 1);
    words(AREA)[1] = 11;
    check(words(AREA + 8 * PAGE_SIZE)[1] == 11);
    words(AREA + 8 * PAGE_SIZE)[1] = 12;
    check(words(AREA)[1] == 12);

    /* A page lives as long as one mapping of it does. */
    check(unmap(SPACE_OWN, AREA, 3) == 0);
    check(destroy(handle(0)) == 0);
    check(words(AREA + 10 * PAGE_SIZE)[0] == 3);
    /* The most that goes at once, across tables. */
    map_rw(AREA + (1ul << 30), 4096);
    check(share(SPACE_OWN, AREA + (1ul << 30), SPACE_OWN, AREA + (1ul << 31) + PAGE_SIZE, 4096,
                PROT_READ) == 0);
    check(words(AREA + (1ul << 31) + 4096ul * PAGE_SIZE)[511] == 0);
}

static void check_share_invalid(uint64_t from, uint64_t to, uint64_t pages) {
    check(share(SPACE_OWN, from, SPACE_OWN, to, pages, PROT_READ) == -EINVAL);
}

static void test_share_range(void) {
    uint64_t to = AREA + 64 * PAGE_SIZE;

    map_rw(AREA, 2);
    check_share_invalid(AREA, to, 0);
    check_share_invalid(AREA, to, 4097);
    check_share_invalid(AREA, to, ~0ul);
    check_share_invalid(AREA, to, (1ul << 52) + 1);
    check_share_invalid(AREA + 8, to, 1);
    check_share_invalid(AREA, to + 8, 1);
    check_share_invalid(0, to, 1);
    check_share_invalid(AREA, 0, 1);
    check_share_invalid(user_end(), to, 1);
    check_share_invalid(AREA, user_end(), 1);
    check_share_invalid(AREA, user_end() - PAGE_SIZE, 2);
    check_share_invalid(0xffffffc000000000, to, 1);
    /* Holes: behind, and nothing at all; nothing was mapped. */
    check_share_invalid(AREA, to, 3);
    check_share_invalid(AREA + (1ul << 30), to, 1);
    map_rw(to, 2);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, PROT_READ) == -EEXIST);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to - PAGE_SIZE, 2, PROT_READ) == -EEXIST);
    check(share(SPACE_OWN, AREA, SPACE_OWN, AREA, 1, PROT_READ) == -EEXIST);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to - PAGE_SIZE, 1, PROT_READ) == 0);
}

static int64_t share_from(uint64_t space) {
    return share(space, AREA, SPACE_OWN, AREA + 8 * PAGE_SIZE, 1, PROT_READ);
}

static int64_t share_to(uint64_t space) {
    return share(SPACE_OWN, AREA, space, AREA + 8 * PAGE_SIZE, 1, PROT_READ);
}

static void test_share_space(void) {
    map_rw(AREA, 1);
    check_bad_spaces(share_from);
    check_bad_spaces(share_to);
}

static void test_share_rights(void) {
    uint64_t to = AREA + 64 * PAGE_SIZE, code = (uint64_t)image_start;

    map_rw(AREA, 1);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, 0) == -EINVAL);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, PROT_WRITE) == -EINVAL);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, PROT_EXECUTE) == -EINVAL);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, PROT_RW | PROT_EXECUTE) == -EINVAL);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, 9) == -EINVAL);

    /* Less than the source has; from that on, no more can be had. */
    check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, PROT_READ) == 0);
    check_code_ends(code_load, to);
    check_code_faults(code_store, to, CAUSE_STORE);
    check_code_faults(code_jump, to, CAUSE_FETCH);
    check(share(SPACE_OWN, to, SPACE_OWN, to + PAGE_SIZE, 1, PROT_RW) == -EACCES);
    check(share(SPACE_OWN, to, SPACE_OWN, to + PAGE_SIZE, 1, PROT_READ) == 0);
    check(share(SPACE_OWN, code, SPACE_OWN, to + 2 * PAGE_SIZE, 1, PROT_RW) == -EACCES);
    check(share(SPACE_OWN, USER_INFO_PAGE, SPACE_OWN, to + 2 * PAGE_SIZE, 1, PROT_RW) == -EACCES);
    check(share(SPACE_OWN, USER_INFO_PAGE, SPACE_OWN, to + 2 * PAGE_SIZE, 1, PROT_READ) == 0);
    /* One page of several that must not be. */
    map_rw(AREA + PAGE_SIZE, 1);
    check(map(SPACE_OWN, AREA + 2 * PAGE_SIZE, 1, PROT_READ, 0) == 0);
    check(share(SPACE_OWN, AREA, SPACE_OWN, to + 3 * PAGE_SIZE, 3, PROT_RW) == -EACCES);
    map_rw(to + 3 * PAGE_SIZE, 3);
}

/* Write, into memory at `address`, code that terminates with `status`. */
static void write_end_code(uint64_t address, uint32_t status) {
    volatile uint32_t *code = (volatile uint32_t *)address;

    code[0] = status << 20 | 10 << 7 | 0x13;         /* li a0, status */
    code[1] = CALL_TERMINATE << 20 | 17 << 7 | 0x13; /* li a7, CALL_TERMINATE */
    code[2] = 0x73;                                  /* ecall */
}

/* Code that was written before it was shared executable is what runs. */
static void test_share_execute(void) {
    uint64_t to = AREA + 64 * PAGE_SIZE;

    map_rw(AREA, 1);
    for (uint32_t status = 1; status <= 20; status++) {
        write_end_code(AREA, status);
        check(share(SPACE_OWN, AREA, SPACE_OWN, to, 1, PROT_RX) == 0);
        executor_begin(0, SPACE_OWN, (void *)to, 0, 0);
        check_status(0, status);
        check_code_faults(code_store, to, CAUSE_STORE);
        unmap(SPACE_OWN, to, 1);
        unmap(SPACE_OWN, handle(0), 1);
    }
}

static void test_share_device(void) {
    uint64_t from = USER_RTC_PAGE;

    if (!page_present(from)) return; /* a machine without it */
    check(share(SPACE_OWN, from, SPACE_OWN, AREA, 1, PROT_READ) == 0);
    check(share(SPACE_OWN, from, SPACE_OWN, AREA + PAGE_SIZE, 1, PROT_RW) == -EACCES);
    check(share(SPACE_OWN, from, SPACE_OWN, AREA + PAGE_SIZE, 1, PROT_RX) == -EACCES);
    (void)*(volatile uint32_t *)AREA;
    check_code_faults(code_store, AREA, CAUSE_STORE);
    check_code_faults(code_jump, AREA, CAUSE_FETCH);
    /* No buffer, and no handle. */
    uint32_t old;
    struct executor_info *info = (struct executor_info *)AREA;
    check(console_write((void *)AREA, 4) == -EFAULT);
    check(console_read((void *)AREA, 4) == -EFAULT);
    check(inspect(me(), info) == -EFAULT);
    check(park_if((uint32_t *)AREA, 0, 0) == -EFAULT);
    check(park_and_swap((uint32_t *)AREA, 0, 0, &old) == -EFAULT);
    check(stop(AREA) == -EBADF);
    check(destroy(AREA) == -EBADF);
}

static void test_share_handles(void) {
    check(create_executor(SPACE_OWN, handle(0)) == 0);
    check(create_space(handle(1)) == 0);
    /* Whole, whatever the rights asked for, and of several types at once. */
    map_rw(handle(2), 1);
    check(share(SPACE_OWN, handle(0), SPACE_OWN, handle(8), 3, PROT_READ) == 0);
    unmap(SPACE_OWN, handle(0), 2);
    check(start(handle(8), (uint64_t)code_end, 0, 3) == 0);
    check(map(handle(9), AREA, 1, PROT_RW, 0) == 0);
    check(share(SPACE_OWN, handle(8), SPACE_OWN, handle(16), 1, PROT_RX) == 0);
    check(share(SPACE_OWN, handle(8), SPACE_OWN, handle(17), 1, 0) == -EINVAL);
    check(stop(handle(16)) == 0 || stop(handle(16)) == -ESRCH);
    check_code_faults(code_load, handle(9), CAUSE_LOAD);
}

/* A space never started may hold younger ones only. */
static void test_share_spaces(void) {
    check(create_space(handle(0)) == 0);
    check(create_space(handle(1)) == 0);
    check(share(SPACE_OWN, handle(1), handle(0), AREA, 1, PROT_READ) == 0);
    check(share(SPACE_OWN, handle(0), handle(1), AREA, 1, PROT_READ) == -EPERM);
    check(share(SPACE_OWN, handle(0), handle(0), AREA + PAGE_SIZE, 1, PROT_READ) == -EPERM);
    check(share(SPACE_OWN, handle(0), SPACE_OWN, AREA, 1, PROT_READ) == 0);
    /* An executor may go anywhere. */
    check(create_executor(handle(0), handle(2)) == 0);
    check(share(SPACE_OWN, handle(2), handle(1), AREA, 1, PROT_READ) == 0);
    check(share(SPACE_OWN, handle(2), handle(0), AREA + PAGE_SIZE, 1, PROT_READ) == 0);
}

static void test_info_page(void) {
    const volatile struct info_page *info = info_page();

    check(info->page_size == PAGE_SIZE && info->kernel_version == 0x00010000);
    check(info->hart_count >= 1 && info->hart_count <= 16);
    check(info->mmu_levels == 3 || info->mmu_levels == 4);
    check(info->timebase > 0 && info->quantum > 0);
    check(info->pages_total > info->pages_shared_free);
    check_code_faults(code_store, USER_INFO_PAGE, CAUSE_STORE);
    check_code_faults(code_jump, USER_INFO_PAGE, CAUSE_FETCH);
    /* Every space has it, and it can't be had to write. */
    check(create_space(handle(0)) == 0);
    check(share(handle(0), USER_INFO_PAGE, SPACE_OWN, AREA, 1, PROT_RW) == -EACCES);
    check(share(handle(0), USER_INFO_PAGE, SPACE_OWN, AREA, 1, PROT_READ) == 0);
    check(((struct info_page *)AREA)->timebase == info->timebase);
    check(inspect(me(), (struct executor_info *)USER_INFO_PAGE) == -EFAULT);
}

static const struct test memory_tests[] = {
    {"map", test_map},
    {"map_range", test_map_range},
    {"map_rights", test_map_rights},
    {"map_space", test_map_space},
    {"map_occupied", test_map_occupied},
    {"map_replace", test_map_replace},
    {"unmap", test_unmap},
    {"unmap_arguments", test_unmap_arguments},
    {"unmap_handles", test_unmap_handles},
    {"unmap_huge", test_unmap_huge},
    {"unmap_own_handle", test_unmap_own_handle},
    {"unmap_running", test_unmap_running},
    {"map_replace_running", test_map_replace_running},
    {"share", test_share},
    {"share_range", test_share_range},
    {"share_space", test_share_space},
    {"share_rights", test_share_rights},
    {"share_execute", test_share_execute},
    {"share_device", test_share_device},
    {"share_handles", test_share_handles},
    {"share_spaces", test_share_spaces},
    {"info_page", test_info_page},
};
