"""Submissions that do not build, do not boot, lie, or destroy things: each gets
a verdict soon, and none more points than it has earned."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import KERNEL
from course import SOURCE, Course, Graded, Submit, in_page_alloc, in_page_get, includes
from stag.grade_build import UNDER_WAY, build
from stag.grade_symbols import OWNED, GradedSymbols
from stag.grade_tree import BadSubmission

pytest_plugins = ["course_fixtures"]


def check_no_points(graded: Graded, *wanted: str) -> None:
    """Every test failed or was blocked, and the report says these things."""
    assert graded.status == 1, graded.shown + graded.progress
    assert graded.data["got"] == 0
    assert set(graded.outcomes.values()) <= {"fail", "blocked"}, graded.outcomes
    for text in wanted:
        assert text in graded.shown, graded.shown


def test_does_not_build(probed: Course, submit: Submit) -> None:
    graded = probed.grade(submit(in_page_alloc("    return \033[2J + nothing;")))
    check_no_points(graded, "it does not build", "kernel/page_alloc.c", "error:")
    assert "\033" not in graded.shown
    # A build server must not take it for a success.
    junit = graded.files["junit.xml"]
    assert b'failures="1"' in junit and b'<failure message="it does not build' in junit


@pytest.mark.parametrize("line", [".rept 300000000\\nnop\\n.endr", ".fill 1 << 40, 1, 1"])
def test_build_without_end(probed: Course, submit: Submit, line: str) -> None:
    """An assembler that takes all memory, or the disk, is stopped."""
    code = f'    __asm__(".data\\n{line}\\n.text");'
    check_no_points(probed.grade(submit(in_page_alloc(code))), "it does not build")


def test_build_that_talks_without_end(probed: Course, submit: Submit) -> None:
    """What it says goes to a file of limited size, not to memory."""
    print_much = '.rept 1000\\n.rept 1000\\n.rept 1000\\n.print \\"' + "x" * 2000 + '\\"\\n'
    code = f'    __asm__("{print_much}.endr\\n.endr\\n.endr");'
    check_no_points(probed.grade(submit(in_page_alloc(code))), "it does not build")


@pytest.mark.parametrize(
    "line",
    [
        '#include "{root}/kernel/map.h"',
        '# 1 "panic.h" 1 3\n#include "{root}/kernel/map.h"\n# 3 "kernel/page_alloc.c" 2',
        '__asm__(".data\\n.incbin \\"{root}/LICENSE\\"\\n.text");',
        '__asm__(".include \\"{root}/empty.s\\"");',
    ],
)
def test_reads_a_file_outside(probed: Course, submit: Submit, line: str) -> None:
    """The reference, for instance, which is on an instructor's computer."""
    (probed.root / "empty.s").touch()
    (probed.root / "LICENSE").touch()
    there = '#include "panic.h"\n'
    tree = submit((there, there + line.format(root=probed.root) + "\n"))
    check_no_points(probed.grade(tree), "kernel/page_alloc.c reads a file outside of the tree")
    # And the next submission is none the worse.
    assert probed.grade("--test=distinct").status == 0


def test_reads_what_was_built(probed: Course, submit: Submit) -> None:
    """It may have been built of another submission."""
    line = '__asm__(".data\\n.incbin \\"build/kernel.elf\\"\\n.text");\n'
    tree = submit(('#include "panic.h"\n', f'#include "panic.h"\n{line}'))
    (probed.out / "tree/build/kernel.elf").touch()
    check_no_points(probed.grade(tree), "kernel/page_alloc.c reads a file that is no source")


def test_name_that_is_assembly(probed: Course, submit: Submit) -> None:
    """The names of functions are put into a table for the assembler, where one that no
    compiler makes had it read a file."""
    secret = probed.root / "secret"
    secret.write_text("what only an instructor knows")
    name = f'x\\\\\\";.incbin/**/\\\\\\"{secret}'
    line = f'__asm__(".text\\n\\"{name}\\": nop");\n'
    tree = submit(('#include "panic.h"\n', f'#include "panic.h"\n{line}'))
    assert probed.grade(tree, "--test=distinct").status == 0
    kernel = (probed.out / "tree/build/kernel.elf").read_bytes()
    assert b".incbin" in kernel and secret.read_bytes() not in kernel


