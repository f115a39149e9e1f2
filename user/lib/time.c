/*
 * Sleeping, see time.h.
 */
#include "time.h"
#include "call.h"

/* An event that nobody sends: park wants one to wait for. */
#define EVENT_NEVER (1u << 31)

void sleep_ms(uint64_t milliseconds) {
    uint64_t deadline = time_after(milliseconds);

    while (time_now() < deadline) park(EVENT_NEVER, deadline);
}
