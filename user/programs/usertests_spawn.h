/*
 * usertests: program files, and starting programs.
 */
#pragma once
#include "usertests_harness.h"

/* A whole program: its code, and variables behind it. */
struct program_file {
    struct elf_header header;
    struct elf_segment segments[2];
    uint32_t code[4];
};

static const struct program_file argc_program = {
    .header = {.magic = ELF_MAGIC,
               .class = ELF_CLASS_64,
               .order = ELF_LITTLE,
               .type = ELF_EXECUTABLE,
               .machine = ELF_RISCV,
               .entry = USER_IMAGE,
               .segments_offset = offsetof(struct program_file, segments),
               .segment_size = sizeof(struct elf_segment),
               .segment_count = 2},
    .segments = {{.type = ELF_LOAD,
                  .flags = ELF_READ | ELF_EXECUTE,
                  .offset = offsetof(struct program_file, code),
                  .address = USER_IMAGE,
                  .file_size = 16,
                  .memory_size = 16},
                 {.type = ELF_LOAD,
                  .flags = ELF_READ | ELF_WRITE,
                  .address = USER_IMAGE + PAGE_SIZE,
                  .memory_size = PAGE_SIZE + 1}},
    .code =
        {
            0x00053503, /* ld a0, 0(a0): argc */
            0x00200893, /* li a7, CALL_TERMINATE */
            0x00000073, /* ecall */
        },
};

/* Start that program. */
static int64_t argc_spawn(int argc, const char *const argv[], struct process *process) {
    return spawn(&argc_program, sizeof(argc_program), argc, argv, 0, 0, process);
}

/* It runs, with so many arguments, and ends with that status. */
static void check_argc_program(int argc, const char *const argv[]) {
    struct process process;
    struct executor_info info;

    check(argc_spawn(argc, argv, &process) == 0);
    while (!child_settled(process.executor, &info)) park(EVENT_CHILD, DEADLINE_NONE);
    check(info.fault_cause == FAULT_NONE && info.status == (uint64_t)argc);
    process_end(&process);
}

/* What is wrong with the program if one field of it is another. */
#define FIELD(name) offsetof(struct program_file, name), sizeof(((struct program_file *)0)->name)
#define FILE_SIZE   sizeof(struct program_file)
#define IMAGE_SIZE  (USER_STACK_LOW - USER_IMAGE)

static const struct wrong_field {
    const char *wrong;
    uint64_t offset, size, value;
} wrong_fields[] = {
    {"not an ELF file", FIELD(header.magic), ELF_MAGIC + 1},
    {"not a 64-bit little-endian program", FIELD(header.class), 1},
    {"not a 64-bit little-endian program", FIELD(header.order), 2},
    {"a program for another machine", FIELD(header.machine), 62},
    {"not linked to a fixed address", FIELD(header.type), 3},
    {"segment headers of unknown size", FIELD(header.segment_size), 32},
    {"too many segments", FIELD(header.segment_count), ELF_SEGMENTS_MAX + 1},
    {"segment headers outside the file", FIELD(header.segment_count), 3},
    {"segment headers outside the file", FIELD(header.segments_offset), FILE_SIZE - 111},
    {"segment headers outside the file", FIELD(header.segments_offset), -8ul},
    {"a segment larger in the file than in memory", FIELD(segments[0].memory_size), 15},
    {"a segment outside the file", FIELD(segments[0].offset), FILE_SIZE - 15},
    {"a segment outside the file", FIELD(segments[0].offset), -8ul},
    {"a segment that does not start on a page", FIELD(segments[0].address), USER_IMAGE - 8},
    {"a segment outside the program image", FIELD(segments[0].address), USER_IMAGE - PAGE_SIZE},
    {"a segment outside the program image", FIELD(segments[0].address), USER_STACK_LOW},
    {"a segment outside the program image", FIELD(segments[1].memory_size), IMAGE_SIZE},
    {"a segment outside the program image", FIELD(segments[1].memory_size), -8ul},
    {"segments that share a page or are out of order", FIELD(segments[1].address), USER_IMAGE},
    {"a segment that can't be read", FIELD(segments[0].flags), ELF_EXECUTE},
    {"a segment both writable and executable", FIELD(segments[0].flags), 7},
    {"an entry outside the program's code", FIELD(header.entry), USER_IMAGE - 4},
    {"an entry outside the program's code", FIELD(header.entry), USER_IMAGE + 16},
    {"an entry outside the program's code", FIELD(header.entry), USER_IMAGE + PAGE_SIZE},
    {"an entry outside the program's code", FIELD(segments[0].type), 0},
};

/* This file is refused, with these words. */
static void check_refused(const void *file, uint64_t size, const char *wrong) {
    struct process process;
    const char *said = elf_check(file, size);

    check_at(said != 0 && strcmp(said, wrong) == 0, __FILE__, __LINE__, wrong);
    check(spawn(file, size, 0, 0, 0, 0, &process) == -ENOEXEC);
}

/* It is right as it is, and wrong with each of those fields. */
static void test_elf_fields(void) {
    check(elf_check(&argc_program, sizeof(argc_program)) == 0);
    for (uint64_t i = 0; i < sizeof(wrong_fields) / sizeof(wrong_fields[0]); i++) {
        const struct wrong_field *field = &wrong_fields[i];
        struct program_file file = argc_program;
        memcpy((char *)&file + field->offset, &field->value, field->size);
        check_refused(&file, sizeof(file), field->wrong);
    }
}

/* It is refused wherever it is cut off, and nothing is read behind the cut:
 * there is no page. */
static void test_elf_cut(void) {
    map_rw(AREA, 1);
    for (uint64_t size = 0; size < FILE_SIZE; size++) {
        char *file = (char *)AREA + PAGE_SIZE - size;
        const char *wrong = "a segment outside the file";
        memcpy(file, &argc_program, size);
        if (size < offsetof(struct program_file, code)) wrong = "segment headers outside the file";
        if (size < sizeof(struct elf_header)) wrong = "too short for a program";
        check_refused(file, size, wrong);
    }
}

/* Arguments take up to a page: three words (argc, the pointer, a zero) and the
 * string. */
static void test_arguments(void) {
    static char text[5001];
    const char *const argv[] = {text, "", ""};
    struct process process;

    memset(text, 'x', 5000);
    check(argc_spawn(1, argv, &process) == -EINVAL);
    text[PAGE_SIZE - 24] = 0;
    check(argc_spawn(1, argv, &process) == -EINVAL);
    text[PAGE_SIZE - 25] = 0;
    check_argc_program(1, argv);
    check(argc_spawn(2, argv, &process) == -EINVAL);
    check(argc_spawn(-1, argv, &process) == -EINVAL);
    check_argc_program(0, argv);
    check_argc_program(2, &argv[1]);
}

/* A process needs two handles: with one it is refused, and gives that back. */
static void test_no_handle(void) {
    static int64_t handles[HANDLES_MAX];
    struct process process;

    for (uint64_t i = 0; i < HANDLES_MAX; i++) check((handles[i] = handle_take()) > 0);
    check(handle_take() == -ENOMEM);
    handle_drop(handles[0]);
    check(argc_spawn(0, 0, &process) == -ENOMEM);
    check(handle_take() == handles[0]);
    for (uint64_t i = 0; i < HANDLES_MAX; i++) handle_drop(handles[i]);
    check_argc_program(0, 0);
}

static const struct test spawn_tests[] = {
    {"elf_fields", test_elf_fields},
    {"elf_cut", test_elf_cut},
    {"arguments", test_arguments},
    {"no_handle", test_no_handle},
};
