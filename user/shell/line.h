/*
 * Reading a command line, with editing.
 */
#pragma once
#include <stdint.h>

#define LINE_MAX 256
#define PROMPT   "stag$ "

/*
 * Show the prompt and read a line into `line` (LINE_MAX bytes, ends with a
 * zero, without the newline). Sleeps until there is one; meanwhile tells of
 * background jobs that end.
 *
 * Keys: backspace takes back a character, ctrl-U the whole line, ctrl-C too
 * and shows a new prompt.
 */
void line_read(char *line);
