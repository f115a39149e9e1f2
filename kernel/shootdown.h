/*
 * TLB shootdown by generations: contract. (The protocol: shootdown.c, and the
 * handout of lab 6, Generations.)
 */
#pragma once

struct executor;
struct space;

/*
 * This hart uses no translation, and no remembered handle, of the space that it
 * is published in, and will publish before it does: nobody needs to wait for it
 * any more. Called when a hart has come into the kernel by anything but a call,
 * before it takes a space's lock (lock.h), and before it serves interrupts. Without
 * effect if it is published nowhere.
 */
void shootdown_withdraw(void);

/* This hart is about to resume `next`. On return it is published in that space,
 * and in no other, and every translation that it uses there, and handle that it
 * remembers, is of the space's current generation. The next thing it does is to
 * install the space's satp. Without effect if hart->published is that space.
 * Returns `next`. */
struct executor *shootdown_publish(struct executor *next);

/*
 * The caller holds the lock of `space` and has changed its tables. On return
 * no hart uses a translation, a remembered handle, or an instruction, from
 * before the change.
 */
void shootdown(struct space *space);
