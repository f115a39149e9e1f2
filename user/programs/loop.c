/*
 * loop: runs for ever, so that there is something for ctrl-C to stop.
 */

int main(void) {
    for (;;) {
        /* Volatile: an endless loop that does nothing may be left out. */
        __asm__ volatile("nop");
    }
}
