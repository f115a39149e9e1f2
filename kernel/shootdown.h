/*
 * TLB shootdown by generations: contract. (The protocol: shootdown.c.)
 */
#pragma once
#include "space.h"

/* This hart has come out of user mode in `space`, and the kernel's satp is in:
 * nobody needs to wait for it any more. */
void shootdown_withdraw(struct space *space);

/* This hart is about to enter user mode in `space`. On return every
 * translation that it uses there is of the space's current generation. The
 * next thing it does is to install the space's satp. */
void shootdown_publish(struct space *space);

/*
 * The caller holds the lock of `space` and has changed its tables. On return
 * no hart uses a translation, or an instruction, from before the change.
 */
void shootdown(struct space *space);
