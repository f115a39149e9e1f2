# shellcheck shell=sh
# Which tools Stag needs and how they are found. Read by setup and doctor.
#
# CROSS, GDB, QEMU and PYTHON, where they are set, are taken as they are:
# `make CROSS=riscv64-elf-` means that compiler and no other.

# first NAME...: prints the first that is a command, fails if none is.
first() {
    for name; do
        if command -v "$name" >/dev/null 2>&1; then
            echo "$name"
            return 0
        fi
    done
    return 1
}

find_cross() {
    if [ -n "${CROSS:-}" ]; then
        first "${CROSS}gcc" >/dev/null && echo "$CROSS"
        return
    fi
    gcc=$(first riscv64-linux-gnu-gcc riscv64-unknown-elf-gcc riscv64-elf-gcc \
        riscv64-none-elf-gcc) && echo "${gcc%gcc}"
}

# A plain gdb will do if it was built for other machines than its own.
find_gdb() {
    if [ -n "${GDB:-}" ]; then
        first "$GDB"
        return
    fi
    first gdb-multiarch riscv64-linux-gnu-gdb riscv64-unknown-elf-gdb riscv64-elf-gdb \
        riscv64-none-elf-gdb && return
    gdb -batch -ex 'set architecture riscv:rv64' 2>&1 |
        grep -Eq '(is set to "|assumed to be )riscv' && echo gdb
}

find_qemu() {
    first "${QEMU:-qemu-system-riscv64}"
}

# lacks PYTHON: which modules of the tests it does not have; fails if it is no
# Python 3. They are looked for, not imported: that takes half a second each time.
lacks() {
    "$1" -c 'import sys
from importlib.util import find_spec
names = (name.split(":") for name in sys.argv[1:])
print(*(name for name, module in names if not find_spec(module)), sep=", ")' \
        pytest:pytest pytest-xdist:xdist pyelftools:elftools rich:rich 2>/dev/null
}

# A Python with those modules, if none was named. The first python3 of PATH may
# be another than the system's, which has the distribution's modules.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        first "$PYTHON"
        return
    fi
    for python in .venv/bin/python3 /usr/bin/python3 python3; do
        if lacking=$(lacks "$python") && [ -z "$lacking" ]; then
            echo "$python"
            return 0
        fi
    done
    return 1
}

# The compiler of host programs: some of tests/ run parts of the kernel on the
# host.
find_host_cc() {
    first gcc cc
}

# The version number in the first line that `COMMAND --version` prints.
version_of() {
    "$@" --version 2>/dev/null |
        sed -n '1{ s/([^)]*)//g; s/^[^ ]*[^0-9]* \([0-9][0-9.]*\).*/\1/p; }'
}

# at_least FOUND NEEDED: compares two version numbers.
at_least() {
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -t. -k1,1n -k2,2n | sed -n 1p)" = "$2" ]
}

# wrongly_named PURPOSE: what is wrong with a tool that was named, and so is not
# looked for: it is not there, has a blank in its path, or is a Python without the
# modules. Nothing if all is well.
wrongly_named() {
    for tool in ${CROSS:+"CROSS=$CROSS"} ${GDB:+"GDB=$GDB"} ${QEMU:+"QEMU=$QEMU"} \
        ${PYTHON:+"PYTHON=$PYTHON"}; do
        command=${tool#*=}$([ "${tool%%=*}" != CROSS ] || echo gcc)
        if ! first "$command" >/dev/null; then
            echo "There is no command $command, asked for by '$tool'"
            return
        fi
        case $tool in
        *[[:space:]]*)
            echo "Make would split '$tool' at the blank: give a link to it in a path without one"
            return
            ;;
        esac
    done
    if [ -n "${PYTHON:-}" ] && { [ "$1" = test ] || [ "$1" = handouts ]; }; then
        if ! lacking=$(lacks "$PYTHON"); then
            echo "PYTHON=$PYTHON is no Python 3: name another, or none"
        elif [ -n "$lacking" ]; then
            echo "PYTHON=$PYTHON lacks $lacking: install them for it, or name another Python, or none"
        fi
    fi
}

# What is missing for a purpose: build, qemu, gdb, test, or handouts. One name a
# line.
missing_for() {
    if [ "$1" = handouts ]; then
        missing_for test
        for tool in pandoc dot weasyprint pdftotext; do
            first $tool >/dev/null || echo $tool
        done
        return
    fi
    find_cross >/dev/null || echo "a RISC-V compiler"
    case $1 in
    gdb | test) find_gdb >/dev/null || echo "gdb for RISC-V" ;;
    esac
    case $1 in
    qemu | test) find_qemu >/dev/null || echo "qemu-system-riscv64" ;;
    esac
    if [ "$1" = test ]; then
        find_python >/dev/null || echo "Python's pytest, pytest-xdist, pyelftools and rich"
        [ ! -d tests ] || find_host_cc >/dev/null || echo "gcc"
    fi
}

# for_handouts PACKAGE...: the packages if they are for the handouts, else none.
for_handouts() {
    [ "${purpose:-}" != handouts ] || echo " $*"
}

# The one line that installs everything on this system; empty if not known.
install_line() {
    modules="pytest pytest-xdist pyelftools rich"
    venv="python3 -m venv .venv && .venv/bin/pip install $modules"
    if [ "$(uname -s)" = Darwin ]; then
        echo "brew install make qemu riscv64-elf-gcc riscv64-elf-gdb$(for_handouts pandoc graphviz weasyprint poppler) && $venv"
    elif first apt-get >/dev/null; then
        echo "$(as_root)apt-get install --no-install-recommends $(debian_packages)"
    elif first dnf >/dev/null; then
        echo "$(as_root)dnf install gcc-riscv64-linux-gnu qemu-system-riscv gdb gcc git" \
            "libtsan libasan libubsan python3-pytest python3-pytest-xdist python3-pyelftools" \
            "python3-rich$(for_handouts pandoc graphviz weasyprint poppler-utils)"
    elif first pacman >/dev/null; then
        echo "$(as_root)pacman -S --needed riscv64-linux-gnu-gcc qemu-system-riscv" \
            "qemu-system-riscv-firmware riscv64-linux-gnu-gdb gcc git python-pytest" \
            "python-pytest-xdist python-pyelftools python-rich$(for_handouts pandoc-cli graphviz \
                python-weasyprint poppler)"
    fi
}

as_root() {
    [ "$(id -u)" = 0 ] || ! first sudo >/dev/null || echo "sudo "
}

# What to do with that line.
how_to() {
    line=$(install_line)
    case $(id -u),$line in
    0,* | *,sudo* | *,brew*) echo "Type: $line" ;;
    *) echo "As root, type: $line" ;;
    esac
}

# QEMU's package has another name from Debian 13 on.
debian_packages() {
    machine=misc
    ! apt-cache show qemu-system-riscv >/dev/null 2>&1 || machine=riscv
    echo "gcc-riscv64-linux-gnu qemu-system-$machine gdb-multiarch gcc libc6-dev git" \
        "python3-pytest python3-pytest-xdist python3-pyelftools python3-rich$(for_handouts pandoc graphviz weasyprint \
            poppler-utils fonts-dejavu-core)"
}
