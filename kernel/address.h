/*
 * Three kinds of address, three types, so that the compiler tells them apart:
 *
 *   phys_t   physical, what page table entries and devices speak of
 *   user_t   virtual, in the user half of some address space: never followed,
 *            only walked
 *   void *   virtual, in the kernel: image, hart page or linear map
 *
 * A page that several harts share is named by its linear-map address.
 */
#pragma once
#include "layout.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t raw;
} phys_t;

typedef struct {
    uint64_t raw;
} user_t;

/* linear address = physical address + linear_offset; set once at boot. */
extern uint64_t linear_offset;
/* physical address = image address - image_offset; set once at boot. */
extern uint64_t image_offset;

static inline phys_t phys(uint64_t raw) {
    return (phys_t){raw};
}

static inline user_t user(uint64_t raw) {
    return (user_t){raw};
}

/* The kernel's address for RAM at `pa`. */
static inline void *linear_from_phys(phys_t pa) {
    return (void *)(pa.raw + linear_offset);
}

static inline phys_t phys_from_linear(const void *linear) {
    return phys((uint64_t)linear - linear_offset);
}

static inline phys_t phys_from_image(const void *image) {
    return phys((uint64_t)image - image_offset);
}

static inline bool page_aligned(uint64_t address) {
    return (address & (PAGE_SIZE - 1)) == 0;
}

static inline uint64_t round_up(uint64_t value, uint64_t step) {
    return (value + step - 1) & ~(step - 1);
}

static inline uint64_t round_down(uint64_t value, uint64_t step) {
    return value & ~(step - 1);
}
