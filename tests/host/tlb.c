/*
 * The memory management unit, and what watches over it.
 *
 * shot[asid] says which generation the last complete shootdown of the space
 * with that number has reached. A hart that reads it and after that uses a
 * translation walked at an earlier generation breaks what shootdown.h
 * promises. No order between the two harts is needed to see that: the shooter
 * stores the generation after it has seen this hart's word even or new, and
 * a hart whose word is even is not here.
 */
#include "tlb.h"
#include "bank.h"
#include "machine.h"
#include "model.h"
#include "riscv/csr.h"
#include "shootdown.h"
#include "space.h"

enum { ASIDS = 1 << 16 };

static uint64_t shot[ASIDS]; /* serial of the space << 32 | generation */

void __real_shootdown(struct space *space);
void __wrap_shootdown(struct space *space);

void __wrap_shootdown(struct space *space) {
    __real_shootdown(space);
    __atomic_store_n(&shot[space->asid], space->serial << 32 | space->generation, __ATOMIC_RELAXED);
}

static struct translation *place(struct tlb *tlb, uint64_t asid, uint64_t number, uint32_t level) {
    return &tlb->entries[(number * 0x9e3779b97f4a7c15 >> 40 ^ asid * 7 ^ level * 31) % TLB_ENTRIES];
}

static uint32_t shift_of(uint32_t level) {
    return PAGE_SHIFT + 9 * level;
}

/* The page that a walk has come to belongs to somebody. */
UNWATCHED static void check_allocated(pte_t pte, const char *what) {
    void *page = pte_page(pte);
    struct bank *bank = bank_of_page((uint64_t)page);
    CHECK(bank != NULL, "%s at %p is no page of RAM", what, page);
    uint64_t entry = bank->entries[((uint64_t)page - bank->base) >> PAGE_SHIFT];
    CHECK(entry & ENTRY_ALLOCATED, "a hart in user mode uses the %s at %p, which is free", what,
          page);
}

UNWATCHED static void check_fresh(const struct translation *t, struct space *space, uint64_t done) {
    CHECK(t->serial == space->serial,
          "stale translation: of space %lu, in space %lu, which has the same number %lu", t->serial,
          space->serial, t->asid);
    CHECK(done >> 32 != t->serial || t->generation >= (uint32_t)done,
          "stale translation: walked at generation %lu, used after the shootdown of %lu",
          t->generation, done & 0xffffffff);
}

static struct translation *look_up(struct tlb *tlb, uint64_t asid, uint64_t va, uint32_t level) {
    struct translation *t = place(tlb, asid, va >> shift_of(level), level);
    bool hit =
        t->valid && t->asid == asid && t->number == va >> shift_of(level) && t->level == level;
    return hit ? t : NULL;
}

UNWATCHED static uint64_t serial_of(struct space *space) {
    return space->serial;
}

/* One step of the walk: the entry is read by acquire, as what it points to is
 * read by way of it. */
static pte_t step(phys_t table, uint64_t va, uint32_t level) {
    struct page_table *at = linear_from_phys(table);
    return __atomic_load_n(&at->entries[level_index(va, level)], __ATOMIC_ACQUIRE);
}

/* Walk, as far as needed, and remember. Returns the leaf, 0 if there is none. */
static struct translation *walk(struct cpu *cpu, struct space *space, uint64_t satp, uint64_t va) {
    uint64_t asid = satp >> SATP_ASID_SHIFT & 0xffff;
    struct translation note = {
        .valid = true,
        .asid = asid,
        .serial = serial_of(space),
        .generation = __atomic_load_n(&space->generation, __ATOMIC_RELAXED),
    };
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    cpu->counts[COUNT_WALKS]++;
    struct translation *pointer = look_up(&cpu->tlb, asid, va, 1);
    if (pointer != NULL) {
        note.generation = pointer->generation; /* as old as what it comes from */
        note.serial = pointer->serial;
    } else {
        phys_t table = phys((satp & ((1ul << SATP_ASID_SHIFT) - 1)) << PAGE_SHIFT);
        for (uint32_t level = page_table_levels - 1; level > 0; level--) {
            check_allocated(pte_make(table, 0), "page table");
            note.pte = step(table, va, level);
            if (!(note.pte & PTE_V)) return NULL;
            CHECK(!pte_is_leaf(note.pte), "a large leaf in a user table");
            table = pte_phys(note.pte);
        }
        note.level = 1;
        note.number = va >> shift_of(1);
        pointer = place(&cpu->tlb, asid, note.number, 1);
        *pointer = note;
    }
    check_allocated(pointer->pte, "table of leaves");
    note.pte = step(pte_phys(pointer->pte), va, 0);
    if (!(note.pte & PTE_V)) return NULL;
    note.level = 0;
    note.number = va >> PAGE_SHIFT;
    struct translation *leaf = place(&cpu->tlb, asid, note.number, 0);
    *leaf = note;
    return leaf;
}

void *tlb_translate(struct cpu *cpu, struct executor *executor, uint64_t va, uint64_t rights) {
    struct space *space = executor->space;
    uint64_t asid = executor->satp >> SATP_ASID_SHIFT & 0xffff;
    uint64_t done = __atomic_load_n(&shot[asid], __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (va >= user_end()) return NULL;
    struct translation *t = look_up(&cpu->tlb, asid, va, 0);
    if (t != NULL)
        cpu->counts[COUNT_HITS]++;
    else
        t = walk(cpu, space, executor->satp, va);
    if (t == NULL) return NULL;
    check_fresh(t, space, done);
    if ((t->pte & (PTE_U | rights)) != (PTE_U | rights) || (t->pte & PTE_TYPE) != PTE_MEMORY)
        return NULL;
    CHECK((t->pte & (PTE_W | PTE_X)) != (PTE_W | PTE_X), "a page to write and to execute");
    CHECK((t->pte & PTE_A) && (!(t->pte & PTE_W) || (t->pte & PTE_D)), "A or D is not set");
    check_allocated(t->pte, "page");
    return (char *)pte_page(t->pte) + va % PAGE_SIZE;
}

/* The kernel's fences. */

static void forget(bool all, uint64_t asid, bool one, uint64_t va) {
    struct cpu *cpu = this_cpu();
    cpu->counts[COUNT_FLUSHES]++;
    for (uint64_t i = 0; i < TLB_ENTRIES; i++) {
        struct translation *t = &cpu->tlb.entries[i];
        if ((all || t->asid == asid) && (!one || t->number == va >> shift_of(t->level)))
            t->valid = false;
    }
}

void sfence_vma_all(void) {
    forget(true, 0, false, 0);
}

void sfence_vma_asid(uint64_t asid) {
    forget(false, asid, false, 0);
}

void sfence_vma_page(uint64_t va, uint64_t asid) {
    forget(false, asid, true, va);
}

/* What a hart fetches is not modelled. */
void fence_i(void) {
}
