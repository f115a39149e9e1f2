/*
 * Page tables: contract. Sv39 has 3 levels, Sv48 has 4; level 0 is the leaves
 * of 4 KiB. Privileged manual: Sv39, Sv48.
 *
 *  63    54 53             10 9   8 7 6 5 4 3 2 1 0
 * +--------+-----------------+-----+-+-+-+-+-+-+-+-+
 * |    0   | physical page   | RSW |D|A|G|U|X|W|R|V|
 * +--------+-----------------+-----+-+-+-+-+-+-+-+-+
 *
 * A and D are set by the kernel when it makes a leaf (D if it may be
 * written), and stay clear in an entry that points to a table, as does U.
 *
 * The RSW bits tell the type of a user page. An executor or a space is mapped
 * for the kernel only: the page table is the capability table.
 */
#pragma once
#include "address.h"
#include "page_alloc.h"

typedef uint64_t pte_t;

#define PTE_V 0x01ul
#define PTE_R 0x02ul
#define PTE_W 0x04ul
#define PTE_X 0x08ul
#define PTE_U 0x10ul
#define PTE_G 0x20ul
#define PTE_A 0x40ul
#define PTE_D 0x80ul

#define PTE_TYPE     0x300ul
#define PTE_MEMORY   0x000ul
#define PTE_DEVICE   0x100ul
#define PTE_EXECUTOR 0x200ul
#define PTE_SPACE    0x300ul

#define PTE_PAGE_SHIFT 10

#define TABLE_ENTRIES 512

struct page_table {
    pte_t entries[TABLE_ENTRIES];
};

/* Set at boot. */
extern uint32_t page_table_levels;     /* 3 or 4 */
extern uint32_t page_table_root_shift; /* of the root's index in an address */
extern uint64_t page_table_user_end;   /* first address above the user half */

static inline uint64_t user_end(void) {
    return page_table_user_end;
}

static inline pte_t pte_make(phys_t pa, uint64_t bits) {
    return pa.raw >> PAGE_SHIFT << PTE_PAGE_SHIFT | bits;
}

static inline phys_t pte_phys(pte_t pte) {
    return phys(pte >> PTE_PAGE_SHIFT << PAGE_SHIFT); /* the upper bits are 0 */
}

/* The table or page that an entry names, also after V was cleared. */
static inline void *pte_page(pte_t pte) {
    return linear_from_phys(pte_phys(pte));
}

static inline bool pte_is_leaf(pte_t pte) {
    return (pte & (PTE_R | PTE_W | PTE_X)) != 0;
}

/* Bytes that one entry of this level covers. */
static inline uint64_t level_size(uint32_t level) {
    return 1ul << (PAGE_SHIFT + 9 * level);
}

static inline uint64_t level_index(uint64_t va, uint32_t level) {
    return va >> (PAGE_SHIFT + 9 * level) & (TABLE_ENTRIES - 1);
}

/* The entry for `va` in a table whose entries are told apart by the address
 * bits from `shift` on. */
static inline pte_t *pte_at(struct page_table *table, uint64_t va, uint32_t shift) {
    return &table->entries[va >> shift & (TABLE_ENTRIES - 1)];
}

/* The table that an entry stands in. */
static inline struct page_table *pte_table(const pte_t *entry) {
    return (struct page_table *)round_down((uint64_t)entry, PAGE_SIZE);
}

/* Entries are read and written whole: other harts' page walkers look on. */
static inline pte_t pte_load(const pte_t *entry) {
    return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

static inline void pte_store(pte_t *entry, pte_t pte) {
    __atomic_store_n(entry, pte, __ATOMIC_RELAXED);
}

/* Make an entry valid. Release: whoever gets at the page, or the table, by way
 * of it finds there what was written before, its being cleared above all. */
static inline void pte_publish(pte_t *entry, pte_t pte) {
    __atomic_store_n(entry, pte, __ATOMIC_RELEASE);
}

/* The machine has this many levels. Once, at boot. */
void page_table_init(uint32_t levels);

/*
 * The entry for the 4 KiB page at `va`; 0 if a table on the way to it is
 * missing or a larger leaf stands there.
 */
pte_t *page_table_walk(struct page_table *root, uint64_t va);

/* What that entry says; 0 if there is none. */
static inline pte_t page_table_load(struct page_table *root, uint64_t va) {
    const pte_t *entry = page_table_walk(root, va);
    return entry != NULL ? pte_load(entry) : 0;
}

/*
 * The entry at `level` that covers `va`. Tables that are missing are made from
 * pages taken off `tables`, which must hold enough (page_table_missing); what
 * is in those pages is unknown. A new table is empty before the pointer to it
 * can be seen (pte_publish). No larger leaf may stand there: that is asserted. A
 * new table's count starts at zero; each pointer made counts in its table. The
 * caller counts what it puts into the entry.
 */
pte_t *page_table_make(struct page_table *root, uint64_t va, uint32_t level,
                       struct page_list *tables);

/* How many tables page_table_make would make for the 4 KiB pages from va to
 * end - 1, as the tables stand now. No larger leaf may stand there. */
uint64_t page_table_missing(struct page_table *root, uint64_t va, uint64_t end);

/*
 * Map [va, va + size) to [pa, pa + size) for the kernel, with the largest
 * leaves that alignment allows, in a table that nobody uses yet; size may be 0.
 * Takes tables from the page allocator; out of memory stops the boot. `bits` are
 * R, W, X and G; A, and D with W, are set, as the hardware need not set them.
 * Each leaf counts in its table. A root begins with count 1, its owner's.
 */
void page_table_map(struct page_table *root, uint64_t va, phys_t pa, uint64_t size, uint64_t bits);
