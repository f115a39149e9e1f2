/*
 * Stands in for user/lib/thread.h: that one, but for the register that points to
 * the control block.
 */
#pragma once

struct thread *model_thread_self(void);

#define __asm__(...) self = model_thread_self()
#include "real_thread.h"
#undef __asm__