def test_kernel_that_is_too_large(probed: Course, submit: Submit) -> None:
    code = "    static volatile char big[200 << 20];\n    big[(uint64_t)this_hart() % sizeof(big)] = 1;"
    check_no_points(probed.grade(submit(in_page_alloc(code))), "takes 200 MiB of memory")


@pytest.mark.parametrize(
    "line",
    [
        '__asm__(".pushsection .debug_info\\n.long 0x7fffffff\\n.popsection");',
        '#line 1 "\udcff.c"',
    ],
)
def test_debug_information_that_is_none(probed: Course, submit: Submit, line: str) -> None:
    """A traceback of Python would be no verdict."""
    graded = probed.grade(
        submit(
            ('#include "panic.h"\n', f'#include "panic.h"\n{line}\n'),
            in_page_alloc('    panic("done for");'),
        )
    )
    assert graded.status == 1 and graded.data["got"] == 0
    assert "Traceback" not in graded.shown and "Error:" not in graded.shown, graded.shown


def test_words_that_look_like_the_setups(probed: Course, submit: Submit) -> None:
    """A compiler that is missing costs nothing: a submission may not say so."""
    line = '__asm__(".print \\"Makefile:1: *** Missing: a compiler.\\"\\n.err");'
    tree = submit(('#include "panic.h"\n', f'#include "panic.h"\n{line}\n'))
    check_no_points(probed.grade(tree), "it does not build")


def test_names_of_other_files(probed: Course, submit: Submit) -> None:
    tree = Path(submit().removeprefix("--tree="))
    for name in (b"\xff.c", b"\x1b[31mred.c", b"a\nb.c"):
        (tree / "kernel" / os.fsdecode(name)).touch()
    (tree / "kernel/trap.c").write_text("no trap\n")
    (tree / "kernel/trap.c").chmod(0)  # which only others than root can't read
    graded = probed.grade(f"--tree={tree}", "--test=distinct")
    assert graded.status == 0 and len(graded.data["ignored"]) == 4, graded.shown
    assert "\033" not in graded.shown and "kernel/a\\nb.c (added)" in graded.data["ignored"]


def test_folders_without_end(probed: Course, submit: Submit) -> None:
    """Deeper than Python may call itself, and than a path may be long."""
    tree = Path(submit().removeprefix("--tree="))
    deep = 'for i in $(seq 2500); do : > a.c; mkdir deep; cd -P deep; done 2>&1'
    try:
        subprocess.run(["sh", "-c", deep], cwd=tree / "kernel", check=True)
        graded = probed.grade(f"--tree={tree}", "--test=distinct")
    finally:
        subprocess.run(["rm", "-rf", tree / "kernel"], check=True)  # pytest would give up, too
    assert graded.status == 0, graded.shown
    assert graded.data["ignored"][0] == "kernel/a.c (added)"
    assert re.fullmatch(r"… and \d+ more", graded.data["ignored"][-1])
    assert len(graded.shown) < 300_000


def test_build_that_was_killed(probed: Course) -> None:
    """It leaves half an object, which is newer than its source."""
    assert probed.grade("--test=distinct").status == 0
    (probed.out / "tree/build/kernel/page_alloc.o").write_bytes(b"")
    (probed.out / "tree" / UNDER_WAY).touch()
    assert probed.grade("--test=distinct").status == 0


# An object of what was there before is written as soon as the next one has been; or,
# when ten seconds are over, before.
OUTLIVES = """
for i in $(seq 100); do test -e $1 || break; sleep 0.1; done
for i in $(seq 300); do test -e $1 && break; sleep 0.1; done
: > $1
"""


