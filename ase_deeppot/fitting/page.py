"""Pieces of a web page that is one file and needs no network."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from ase_deeppot.fitting.plots import picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
       color: #1f2933; background: #f5f6f8; margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 8px 0 0; } h2 { font-size: 18px; margin: 0 0 12px; }
.subtitle { color: #616e7c; margin: 0 0 20px; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid #e4e7eb; border-radius: 10px; padding: 18px 22px; margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 12px; margin: 0 0 18px; }
.card { background: #fff; border: 1px solid #e4e7eb; border-radius: 10px; padding: 12px; }
.card b { display: block; font-size: 18px; white-space: nowrap; } .card span { color: #616e7c; font-size: 13px; }
.warnings { border-left: 5px solid #d9822b; } .warnings li { overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #eef0f3; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
th { color: #616e7c; font-weight: 600; font-size: 13px; }
pre { background: #f5f6f8; padding: 12px; border-radius: 6px; white-space: pre-wrap; font-size: 13px;
      line-height: 1.45; }
.worst { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 16px; }
figure { margin: 0; } figcaption { font-size: 13px; color: #3e4c59; overflow-wrap: anywhere; }
.note { color: #616e7c; font-size: 13px; } summary { cursor: pointer; font-weight: 600; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def page(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """A whole page."""
    return ("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
            f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main><h1>{escape(title)}</h1>"
            f"<p class=\"subtitle\">{escape(subtitle)}</p>\n" + "\n".join(parts) + "\n</main></body></html>\n")


def section(title: str, *parts: str, kind: str = "") -> str:
    """A box with a heading."""
    return f"<section class=\"{kind}\"><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def cards(entries: Sequence[tuple[str, str]]) -> str:
    """Numbers that matter most, each with what it is."""
    boxes = (f"<div class=\"card\"><b>{escape(value)}</b><span>{escape(name)}</span></div>" for value, name in entries)
    return f"<div class=\"cards\">{''.join(boxes)}</div>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def image(drawing: "Figure", text: str) -> str:
    """A picture inside the page."""
    data = base64.b64encode(picture(drawing)).decode()
    return f"<img alt=\"{escape(text)}\" src=\"data:image/png;base64,{data}\">"


def figure_with(drawing: "Figure", text: str) -> str:
    """A picture and what it shows."""
    return f"<figure>{image(drawing, text)}<figcaption>{escape(text)}</figcaption></figure>"


def plain(text: str) -> str:
    """Text as a terminal shows it."""
    return f"<pre>{escape(text)}</pre>"


def note(text: str) -> str:
    """A small remark."""
    return f"<p class=\"note\">{escape(text)}</p>"


def items(texts: Iterable[str]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def folded(title: str, content: str) -> str:
    """What opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
