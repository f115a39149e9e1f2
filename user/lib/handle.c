/*
 * Addresses for handles, see handle.h and the map in layout.h.
 */
#include "handle.h"
#include "call.h"
#include "layout.h"
#include "slots.h"

static struct slots handle_slots;

int64_t handle_take(void) {
    int64_t slot = slots_take(&handle_slots, HANDLES_MAX);
    if (slot < 0) return slot;
    return HANDLE_AT(HANDLES_TAKEN + slot);
}

void handle_drop(uint64_t handle) {
    /* First the handle, then the slot: whoever takes the slot next finds
     * nothing mapped there. */
    unmap(SPACE_OWN, handle, 1);
    slots_give(&handle_slots, ((handle - USER_HANDLES) >> PAGE_SHIFT) - HANDLES_TAKEN);
}
