"""report.html: an evaluation in one file that opens without the rest: tables, lesion errors, pictures, times."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ...errors import InputError
from ...files import atomic_path
from ...prior import Prior
from ...version import __version__
from ..methods import METHODS
from .figures import lesion_figure, method_panel, seconds_figure
from .labels import counts_in_words, label
from .paper_tables import INTRODUCTION, beside_paper
from .tables import TESTED_CASES, Cell, Group, Table, groups, lesion_table, methods_of, metric_table, size_table

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1a1a1a; max-width: 76rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #bbb; } h3 { margin-top: 1.5rem; }
.use { color: #9a1b1b; font-weight: 600; margin-top: 0; } .note, figcaption { color: #555; font-size: .88em; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88em; margin: .5rem 0 1rem; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e2e2e2; }
th { border-bottom: 2px solid #888; white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } tbody tr:nth-child(even) { background: #f6f6f6; }
.best { font-weight: 700; } .second { text-decoration: underline; }
.text td { white-space: normal; text-align: left; vertical-align: top; } .text th { text-align: left; }
figure { margin: 1rem 0 1.6rem; } img { max-width: 100%; height: auto; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem; }
code { overflow-wrap: anywhere; } nav ol { margin: .3rem 0; }
@page { size: A4; margin: 12mm; }
@media print {
  body { font-size: 9.5pt; max-width: none; margin: 0; padding: 0; } .wide { overflow: visible; }
  table { font-size: 7.4pt; } th, td { padding: .1rem .3rem; }
  figure, tr, .wide { break-inside: avoid; } h2, h3, figcaption, .note, section > p { break-after: avoid; }
  img { max-height: 235mm; }
}
"""

LIMITS = (
    "The scans are simulated: blur, counts, scatter and randoms come from a model, and the reconstructions use "
    "the same blur width. A real scanner differs from its model in ways that no row here shows.",
    "A real reference is a patient's own PET, itself noisy and blurred. No method can restore noise that it has not "
    "seen, and a method that copies the reference's noise texture would score better than one that is right. A sharp "
    "reference has no noise, but its uptake is painted and not a patient's.",
    "PSNR, SSIM and NMSE over the whole field count much air and say little about small lesions; the body columns and "
    "the lesion tables say more. None of them says whether a reader would find or grade a lesion better.",
    "SUVmax errors are relative to the maximum of the reference, which noise raises. Contours come with the data. "
    "Lesions of one patient are not independent, and the lesion tables have no test.",
    "The stars are paired tests against the best of each column, without correction for their number. A missing star "
    "does not mean equal.",
    "What a diffusion prior invents is not measured by means: look at the error maps, and at single patients.",
    "Seconds are of this machine, whatever else ran on it, and without the training of methods that learn.",
)


PANELS = (
    "The axial slice with the highest uptake of the truth; below it the framed part around the lesion (outlined), or "
    "around the hottest point; below that the signed error to the truth, on one scale for all methods. The rms error "
    "is over the whole slice, in SUV."
)


def write_report(
    out: str | Path, metrics: Sequence[dict[str, Any]], lesions: Sequence[dict[str, Any]], prior: Prior
) -> Path:
    """Write ``out/report.html`` with the tables of ``metrics`` and ``lesions`` and every picture inside.

    The slices that ``out/cases/*.npz`` keeps become ``out/figures/*.png`` where these are missing or older; the
    lesion and time figures are written there too. Returns the report's path.
    """
    out = Path(out)
    found = groups(metrics, lesions)
    sections = [
        ("about", "What was run", _about(found, metrics, prior)),
        *((f"tables-{n}", group.title, _group(group)) for n, group in enumerate(found, 1)),
        ("lesions", "Errors of each lesion", _lesions(out, lesions, methods_of(metrics))),
        ("paper", "Beside the paper", _paper(metrics)),
        ("pictures", "Methods side by side", _panels(out, found)),
        ("seconds", "Time", _seconds(out, metrics)),
        ("methods", "What each method follows", _methods(methods_of(metrics))),
        ("limits", "What the numbers do not show", _list(LIMITS)),
    ]
    sections = [section for section in sections if section[2]]
    contents = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title, _ in sections)
    body = "".join(f'<section id="{a}"><h2>{escape(title)}</h2>\n{html}</section>\n' for a, title, html in sections)
    with atomic_path(out / "report.html") as temporary:
        temporary.write_text(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>PETSuperRes evaluation</title><style>{STYLE}</style></head>\n<body>"
            '<h1>PETSuperRes evaluation</h1>\n<p class="use">Research use only. Not for diagnosis.</p>\n'
            f"<nav><ol>{contents}</ol></nav>\n{body}</body></html>\n",
            encoding="utf-8",
        )
    return out / "report.html"


def html_table(table: Table) -> str:
    """A table as HTML, after the lines that introduce it: best bold, second underlined, a star behind the value."""
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in table.heading)
    rows = "".join(
        f"<tr><td>{escape(label(row[0].text))}</td>{''.join(_cell(cell) for cell in row[1:])}</tr>\n"
        for row in table.rows
    )
    lines = "".join(f"<p>{escape(line)}</p>\n" for line in table.lines)
    return f'{lines}<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n'


