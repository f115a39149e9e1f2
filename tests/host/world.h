/*
 * The world around the kernel: RAM, boot, the devices, and what happens when
 * everybody sleeps.
 */
#pragma once
#include "address.h"
#include "model.h"
#include <stdbool.h>

enum { RAM_PAGES_MAX = 1 << 16, DEVICE_PAGE = 0x101000 };

/* Programs end themselves from now on. */
bool world_is_ending(void);

/* A program makes a step: there are only so many. */
void world_step(void);

/* RAM, page allocator and harts, as boot.c makes them. Once. */
void world_boot(void);

/* Before the threads of a round start, and after they have ended. */
void world_begin_round(uint64_t round);
void world_end_round(void);

/* The live space with this number, 0 if there is none. */
struct space *world_space(uint64_t asid);

/* Somebody presses a key. */
void world_press_key(void);

/* Number of a page of RAM, counted from the lowest address. */
uint64_t page_number(const void *page);
