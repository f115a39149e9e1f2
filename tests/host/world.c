/*
 * The world around the kernel.
 *
 * RAM is memory of the host, in two pieces with a hole, so that the linear
 * map's addresses are the host's pointers; physical addresses are as on the
 * real machine.
 *
 * A round begins with no program at all. All harts sleep; the world notices,
 * and starts a first program, in an interrupt. When everybody sleeps again the
 * books are audited, and another is started. When the round's steps are used
 * up, programs that still run end themselves; those that sleep are killed, a
 * process at a time, with an audit between. When nothing is left the round is
 * over, and every page must be free.
 *
 * For AddressSanitizer free pages are poisoned, but for the first word, which
 * the allocator uses: where the kernel frees them and clears them again.
 */
#include "world.h"
#include "audit.h"
#include "bank.h"
#include "console.h"
#include "devicetree.h"
#include "exit.h"
#include "info.h"
#include "machine.h"
#include "map.h"
#include "page_alloc.h"
#include "plic.h"
#include "program.h"
#include "riscv/asid.h"
#include "riscv/csr.h"
#include "riscv/kernel_table.h"
#include "riscv/sbi.h"
#include "space.h"
#include "state.h"
#include "timer.h"
#include "uart.h"
#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What boot.c and boot_table.c define. */
struct global global_page __attribute__((aligned(PAGE_SIZE)));
struct hart *harts[HARTS_MAX];
uint64_t hart_count;
uint64_t linear_offset, image_offset;
struct machine_description machine_description;

enum { RAM_BASE = 0x80200000, QUANTUM = 2000, HOLE_PAGES = 5, PTE_OF_KERNEL = 0x1234421 };

static uint64_t ram_pages; /* the hole too */
static uint64_t free_at_start;

/* What the next external interrupt is about. */
static enum { WORK_NONE, WORK_START, WORK_KILL } work;
static uint64_t steps_left;
static uint32_t keys;
static uint64_t starts_refused;

static struct space *spaces[1 << 16]; /* by number */

/* Failures. */

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    flockfile(stderr);
    fprintf(stderr, "FAILED (hart %lu, seed %lu): ", model_hart ? model_hart->index : 99,
            options.seed);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    abort();
}

void panic(const char *format, ...) {
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    fail("kernel panic: %s", message);
}

