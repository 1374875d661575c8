"""The subcommand that compares visits over time: compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .common import MTV, Bar, Number, VariadicCommand, instead, table, with_option

if TYPE_CHECKING:
    from ..followup.compare import FollowUp

RECOVERED = "suvpeak_recovered"  # which depends little on how a lesion is drawn
SHOWN = ("sulpeak", "suvpeak", "suvmax", "mtv_ml", "tlg", RECOVERED)


def _each(name: str, help: str, kind: Any = str, metavar: str = "FILE...", required: bool = False) -> Any:
    """An option with a value for each study, in the order of time."""
    parameter = name.replace("-", "_")
    return click.option(
        *(f"--{name}", parameter), multiple=True, type=kind, metavar=metavar, required=required, help=help
    )


@click.command(cls=VariadicCommand, short_help="Lesions of two or more studies of a patient over time.")
@_each("pet", "PETs in SUVbw, in the order of time; files or DICOM folders.", required=True)
@_each("ct", "The CT of each, by which the studies are registered; without CTs they are taken as aligned.")
@_each("segmentation", "The lesions of each: label map, .seg.nrrd, DICOM SEG or RTSTRUCT.", required=True)
@_each("results", "Folders that 'reconstruct' wrote of each, to compare the super-resolved PETs too.", str, "DIR...")
@_each("name", "What each study is called.  [default: study 1, study 2, ...]", str, "TEXT...")
@_each("weight", "Body weight at each, or one for all; default: the header's.", Number(1, 500, "kg"), "KG...")
@click.option("--height", type=Number(30, 250, "cm"), metavar="CM", help="Body height; default: the header's.")
@click.option("--sex", type=click.Choice(("M", "F", "O")), help="For lean body mass; default: the header's.")
@click.option("--aligned", is_flag=True, help="The studies lie in one space: do not register the CTs.")
@_each("liver", "Centre of the liver reference in LPS mm, of each or of the first; default: placed.", str, "X,Y,Z...")
@_each("blood", "Centre of the blood pool reference, likewise; default: placed.", str, "X,Y,Z...")
@click.option("--pairs", metavar="FILE", help="pairs.csv of an earlier comparison with its column 'lesion' edited.")
@click.option(
    "--distance", type=Number(0, unit="mm"), default=15.0, show_default=True, help="mm within which two may be one."
)
@click.option("--threshold", default=f"{MTV:g}", show_default=True, help="For MTV and TLG, as of 'lesions'.")
@click.option("--out", required=True, metavar="DIR", help="Where followup.csv, pairs.csv and report.json go.")
def compare(
    pet: Sequence[str],
    ct: Sequence[str],
    segmentation: Sequence[str],
    results: Sequence[str],
    name: Sequence[str],
    weight: Sequence[float],
    height: float | None,
    sex: str | None,
    aligned: bool,
    liver: Sequence[str],
    blood: Sequence[str],
    pairs: str | None,
    distance: float,
    threshold: str,
    out: str,
) -> None:
    """Pair the lesions of two or more studies of a patient, and compare their uptake over time."""
    from ..followup.body import Body
    from ..followup.compare import compare as run
    from ..followup.files import check_followup, write_followup
    from ..followup.visit import Visit
    from ..results import state

    count = len(pet)
    given = {"ct": ct, "segmentation": segmentation, "results": results, "name": name, "weight": weight}
    values = {option: _for_each(option, found, count) for option, found in given.items()}
    folder = check_followup(out, pairs, [*pet, *ct, *segmentation, *results, pairs])
    before = state(folder)
    visits = []
    for n in range(count):
        called = values["name"][n] or f"study {n + 1}"
        body = Body(values["weight"][n], height, sex)
        anatomy, drawn, result = (values[option][n] for option in ("ct", "segmentation", "results"))
        visit = Visit.read(called, pet[n], anatomy, drawn, result, body)
        for note in visit.notes:
            click.echo(f"Note: {called}: {note}")
        visits.append(visit)
    regions = {"liver": liver, "blood": blood}
    stated = {name: [_point(name, text) for text in texts] for name, texts in regions.items() if texts}
    with Bar() as bar:
        done = run(visits, pairs, aligned, distance, threshold, stated, bar)
    command = click.get_current_context().command
    for warning in done.warnings:
        click.echo(f"Note: {with_option(warning, getattr(warning, 'option', ''), command)}")
    click.echo(_changes(done))
    click.echo(_classes(done))
    saved = ", ".join(write_followup(done, folder, pairs, before))
    click.echo(f"Wrote {saved} to {folder}{instead(before)}.")


def _for_each(option: str, found: Sequence[Any], count: int) -> Sequence[Any]:
    """The values of an option for each study: as many as there are studies, or none; one weight is for all."""
    from ..errors import InputError

    if not found:
        return [None] * count
    if option == "weight" and len(found) == 1:
        return [*found] * count
    if len(found) != count:
        raise InputError(f"Give one --{option} for each PET: {count}, not {len(found)}.")
    return found


def _point(name: str, text: str) -> tuple[float, float, float]:
    from ..errors import InputError

    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"'{text}' is no point x,y,z in LPS mm.", name) from error
    return x, y, z


def _classes(done: FollowUp) -> str:
    """The reference regions, PERCIST and Deauville classes of all visits as text."""
    rows: list[dict[str, Any]] = []
    for number, (visit, uptake, score) in enumerate(zip(done.visits, done.uptake, done.scores, strict=True), 1):
        means = {name: f"{figures['mean']:.2f} +- {figures['sd']:.2f}" for name, figures in uptake.items()}
        row = {"study": visit.name, **means, "deauville": score}
        if number > 1:
            found = done.responses[number - 2]
            hottest = "" if found.hottest_percent is None else f" ({found.hottest_percent:+.0f} %)"
            row |= {"percist": f"{found.percist or '-'}{hottest}", "unit": found.unit}
        rows.append(row)
    headings = {"study": "study", "liver": "liver SUV", "blood": "blood pool SUV", "deauville": "Deauville"}
    headings |= {"percist": "PERCIST (hottest)", "unit": "by"}
    reasons = [f"{done.visits[r.visit - 1].name}: {why}" for r in done.responses for why in r.why]
    return "\n".join(["", table(rows, headings), *reasons, ""])


def _changes(done: FollowUp) -> str:
    """The lesions of all visits as text: a measure's value, its change in per cent, and * where that is real."""
    from ..followup.change import FOLLOWED, STILL_HOT

    known = [m for m in SHOWN if any(row.get(m) is not None for row in done.rows)]
    shown = [m for m in known if m != "suvpeak" or "sulpeak" not in known]
    headings = {"lesion": "lesion", "visit_name": "study", "image": "image", "status": "status"}
    if all(row["image"] == "pet" for row in done.rows):
        headings.pop("image")
    headings |= {m: FOLLOWED[m].title + (" mL" if FOLLOWED[m].unit == "mL" else "") for m in shown}
    if RECOVERED in shown:
        headings[RECOVERED] += " recovered"
    states = (f"{row['status']}, {STILL_HOT}" if row["still_hot"] else row["status"] for row in done.rows)
    lines = [
        {**row, "status": status, **{m: _cell(row, m) for m in shown}}
        for row, status in zip(done.rows, states, strict=True)
    ]
    notes = []
    if {"sulpeak", RECOVERED} <= set(shown):
        notes.append("SULpeak is by lean body mass, SUVpeak recovered by body weight: they are not to be compared")
    if any("*" in str(line[m]) for line in lines for m in shown):
        notes.append("* larger than its uncertainty: of repeated scans (95 %), of what was recovered its own (90 %)")
    return "\n".join([table(lines, headings), *notes])


def _cell(row: Mapping[str, Any], measure: str) -> str:
    from ..followup.change import is_real

    value, percent = row.get(measure), row.get(f"{measure}_change_percent")
    if value is None:
        return "-"
    mark = "*" if is_real(row, measure) else ""
    low, high = (row.get(f"{measure}_change_{end}") if measure == RECOVERED else None for end in ("low", "high"))
    ends = "" if low is None or high is None else f", {low:+.0f} to {high:+.0f}"
    return f"{value:.2f}" + ("" if percent is None else f" ({percent:+.0f} %{mark}{ends})")
