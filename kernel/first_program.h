/*
 * The first program: the shell, an ELF file in the kernel image.
 */
#pragma once

/* Load it, give it its handle and the devices that programs may drive, and put
 * it in the run queue. A file that can't be run stops the boot. */
void first_program_start(void);
