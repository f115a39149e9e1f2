/*
 * Running command lines.
 *
 *   line:    command { (";" | "&") command }
 *   command: { word }
 *
 * A command is one of the shell's own or the name of a program, with its
 * arguments. After `&` the shell does not wait for a program.
 */
#pragma once
#include <stdbool.h>

/* Run the commands of a line, one after the other; the line is cut up in
 * place. Ctrl-C, which the caller takes, ends the command and the line. Returns
 * true if all of them succeeded (one in the background: if it could be started). */
bool command_run_line(char *line);
