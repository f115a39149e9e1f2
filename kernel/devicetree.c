/*
 * The devicetree: a flat binary tree of nodes with properties, made by the
 * firmware (Devicetree Specification 0.4, chapter 5). Read once, at boot,
 * front to back; only what machine_description holds is kept.
 *
 * All numbers are big-endian. Nothing the tree says is trusted: every offset
 * is checked against the size, and what makes no sense stops the boot.
 */
#include "devicetree.h"
#include "panic.h"
#include "plic.h"
#include "print.h"
#include "string.h"

enum { FDT_MAGIC = 0xd00dfeed, TREE_SIZE_MAX = 16 << 20, DEPTH_MAX = 8 };

/* Tokens, which the structure of the tree is made of. */
enum { FDT_BEGIN_NODE = 1, FDT_END_NODE = 2, FDT_PROP = 3, FDT_NOP = 4, FDT_END = 9 };

struct machine_description machine_description;
static struct machine_description *const machine = &machine_description;

/* The tree, and where in it the names of properties begin. */
static const char *tree;
static uint32_t tree_size, strings;

/* A node on the way from the root to where we read. */
struct node {
    const struct node *parent;
    const char *name;
    uint32_t properties; /* where they begin */
};

/* A property's value, or what is left of it; value 0: there is no such property. */
struct property {
    const char *value;
    uint32_t size;
};

static uint64_t boot_hart;
static uint64_t harts_unused;    /* those that there is no place for */
static uint64_t boot_controller; /* the boot hart's own, as the PLIC refers to it */
static struct property plic_targets;