void stop(const char *format, ...) {
    char message[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    fail("kernel stop: %s", message);
}

void panic_assert(const char *condition, const char *file, unsigned line) {
    fail("kernel assertion: %s:%u: %s", file, line, condition);
}

void panic_halt(void) {
    fail("a hart was told of a panic");
}

const char *symbol(const void *address) {
    static _Thread_local char text[32];
    snprintf(text, sizeof(text), "%p", address);
    return text;
}

/* Memory. */

void page_zero(void *page) {
    blocks_zero(page, PAGE_SIZE);
}

/* The first blocks of a page make use of all of it: what is not cleared is
 * garbage. */
void blocks_zero(void *start, uint64_t size) {
    if (page_aligned((uint64_t)start)) {
        ASAN_UNPOISON_MEMORY_REGION(start, PAGE_SIZE);
        memset(start, 0xa5, PAGE_SIZE);
    }
    memset(start, 0, size);
}

void page_copy(void *to, const void *from) {
    memcpy(to, from, PAGE_SIZE);
}

void *model_copy(void *restrict to, const void *restrict from, size_t size) {
    char *target = to;
    const char *source = from;
    for (size_t i = 0; i < size; i++)
        __atomic_store_n(&target[i], __atomic_load_n(&source[i], __ATOMIC_RELAXED),
                         __ATOMIC_RELAXED);
    return to;
}

void string_copy(char *to, const char *from, size_t size) {
    snprintf(to, size, "%s", from);
}

static void poison(void *page) {
    (void)page; /* without AddressSanitizer */
    ASAN_POISON_MEMORY_REGION((char *)page + 8, PAGE_SIZE - 8);
}

void __real_page_free(void *page);
void __wrap_page_free(void *page);
void __real_page_free_chain(struct page_chain *chain);
void __wrap_page_free_chain(struct page_chain *chain);

void __wrap_page_free(void *page) {
    poison(page);
    __real_page_free(page);
}

void __wrap_page_free_chain(struct page_chain *chain) {
    uint64_t *entry = chain->first;
    for (uint64_t i = 0; i < chain->count; i++) {
        struct bank *bank = bank_of_entry(entry);
        poison((char *)bank->base + (uint64_t)(entry - bank->entries) * PAGE_SIZE);
        entry = (uint64_t *)__atomic_load_n(entry, __ATOMIC_RELAXED);
    }
    __real_page_free_chain(chain);
}

uint64_t page_number(const void *page) {
    return (phys_from_linear(page).raw - RAM_BASE) >> PAGE_SHIFT;
}

/* Spaces, as they come and go. */

int __real_space_create(struct space **result);
int __wrap_space_create(struct space **result);
void __real_asid_free(uint64_t asid);
void __wrap_asid_free(uint64_t asid);

int __wrap_space_create(struct space **result) {
    int error = __real_space_create(result);
    /* Release: for kill_one, which gets at the space by this alone. The model
     * of the TLB reads it relaxed, so as not to order what the kernel must. */
    if (error == 0) __atomic_store_n(&spaces[(*result)->asid], *result, __ATOMIC_RELEASE);
    return error;
}

void __wrap_asid_free(uint64_t asid) {
    __atomic_store_n(&spaces[asid], NULL, __ATOMIC_RELAXED);
    __real_asid_free(asid);
}

struct space *world_space(uint64_t asid) {
    return __atomic_load_n(&spaces[asid], __ATOMIC_RELAXED);
}

void kernel_table_show_image(struct page_table *root) {
    root->entries[level_index(KERNEL_IMAGE, page_table_levels - 1)] = PTE_OF_KERNEL;
}

static uint64_t satp;

uint64_t model_read_satp(void) {
    return satp;
}

/* The bits of the space number that there are not stay 0. */
void model_write_satp(uint64_t value) {
    uint64_t bits = ((1ul << options.asid_bits) - 1) << SATP_ASID_SHIFT;
    satp = (value & ~(0xfffful << SATP_ASID_SHIFT)) | (value & bits);
}

/* Devices. */

void plic_init(void) {
}

void uart_init(void) {
}

void uart_put(char c) {
    (void)c;
}

void sbi_put(char c) {
    (void)c;
}

bool uart_get(char *c) {
    *c = 'k';
    uint32_t seen = __atomic_load_n(&keys, __ATOMIC_RELAXED);
    do {
        if (seen == 0) return false;
    } while (!__atomic_compare_exchange_n(&keys, &seen, seen - 1, false, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

void world_press_key(void) {
    __atomic_fetch_add(&keys, 1, __ATOMIC_RELAXED);
    cpu_raise(&cpus[0], SIE_EXTERNAL);
}

/* One more executor for a space that is new, with a handle to it. */
static void start_executor(struct space *space, uint64_t handle) {
    struct executor *executor;
    if (executor_create(space, &executor) != 0) return;
    executor_get(executor);
    if (map_page(space, user(handle), phys_from_linear(executor), PTE_EXECUTOR | PTE_R | PTE_W) !=
        0)
        executor_put(executor);
    else if (executor_start(executor, user(PC_START), user(USER_STACK_HIGH), 0) != 0)
        starts_refused++; /* those before it were quicker: they started or ended it */
    executor_put(executor);
}

/* A first program: some memory, a device page, and a few executors, with
 * handles to them. As much of it as there is room for. */
static void start_program(void) {
    enum { MEMORY_PAGES = 4, EXECUTORS = 3 };
    struct space *space;
    if (space_create(&space) != 0) return;
    for (uint64_t i = 0; i < MEMORY_PAGES; i++) {
        void *page = page_alloc();
        if (page == NULL) break;
        page_zero(page);
        if (map_page(space, user(USER_HEAP + i * PAGE_SIZE), phys_from_linear(page),
                     PTE_MEMORY | PTE_U | PTE_R | PTE_W) != 0)
            page_free(page);
    }
    int error =
        map_page(space, user(USER_IMAGE), phys(DEVICE_PAGE), PTE_DEVICE | PTE_U | PTE_R | PTE_W);
    for (uint64_t i = 0; i < EXECUTORS && error == 0; i++)
        start_executor(space, HANDLE_SELF + i * PAGE_SIZE);
    space_put(space);
}

static void kill_one(void) {
    for (uint64_t asid = 1; asid < 1ul << options.asid_bits; asid++) {
        struct space *space = __atomic_load_n(&spaces[asid], __ATOMIC_ACQUIRE);
        if (space != NULL && space_get_unless_zero(space)) {
            space_exit(space);
            space_put(space);
            return;
        }
    }
}

void plic_interrupt(void) {
    model_clear_sip(SIE_EXTERNAL);
    int what = __atomic_exchange_n(&work, WORK_NONE, __ATOMIC_RELAXED);
    if (what == WORK_START)
        start_program();
    else if (what == WORK_KILL)
        kill_one();
    else
        console_interrupt();
}

/* Rounds. */

bool world_is_ending(void) {
    return (int64_t)__atomic_load_n(&steps_left, __ATOMIC_RELAXED) <= 0;
}

void world_step(void) {
    __atomic_fetch_sub(&steps_left, 1, __ATOMIC_RELAXED);
}

static bool some_space(void) {
    for (uint64_t asid = 1; asid < 1ul << options.asid_bits; asid++) {
        if (world_space(asid) != NULL) return true;
    }
    return false;
}

void world_quiet(void) {
    audit();
    if (!world_is_ending() && random_below(4) == 0)
        __atomic_fetch_sub(&steps_left, options.steps / 1000 + 1, __ATOMIC_RELAXED);
    int next = !world_is_ending() ? WORK_START : some_space() ? WORK_KILL : WORK_NONE;
    if (next == WORK_NONE) {
        for (uint64_t i = 0; i < hart_count; i++) cpu_raise(&cpus[i], PENDING_EXIT);
        return;
    }
    /* Sleepers that nobody knows take up room: at times clear some away. */
    if (next == WORK_START && some_space() && random_below(3) == 0) next = WORK_KILL;
    __atomic_store_n(&work, next, __ATOMIC_RELAXED);
    cpu_raise(&cpus[0], SIE_EXTERNAL);
}

void world_begin_round(uint64_t round) {
    steps_left = options.steps;
    work = WORK_NONE;
    program_profile = options.profile >= 0 ? (uint64_t)options.profile : round % PROFILES;
    global()->idle_harts = 0; /* those that ended were in wfi */
    for (uint64_t i = 0; i < hart_count; i++) {
        struct cpu *cpu = &cpus[i];
        cpu->hart = harts[i];
        cpu->pending = 0;
        cpu->place = PLACE_KERNEL;
        cpu->timer_at = harts[i]->timer_at = DEADLINE_NONE;
        cpu->random = (options.seed * 1000003 + round) * HARTS_MAX + i + 1;
    }
}

void world_end_round(void) {
    CHECK(audit_free_pages() == free_at_start, "%ld pages are missing",
          (long)(free_at_start - audit_free_pages()));
    uint64_t numbers[1 << 12], count = 0;
    while (count < 1 << 12 && asid_alloc(&numbers[count])) count++;
    CHECK(count == (1ul << options.asid_bits) - 1, "%lu space numbers are left of %lu", count,
          (1ul << options.asid_bits) - 1);
    while (count > 0) asid_free(numbers[--count]);
}

/* Boot. */

static void find_banks(void) {
    char *memory = mmap(NULL, ram_pages << PAGE_SHIFT, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED, "no memory for the model's RAM");
    linear_offset = (uint64_t)memory - RAM_BASE;
    uint64_t hole = RAM_BASE + (ram_pages / 3 << PAGE_SHIFT);
    uint64_t hole_end = hole + (HOLE_PAGES << PAGE_SHIFT);
    struct range ram[] = {
        {.start = RAM_BASE, .end = hole},
        {.start = hole_end, .end = RAM_BASE + (ram_pages << PAGE_SHIFT)},
    };
    struct range taken[] = {
        {.start = hole_end + (7 << PAGE_SHIFT), .end = hole_end + (9 << PAGE_SHIFT)},
    };
    bank_discover(ram, 2, taken, 1);
}

void world_boot(void) {
    ram_pages = options.pages;
    hart_count = options.harts;
    page_table_init((uint32_t)options.levels);
    machine_description.timebase = 100 * QUANTUM;
    for (uint64_t i = 0; i < hart_count; i++) {
        struct hart *hart = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
        memset(hart, 0, PAGE_SIZE);
        hart->self = hart;
        hart->index = i;
        hart->id = 3 * i + 1;
        hart->seen_offset = offsetof(struct space, seen) + i * sizeof(struct space_seen);
        hart->timer_at = DEADLINE_NONE;
        hart->cache_top = hart->cache;
        harts[i] = hart;
    }
    model_hart = harts[0];
    cpus[0].random = options.seed * 2 + 1;
    find_banks();
    page_alloc_init();
    timer_init();
    info_init();
    asid_init();
    uart_init();
    free_at_start = audit_free_pages();
}
