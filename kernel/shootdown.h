/*
 * TLB shootdown by generations: contract. (The protocol: shootdown.c, and the
 * handout of lab 6, Generations.)
 */
#pragma once
#include "executor.h"
#include "space.h"

/* This hart has come out of user mode in the space of `self`, and the kernel's
 * satp is in: nobody needs to wait for it any more. Returns `self`. */
struct executor *shootdown_withdraw(struct executor *self);

/* This hart is about to resume `next`. On return every translation that it
 * uses there is of the space's current generation. The next thing it does is
 * to install the space's satp. Returns `next`. */
struct executor *shootdown_publish(struct executor *next);

/*
 * The caller holds the lock of `space` and has changed its tables. On return
 * no hart uses a translation, or an instruction, from before the change.
 */
void shootdown(struct space *space);
