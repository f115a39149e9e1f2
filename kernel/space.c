/*
 * Address spaces: made, locked, counted. (Their end: exit.c.)
 */
#include "space.h"
#include "compiler.h"
#include "info.h"
#include "machine.h"
#include "map.h"
#include "page_alloc.h"
#include "reap.h"
#include "riscv/asid.h"
#include "riscv/kernel_table.h"

static uint64_t next_serial; /* atomic */

int space_create(struct space **result) {
    struct space *space = page_alloc();
    struct page_table *root = page_alloc();
    uint64_t asid;
    if (space == NULL || root == NULL || !asid_alloc(&asid)) goto no_memory;
    page_zero(space);
    page_zero(root);
    kernel_table_show_image(root);
    space->references = 1;
    space->generation = 1;
    space->alive = 1;
    space->root = root;
    space->asid = asid;
    space->satp = asid_satp(phys_from_linear(root), asid);
    space->serial = __atomic_fetch_add(&next_serial, 1, __ATOMIC_RELAXED);

    if (map_page(space, user(USER_INFO_PAGE), phys_from_linear(info_page),
                 PTE_MEMORY | PTE_U | PTE_R) == 0) {
        page_get(info_page); /* for the mapping, which nobody else knows yet */
        *result = space;
        return 0;
    }
    asid_free(asid);
no_memory:
    if (root != NULL) page_free(root);
    if (space != NULL) page_free(space);
    return -ENOMEM;
}

LEAF void space_put(struct space *space) {
    if (UNLIKELY(reference_put(&space->references))) reap_space(space);
}

void space_lock_both(struct space *one, struct space *other) {
    struct space *first = one < other ? one : other;
    struct space *second = one < other ? other : one;
    lock_acquire(&first->lock, LOCK_SPACE);
    if (second != first) lock_acquire(&second->lock, LOCK_SPACE_SECOND);
}

void space_unlock_both(struct space *one, struct space *other) {
    /* In the end both ranks are left, whichever lock had which. */
    if (one != other) lock_release(&one->lock, LOCK_SPACE_SECOND);
    lock_release(&other->lock, LOCK_SPACE);
}
