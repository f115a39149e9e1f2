"""The report on the solutions as one HTML page that needs nothing else: for each
lab a table, mutants by tests, which scrolls in a box of its own; then what the
table leaves open, and what each mutant is about."""

from __future__ import annotations

from html import escape

from .html_page import document, table
from .labs import POINTS, TestItem
from .solutions_report import KEY, LabReport, first_line, summary, told, wrong
from .solutions_run import Job

_STYLE = """
.sum td { text-align: right; }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1rem; list-style: none; padding: 0; }
.box { overflow: auto; max-height: 85vh; border: 1px solid var(--line); }
.matrix thead th { position: sticky; top: 0; z-index: 1; background: var(--soft);
  vertical-align: bottom; font-weight: normal; }
.matrix thead th span { writing-mode: vertical-rl; transform: rotate(180deg);
  white-space: nowrap; }
.matrix thead th:first-child { left: 0; z-index: 2; text-align: left; }
.matrix tbody th { position: sticky; left: 0; background: var(--soft); text-align: left;
  white-space: nowrap; font-weight: normal; }
@media (max-width: 40rem) { .matrix tbody th { white-space: normal; min-width: 9rem; } }
.matrix td { text-align: center; }
.matrix tr:hover td { background: var(--soft); }
"""

_LEGEND = """<p><span class="fail">✗</span> fails, as the mutant's head says;
<span class="blocked">·</span> not run, since a test that it needs has failed: its points are
lost too; <span class="bad">!</span> not as it must be; empty: passes, or, unless all tests were
run on it (ALL=1), is none that must fail or that such a test needs.</p>"""


def _anchor(job: Job) -> str:
    return f"lab{job.lab.number}-{job.title.replace(' ', '-')}"


def _cell(job: Job, test: TestItem) -> str:
    result = next((r for r in job.results if r.test.name == test.name), None)
    if result is None:
        return f'<td class="blocked">{"·" if test.name in job.lost else ""}</td>'
    must = job.fails is None or test.name in job.fails
    if result.outcome == "fail" and must:
        return '<td class="fail">✗</td>'
    if result.outcome == "fail" or result.outcome == "error" or (must and result.got):
        return f'<td class="bad">!<span hidden> {result.outcome}</span></td>'
    return '<td class="blocked">·</td>' if result.outcome == "blocked" else "<td></td>"


def _matrix(report: LabReport) -> str:
    tests = report.lab.tests
    heads = "".join(
        f'<th scope="col" title="{escape(test.title)}"><span>{escape(test.name[5:])}'
        f" ({test.points})</span></th>"
        for test in tests
    )
    rows = []
    for job in report.jobs:
        name = job.mutant.name if job.mutant else job.title
        mark = ' <span class="bad">!</span>' if job.complaint else ""
        cells = "".join(_cell(job, test) for test in tests)
        link = f'<a href="#{_anchor(job)}">{escape(name)}</a>'
        rows.append(f'<tr><th scope="row">{link}{mark}</th>{cells}</tr>')
    label = f"Lab {report.lab.number}: solutions by tests"
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{label}"><table class="matrix">'
        f'<thead><tr><th scope="col">solution</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _names(jobs: list[Job]) -> str:
    return ", ".join(
        f'<a href="#{_anchor(job)}">{escape(job.mutant.name)}</a>' for job in jobs if job.mutant
    )


def _list(title: str, lines: list[str], number: int) -> str:
    body = f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else "<p>None.</p>"
    return f"<h3>Lab {number}: {title}</h3>{body}"


def _open(report: LabReport) -> str:
    number = report.lab.number
    never = [f"{t.points}: <code>{escape(t.name)}</code>" for t in report.never_lost()]
    alone = [f"<code>{escape(n)}</code>: {_names(jobs)}" for n, jobs in report.alone().items()]
    same = []
    for group in report.same():
        test, message = told(group[0])
        same.append(f"{_names(group)}: <code>{escape(test)}</code>: {escape(first_line(message))}")
    return (
        (_list("points no mutant can lose", never, number) if report.whole else "")
        + _list("tests nothing else backs up, and what only they catch", alone, number)
        + _list("mutants that fail with the same message as another", same, number)
    )


def _about(job: Job, items: list[str]) -> str:
    parts = []
    if job.complaint:
        parts.append(f'<p class="bad">Not as it must be:</p><pre>{escape(job.complaint)}</pre>')
    if job.mutant:
        parts += [f"<p>{escape(job.mutant.mistake)} {escape(job.mutant.how)}</p>"]
        parts += [f"<p>Stands for: {escape('; '.join(items))}.</p>"] if items else []
        parts += [f"<p><code>{escape(job.mutant.path)}</code></p>"]
    if job.caught:
        parts.append(f"<p>Caught in {sum(job.caught)} of {len(job.caught)} runs.</p>")
    failed = [r for r in job.results if r.outcome in ("fail", "error")]
    if job.fails is not None:
        for result in failed:
            message = result.message.split("\nharts")[0]
            parts.append(f"<p><code>{result.test.name}</code></p><pre>{escape(message)}</pre>")
    if not job.caught:
        parts.append(f"<p>{job.points} of {POINTS} points.</p>")
    return f'<h4 id="{_anchor(job)}">{escape(job.title)}</h4>{"".join(parts)}'


def _lab(report: LabReport) -> str:
    number = report.lab.number
    about = "".join(
        _about(job, report.items.get(job.mutant.name, []) if job.mutant else [])
        for job in report.jobs
    )
    return (
        f'<section aria-labelledby="lab{number}"><h2 id="lab{number}">Lab {number}:'
        f" {escape(report.lab.title)}</h2><p>{len(report.found)} of {report.mutants} mutants were"
        f" run.</p>{_LEGEND}{_matrix(report)}{_open(report)}"
        f"<h3>Lab {number}: each solution, and what the tests say of it</h3>{about}</section>"
    )


def _summary(reports: list[LabReport], times: int) -> str:
    heads, rows = summary(reports, times)
    return table("Summary", heads, rows) + f"<p>{escape(KEY)}</p>"


def page(reports: list[LabReport], times: int) -> str:
    bad = wrong(reports)
    total = sum(len(report.jobs) for report in reports)
    links = "".join(
        f'<li><a href="#lab{r.lab.number}">Lab {r.lab.number}: {escape(r.lab.title)}</a></li>'
        for r in reports
    )
    items = "".join(
        f'<li><a href="#{_anchor(job)}">lab {job.lab.number}: {escape(job.title)}</a>:'
        f" {escape(first_line(job.complaint))}</li>"
        for job in bad
    )
    return document(
        "Solutions and graders",
        "<p>Right solutions must score all points, the starter none, and each mutant, a wrong"
        " solution, must fail in exactly the tests that it names.</p>"
        f"<p><strong>{total - len(bad)} of {total} as they must be.</strong></p>"
        f"{f'<ul>{items}</ul>' if items else ''}{_summary(reports, times)}"
        f'<nav aria-label="Labs"><ul>{links}</ul></nav>'
        f"{''.join(map(_lab, reports))}",
        _STYLE,
    )
