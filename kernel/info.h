/*
 * The info page: one page of facts that every program can read (abi.h).
 */
#pragma once
#include "layout.h"
#include <stdint.h>

/* Its linear-map address; mapped read-only in every space. 0 until info_init. */
extern struct info_page *info_page;

/* Make it, and fill in what the boot has found out. */
void info_init(void);

/* Show how many pages are free, and how many of them this hart's cache holds:
 * at every tick, and before idling. */
void info_count_pages(void);