def _cell(cell: Cell) -> str:
    kind = {1: ' class="best"', 2: ' class="second"'}.get(cell.rank, "")
    text = escape(cell.text.replace("+-", "\N{PLUS-MINUS SIGN}"))
    return f"<td><span{kind}>{text}</span>{'*' if cell.star else ''}</td>"


def _about(found: Sequence[Group], metrics: Sequence[dict[str, Any]], prior: Prior) -> str:
    patients = list(dict.fromkeys(str(r["patient"]) for r in metrics))
    scans = dict.fromkeys(counts_in_words(group.setting, group.counts) for group in found)
    facts = {
        "Date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "Version": f"PETSuperRes {__version__}",
        "Prior": f"SHA-256 {prior.sha256}",
        "Prior trained on": str(prior.info.get("trained_on", "unknown data")),
        "Counts": "; ".join(scans),
        f"Cases ({len(patients)})": ", ".join(patients),
    }
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{items}</dl>\n"


def _methods(names: Sequence[str]) -> str:
    rows = ""
    for name in names:
        method = METHODS.get(name)
        what = "" if method is None else method.description
        sees = "" if method is None else ", ".join(_needs(name))
        texts = (label(name), name, sees, what)
        rows += "<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>\n"
    head = "".join(f'<th scope="col">{title}</th>' for title in ("Method", "Name", "Needs", "Follows"))
    return f'<table class="text"><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>\n'


def _needs(name: str) -> list[str]:
    method = METHODS[name]
    return [text for text, needed in (("CT", method.needs_ct), ("training pairs", method.needs_pairs)) if needed]


def _group(group: Group) -> str:
    count = len(group.patients)
    note = "Mean \N{PLUS-MINUS SIGN} standard deviation over cases. Bold: best; underlined: second; "
    if count < TESTED_CASES:
        note += f"with {count} cases there is no test (it takes {TESTED_CASES})."
    else:
        note += f"*: differs from the best (paired Wilcoxon, p < 0.05; the least possible p is {2 / 2**count:.2g})."
    found = lesion_table(group.lesions)
    lesions = "<p>No lesion contours.</p>\n" if found is None else html_table(found)
    by_size = size_table(group.lesions)
    lesions += "" if by_size is None else html_table(by_size)
    return f'<p class="note">{escape(note)}</p>\n{html_table(metric_table(group.metrics))}<h3>Lesions</h3>\n{lesions}'


def _paper(metrics: Sequence[dict[str, Any]]) -> str:
    tables = beside_paper(metrics)
    parts = "".join(f"<h3>{escape(title)}</h3>\n{html_table(table)}" for title, table in tables)
    return f"<p>{escape(INTRODUCTION)}</p>\n{parts}" if tables else ""


def _lesions(out: Path, lesions: Sequence[dict[str, Any]], order: Sequence[str]) -> str:
    parts = ""
    for reference, counts in dict.fromkeys((r["reference"], r["counts"]) for r in lesions):
        rows = [r for r in lesions if (r["reference"], r["counts"]) == (reference, counts)]
        measured = methods_of(rows)
        path = out / "figures" / f"lesions_{reference}_{counts}.png"
        lesion_figure(path, rows, [name for name in order if name in measured])
        parts += _figure(path, f"Errors of each lesion by method, {reference} references, {counts} counts.")
    return parts


def _panels(out: Path, found: Sequence[Group]) -> str:
    parts, missing = "", []
    for group in found:
        for patient in group.patients:
            name = f"{patient}_{group.reference}_{group.setting}_{group.counts}"
            path = out / "figures" / f"{name}.png"
            if _drawn(out / "cases" / f"{name}.npz", path, methods_of(group.metrics)):
                caption = f"{patient}, {group.reference} reference, setting {group.setting}, {group.counts} counts."
                parts += _figure(path, caption)
            else:
                missing.append(name)
    if parts:
        parts = f'<p class="note">{escape(PANELS)}</p>\n{parts}'
    return parts + (f'<p class="note">No slices were kept of: {escape(", ".join(missing))}.</p>\n' if missing else "")


def _drawn(slices: Path, picture: Path, methods: Sequence[str]) -> bool:
    """Make sure of a picture that is as new as the slices; False if there are neither."""
    if picture.is_file() and (not slices.is_file() or picture.stat().st_mtime >= slices.stat().st_mtime):
        return True
    try:
        with np.load(slices, allow_pickle=False) as kept:
            names = [name for name in ("CT", "truth", *methods) if name in kept.files]
            images, spacing, lesion = {name: kept[name] for name in names}, kept["spacing"], kept["lesion"]
        method_panel(picture, images, tuple(spacing), lesion)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, InputError):
        return False
    return True


def _seconds(out: Path, metrics: Sequence[dict[str, Any]]) -> str:
    if not metrics:
        return ""
    path = seconds_figure(out / "figures" / "seconds.png", metrics)
    return _figure(path, "Mean seconds per case by method, over all references, settings and counts.")


def _figure(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    text = escape(caption)
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>\n"


def _list(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>\n" for text in texts) + "</ul>\n"
