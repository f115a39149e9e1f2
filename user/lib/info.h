/*
 * What the kernel shows of itself and of the machine: one page, read-only, the
 * same in every address space. Counts in it change while we look, hence
 * volatile.
 */
#pragma once
#include "stag/abi.h"

static inline const volatile struct info_page *info_page(void) {
    return (const volatile struct info_page *)USER_INFO_PAGE;
}
