/*
 * Reading a command line, see line.h.
 *
 * With no job there, the shell sleeps without a deadline until a key is pressed.
 * A job in the background may read the console as well, and only the last reader
 * is told of a key: so while there are jobs the shell looks now and then.
 */
#include "line.h"
#include "call.h"
#include "job.h"
#include "keyboard.h"
#include "print.h"
#include "time.h"

#define KEY_BACKSPACE 8
#define KEY_DELETE    127 /* what most terminals send for backspace */
#define KEY_KILL_LINE 21  /* ctrl-U */
#define KEY_ESCAPE    27

/* The line so far. */
struct editor {
    char *line;
    uint64_t length;

    /* Cursor keys and the like send an escape, perhaps a bracket or an O, and
     * more up to a letter. There is nothing to do for them, but they must not
     * end up in the line. */
    enum { ESCAPE_NONE, ESCAPE_SEEN, ESCAPE_INSIDE } escape;
};

/* Take back the last character, on the screen too. */
static void editor_erase(struct editor *editor) {
    editor->length--;
    printf("\b \b");
}

static void editor_insert(struct editor *editor, char key) {
    if (editor->length == LINE_MAX - 1) {
        printf("\a"); /* no room */
    } else {
        editor->line[editor->length++] = key;
        printf("%c", key);
    }
}

/* Returns true if this key was a part of an escape sequence. */
static bool editor_escape(struct editor *editor, char key) {
    if (key == KEY_ESCAPE) {
        editor->escape = ESCAPE_SEEN;
        return true;
    }
    if (key < ' ') editor->escape = ESCAPE_NONE; /* and Enter is Enter */
    if (editor->escape == ESCAPE_NONE) return false;
    if (editor->escape == ESCAPE_SEEN && (key == '[' || key == 'O'))
        editor->escape = ESCAPE_INSIDE;
    else if (editor->escape == ESCAPE_SEEN || (key >= '@' && key <= '~' && key != '['))
        editor->escape = ESCAPE_NONE;
    return true;
}

/* Use one key. Returns true if the line is complete. */
static bool editor_key(struct editor *editor, char key) {
    if (editor_escape(editor, key)) return false;
    if (key == '\r' || key == '\n') {
        printf("\n");
        editor->line[editor->length] = 0;
        return true;
    }
    if (key == KEY_BACKSPACE || key == KEY_DELETE) {
        if (editor->length > 0) editor_erase(editor);
    } else if (key == KEY_KILL_LINE) {
        while (editor->length > 0) editor_erase(editor);
    } else if (key == '\t' || (key >= ' ' && key <= '~')) {
        editor_insert(editor, key == '\t' ? ' ' : key);
    } else if ((unsigned char)key >= 0xc0) {
        printf("\a"); /* a letter beyond ASCII begins (UTF-8) */
    }
    return false;
}

/* Show the prompt and the line so far. */
static void editor_show(struct editor *editor) {
    editor->line[editor->length] = 0;
    printf(PROMPT "%s", editor->line);
}

void line_read(char *line) {
    struct editor editor = {.line = line};
    char key;

    job_reap();
    editor_show(&editor);
    for (;;) {
        keyboard_poll();
        if (keyboard_take_interrupt()) {
            editor = (struct editor){.line = line};
            editor_show(&editor);
        }
        while (keyboard_take(&key)) {
            if (editor_key(&editor, key)) return;
        }
        if (job_any_ended()) {
            printf("\n");
            job_reap();
            editor_show(&editor);
        }
        /* A key or an end that came after we looked is pending, and ends this
         * at once. */
        park(EVENT_CONSOLE | EVENT_CHILD, job_any() ? time_after(LOOK_MS) : DEADLINE_NONE);
    }
}
