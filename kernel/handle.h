/*
 * Handles: contract. A handle is a user address at which an object's page is
 * mapped for the kernel only (PTE_EXECUTOR or PTE_SPACE, R and W, neither U nor
 * X); whoever can name it in its own space may use the object.
 */
#pragma once
#include "executor.h"
#include "space.h"

/* The object that the handle at `va`, the start of a page, names; 0 if there is
 * none of that type. The lock of `space` is held, and keeps the object while it
 * is. */
struct executor *handle_executor(struct space *space, user_t va);
struct space *handle_space(struct space *space, user_t va);
