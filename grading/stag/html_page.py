"""The form of the pages that graders write: each is one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --soft: #f3f4f6;
  --line: #c9ced6; --fail: #9a3412; --faint: #57606a; --bad: #b00020; --link: #0b57d0; }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --text: #e6e8eb;
  --soft: #1f2429; --line: #454c55; --fail: #fdba74; --faint: #a5adb8; --bad: #ff8a9a;
  --link: #8ab4f8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; background: var(--back);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
code, td, th { font-family: ui-monospace, monospace; font-size: .8rem; }
table { border-collapse: separate; border-spacing: 0; }
th, td { border-right: 1px solid var(--line); border-bottom: 1px solid var(--line);
  padding: .1rem .4rem; overflow-wrap: normal; }
.sum { overflow: auto; margin: 1rem 0; }
.sum table { border-left: 1px solid var(--line); border-top: 1px solid var(--line); }
.sum th { text-align: left; background: var(--soft); }
.fail { color: var(--fail); font-weight: bold; }
.blocked { color: var(--faint); }
.bad { color: var(--bad); font-weight: bold; }
pre { white-space: pre-wrap; background: var(--soft); padding: .5rem; font-size: .8rem; }
"""


def table(label: str, heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table that scrolls in a box of its own. Of rows the first cell is a heading;
    all but the heads are HTML."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="sum" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def document(title: str, body: str, style: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{body}</main></body></html>\n"
    )
