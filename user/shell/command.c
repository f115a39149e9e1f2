/*
 * Running command lines, see command.h.
 */
#include "command.h"
#include "job.h"
#include "print.h"
#include "program.h"
#include "string.h"

#define WORDS_MAX 16

/* Commands of the shell itself: given the words, true if it went well. */
struct builtin {
    const char *name;
    bool (*run)(int count, const char *const words[]);
    const char *help;
};

static bool run_help(int count, const char *const words[]);

static bool run_jobs(int count, const char *const words[]) {
    (void)count, (void)words;
    job_list(false);
    return true;
}

static bool run_ps(int count, const char *const words[]) {
    (void)count, (void)words;
    job_list(true);
    return true;
}

static bool run_kill(int count, const char *const words[]) {
    int64_t number;

    if (count != 2 || !string_number(words[1], &number)) {
        printf("usage: kill N, where N is the number of a job\n");
        return false;
    }
    return job_kill(number);
}

static bool run_wait(int count, const char *const words[]) {
    (void)count, (void)words;
    return job_wait_all();
}

static const struct builtin builtins[] = {
    {"help", run_help, "list the commands"},
    {"jobs", run_jobs, "list the jobs in the background"},
    {"kill", run_kill, "kill N: end job N"},
    {"ps", run_ps, "show what the shell and its jobs are doing"},
    {"wait", run_wait, "wait until all jobs have ended"},
};

#define BUILTINS (sizeof(builtins) / sizeof(builtins[0]))

static bool run_help(int count, const char *const words[]) {
    (void)count, (void)words;
    printf("commands of the shell:\n");
    for (uint64_t i = 0; i < BUILTINS; i++)
        printf("  %-6s %s\n", builtins[i].name, builtins[i].help);
    printf("programs:\n ");
    for (const struct program *program = archive; program < archive_end; program++)
        printf(" %s", program->name);
    printf("\nPROGRAM & runs it in the background, `;` stands between commands,\n"
           "ctrl-C stops a program, `poweroff` the machine.\n");
    return true;
}

/* Cut a command into words. Returns how many, or -1 if there are too many. */
static int split_words(char *command, const char *words[WORDS_MAX]) {
    int count = 0;

    for (;;) {
        while (*command == ' ' || *command == '\t') *command++ = 0;
        if (*command == 0) return count;
        if (count == WORDS_MAX) return -1;
        words[count++] = command;
        while (*command != 0 && *command != ' ' && *command != '\t') command++;
    }
}

/* Run a program, in the background if `background`. */
static bool run_program(const struct program *program, int count, const char *const words[],
                        bool background) {
    int64_t number = job_start(program, count, words);

    if (number < 0) return false;
    if (!background) return job_wait(number);
    printf("[%ld] %s\n", number, program->name);
    return true;
}

static bool run_command(char *command, bool background) {
    const char *words[WORDS_MAX];
    int count = split_words(command, words);

    if (count == 0) return true;
    if (count < 0) {
        printf("too many words, at most %d\n", WORDS_MAX);
        return false;
    }
    for (uint64_t i = 0; i < BUILTINS; i++) {
        if (strcmp(builtins[i].name, words[0]) == 0) return builtins[i].run(count, words);
    }
    const struct program *program = program_find(words[0]);
    if (program == 0) {
        printf("%s: no such command; `help` lists them\n", words[0]);
        return false;
    }
    return run_program(program, count, words, background);
}

bool command_run_line(char *line) {
    bool success = true;

    while (*line != 0) {
        char *end = line;
        while (*end != 0 && *end != ';' && *end != '&') end++;
        char mark = *end;
        *end = 0;
        if (!run_command(line, mark == '&')) success = false;
        line = mark == 0 ? end : end + 1;
    }
    return success;
}
