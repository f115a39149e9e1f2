/*
 * What is left to write in the user library, see lab.h.
 */
#include "lab.h"
#include "call.h"
#include "device.h"
#include "print.h"

/* The labs that have files of this library. */
static const char *const handouts[] = {
    [5] = "5-park-unpark",
};

void lab_todo(unsigned lab, unsigned exercise, const char *function) {
    static uint32_t said;

    if (__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED) == 0) {
        printf("lab %u, exercise %u: %s is yours to write: read handouts/%s.md#exercise-%u\n", lab,
               exercise, function, handouts[lab], exercise);
        power_off(0);
    }
    terminate(1);
}

void lab_done(unsigned lab) {
    printf("lab %u is done\n", lab);
    power_off(0);
    terminate(0); /* it takes the device a moment, or there is none */
}
