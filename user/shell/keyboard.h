/*
 * Keys that were typed and not used yet.
 */
#pragma once
#include <stdbool.h>

/* Fetch all keys that the kernel has, without sleeping. From here on, a new key
 * gives this thread EVENT_CONSOLE. */
void keyboard_poll(void);

/* Take the oldest key. Returns false if there is none. */
bool keyboard_take(char *key);

/* Ctrl-C was typed, and is not taken. Keys typed before it are forgotten, those
 * typed after it are kept. */
bool keyboard_interrupted(void);

/* The same, and take it: it is shown as ^C. */
bool keyboard_take_interrupt(void);
