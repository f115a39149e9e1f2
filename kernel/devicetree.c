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
#include "print.h"
#include "string.h"

enum {
    FDT_MAGIC = 0xd00dfeed,
    FDT_BEGIN_NODE = 1,
    FDT_END_NODE = 2,
    FDT_PROP = 3,
    FDT_NOP = 4,
    FDT_END = 9,
    DEPTH_MAX = 8,
    TREE_SIZE_MAX = 16 << 20,
};

struct machine_description machine_description;

/* A property's value: `size` bytes, not aligned to more than 4. */
struct property {
    const uint8_t *value;
    uint32_t size;
};

/* A node on the way from the root to where we read. */
struct node {
    const char *name;
    uint32_t address_cells, size_cells; /* of its children */
    struct property reg, compatible, device_type, status, interrupts, phandle, mmu_type,
        interrupts_extended;
    bool no_map, interrupt_controller;
};

/* The interrupt controllers of the harts, as the PLIC refers to them. */
struct hart_controller {
    uint32_t phandle;
    uint64_t hart_id;
};
static struct hart_controller controllers[64];
static uint64_t controller_count;
static struct property plic_targets;

static uint32_t be32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Cell `index` of a property; 0 beyond its end. */
static uint32_t property_cell(struct property property, uint32_t index) {
    return index < property.size / 4 ? be32(property.value + 4 * index) : 0;
}

/* The number of `cells` cells (0, 1 or 2) from cell `index` on. */
static uint64_t property_number(struct property property, uint32_t index, uint32_t cells) {
    uint64_t number = 0;
    for (uint32_t i = 0; i < cells; i++) number = number << 32 | property_cell(property, index + i);
    return number;
}

/* Is `text` one of the strings in this property, which each end with 0? */
static bool property_has(struct property property, const char *text) {
    size_t length = strlen(text) + 1;
    for (uint32_t at = 0; at + length <= property.size;) {
        if (memcmp(property.value + at, text, length) == 0) return true;
        while (at < property.size && property.value[at] != 0) at++;
        at++;
    }
    return false;
}

/* The first address and size in a node's reg; 0 if it has none. */
static uint64_t node_address(const struct node *node, const struct node *parent) {
    return property_number(node->reg, 0, parent->address_cells);
}

static uint64_t node_size(const struct node *node, const struct node *parent) {
    return property_number(node->reg, parent->address_cells, parent->size_cells);
}

/* Insert [start, end) into `ranges`, which stay sorted. Returns its place. */
static uint64_t range_insert(struct range *ranges, uint64_t *count, struct range range) {
    if (*count == RANGES_MAX) stop("devicetree: more than %u pieces of memory", RANGES_MAX);
    uint64_t place = (*count)++;
    for (; place > 0 && ranges[place - 1].start > range.start; place--)
        ranges[place] = ranges[place - 1];
    ranges[place] = range;
    return place;
}

static void read_memory(const struct node *node, const struct node *parent) {
    struct machine_description *machine = &machine_description;
    uint32_t cells = parent->address_cells + parent->size_cells;
    if (parent->address_cells > 2 || parent->size_cells > 2 || cells == 0)
        stop("devicetree: node '%s' has addresses of more than 64 bits, or none", node->name);
    for (uint32_t i = 0; (i + cells) * 4 <= node->reg.size; i += cells) {
        uint64_t start = property_number(node->reg, i, parent->address_cells);
        uint64_t size = property_number(node->reg, i + parent->address_cells, parent->size_cells);
        if (size == 0) continue;
        if (start + size < start || start + size > 1ul << 56)
            stop("devicetree: memory at 0x%lx of 0x%lx bytes ends beyond all addresses", start,
                 size);
        struct range range = {round_up(start, PAGE_SIZE), round_down(start + size, PAGE_SIZE)};
        if (range.start < range.end) range_insert(machine->ram, &machine->ram_count, range);
    }
}

static void read_reserved(uint64_t start, uint64_t size, bool no_map) {
    struct machine_description *machine = &machine_description;
    if (size == 0 || start + size < start) return;
    struct range range = {round_down(start, PAGE_SIZE), round_up(start + size, PAGE_SIZE)};
    uint64_t last = machine->reserved_count;
    uint64_t place = range_insert(machine->reserved, &machine->reserved_count, range);
    for (; last > place; last--)
        machine->reserved_no_map[last] = machine->reserved_no_map[last - 1];
    machine->reserved_no_map[place] = no_map;
}

