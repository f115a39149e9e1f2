/*
 * Running command lines, see command.h.
 */
#include "command.h"
#include "job.h"
#include "keyboard.h"
#include "print.h"
#include "program.h"
#include "string.h"

#define WORDS_MAX 16

/* Commands of the shell itself: given the argument, if they want one, true if
 * it went well. */
struct builtin {
    const char *name;
    const char *usage;
    int words; /* in that */
    bool (*run)(const char *argument);
    const char *help;
};

static bool run_help(const char *argument);

static bool run_jobs(const char *) {
    job_list(false);
    return true;
}

static bool run_ps(const char *) {
    job_list(true);
    return true;
}

static bool run_kill(const char *argument) {
    int64_t number;

    if (string_number(argument, &number)) return job_kill(number);
    printf("kill: %s is no number of a job; `jobs` lists them\n", argument);
    return false;
}

static bool run_wait(const char *) {
    return job_wait_all();
}

static const struct builtin builtins[] = {
    {"help", "help", 1, run_help, "list the commands"},
    {"jobs", "jobs", 1, run_jobs, "list the jobs in the background"},
    {"kill", "kill N", 2, run_kill, "end job N"},
    {"ps", "ps", 1, run_ps, "show what the shell and its jobs are doing"},
    {"wait", "wait", 1, run_wait, "wait until all jobs have ended"},
};

#define BUILTINS (sizeof(builtins) / sizeof(builtins[0]))

static bool run_help(const char *) {
    printf("commands of the shell:\n");
    for (uint64_t i = 0; i < BUILTINS; i++)
        printf("  %-6s %s\n", builtins[i].usage, builtins[i].help);
    printf("programs:\n ");
    for (const struct program *program = archive; program < archive_end; program++)
        printf(" %s", program->name);
    printf("\nPROGRAM & runs it in the background, `;` stands between commands,\n"
           "ctrl-C stops a program, `poweroff` the machine.\n");
    return true;
}

static bool run_builtin(const struct builtin *builtin, int count, const char *const words[]) {
    if (count == builtin->words) return builtin->run(words[1]);
    printf("usage: %s\n", builtin->usage);
    return false;
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
    const char *words[WORDS_MAX] = {0};
    int count = split_words(command, words);

    if (count == 0) return true;
    if (count < 0) {
        printf("too many words, at most %d\n", WORDS_MAX);
        return false;
    }
    for (uint64_t i = 0; i < BUILTINS; i++) {
        if (strcmp(builtins[i].name, words[0]) == 0) return run_builtin(&builtins[i], count, words);
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
        if (mark == '&' && end[1] == '&') {
            printf("`&&` is not known; `;` stands between commands\n");
            return false;
        }
        *end = 0;
        if (!run_command(line, mark == '&')) success = false;
        if (keyboard_interrupted()) return false;
        line = mark == 0 ? end : end + 1;
    }
    return success;
}
