/* The first program's ELF file. */
    .section .rodata
    .balign 4096
    .globl first_program_elf, first_program_elf_end
first_program_elf:
    .incbin "build/user/shell.stripped"
first_program_elf_end:
