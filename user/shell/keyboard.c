/*
 * Keys that were typed and not used yet, see keyboard.h.
 *
 * While a program runs, the shell goes on fetching keys, so that ctrl-C works;
 * the others wait here for the next command line. When there is no more room,
 * keys are dropped, except ctrl-C, which makes room.
 */
#include "keyboard.h"
#include "call.h"
#include "print.h"

#define KEY_INTERRUPT 3 /* ctrl-C */
#define KEYS_MAX      1024

/* A ring: the keys number key_first … key_end - 1, each at its number modulo
 * KEYS_MAX. */
static char keys[KEYS_MAX];
static uint64_t key_first;
static uint64_t key_end;
static bool interrupted;

static void keyboard_add(char key) {
    if (key == KEY_INTERRUPT) {
        key_first = key_end;
        interrupted = true;
    } else if (key_end - key_first < KEYS_MAX) {
        keys[key_end++ % KEYS_MAX] = key;
    }
}

void keyboard_poll(void) {
    char buffer[64];

    for (;;) {
        int64_t count = console_read(buffer, sizeof(buffer));
        if (count <= 0) return;
        for (int64_t i = 0; i < count; i++) keyboard_add(buffer[i]);
    }
}

bool keyboard_take(char *key) {
    if (key_first == key_end) return false;
    *key = keys[key_first++ % KEYS_MAX];
    return true;
}

bool keyboard_interrupted(void) {
    return interrupted;
}

bool keyboard_take_interrupt(void) {
    if (!interrupted) return false;
    interrupted = false;
    printf("^C\n");
    return true;
}
