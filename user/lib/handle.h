/*
 * Addresses for handles. A call that makes an object wants a free address for
 * its handle; these functions know which are free.
 */
#pragma once
#include <stdint.h>

/* Set aside an address at which nothing is mapped. Returns it, or -ENOMEM. */
int64_t handle_take(void);

/* Drop what handle_take() set aside: unmaps the handle if there is one. An
 * object without handles goes away unless something else keeps it. */
void handle_drop(uint64_t handle);
