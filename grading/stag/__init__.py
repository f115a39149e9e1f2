"""Drives a Stag kernel in QEMU through its debug stub, and reads its state.

From the bottom up:

    errors       what can go wrong, in one line each
    remote       the GDB remote protocol
    machine      starting and ending QEMU, the serial console
    memory       physical and virtual memory of a stopped machine
    symbols      symbols, structures and source lines of an ELF file
    pagetable    Sv39 and Sv48, read as the privileged manual has it
    harts        running, freezing and calling on chosen harts
    alloc        the page allocation table
    devicetree   devicetrees for machines that QEMU does not make by itself
    opcodes      what instructions an image holds
    system       all of these together for one booted kernel

Verdicts come from memory, registers and page tables, not from what the guest
prints. Nothing in here is taken from the kernel's own code.
"""
