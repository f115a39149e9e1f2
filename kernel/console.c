/*
 * The console.
 *
 * Keys go from the interrupt into a ring and from there to whoever reads.
 * Ring and reader are under one lock: a reader that finds the ring empty is
 * noted before the lock is given up, so the next key finds it noted. The event
 * stays pending until taken, so no key is slept over.
 */
#include "console.h"
#include "park.h"
#include "riscv/csr.h"
#include "riscv/sbi.h"
#include "uart.h"

enum { RING_SIZE = 1024 }; /* a power of two */

static struct lock console_lock;

/* Under console_lock. */
static char ring[RING_SIZE];
static uint64_t ring_in, ring_out;   /* free-running */
static struct executor *ring_reader; /* holds a reference; may be peeked at without */

void console_put(char c) {
    /* The UART is mapped for a hart that is on its own table. */
    void (*put)(char) = (uint64_t)this_hart() == HART_PAGE ? uart_put : sbi_put;
    if (c == '\n') put('\r');
    put(c);
}

void console_write(const char *text, uint64_t length) {
    lock_acquire(&console_lock, LOCK_CONSOLE);
    fence_io(); /* the lock orders memory, not what goes to a device */
    for (uint64_t i = 0; i < length && !panicking(); i++) console_put(text[i]);
    fence_io();
    lock_release(&console_lock, LOCK_CONSOLE);
}

int64_t console_read(struct executor *reader, char *buffer, uint64_t length) {
    int64_t count = 0;
    executor_get(reader);
    lock_acquire(&console_lock, LOCK_CONSOLE);
    while ((uint64_t)count < length && ring_out != ring_in)
        buffer[count++] = ring[ring_out++ % RING_SIZE];
    struct executor *before = ring_reader;
    __atomic_store_n(&ring_reader, reader, __ATOMIC_RELAXED);
    lock_release(&console_lock, LOCK_CONSOLE);
    if (before != NULL) executor_put(before);
    return count > 0 ? count : -EAGAIN;
}

void console_forget(struct executor *reader) {
    /* It has ended, so it can't become the reader while we look. */
    if (__atomic_load_n(&ring_reader, __ATOMIC_RELAXED) != reader) return;
    lock_acquire(&console_lock, LOCK_CONSOLE);
    bool was = ring_reader == reader;
    if (was) __atomic_store_n(&ring_reader, NULL, __ATOMIC_RELAXED);
    lock_release(&console_lock, LOCK_CONSOLE);
    if (was) executor_put(reader);
}

void console_interrupt(void) {
    lock_acquire(&console_lock, LOCK_CONSOLE);
    for (char c; uart_get(&c);) {
        if (ring_in - ring_out < RING_SIZE) ring[ring_in++ % RING_SIZE] = c;
    }
    if (ring_in != ring_out && ring_reader != NULL) executor_unpark(ring_reader, EVENT_CONSOLE);
    lock_release(&console_lock, LOCK_CONSOLE);
}