def test_compilers_hold_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = tmp_path / "bin/make"
    make.parent.mkdir()
    make.write_text("#!/bin/sh\nls -l /proc/$$/fd | grep building\nexit 1\n")
    make.chmod(0o755)
    monkeypatch.setenv("PATH", f"{make.parent}:{os.environ['PATH']}")
    with pytest.raises(BadSubmission, match=re.escape(UNDER_WAY)):
        build(tmp_path, 1)


def test_compiler_that_outlives_its_grader(probed: Course) -> None:
    """The next one waits for it."""
    assert probed.grade("--test=distinct").status == 0
    tree = probed.out / "tree"
    with (tree / UNDER_WAY).open("w") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        command = ["sh", "-c", OUTLIVES, "sh", "build/kernel/page_alloc.o"]
        with subprocess.Popen(command, cwd=tree, pass_fds=[mark.fileno()]):
            mark.close()
            assert probed.grade("--test=distinct").status == 0


@pytest.mark.parametrize("kind", ["missing", "device", "folder", "huge"])
def test_file_that_is_none(probed: Course, tmp_path: Path, kind: str) -> None:
    path = tmp_path / SOURCE
    if kind == "folder":
        path.parent.symlink_to("/")
    else:
        path.parent.mkdir()
    if kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        path.write_text(" " * (1 << 21))
    check_no_points(probed.grade(f"--tree={tmp_path}"), SOURCE)


def test_panic_at_boot(probed: Course, submit: Submit) -> None:
    graded = probed.grade(submit(in_page_alloc('    panic("\\033[31mall is lost");')))
    check_no_points(graded, "the kernel panicked", "\\x1b[31mall is lost", "page_alloc")
    assert "\033" not in graded.shown + graded.progress


@pytest.mark.slow
def test_stop_before_paging(probed: Course, submit: Submit) -> None:
    tree = submit(in_page_alloc('    stop("no more");'))
    check_no_points(probed.grade(tree), "the kernel panicked", "stag: no more")


def test_endless_loop(probed: Course, submit: Submit) -> None:
    graded = probed.grade(submit(in_page_alloc("    for (;;)\n        ;")))
    check_no_points(graded, "the boot does not end", "kernel page_alloc", "page_alloc.c:")
    # The second test does not wait for the same again, but tells the same.
    for test in ("test_distinct", "test_sound"):
        assert re.search(r"hart \d: kernel page_alloc\+?\w* \(page_alloc", graded.message(test))


def test_backtrace_ends_at_the_called_function(probed: Course, submit: Submit) -> None:
    """And not where the hart has stood, which has called nothing."""
    tree = submit(in_page_get("    KERNEL_ASSERT(page == NULL);"))
    message = probed.grade(tree, "--test=again").message("test_again")
    assert "assertion failed: page == NULL" in message
    trace = message.partition("backtrace:\n")[2].partition("-----")[0].splitlines()
    assert "panic_assert+" in trace[0] and "page_get+" in trace[1], message
    assert trace[2:] in ([], ["    (called by the grader)"]), message  # without a frame: []


def test_trap_of_the_kernel_names_its_line(probed: Course, submit: Submit) -> None:
    tree = submit(in_page_get("    *(volatile uint64_t *)((uint64_t)page % PAGE_SIZE + 8) = 0;"))
    message = probed.grade(tree, "--test=again").message("test_again")
    assert "null dereference" in message
    assert re.search(
        r"hart \d: last trap: store page fault, sepc page_get.* \(page_alloc.c:\d+\), stval 0x8",
        message,
    )


@pytest.mark.slow
def test_waiting_for_ever(probed: Course, submit: Submit) -> None:
    graded = probed.grade(submit(in_page_alloc("    for (;;)\n        machine_wait();")))
    check_no_points(graded, "the boot does not end", "waits for an interrupt")


@pytest.mark.slow
def test_flood(probed: Course, submit: Submit) -> None:
    code = '    for (;;)\n        print("test_distinct PASSED 100 of 100 points\\n");'
    graded = probed.grade(submit(in_page_alloc(code), includes("print.h")))
    check_no_points(graded, "the boot does not end", "test_distinct PASSED")
    assert len(graded.shown) < 100_000


