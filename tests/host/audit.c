/*
 * The books.
 *
 * When nobody runs, every reference that exists can be counted: handles and
 * mappings in the tables of the live spaces, supervisors, places in the heap.
 * Each object's own count must say the same, each page that is not free must
 * belong to something that was found, and every executor must sleep for a
 * reason. So a leak, or a reference too many or too few, is found at the next
 * quiet moment, not only at the end.
 *
 * Reads everything without being ordered after those who wrote it, which is
 * right only because nobody runs: so ThreadSanitizer does not look.
 */
#include "audit.h"
#include "bank.h"
#include "deadline.h"
#include "info.h"
#include "machine.h"
#include "model.h"
#include "page_alloc.h"
#include "space.h"
#include "state.h"
#include "world.h"

enum kind { NOTHING, TABLE, ROOT, MEMORY, EXECUTOR, SPACE, OTHER };

/* What was found of each page. */
static struct account {
    enum kind kind;
    uint32_t count; /* references, mappings, or valid entries */
} accounts[RAM_PAGES_MAX];

/* reach[a] has b: the space with number a holds a handle to that with b. */
enum { REACH_MAX = 64 };
static uint64_t reach[REACH_MAX];

UNWATCHED static struct account *account_of(const void *page, enum kind kind) {
    uint64_t number = page_number(page);
    CHECK(number < RAM_PAGES_MAX && page_aligned((uint64_t)page), "%p is no page", page);
    struct account *account = &accounts[number];
    CHECK(account->kind == NOTHING || account->kind == kind, "page %p is of two kinds, %d and %d",
          page, account->kind, kind);
    account->kind = kind;
    return account;
}

UNWATCHED static void audit_leaf(struct space *space, pte_t pte) {
    switch (pte & PTE_TYPE) {
    case PTE_MEMORY:
        account_of(pte_page(pte), pte_page(pte) == info_page ? OTHER : MEMORY)->count++;
        CHECK(pte & PTE_U, "memory mapped for the kernel");
        break;
    case PTE_EXECUTOR:
        account_of(pte_page(pte), EXECUTOR)->count++;
        CHECK(!(pte & PTE_U), "an executor mapped for programs");
        break;
    case PTE_SPACE: {
        struct space *other = pte_page(pte);
        account_of(other, SPACE)->count++;
        CHECK(!(pte & PTE_U), "a space mapped for programs");
        if (other->torn == SPACE_WHOLE)
            reach[space->asid % REACH_MAX] |= 1ul << other->asid % REACH_MAX;
        break;
    }
    default: CHECK(pte_phys(pte).raw == DEVICE_PAGE, "a device page that there is not");
    }
}

UNWATCHED static void audit_table(struct space *space, struct page_table *table, uint32_t level) {
    struct account *account = account_of(table, table == space->root ? ROOT : TABLE);
    uint64_t entries = table == space->root ? TABLE_ENTRIES / 2 : TABLE_ENTRIES;
    for (uint64_t i = 0; i < entries; i++) {
        pte_t pte = table->entries[i];
        CHECK(pte == 0 || (pte & PTE_V), "an entry 0x%lx is neither empty nor valid", pte);
        if (pte == 0) continue;
        account->count++;
        if (level > 0)
            audit_table(space, pte_page(pte), level - 1);
        else
            audit_leaf(space, pte);
    }
    CHECK(account->count > 0 || table == space->root, "an empty table at %p", (void *)table);
}

UNWATCHED static void audit_executor(struct executor *executor) {
    uint64_t state = executor->state;
    account_of(executor, EXECUTOR);
    CHECK(!(state & STATE_HELD), "nobody runs, but an executor's state is 0x%lx", state);
    CHECK(!(state & STATE_TERMINATED), "a terminated executor has not ended");
    CHECK(!state_runnable(state), "a runnable executor is not queued (state 0x%lx)", state);
    CHECK(!(state & STATE_PARKED) || !(state >> STATE_EVENTS_SHIFT & executor->wait_mask),
          "lost event: parked with mask 0x%lx, state 0x%lx", executor->wait_mask, state);
    CHECK(executor->references != 0, "an executor without references has not ended");
    CHECK(executor->lock.held == 0, "an executor's lock is held");
    if (executor->heap_rank != 0) account_of(executor, EXECUTOR)->count++;
    if (executor->supervisor != NULL) account_of(executor->supervisor, EXECUTOR)->count++;
}

UNWATCHED static void audit_space(struct space *space) {
    uint64_t live = 0;
    account_of(space, SPACE);
    CHECK(space->lock.held == 0, "a space's lock is held");
    CHECK(space->alive && space->torn == SPACE_WHOLE,
          "a space that has ended is not torn down (torn %u)", space->torn);
    CHECK(space->references != 0, "a space without references has not ended");
    for (uint64_t i = 0; i < hart_count; i++)
        CHECK(!(space->seen[i].word & 1), "hart %lu sleeps, but is said to be in user mode", i);
    audit_table(space, space->root, page_table_levels - 1);
    for (struct executor *e = space->executors; e != NULL; e = e->space_next) {
        CHECK(e->space == space, "an executor is in the list of another space");
        audit_executor(e);
        live += e->started != 0;
    }
    CHECK(space->live == live, "%lu executors live in a space, its count says %lu", live,
          space->live);
    account_of(space, SPACE)->count += (uint32_t)live;
}