static uint32_t be32(const char *at) {
    const uint8_t *bytes = (const uint8_t *)at;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* A property of a node that we have read: all offsets are in bounds. */
static struct property property_get(const struct node *node, const char *name) {
    for (uint32_t at = node->properties;;) {
        uint32_t token = be32(tree + at);
        at += 4;
        if (token == FDT_NOP) continue;
        if (token != FDT_PROP) return (struct property){0};
        struct property property = {tree + at + 8, be32(tree + at)};
        if (string_equal(tree + strings + be32(tree + at + 4), name)) return property;
        at += 8 + round_up(property.size, 4);
    }
}

/* Take a number of so many cells off the front, as far as there are cells. */
static uint64_t take_number(struct property *property, uint32_t cells) {
    uint64_t number = 0;
    for (; cells > 0 && property->size >= 4; cells--) {
        number = number << 32 | be32(property->value);
        property->value += 4;
        property->size -= 4;
    }
    return number;
}

/* The first cell of a property, or what holds if there is none. */
static uint32_t property_cell(const struct node *node, const char *name, uint32_t otherwise) {
    struct property property = property_get(node, name);
    return property.size < 4 ? otherwise : take_number(&property, 1);
}

/* Is `text` one of the strings in this property, which each end with 0? */
static bool property_has(struct property property, const char *text) {
    if (property.size == 0 || property.value[property.size - 1] != 0) return false;
    for (uint32_t at = 0; at < property.size; at++) {
        bool begins = at == 0 || property.value[at - 1] == 0;
        if (begins && string_equal(property.value + at, text)) return true;
    }
    return false;
}

/* Take an address and a size off the front of a node's reg. */
static struct range take_range(const struct node *node, struct property *reg) {
    uint32_t address_cells = property_cell(node->parent, "#address-cells", 2);
    uint32_t size_cells = property_cell(node->parent, "#size-cells", 1);
    if (address_cells == 0 || address_cells > 2 || size_cells > 2)
        stop("devicetree: node '%s' has addresses of more than 64 bits, or none", node->name);
    uint64_t start = take_number(reg, address_cells);
    bool no_map = property_get(node, "no-map").value != NULL;
    return (struct range){start, start + take_number(reg, size_cells), no_map};
}

/* The first address and size in a node's reg; 0 if it has none. */
static struct range node_range(const struct node *node) {
    struct property reg = property_get(node, "reg");
    return take_range(node, &reg);
}

/* Insert a range into `ranges`, which stay sorted. */
static void range_insert(struct range *ranges, uint64_t *count, struct range range) {
    if (*count == RANGES_MAX) stop("devicetree: more than %u pieces of memory", RANGES_MAX);
    uint64_t place = (*count)++;
    for (; place > 0 && ranges[place - 1].start > range.start; place--)
        ranges[place] = ranges[place - 1];
    ranges[place] = range;
}

static void read_memory(const struct node *node) {
    struct property reg = property_get(node, "reg");
    while (reg.size >= 4) {
        struct range ram = take_range(node, &reg);
        if (ram.end < ram.start || ram.end > 1ul << 56)
            stop("devicetree: memory at 0x%lx of 0x%lx bytes ends beyond all addresses", ram.start,
                 ram.end - ram.start);
        ram.start = round_up(ram.start, PAGE_SIZE);
        ram.end = round_down(ram.end, PAGE_SIZE);
        if (ram.start < ram.end) range_insert(machine->ram, &machine->ram_count, ram);
    }
}

void devicetree_reserve(struct range range) {
    if (range.end <= range.start) return;
    range.start = round_down(range.start, PAGE_SIZE);
    range.end = round_up(range.end, PAGE_SIZE);
    range_insert(machine->reserved, &machine->reserved_count, range);
}

static void read_hart(const struct node *node) {
    /* One that says it has no MMU is a management core. */
    if (property_has(property_get(node, "mmu-type"), "riscv,none")) return;
    uint64_t id = node_range(node).start;
    if (machine->hart_count == HARTS_MAX) {
        if (harts_unused++ == 0) print("stag: using only %u harts\n", HARTS_MAX);
        if (id != boot_hart) return;
        machine->hart_count--; /* it takes the place of the last one */
    }
    struct property timebase = property_get(node, "timebase-frequency");
    if (timebase.size == 0) timebase = property_get(node->parent, "timebase-frequency");
    if (timebase.size > 0) machine->timebase = take_number(&timebase, timebase.size / 4);
    machine->hart_ids[machine->hart_count++] = id == boot_hart ? machine->hart_ids[0] : id;
    if (id == boot_hart) machine->hart_ids[0] = id;
}

/* Boot arguments: `mmu=sv39` or `mmu=sv48`, and `run=` up to the end. (memcmp
 * stops at the first difference, so no later than at the 0 of the text.) */
static void read_bootargs(struct property property) {
    const char *text = property.value;
    if (property.size == 0 || text[property.size - 1] != 0) return;
    while (*text != 0) {
        if (memcmp(text, "run=", 4) == 0) {
            string_copy(machine->command, text + 4, sizeof(machine->command));
            return;
        }
        if (memcmp(text, "mmu=sv", 6) == 0) machine->sv48 = memcmp(text + 6, "48", 2) == 0;
        while (*text != 0 && *text != ' ') text++;
        while (*text == ' ') text++;
    }
}

/* Keep what we need of a node, when all its properties and nodes are read. */
static void read_node(const struct node *node) {
    struct property type = property_get(node, "device_type");
    struct property compatible = property_get(node, "compatible");
    struct property status = property_get(node, "status");
    if (status.size > 0 && !property_has(status, "okay") && !property_has(status, "ok")) return;
    if (property_has(type, "memory")) {
        read_memory(node);
    } else if (property_has(type, "cpu")) {
        read_hart(node);
    } else if (string_equal(node->parent->name, "reserved-memory")) {
        struct property reg = property_get(node, "reg");
        while (reg.size >= 4) devicetree_reserve(take_range(node, &reg));
    } else if (string_equal(node->name, "chosen")) {
        read_bootargs(property_get(node, "bootargs"));
    } else if (property_has(compatible, "riscv,cpu-intc")) {
        if (node->parent->parent != NULL && node_range(node->parent).start == boot_hart)
            boot_controller = property_cell(node, "phandle", 0);
    } else if (property_has(compatible, "ns16550a") && machine->uart == 0) {
        machine->uart = node_range(node).start;
        machine->uart_interrupt = property_cell(node, "interrupts", 0);
    } else if (machine->plic == 0 && (property_has(compatible, "sifive,plic-1.0.0") ||
                                      property_has(compatible, "riscv,plic0"))) {
        struct range registers = node_range(node);
        machine->plic = registers.start;
        machine->plic_size = registers.end - registers.start;
        plic_targets = property_get(node, "interrupts-extended");
    } else if (property_has(compatible, "google,goldfish-rtc")) {
        machine->rtc = node_range(node).start;
    } else if (property_has(compatible, "sifive,test0")) {
        machine->power = node_range(node).start;
    }
}

/* Where the string at `at` ends, behind its 0. */
static uint32_t string_end(uint32_t at) {
    while (at < tree_size && tree[at] != 0) at++;
    if (at >= tree_size) stop("devicetree: broken, a name runs beyond its end");
    return at + 1;
}

/* Read the nodes in a node, the innermost first. Returns where it ends. */
static uint32_t walk(const struct node *node, uint32_t depth) {
    if (depth == DEPTH_MAX) stop("devicetree: nodes nested more than %u deep", DEPTH_MAX - 1);
    uint32_t at = node->properties;
    for (;;) {
        if (at > tree_size - 4) stop("devicetree: broken, it has no end");
        uint32_t token = be32(tree + at);
        at += 4;
        if (token == FDT_BEGIN_NODE) {
            struct node child = {node, tree + at, round_up(string_end(at), 4)};
            at = walk(&child, depth + 1);
            read_node(&child);
        } else if (token == FDT_PROP && depth > 0) {
            if (at > tree_size - 8 || be32(tree + at) > tree_size - at - 8 ||
                be32(tree + at + 4) >= tree_size - strings)
                stop("devicetree: broken, a property runs beyond its end");
            string_end(strings + be32(tree + at + 4));
            at += 8 + round_up(be32(tree + at), 4);
        } else if (token == (depth > 0 ? FDT_END_NODE : FDT_END)) {
            return at;
        } else if (token != FDT_NOP) {
            stop("devicetree: broken, unknown token 0x%x", token);
        }
    }
}

/* The PLIC's contexts stand in the order of its interrupts-extended: pairs of
 * a hart's controller and the interrupt it raises there. */
static void find_plic_context(void) {
    enum { SUPERVISOR_EXTERNAL = 9 };
    machine->plic_context = 1ul << 51; /* none: behind any PLIC */
    for (uint64_t context = 0; plic_targets.size >= 8; context++) {
        uint64_t controller = take_number(&plic_targets, 1);
        if (take_number(&plic_targets, 1) == SUPERVISOR_EXTERNAL && controller == boot_controller)
            machine->plic_context = context;
    }
}

static void check_memory(void) {
    if (machine->ram_count == 0) stop("devicetree: no memory");
    struct range *first = machine->ram, *last = &machine->ram[machine->ram_count - 1];
    for (struct range *ram = first; ram < last; ram++) {
        if (ram[1].start < ram->end)
            stop("devicetree: memory at 0x%lx is told of twice", ram[1].start);
    }
    /* The linear map reaches 128 GiB; what lies beyond is left alone. */
    uint64_t reach = round_down(first->start, 1ul << 30) + LINEAR_MAP_SIZE;
    if (last->end <= reach) return;
    print("stag: RAM above 0x%lx is not used\n", reach);
    while (last->start >= reach) last--;
    if (last->end > reach) last->end = reach;
    machine->ram_count = last - first + 1;
}

void devicetree_read(const void *address, uint64_t hart) {
    tree = address;
    boot_hart = hart;
    if (be32(tree) != FDT_MAGIC) stop("devicetree: none at the address that the firmware gave");
    tree_size = be32(tree + 4);
    strings = be32(tree + 12);
    uint32_t structure = be32(tree + 8), reservations = be32(tree + 16);
    if (tree_size < 64 || tree_size > TREE_SIZE_MAX || structure > tree_size - 4 ||
        strings > tree_size || reservations > tree_size - 16 || structure % 4 != 0)
        stop("devicetree: broken, its header makes no sense");
    struct property reserved = {tree + reservations, tree_size - reservations};
    while (reserved.size >= 16) {
        uint64_t start = take_number(&reserved, 2), size = take_number(&reserved, 2);
        if (size == 0) break;
        devicetree_reserve((struct range){.start = start, .end = start + size});
    }
    struct node above_root = {.name = "", .properties = structure};
    walk(&above_root, 0);
    find_plic_context();
    check_memory();
    if (machine->hart_count == 0) stop("devicetree: no hart");
    if (machine->timebase < 10000) stop("devicetree: no timebase-frequency, or one below 10 kHz");
    if (machine->uart == 0) stop("devicetree: no UART (ns16550a)");
    if (machine->plic == 0) stop("devicetree: no interrupt controller (PLIC)");
    if (machine->uart_interrupt == 0 || machine->uart_interrupt >= PLIC_SOURCES ||
        machine->plic_size < PLIC_CLAIM + PLIC_STRIDE * machine->plic_context + 4)
        stop("devicetree: PLIC without interrupt %lu, or hart %lu", machine->uart_interrupt, hart);
    if (machine->hart_ids[0] != hart) stop("devicetree: hart %lu boots, but is not in it", hart);
}
