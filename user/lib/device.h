/*
 * Device pages: registers of a device, mapped into a program that may drive
 * it. Whether one is there depends on the machine and on what the parent
 * granted.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* True if something is mapped at that page of ours. */
bool page_present(uint64_t page);

/*
 * Switch the machine off by the device at USER_POWER_PAGE (QEMU's sifive_test):
 * QEMU exits with `status`, 0 to 255.
 * Returns false if the device is not there.
 */
bool power_off(uint8_t status);
