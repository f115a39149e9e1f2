/*
 * Multiplication and division for a machine that has neither.
 *
 * The programs are built for rv64ia, without the M extension. Where a C
 * expression multiplies or divides, gcc calls one of these functions; their
 * names and meanings are those of its own library, libgcc, which we can't use
 * since it is built for a larger machine. Narrower types are widened by the
 * compiler first.
 *
 * A division by zero gives what the M extension gives: a quotient of all ones
 * and the dividend as the remainder.
 */
#include <stdint.h>

uint64_t __muldi3(uint64_t one, uint64_t other);
uint64_t __udivdi3(uint64_t dividend, uint64_t divisor);
uint64_t __umoddi3(uint64_t dividend, uint64_t divisor);
int64_t __divdi3(int64_t dividend, int64_t divisor);
int64_t __moddi3(int64_t dividend, int64_t divisor);

/* Long multiplication in binary; right for signed numbers too, since the low
 * half of a product does not depend on the signs. */
uint64_t __muldi3(uint64_t one, uint64_t other) {
    uint64_t product = 0;

    while (other != 0) {
        if (other & 1) product += one;
        one <<= 1;
        other >>= 1;
    }
    return product;
}

/* Long division in binary. */
static uint64_t divide(uint64_t dividend, uint64_t divisor, uint64_t *remainder) {
    uint64_t quotient = 0;
    uint64_t bit = 1; /* of the quotient, for the divisor as shifted so far */

    if (divisor == 0) {
        *remainder = dividend;
        return ~0ul;
    }
    while (divisor < dividend && (divisor >> 63) == 0) {
        divisor <<= 1;
        bit <<= 1;
    }
    while (bit != 0) {
        if (dividend >= divisor) {
            dividend -= divisor;
            quotient |= bit;
        }
        divisor >>= 1;
        bit >>= 1;
    }
    *remainder = dividend;
    return quotient;
}

uint64_t __udivdi3(uint64_t dividend, uint64_t divisor) {
    uint64_t remainder;
    return divide(dividend, divisor, &remainder);
}

uint64_t __umoddi3(uint64_t dividend, uint64_t divisor) {
    uint64_t remainder;
    divide(dividend, divisor, &remainder);
    return remainder;
}

/* Without its sign; in unsigned arithmetic, where the least number has one. */
static uint64_t magnitude(int64_t number) {
    return number < 0 ? -(uint64_t)number : (uint64_t)number;
}

/* C rounds towards zero. */
int64_t __divdi3(int64_t dividend, int64_t divisor) {
    uint64_t remainder;
    uint64_t quotient = divide(magnitude(dividend), magnitude(divisor), &remainder);

    if (divisor == 0) return -1;
    return (dividend < 0) != (divisor < 0) ? (int64_t)-quotient : (int64_t)quotient;
}

/* The remainder has the sign of the dividend. */
int64_t __moddi3(int64_t dividend, int64_t divisor) {
    uint64_t remainder;
    divide(magnitude(dividend), magnitude(divisor), &remainder);
    return dividend < 0 ? (int64_t)-remainder : (int64_t)remainder;
}