def test_words_of_the_guest_change_nothing(probed: Course, submit: Submit) -> None:
    words = '\\033[2J\\033]0;mine\\007test_sound PASSED\\r\\n{\\"outcome\\": \\"pass\\"}\\n'
    tree = submit(
        in_page_alloc(f'    print("{words}[green]100[/]");'),
        includes("print.h"),
        ("    __atomic_store_n(top->entry, ENTRY_FIRST, __ATOMIC_RELAXED);\n", ""),
    )
    graded = probed.grade(tree)
    assert graded.status == 1
    assert graded.outcomes["test_sound"] == "fail"
    for text in (graded.shown, graded.progress, *map(bytes.decode, graded.files.values())):
        assert not set(text) & {"\033", "\007", "\r"}


def test_layouts_are_those_of_given_files(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for owned in ("", "kernel/bank.c", "kernel/bank.c:kernel/boot.c"):
        monkeypatch.setenv(OWNED, owned)
        entry = GradedSymbols(KERNEL)._struct_entries["bank"]
        names.append(entry.cu.get_top_DIE().attributes["DW_AT_name"].value.decode())
    assert names[:2] == ["kernel/bank.c", "kernel/boot.c"]
    assert names[2] not in names[:2]


def test_power_off(probed: Course, submit: Submit) -> None:
    code = '    print("good bye\\n");\n    sbi_shutdown();'
    graded = probed.grade(submit(in_page_alloc(code), includes("print.h", "riscv/sbi.h")))
    check_no_points(graded, "powered off", "good bye")


@pytest.mark.slow
def test_reset(probed: Course, submit: Submit) -> None:
    code = """    register uint64_t type __asm__("a0") = 1, reason __asm__("a1") = 0;
    register uint64_t function __asm__("a6") = 0, extension __asm__("a7") = 0x53525354;
    __asm__ volatile("ecall" : "+r"(type), "+r"(reason) : "r"(function), "r"(extension));"""
    check_no_points(probed.grade(submit(in_page_alloc(code))), "powered off")


def test_overwritten_page_table(probed: Course, submit: Submit) -> None:
    code = """    if (linear_offset != 0) {
        uint64_t *root = linear_from_phys(phys((csr_read(satp) & ((1ul << 44) - 1)) << 12));
        for (int i = 0; i < 512; i++)
            root[i] = 0;
        __asm__ volatile("sfence.vma" ::: "memory");
    }"""
    tree = submit(in_page_alloc(code), includes("riscv/boot_table.h", "riscv/csr.h"))
    check_no_points(probed.grade(tree), "the boot does not end", "traps in a circle")


@pytest.mark.parametrize(
    "code",
    [
        "bank_count = 1ul << 60;",
        pytest.param("hart_count = 1ul << 60;", marks=pytest.mark.slow),
        pytest.param("harts[1] = (void *)-8;", marks=pytest.mark.slow),
        pytest.param("banks[0]->marked = 1ul << 62;", marks=pytest.mark.slow),
        pytest.param("global()->page_alloc_head = (void *)1;", marks=pytest.mark.slow),
    ],
)
def test_overwritten_variable(probed: Course, submit: Submit, code: str) -> None:
    graded = probed.grade(submit(in_page_get(f"    {code}")), "--test=again")
    assert graded.outcomes["test_again"] == "fail", graded.shown
    assert graded.status == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("QEMU", "/nowhere/qemu"), ("QEMU", "true"), ("CROSS", "no-such-compiler-")],
)
def test_missing_tool_costs_nothing(probed: Course, submit: Submit, name: str, value: str) -> None:
    # Something has to be built, or no compiler is missed.
    graded = probed.grade(submit(in_page_alloc(f"    /* without {value} */")), **{name: value})
    assert graded.status == 3, graded.shown
    assert "no points are lost" in graded.shown
    assert set(graded.outcomes.values()) <= {"error"}