static void read_hart(const struct node *node, const struct node *parent) {
    struct machine_description *machine = &machine_description;
    bool okay = node->status.size == 0 || property_has(node->status, "okay") ||
                property_has(node->status, "ok");
    /* A hart that says it has no MMU is a management core. */
    if (!okay || property_has(node->mmu_type, "riscv,none")) return;
    if (machine->hart_count == HARTS_MAX) {
        print("stag: using only %u harts\n", HARTS_MAX);
        return;
    }
    machine->hart_ids[machine->hart_count++] = node_address(node, parent);
}

static void read_hart_controller(const struct node *node, const struct node *hart,
                                 const struct node *cpus) {
    if (controller_count == sizeof(controllers) / sizeof(controllers[0])) return;
    controllers[controller_count++] = (struct hart_controller){
        .phandle = property_cell(node->phandle, 0),
        .hart_id = node_address(hart, cpus),
    };
}

static void read_device(const struct node *node, const struct node *parent) {
    struct machine_description *machine = &machine_description;
    if (property_has(node->compatible, "ns16550a") && machine->uart == 0) {
        machine->uart = node_address(node, parent);
        machine->uart_interrupt = property_cell(node->interrupts, 0);
    } else if (property_has(node->compatible, "sifive,plic-1.0.0") ||
               property_has(node->compatible, "riscv,plic0")) {
        machine->plic = node_address(node, parent);
        machine->plic_size = node_size(node, parent);
        plic_targets = node->interrupts_extended;
    } else if (property_has(node->compatible, "google,goldfish-rtc")) {
        machine->rtc = node_address(node, parent);
    } else if (property_has(node->compatible, "sifive,test0")) {
        machine->power = node_address(node, parent);
    }
}

/* A node has been read with all its properties; path[depth] is the node. */
static void read_node(const struct node *path, uint32_t depth) {
    const struct node *node = &path[depth], *parent = &path[depth - 1];
    if (property_has(node->device_type, "memory"))
        read_memory(node, parent);
    else if (property_has(node->device_type, "cpu"))
        read_hart(node, parent);
    else if (node->interrupt_controller && property_has(parent->device_type, "cpu"))
        read_hart_controller(node, parent, &path[depth - 2]);
    else if (depth == 2 && string_equal(parent->name, "reserved-memory"))
        read_reserved(node_address(node, parent), node_size(node, parent), node->no_map);
    else
        read_device(node, parent);
}

/* Boot arguments: `mmu=sv39` or `mmu=sv48`, and `run=` up to the end. */
static void read_bootargs(struct property property) {
    struct machine_description *machine = &machine_description;
    const char *text = (const char *)property.value;
    for (uint32_t at = 0; at < property.size && text[at] != 0;) {
        if (property.size - at > 4 && memcmp(text + at, "run=", 4) == 0) {
            string_copy(machine->command, text + at + 4, sizeof(machine->command));
            return;
        }
        if (property.size - at > 8 && memcmp(text + at, "mmu=sv", 6) == 0)
            machine->sv48 = memcmp(text + at + 6, "48", 2) == 0;
        while (at < property.size && text[at] != 0 && text[at] != ' ') at++;
        while (at < property.size && text[at] == ' ') at++;
    }
}

static void read_property(struct node *node, const char *name, struct property property) {
    if (string_equal(name, "#address-cells"))
        node->address_cells = property_cell(property, 0);
    else if (string_equal(name, "#size-cells"))
        node->size_cells = property_cell(property, 0);
    else if (string_equal(name, "reg"))
        node->reg = property;
    else if (string_equal(name, "compatible"))
        node->compatible = property;
    else if (string_equal(name, "device_type"))
        node->device_type = property;
    else if (string_equal(name, "status"))
        node->status = property;
    else if (string_equal(name, "interrupts"))
        node->interrupts = property;
    else if (string_equal(name, "interrupts-extended"))
        node->interrupts_extended = property;
    else if (string_equal(name, "phandle"))
        node->phandle = property;
    else if (string_equal(name, "mmu-type"))
        node->mmu_type = property;
    else if (string_equal(name, "no-map"))
        node->no_map = true;
    else if (string_equal(name, "interrupt-controller"))
        node->interrupt_controller = true;
    else if (string_equal(name, "timebase-frequency"))
        machine_description.timebase = property_number(property, 0, property.size / 4);
    else if (string_equal(name, "bootargs"))
        read_bootargs(property);
}

/* The length of the string at `at`, which must end before `size`. */
static uint32_t string_length(const uint8_t *tree, uint32_t at, uint32_t size) {
    uint32_t end = at;
    while (end < size && tree[end] != 0) end++;
    if (end >= size) stop("devicetree: broken, a name runs beyond its end");
    return end - at;
}

