"""Drives a Stag kernel in QEMU through its debug stub, and reads its state.

From the bottom up:

    errors       what can go wrong, in one line each
    interrupt    what ctrl-C says
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

Trying every order of what harts do to each other:

    isa          the instructions of rv64ia, as Python runs them
    model…       harts that run the kernel's binary, with store buffers and TLBs
    snapshot     from a stopped machine to a model of it
    scene        a model, to call the kernel's functions in and to explore
    explore      the search through all schedules
    timeline     a schedule, drawn
    case         a schedule in a file, for the debugger

Grading a lab:

    command_line the programs' options
    labs         what a lab consists of (labs/<n>-<name>/lab.toml)
    sources      C and assembly, taken apart into their functions
    starter      what students begin with, derived from the kernel
    verdict      what a failed test says
    grade_…      the tree that is graded, its build, its machine, its tests
    report_…     the state of a machine, the table of points
    solutions…   wrong and other right solutions, which test the graders

Verdicts come from memory, registers and page tables, not from what the guest
prints. Nothing in here is taken from the kernel's own code.
"""
