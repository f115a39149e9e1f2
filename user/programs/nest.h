/*
 * What stress and killer have in common: *nests*, address spaces that run
 * functions of this very program, and a count of free pages that tells whether
 * anything was left behind, if no other program runs beside them.
 *
 * A nest shows our code and constants at the addresses that they have here,
 * but nothing that we can write to. So a function that runs there uses its
 * stack, its argument, and what it is shown on purpose; no variables, and
 * nothing of the library that needs a thread's control block.
 */
#pragma once
#include "stag.h"

/* Set by the linker script. */
extern char image_start[], constants_start[], variables_start[];

#define SETTLE_MS    50
#define SETTLE_TIMES 60

/* Show our code and constants to `space`. Returns 0 or the kernel's error. */
[[nodiscard]] static inline int64_t nest_show_image(uint64_t space) {
    uint64_t code = (uint64_t)image_start;
    uint64_t constants = (uint64_t)constants_start;
    uint64_t end = (uint64_t)variables_start;
    int64_t error = share(SPACE_OWN, code, space, code, (constants - code) / PAGE_SIZE,
                          PROT_READ | PROT_EXECUTE);

    if (error < 0 || end == constants) return error;
    return share(SPACE_OWN, constants, space, constants, (end - constants) / PAGE_SIZE, PROT_READ);
}

/* Free pages of the machine. The kernel brings its counts up to date at every
 * tick and before a hart goes idle, so we sleep first. */
static inline uint64_t free_pages(void) {
    const volatile struct info_page *info = info_page();

    sleep_ms(SETTLE_MS);
    uint64_t count = info->pages_shared_free;
    for (uint64_t hart = 0; hart < info->hart_count; hart++) count += info->pages_cached[hart];
    return count;
}

/* The same, when it has come to rest. Prints it. */
static inline uint64_t free_pages_begin(void) {
    uint64_t before = free_pages();
    uint64_t count = free_pages();

    while (count != before) {
        before = count;
        count = free_pages();
    }
    printf("pages free: %lu\n", count);
    return count;
}

/* Wait until as many pages are free as at the beginning. Prints how many are.
 * Returns false if some never come back. */
static inline bool free_pages_end(uint64_t begin) {
    uint64_t count = free_pages();

    for (uint64_t i = 0; i < SETTLE_TIMES && count != begin; i++) count = free_pages();
    printf("pages free: %lu\n", count);
    return count == begin;
}

/* The next number of a generator (xorshift; Marsaglia 2003). The state is
 * never 0. */
static inline uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/*
 * Read the arguments [COUNT] [SEED] of a program; what is left out keeps its
 * value. Returns false if they make no sense.
 */
static inline bool arguments_read(int argc, char **argv, int64_t *count, uint64_t *seed) {
    int64_t number;

    if (argc > 3) return false;
    if (argc > 1 && (!string_number(argv[1], count) || *count < 1)) return false;
    if (argc > 2) {
        if (!string_number(argv[2], &number)) return false;
        *seed = number;
    }
    if (*seed == 0) *seed = 1;
    return true;
}
