# Commands for Stag's debugger; `make gdb` reads this file.
set confirm off
set pagination off
set disassemble-next-line auto
set $user_loaded = 0

define user
    if $user_loaded
        set $user_loaded = 0
        remove-symbol-file -a 0x1000000
    end
    add-symbol-file build/user/$arg0.elf
    set $user_loaded = 1
end
document user
user NAME: load the symbols of a user program beside the kernel's, in place of
those of another program: all are linked for the same addresses.
Example: user hello
         break main
end

define harts
    info threads
end
document harts
harts: show where each hart is. `thread N` goes to one.
end
