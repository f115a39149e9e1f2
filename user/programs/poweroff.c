/*
 * poweroff [status]: switch the machine off. QEMU exits with the status.
 *
 * The power-off device is a page that the shell grants to this program only.
 */
#include "device.h"
#include "print.h"
#include "string.h"
#include "time.h"

int main(int argc, char **argv) {
    int64_t status = 0;

    if (argc > 2 || (argc == 2 && !string_number(argv[1], &status)) || status < 0 || status > 255) {
        printf("usage: poweroff [STATUS], from 0 to 255\n");
        return 1;
    }
    if (!power_off(status)) {
        printf("poweroff: the machine has no power-off device\n");
        return 1;
    }
    sleep_ms(1000); /* it takes the device a moment */
    printf("poweroff: the device did not work\n");
    return 1;
}
