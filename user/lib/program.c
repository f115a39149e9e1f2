/*
 * The archive of programs, see program.h.
 */
#include "program.h"
#include "string.h"

const struct program *program_find(const char *name) {
    for (const struct program *program = archive; program < archive_end; program++) {
        if (strcmp(program->name, name) == 0) return program;
    }
    return 0;
}
