/*
 * date: the date and time, from the real-time clock.
 *
 * A driver in user mode. The clock (QEMU's goldfish RTC) is a page of
 * registers, which the shell grants to this program only. It counts
 * nanoseconds since 1970. Reading the low half makes the clock keep the high
 * half that belongs to it, so the low half is read first.
 */
#include "device.h"
#include "print.h"
#include "stag/abi.h"

struct clock {
    uint32_t time_low;
    uint32_t time_high;
};

#define NANOSECONDS      1000000000
#define SECONDS_A_DAY    86400
#define DAYS_A_CYCLE     146097 /* of 400 years, after which dates repeat */
#define DAYS_BEFORE_1970 719468 /* from 1 March of the year 0 */

struct date {
    uint64_t year;
    uint64_t month; /* 1 … 12 */
    uint64_t day;   /* 1 … 31 */
};

/*
 * The date of a day counted from 1 January 1970. Years are counted from
 * March, so that the leap day is a year's last.
 */
static struct date date_of(uint64_t day) {
    day += DAYS_BEFORE_1970;
    uint64_t cycle = day / DAYS_A_CYCLE;
    day %= DAYS_A_CYCLE;

    /* Take out the leap days: one in 4 years, but not in 100, but in 400. */
    uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= year * 365 + year / 4 - year / 100;

    /* Months from March have 31, 30, 31, 30, 31 days, over and over. */
    uint64_t month = (5 * day + 2) / 153;
    day -= (153 * month + 2) / 5;

    bool next_year = month >= 10; /* January and February */
    return (struct date){
        .year = cycle * 400 + year + next_year,
        .month = next_year ? month - 9 : month + 3,
        .day = day + 1,
    };
}

int main(int argc, char **) {
    if (argc > 1) {
        printf("usage: date\n");
        return 1;
    }
    const volatile struct clock *clock = (const volatile struct clock *)USER_RTC_PAGE;

    if (!page_present(USER_RTC_PAGE)) {
        printf("date: there is no clock\n");
        return 1;
    }
    uint64_t low = clock->time_low;
    uint64_t seconds = (low | (uint64_t)clock->time_high << 32) / NANOSECONDS;

    struct date date = date_of(seconds / SECONDS_A_DAY);
    uint64_t second = seconds % SECONDS_A_DAY;
    printf("%04lu-%02lu-%02lu %02lu:%02lu:%02lu UTC\n", date.year, date.month, date.day,
           second / 3600, second / 60 % 60, second % 60);
    return 0;
}