static void read_structure(const uint8_t *tree, uint32_t size, uint32_t at, uint32_t strings) {
    static struct node path[DEPTH_MAX];
    uint32_t depth = 0; /* nodes that are open; path[0] stands above the root */
    for (;;) {
        if (at > size - 4) stop("devicetree: broken, it has no end");
        uint32_t token = be32(tree + at);
        at += 4;
        if (token == FDT_BEGIN_NODE) {
            if (++depth == DEPTH_MAX)
                stop("devicetree: nodes nested more than %u deep", DEPTH_MAX - 1);
            path[depth] = (struct node){.address_cells = 2, .size_cells = 1};
            path[depth].name = (const char *)tree + at;
            at += (string_length(tree, at, size) + 4) & ~3u;
        } else if (token == FDT_PROP && depth > 0) {
            if (at > size - 8) stop("devicetree: broken, a property runs beyond its end");
            struct property property = {tree + at + 8, be32(tree + at)};
            uint32_t name = strings + be32(tree + at + 4);
            if (property.size > size - at - 8 || name < strings || name >= size)
                stop("devicetree: broken, a property runs beyond its end");
            string_length(tree, name, size);
            read_property(&path[depth], (const char *)tree + name, property);
            at += 8 + ((property.size + 3) & ~3u);
        } else if (token == FDT_END_NODE && depth > 0) {
            if (depth > 1) read_node(path + 1, depth - 1);
            depth--;
        } else if (token == FDT_END && depth == 0) {
            return;
        } else if (token != FDT_NOP) {
            stop("devicetree: broken, unknown token 0x%x", token);
        }
    }
}

/* The PLIC's contexts stand in the order of its interrupts-extended: pairs of
 * a hart's controller and the interrupt it raises there. */
static void resolve_plic_contexts(void) {
    struct machine_description *machine = &machine_description;
    enum { SUPERVISOR_EXTERNAL = 9 };
    for (uint32_t context = 0; context < plic_targets.size / 8; context++) {
        uint32_t phandle = property_cell(plic_targets, 2 * context);
        if (property_cell(plic_targets, 2 * context + 1) != SUPERVISOR_EXTERNAL) continue;
        for (uint64_t c = 0; c < controller_count; c++) {
            for (uint64_t h = 0; h < machine->hart_count; h++) {
                if (controllers[c].phandle == phandle &&
                    controllers[c].hart_id == machine->hart_ids[h])
                    machine->plic_contexts[h] = context;
            }
        }
    }
}

static void check_memory(void) {
    struct machine_description *machine = &machine_description;
    if (machine->ram_count == 0) stop("devicetree: no memory");
    for (uint64_t i = 1; i < machine->ram_count; i++) {
        if (machine->ram[i].start < machine->ram[i - 1].end)
            stop("devicetree: memory at 0x%lx is told of twice", machine->ram[i].start);
    }
    /* The linear map reaches 128 GiB; what lies beyond is left alone. */
    uint64_t reach = round_down(machine->ram[0].start, 1ul << 30) + LINEAR_MAP_SIZE;
    for (uint64_t i = 0; i < machine->ram_count; i++) {
        if (machine->ram[i].end <= reach) continue;
        print("stag: RAM above 0x%lx is not used\n", reach);
        if (machine->ram[i].start >= reach)
            machine->ram_count = i;
        else
            machine->ram[i].end = reach;
    }
}

void devicetree_read(const void *tree) {
    struct machine_description *machine = &machine_description;
    const uint8_t *header = tree;
    if (be32(header) != FDT_MAGIC) stop("devicetree: none at the address that the firmware gave");
    uint32_t size = be32(header + 4);
    uint32_t structure = be32(header + 8), strings = be32(header + 12);
    uint32_t reservations = be32(header + 16);
    if (size < 64 || size > TREE_SIZE_MAX || structure > size - 4 || strings > size ||
        reservations > size - 16 || structure % 4 != 0)
        stop("devicetree: broken, its header makes no sense");
    for (uint32_t at = reservations; at <= size - 16; at += 16) {
        struct property entry = {header + at, 16};
        if (property_number(entry, 2, 2) == 0) break;
        read_reserved(property_number(entry, 0, 2), property_number(entry, 2, 2), false);
    }
    read_structure(header, size, structure, strings);
    resolve_plic_contexts();
    check_memory();
    if (machine->hart_count == 0) stop("devicetree: no hart");
    if (machine->timebase == 0) stop("devicetree: no timebase-frequency");
    if (machine->uart == 0) stop("devicetree: no UART (ns16550a)");
    if (machine->plic == 0) stop("devicetree: no interrupt controller (PLIC)");
}
