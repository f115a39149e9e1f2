/*
 * mem: how much memory there is, and how much of it is free.
 *
 * A free page is in the queue that all harts share, or in the cache of one
 * hart. The kernel brings the counts up to date at every tick and before a
 * hart goes idle, so we sleep for a moment first: then all harts have.
 */
#include "info.h"
#include "print.h"
#include "time.h"

#define SETTLE_MS 30

static void print_pages(const char *what, uint64_t pages) {
    printf("%-22s %9lu pages %9lu KiB\n", what, pages, pages * PAGE_SIZE >> 10);
}

int main(int argc, char **) {
    if (argc > 1) {
        printf("usage: mem\n");
        return 1;
    }
    const volatile struct info_page *info = info_page();
    uint64_t cached = 0;

    sleep_ms(SETTLE_MS);
    for (uint64_t hart = 0; hart < info->hart_count; hart++) cached += info->pages_cached[hart];
    uint64_t shared = info->pages_shared_free;

    print_pages("managed", info->pages_total);
    print_pages("in use", info->pages_total - shared - cached);
    print_pages("free, shared", shared);
    for (uint64_t hart = 0; hart < info->hart_count; hart++) {
        char what[32];
        snprintf(what, sizeof(what), "free, cache of hart %lu", hart);
        print_pages(what, info->pages_cached[hart]);
    }
    return 0;
}
