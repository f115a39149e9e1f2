/*
 * The shell: the first program. The kernel carries it, and it carries all
 * other programs (program.h).
 *
 *   keyboard.c  keys that were typed
 *   line.c      a command line, with editing
 *   command.c   what a command line means
 *   job.c       programs that run
 *
 * The boot arguments of the machine may say what to run (struct info_page,
 * `command`). Then the shell runs just that and switches the machine off; its
 * exit status says whether all commands succeeded. Otherwise it asks for
 * command lines for ever.
 */
#include "command.h"
#include "device.h"
#include "info.h"
#include "job.h"
#include "keyboard.h"
#include "line.h"
#include "print.h"
#include "string.h"
#include "time.h"

#define COMMAND_MAX sizeof(((struct info_page *)0)->command)

/* Copy the command of the boot arguments. Returns whether there is one. */
static bool boot_command_read(char *command) {
    for (uint64_t i = 0; i < COMMAND_MAX; i++) command[i] = info_page()->command[i];
    command[COMMAND_MAX - 1] = 0;
    return command[0] != 0;
}

/* Run the commands between the semicolons, each shown as if it was typed, until
 * ctrl-C. Returns true if all succeeded; of jobs in the background, those that `wait`
 * waited for, or it would hang on how fast they are. */
static bool boot_command_run(char *command) {
    bool success = true;

    while (*command != 0) {
        while (*command == ' ' || *command == ';') command++;
        if (*command == 0) break;
        char *end = strchr(command, ';');
        char *next = end == 0 ? command + strlen(command) : end + 1;
        if (end != 0) *end = 0;
        printf(PROMPT "%s\n", command);
        if (!command_run_line(command)) success = false;
        if (keyboard_take_interrupt()) return false;
        command = next;
    }
    return success;
}

int main(void) {
    static char command[COMMAND_MAX];
    char line[LINE_MAX];

    if (boot_command_read(command)) {
        bool success = boot_command_run(command);
        if (power_off(success ? 0 : 1)) sleep_ms(1000); /* it takes the device a moment */
        printf("shell: the machine has no power-off device, or it did not work\n");
    }
    printf("Type `help` for the list of commands.\n");
    for (;;) {
        line_read(line);
        command_run_line(line);
        keyboard_take_interrupt();
    }
}