/* A space that was never started is kept by handles, and at the end of them
 * there is one that was started. (Numbers above REACH_MAX are not looked at.) */
UNWATCHED static void audit_reach(void) {
    uint64_t reached = 0, before;
    for (uint64_t asid = 1; asid < REACH_MAX; asid++) {
        struct space *space = world_space(asid);
        if (space != NULL && space->live != 0) reached |= 1ul << asid;
    }
    do {
        before = reached;
        for (uint64_t asid = 1; asid < REACH_MAX; asid++)
            reached |= reached >> asid & 1 ? reach[asid] : 0;
    } while (reached != before);
    for (uint64_t asid = 1; asid < REACH_MAX; asid++) {
        CHECK(world_space(asid) == NULL || (reached >> asid & 1),
              "space number %lu was never started, and nobody can reach it", asid);
        reach[asid] = 0;
    }
}

/* What one page's own word, or count, says, against what was found. */
UNWATCHED static void audit_page(void *page, uint64_t entry, uint64_t *console_readers) {
    struct account account = accounts[page_number(page)];
    accounts[page_number(page)] = (struct account){0};
    if (!(entry & ENTRY_ALLOCATED)) {
        CHECK(account.kind == NOTHING, "page %p is in use (kind %d), but free", page, account.kind);
        return;
    }
    uint64_t count = entry / ENTRY_COUNT_ONE, references = 0;
    switch (account.kind) {
    case NOTHING: fail("leak: page %p is allocated (count %lu), but nobody knows it", page, count);
    case TABLE:
    case MEMORY:
        CHECK(count == account.count, "page %p (kind %d) has count %lu, but %u uses", page,
              account.kind, count, account.count);
        return;
    case ROOT: /* retired whatever its count, which only grows (page_alloc.h) */
        CHECK(count > account.count, "root %p has count %lu, but %u entries and 1", page, count,
              account.count);
        return;
    case OTHER:
        CHECK(count == account.count + 1, "page %p (kind %d) has count %lu, but %u uses and 1",
              page, account.kind, count, account.count);
        return;
    case EXECUTOR:
        references = ((struct executor *)page)->references;
        /* The console's reader is known to the console alone. */
        if (references == account.count + 1)
            *console_readers += 1;
        else
            CHECK(references == account.count, "an executor has %lu references, %u were found",
                  references, account.count);
        break;
    case SPACE:
        references = ((struct space *)page)->references;
        CHECK(references == account.count, "a space has %lu references, %u were found", references,
              account.count);
        break;
    }
    CHECK(count == 1, "an object's page has count %lu", count);
}

UNWATCHED void audit(void) {
    for (uint64_t asid = 1; asid < 1ul << options.asid_bits; asid++) {
        struct space *space = world_space(asid);
        if (space == NULL) continue;
        CHECK(space->asid == asid, "a space has two numbers");
        audit_space(space);
    }
    if (options.asid_bits <= 6) audit_reach();
    account_of(info_page, OTHER);
    uint64_t console_readers = 0;
    for (uint64_t i = 0; i < bank_count; i++) {
        for (uint64_t at = 0; at < banks[i]->marked; at += PAGE_SIZE)
            audit_page((void *)(banks[i]->base + at), banks[i]->entries[at >> PAGE_SHIFT],
                       &console_readers);
    }
    CHECK(console_readers <= 1, "%lu executors have a reference too many", console_readers);
    CHECK(global()->sched_mcs_lock == NULL, "the scheduler's lock is held");
    for (uint64_t i = 0; i < hart_count; i++) {
        CHECK(harts[i]->ranks_held == 0, "hart %lu holds locks", i);
        CHECK(harts[i]->reap_executors == NULL && harts[i]->reap_spaces == NULL,
              "hart %lu sleeps, but has something to reap", i);
    }
    audit_free_pages();
}

UNWATCHED uint64_t audit_free_pages(void) {
    uint64_t queued = 0, dummies = 0, cached = 0, unused = 0, even = 0;
    uint64_t *last = NULL;
    for (uint64_t *entry = global()->page_alloc_head; entry != NULL; entry = (uint64_t *)*entry) {
        CHECK(!(*entry & ENTRY_ALLOCATED), "an allocated page is in the free queue");
        if (bank_of_entry(entry) != NULL)
            queued++;
        else
            dummies++;
        last = entry;
        CHECK(queued + dummies <= RAM_PAGES_MAX, "the free queue is a ring");
    }
    CHECK(dummies == 1, "%lu dummies are in the free queue", dummies);
    CHECK(last == global()->page_alloc_tail, "the free queue does not end at its tail");
    for (uint64_t i = 0; i < hart_count; i++) {
        for (struct cached_page *p = harts[i]->cache_top; p != harts[i]->cache; p--) {
            CHECK(*p->entry == 0, "a page in a hart's cache is not free");
            cached++;
        }
    }
    for (uint64_t i = 0; i < bank_count; i++) {
        unused += (banks[i]->size - banks[i]->marked) >> PAGE_SHIFT;
        for (uint64_t at = 0; at < banks[i]->marked >> PAGE_SHIFT; at++)
            even += !(banks[i]->entries[at] & ENTRY_ALLOCATED);
    }
    CHECK(even == queued + cached, "%lu pages are free, but %lu in the queue and %lu in caches",
          even, queued, cached);
    CHECK(global()->pages_free == queued + unused, "pages_free is %lu, there are %lu and %lu",
          global()->pages_free, queued, unused);
    return queued + cached + unused;
}
