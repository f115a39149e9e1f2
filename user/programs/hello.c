/*
 * hello: the least a program can do. Prints its arguments.
 */
#include "print.h"

int main(int argc, char **argv) {
    printf("hello from user mode\n");
    for (int i = 1; i < argc; i++) printf("argument %d: %s\n", i, argv[i]);
    return 0;
}
