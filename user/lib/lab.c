/*
 * What is left to write in the user library, see lab.h.
 */
#include "lab.h"
#include "call.h"
#include "device.h"
#include "print.h"

void lab_todo(unsigned lab, unsigned exercise, const char *function)
{
    printf("lab %u, exercise %u: %s is yours to write\n", lab, exercise, function);
    terminate(1);
}

void lab_done(unsigned lab)
{
    printf("lab %u is done\n", lab);
    power_off(0);
    terminate(0); /* it takes the device a moment, or there is none */
}
