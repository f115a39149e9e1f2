/*
 * Included before every kernel source: each atomic operation becomes a point
 * at which the thread may be held up, before and after it. On a host with few
 * processors two threads would otherwise hardly ever meet between two given
 * instructions.
 *
 * The operations themselves, and their orders, are the kernel's own. Fences
 * are left alone.
 */
#pragma once
#include <stdint.h>

extern _Thread_local uint32_t model_countdown;
void model_hold_up(void);

static inline void model_point(void) {
    if (--model_countdown == 0) model_hold_up();
}

#define MODEL_POINT(operation)                                                                     \
    ({                                                                                             \
        model_point();                                                                             \
        __auto_type result_ = operation;                                                           \
        model_point();                                                                             \
        result_;                                                                                   \
    })

/* A macro's own name in its replacement is not replaced again. */
#define __atomic_load_n(...)             MODEL_POINT(__atomic_load_n(__VA_ARGS__))
#define __atomic_exchange_n(...)         MODEL_POINT(__atomic_exchange_n(__VA_ARGS__))
#define __atomic_compare_exchange_n(...) MODEL_POINT(__atomic_compare_exchange_n(__VA_ARGS__))
#define __atomic_fetch_add(...)          MODEL_POINT(__atomic_fetch_add(__VA_ARGS__))
#define __atomic_fetch_sub(...)          MODEL_POINT(__atomic_fetch_sub(__VA_ARGS__))
#define __atomic_sub_fetch(...)          MODEL_POINT(__atomic_sub_fetch(__VA_ARGS__))
#define __atomic_fetch_or(...)           MODEL_POINT(__atomic_fetch_or(__VA_ARGS__))
#define __atomic_fetch_xor(...)          MODEL_POINT(__atomic_fetch_xor(__VA_ARGS__))
#define __atomic_fetch_and(...)          MODEL_POINT(__atomic_fetch_and(__VA_ARGS__))
#define __atomic_store_n(...)                                                                      \
    ({                                                                                             \
        model_point();                                                                             \
        __atomic_store_n(__VA_ARGS__);                                                             \
        model_point();                                                                             \
    })
