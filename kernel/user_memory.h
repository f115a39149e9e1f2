/*
 * A program's memory as the kernel gets at it: by walking the space's tables
 * and going through the linear map, never through the user's address itself.
 */
#pragma once
#include "space.h"

/*
 * The kernel's address for the user address `va`, if it is memory (not a
 * device, not a handle) that the program may access with all the rights in
 * `prot`; else NULL. Good up to the end of the page, and as long as the lock is
 * held, which the caller holds.
 */
void *user_memory_at(struct space *space, user_t va, uint64_t prot);

/* Copy from and to a program's memory, under the space's lock, which is taken
 * here. 0, or -EFAULT if any part of it may not be read, or written; then it may
 * be written in part. */
__attribute__((warn_unused_result)) int user_memory_read(struct space *space, void *to, user_t from,
                                                         uint64_t size);
__attribute__((warn_unused_result)) int user_memory_write(struct space *space, user_t to,
                                                          const void *from, uint64_t size);

/* Can all of it be accessed with all the rights in `prot`, as things stand? 0
 * or -EFAULT. Takes the lock. */
__attribute__((warn_unused_result)) int user_memory_check(struct space *space, user_t va,
                                                          uint64_t size, uint64_t prot);
