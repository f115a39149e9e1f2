# From `nm -n` of the kernel, the table that backtraces look names up in: pairs
# of address and name, in the order of the addresses. Empty input, empty table.
# text_start and text_end are marks of the linker script, not functions. A name
# that is no word would be read as assembly here: the assembler allows any in quotes.
BEGIN { count = 0 }

$2 ~ /^[tT]$/ && $3 ~ /^[A-Za-z_][A-Za-z0-9_.$]*$/ && $3 !~ /^text_/ {
    address[count] = $1
    name[count++] = $3
}

END {
    print "    .section .rodata.symbols, \"a\""
    print "    .balign 8"
    print "    .globl symbol_table, symbol_table_end"
    print "symbol_table:"
    for (i = 0; i < count; i++)
        printf "    .quad 0x%s, name_%d\n", address[i], i
    print "symbol_table_end:"
    for (i = 0; i < count; i++)
        printf "name_%d: .asciz \"%s\"\n", i, name[i]
}
