/*
 * Stands in for user/lib/call.h: the calls by which threads sleep and wake each
 * other, with the order that the kernel gives them and no more.
 */
#pragma once
#include "stag/abi.h"
#include <sched.h>
#include <stdint.h>

#define yield sched_yield

int64_t park_if(const uint32_t *word, uint32_t expected, uint64_t deadline);
int64_t park_and_swap(uint32_t *word, uint32_t value, uint64_t deadline, uint32_t *old);
int64_t unpark(uint64_t executor, uint64_t events);
