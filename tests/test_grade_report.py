"""What a student reads: timelines, the table of points, long messages."""

from __future__ import annotations

import io

import pytest
from conftest import ROOT
from rich.console import Console
from stag.grade_run import Result
from stag.harts import end_backtrace
from stag.labs import load_lab
from stag.report_grade import INDENT, MESSAGE_LINES, WIDTH, Grade, as_data, show
from stag.timeline import HEAD, LINES_MAX, Row, _merged, layout

PAGE_A, PAGE_B = "page 0xffffffe0002b5000", "page 0xffffffe0002b6000"
REPLAY = "make replay CASE=build/grade/lab2/cases/test.case"


def swap(number: int, hart: int) -> Row:
    text = f"global.page_alloc_tail was entry of {PAGE_A}, now entry of {PAGE_B}"
    return Row(number, hart, "page_alloc.c:95", text)


def words(text: str, hart: int, harts: int) -> str:
    """What stands in the column of one hart, in one line."""
    cells = [line[HEAD:].ljust(400).split("|") for line in text.splitlines()[2:]]
    column = [cell[hart] for cell in cells if len(cell) == harts]
    return " ".join(" ".join(column).split())


@pytest.mark.parametrize("width", [76, 100, 156])
@pytest.mark.parametrize("hart", [0, 1])
def test_timeline_cuts_no_value(width: int, hart: int) -> None:
    text = layout([swap(1, hart), Row(2, 1 - hart, "a.c:1", "x is 1")], [0, 1], width)
    assert all(len(line) <= width for line in text.splitlines()), text
    assert swap(1, hart).text in words(text, hart, 2), text


def test_timeline_uses_the_width_there_is() -> None:
    rows = [swap(1, 0), swap(2, 1)]
    heights = [len(layout(rows, [0, 1], width).splitlines()) for width in (76, 156, 300)]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > heights[1] > heights[2] == 2 + len(rows)


def test_timeline_of_many_harts_fits_too() -> None:
    rows = [swap(number, number % 4) for number in range(1, 9)]
    text = layout(rows, [0, 1, 2, 3], WIDTH - INDENT)
    assert all(len(line) <= WIDTH - INDENT for line in text.splitlines()), text
    assert text.count("hart 3") == 2
    flat = " ".join(text.split())
    assert flat.count(swap(1, 0).text) == 8


def test_repeated_steps_are_merged() -> None:
    one = Row(1, 0, "a.c:1", "x is 0")
    two = Row(2, 0, "a.c:2", "y is 0")
    spin = [Row(n, 0, (one, two)[n % 2].line, (one, two)[n % 2].text) for n in range(3, 23)]
    other = Row(23, 1, "b.c:1", "x = 1 (was 0)")
    texts = [row.text for row in _merged([*spin, other])]
    assert texts == [two.text, one.text, "(the same 9 times more)", other.text]
    merged = _merged([Row(n, 0, "a.c:1", "x is 0") for n in (1, 2, 3)])
    assert [(row.number, row.text) for row in merged] == [(1, "x is 0 (3 times)")]
    apart = [one, other, one, other, one]
    assert _merged(apart) == apart  # of two harts: all of it matters


def test_long_timeline_lacks_its_middle_only() -> None:
    rows = [swap(number, number % 2) for number in range(1, 200)]
    text = layout(rows, [0, 1], 76, whole=False)
    assert len(text.splitlines()) < LINES_MAX
    assert "  1  " in text and "199  " in text and "lines are left out here, steps" in text
    assert "left out" not in layout(rows, [0, 1], 76)


# The report


def shown(grade: Grade, columns: int = 80) -> str:
    file = io.StringIO()
    show(grade, Console(file=file, width=columns, highlight=False))
    return file.getvalue()


def graded(*messages: tuple[str, str]) -> Grade:
    """Lab 2 with these outcomes of its first tests; the others have passed."""
    lab = load_lab(ROOT, 2)
    told = [*messages, *[("pass", "")] * (len(lab.tests) - len(messages))]
    results = [
        Result(test, outcome, message)  # type: ignore[arg-type]
        for test, (outcome, message) in zip(lab.tests, told, strict=True)
    ]
    return Grade(lab, results)


def test_long_message_keeps_what_matters() -> None:
    lines = ["hart 0 got a page twice", *(f"  {n}" for n in range(1000)), "Hint: swap", REPLAY]
    grade = graded(("fail", "\n".join(lines)))
    text = shown(grade)
    assert len(text.splitlines()) < MESSAGE_LINES + 100
    for line in ("hart 0 got a page twice", "Hint: swap", REPLAY, "lines are left out here"):
        assert f"    {line}" in text or f" {line}" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "  500" not in text
    assert "  500" in as_data(grade)["tests"][0]["message"]  # type: ignore[index]


def test_long_words_of_the_grader_are_wrapped() -> None:
    text = f"expected: {'a page of RAM ' * 10}\nfound:    {PAGE_A}\n{REPLAY}{'x' * 80}"
    for columns in (80, 160):
        lines = shown(graded(("fail", text)), columns).splitlines()
        assert all(len(line) <= columns for line in lines if REPLAY not in line)
        assert f"    {REPLAY}{'x' * 80}" in lines  # one piece, to be copied


def test_blocked_tests_are_named_once() -> None:
    lab = load_lab(ROOT, 2)
    names = [test.name for test in lab.tests]
    messages = [("fail", "wrong"), *[("blocked", f"blocked by {names[0]}")] * 5]
    messages.append(("blocked", f"blocked by {names[2]}"))  # which is blocked itself
    text = shown(graded(*messages))
    table, _, below = text.partition("└")
    assert "blocked by" not in table
    assert f"blocked by {names[0]}: {', '.join(names[1:7])}" in " ".join(below.split())
    assert below.count("blocked by") == 1
    # The column of tests has the room that it has without.
    assert next(line for line in table.splitlines() if "result" in line).index("result") > 50
    assert all(len(line) <= 80 for line in text.splitlines())


def test_backtrace_without_what_has_called_nothing() -> None:
    text = (
        "x\nbacktrace:\n    0xffffffc000001000 f+0x10\n    0xffffffc000002000 g+0x4\n"
        "    0xffffffc000003000 find_banks+0x164\n    0xffffffc000004000 boot_main+0x8\n"
        "------\n0xffffffc000003000 stays\n"
    )
    called = end_backtrace(text, {0xFFFFFFC000003000})
    assert called.splitlines()[2:6] == [
        "    0xffffffc000001000 f+0x10", "    0xffffffc000002000 g+0x4",
        "    (called by the grader)", "------",
    ]  # fmt: skip
    assert called.endswith("stays\n")
    assert end_backtrace(text, set()) == text
