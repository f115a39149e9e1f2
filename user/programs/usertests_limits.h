/*
 * usertests: where memory ends, and spaces within spaces.
 */
#pragma once
#include "usertests_harness.h"
#include "usertests_library.h"
#include "usertests_spawn.h"

/* With more pages than this, filling them all takes too long for a test that
 * is meant to be quick. */
#define PAGES_QUICK 0x20000

/* A space of the chain needs 4 pages, with Sv48 5: a machine with little memory
 * gets a shorter one. */
#define CHAIN       2000
#define CHAIN_DEEP  10000
#define CHAIN_PAGES 8

/* More than a thread and a process need, even if most of it is in the caches of
 * other harts. */
#define START_PAGES_MAX 2048

/* Where a space of the chain keeps the handle of the next: in the table that
 * holds its info page. */
#define CHAIN_NEXT (USER_INFO_PAGE - PAGE_SIZE)

/* Map all there is, from AREA up, with these rights. Returns where it stopped. */
static uint64_t use_all_memory(uint64_t prot) {
    uint64_t at = AREA;

    for (uint64_t pages = 1024; pages > 0; pages /= 4) {
        int64_t error;
        while ((error = map(SPACE_OWN, at, pages, prot, 0)) == 0) at += pages * PAGE_SIZE;
        check(error == -ENOMEM);
    }
    return at;
}

/* Filling all memory takes too long here. Says so. */
static bool too_much_memory(const char *test) {
    if (deep || info_page()->pages_total <= PAGES_QUICK) return false;
    printf("(%s is left out: there is too much; try usertests deep)\n", test);
    return true;
}

/* Without memory, calls that need some say so, the others work; and when there
 * is some again, all is well. */
static void test_no_memory(void) {
    if (too_much_memory("no_memory")) return;
    check(create_executor(SPACE_OWN, handle(0)) == 0);
    uint64_t end = use_all_memory(PROT_READ);
    uint64_t count = 0;
    int64_t error;

    /* A hart may have a few pages in its cache, and we may get to that hart. */
    while ((error = create_space(handle(count + 1))) == 0) check(count++ < 512);
    check(error == -ENOMEM);
    while ((error = create_executor(SPACE_OWN, handle(count + 1))) == 0) check(count++ < 512);
    check(error == -ENOMEM);
    while ((error = share(SPACE_OWN, AREA, SPACE_OWN, end + (++count << 30), 1, PROT_READ)) == 0)
        check(count < 512);
    check(error == -ENOMEM);
    check(map(SPACE_OWN, AREA, 512, PROT_RW, MAP_REPLACE) == -ENOMEM);
    check(words(AREA)[0] == 0); /* it is still there */

    /* What needs no page works, and what is given back can be had again. */
    check(start(handle(0), (uint64_t)code_end, 0, 0) == 0);
    check(unmap(SPACE_OWN, AREA, 100) == 0);
    check(map(SPACE_OWN, AREA + 10 * PAGE_SIZE, 80, PROT_RW, 0) == 0);
}

/* With each attempt there is a page more, so that a thread fails at each of its
 * steps. Nothing is left behind: pages are counted after the test. */
static void test_no_memory_for_thread(void) {
    uint64_t at = AREA;
    struct thread *thread;
    int64_t error;

    if (too_much_memory("no_memory_for_thread")) return;
    use_all_memory(PROT_RW);
    for (; (error = thread_create(thread_number, 0, &thread)) == -ENOMEM; at += PAGE_SIZE)
        check(unmap(SPACE_OWN, at, 1) == 0 && at < AREA + START_PAGES_MAX * PAGE_SIZE);
    check(error == 0);
    check(thread->number == thread_self()->number + 1);
    check(thread_join(thread, 0) == 0);
}

/* The same with a process, and its handles. */
static void test_no_memory_for_process(void) {
    int64_t handle_free = handle_take();
    uint64_t at = AREA;
    struct process process;
    int64_t error;

    check(handle_free > 0);
    handle_drop(handle_free);
    if (too_much_memory("no_memory_for_process")) return;
    use_all_memory(PROT_RW);
    for (; (error = argc_spawn(0, 0, &process)) == -ENOMEM; at += PAGE_SIZE)
        check(unmap(SPACE_OWN, at, 1) == 0 && at < AREA + START_PAGES_MAX * PAGE_SIZE);
    check(error == 0);
    process_end(&process);
    check(handle_take() == handle_free);
    handle_drop(handle_free);
}

/* A heap that can't grow as far as it should gives back what it got (which is
 * seen after the test, as always). */
static void test_no_heap(void) {
    if (too_much_memory("no_heap")) return;
    check(malloc(info_page()->pages_total * PAGE_SIZE) == 0);
}

/*
 * A chain of spaces, never started, each of which holds the only handle to the
 * next. Dropping the first frees them all.
 */
static void test_chain(void) {
    uint64_t length = deep ? CHAIN_DEEP : CHAIN;
    uint64_t room = info_page()->pages_total / CHAIN_PAGES;
    uint64_t first = handle(0), last = handle(1), next = handle(2);

    if (length > room) length = room;
    check(create_space(first) == 0);
    check(share(SPACE_OWN, first, SPACE_OWN, last, 1, PROT_READ) == 0);
    for (uint64_t i = 1; i < length; i++) {
        check(create_space(next) == 0);
        check(share(SPACE_OWN, next, last, CHAIN_NEXT, 1, PROT_READ) == 0);
        unmap(SPACE_OWN, last, 1);
        uint64_t free_handle = last;
        last = next;
        next = free_handle;
    }
    /* The last is ours too; when the first goes, it stays until we drop it. */
    unmap(SPACE_OWN, first, 1);
    check(map(last, AREA, 1, PROT_RW, 0) == 0);
}

/* The same, with executors of the spaces in them: one that was never started
 * does not keep its space. */
static void test_chain_executors(void) {
    for (uint64_t i = 0; i < 8; i++) {
        check(create_space(handle(i)) == 0);
        check(create_executor(handle(i), handle(8 + i)) == 0);
        check(share(SPACE_OWN, handle(8 + i), handle(i), AREA, 1, PROT_READ) == 0);
    }
    for (uint64_t i = 0; i < 7; i++)
        check(share(SPACE_OWN, handle(i + 1), handle(i), CHAIN_NEXT, 1, PROT_READ) == 0);
    unmap(SPACE_OWN, handle(0), 16);
}

/* Spaces come and go for ever: more than there are address space numbers. */
static void test_many_spaces(void) {
    for (uint64_t i = 0; i < (deep ? 0x11000 : 500); i++) {
        check(create_space(handle(0)) == 0);
        unmap(SPACE_OWN, handle(0), 1);
    }
}

static const struct test limit_tests[] = {
    {"no_memory", test_no_memory},
    {"no_memory_for_thread", test_no_memory_for_thread},
    {"no_memory_for_process", test_no_memory_for_process},
    {"no_heap", test_no_heap},
    {"chain", test_chain},
    {"chain_executors", test_chain_executors},
    {"many_spaces", test_many_spaces},
};
