"""Shared parts of the subcommands: options, the progress bar, variadic options, tables."""

from __future__ import annotations

import math
import re
import shlex
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from ..progress import Event

slices_option = click.option(
    "--slices", type=click.IntRange(2), help="Only so many of each, about the hottest one in the lesions."
)

limit_option = click.option("--limit", type=click.IntRange(1), help="Only the first so many patients.")
protocols_option = click.option(
    *("--protocol", "protocols"),
    multiple=True,
    metavar="NAME...",
    help="Clinical protocols (or JSON files) in place of the settings.",
)
LEVELS = {
    "setting": ("standard", "ood"),
    "counts": ("realistic", "high"),
    "reference": ("real", "sharp", "cts"),
    "input": ("sinogram", "image"),
    "told": ("header", "truth"),
}
HELPERS = {  # by option, the command that helps to choose a value
    "scanner": "'petsuperres presets' lists the names, --fwhm states the FWHM",
    "setting": "'petsuperres presets' lists the names",
    "measurement": "'petsuperres simulate' makes one",
    "prior": "'petsuperres train' makes one",
    "split": "'petsuperres manifest' makes one",
}
EVERY_S = 10.0  # between two lines of progress where there is no terminal
MTV = 2.5  # SUV from which MTV and TLG count, unless another threshold is given


def level_option(name: str, *default: str, many: bool = False, help: str | None = None) -> Callable[[Any], Any]:
    """An option of :data:`LEVELS`, such as ``--setting``; ``many``: several of them, in a parameter of plural name."""
    return click.option(
        *(f"--{name}", f"{name.rstrip('s')}s" if many else name),
        multiple=many,
        default=default if many else default[0],
        show_default=True,
        type=click.Choice(LEVELS[name]),
        help=help,
    )


def request_options(*names: str, shared: bool = False) -> Callable[[Any], Any]:
    """The fields of a :class:`~PETSuperResLib.request.Request` as options, with their help, limits and defaults:
    ``post_filter`` is ``--post-filter``. ``names``: these alone; ``shared``: those that may hold for many
    cases."""
    from dataclasses import MISSING, fields

    from ..request import Request

    made = []
    for field in fields(Request):
        about, needed = field.metadata["option"], field.default is MISSING
        if (shared and not about.shared) or (names and field.name not in names):
            continue
        kind: Any = None
        if about.choices:
            kind = click.Choice(about.choices)
        elif about.form in ("whole", "number"):
            kind = _number(field.name, about)
        elif about.form == "threshold":
            kind = str
        default: dict[str, Any] = {} if needed or field.default is None else {"default": field.default}
        if about.form == "flag":
            default = {"default": field.default}  # None: neither way was given
        flag = field.name.replace("_", "-")
        made.append(
            click.option(
                f"--{flag}/--no-{flag}" if about.form == "flag" else f"--{flag}",
                type=kind,
                required=needed,
                show_default=about.default_text or bool(default),
                metavar=about.metavar,
                help=about.help,
                **default,
            )
        )

    def add(command: Any) -> Any:
        for one in reversed(made):
            command = one(command)
        return command

    return add


class Decimal(click.types.FloatParamType):
    """A number with a decimal point, whose limits are known elsewhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        return decimal(value, param, ctx)


class Number(click.FloatRange):
    """A number with a decimal point, within limits and in a ``unit`` that messages name; ``above``: the lower limit
    itself is not allowed."""

    def __init__(self, low: float | None = None, high: float | None = None, unit: str = "", above: bool = False):
        super().__init__(low, high, min_open=above)
        self.unit = unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = decimal(value, param, ctx)
        try:
            return super().convert(number, param, ctx)
        except click.BadParameter:
            unit = f" {self.unit}" if self.unit else ""
            low, high = self.min or 0, math.inf if self.max is None else self.max
            if self.min_open:
                self.fail(f"{number:g}{unit} is not above {low:g} and at most {high:g}{unit}.", param, ctx)
            limits = f"{low:g}{unit} or more" if math.isinf(high) else f"{low:g} to {high:g}{unit}"
            self.fail(f"{number:g}{unit} is not within {limits}.", param, ctx)


def decimal(value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
    """A number as click reads it; one with a comma is told of the decimal point.

    A comma before three digits may separate thousands: both numbers that may be meant are told.
    """
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"[+-]?\d*,\d+", text):
        thousands = f", or {text.replace(',', '')}" if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text) else ""
        told = f"'{value}' is no number: write {text.replace(',', '.')}, with a decimal point{thousands}."
        raise click.BadParameter(told, ctx, param)
    number: float = click.FLOAT.convert(value, param, ctx)
    return number


def _number(name: str, about: Any) -> Any:
    """A number within its option's limits, which the help shows; beyond them it is refused as everywhere else."""
    from ..request import check_number

    base: Any = click.IntRange if about.form == "whole" else click.FloatRange

    class Limited(base):  # type: ignore[misc]
        def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
            number = click.INT.convert(value, param, ctx) if about.form == "whole" else decimal(value, param, ctx)
            check_number(name, number, about)
            return number

    low, high = (None if math.isinf(limit) else limit for limit in (about.low, about.high))
    return Limited(low, high, min_open=about.above)


class Bar:
    """A progress callback with stage, share done and time left: a bar on a terminal, elsewhere a line every 10 s.

    The lines come from a thread, also while a long step reports nothing. Warnings of events are printed as they come;
    ``told`` has them.
    """

    def __init__(self, stage: str = "starting") -> None:
        self.bar: Any = None
        self.last, self.since = Event(stage, 0.0), time.monotonic()
        self.over, self.told = threading.Event(), list[str]()

    def __enter__(self) -> Bar:
        if sys.stderr.isatty():
            from tqdm import tqdm

            form = "{desc:<24} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
            self.bar = tqdm(total=100, desc=self.last.stage, bar_format=form, file=sys.stderr, leave=False)
        else:
            threading.Thread(target=self._lines, daemon=True).start()
        return self

    def __call__(self, event: Event) -> None:
        self.last, self.since = replace(event, preview=None), time.monotonic()
        for warning in event.warnings:
            self.echo(f"Note: {warning}")
            self.told.append(warning)
        if self.bar is None:
            return
        self.bar.set_description(_step(event), refresh=False)
        if event.remaining_s is not None:
            self.bar.set_postfix_str(f"{in_time(event.remaining_s)} left", refresh=False)
        self.bar.n = 100 * min(1.0, max(0.0, event.fraction))
        self.bar.refresh()

    def _lines(self) -> None:
        while not self.over.wait(EVERY_S):
            event, left = self.last, ""
            seconds = (event.remaining_s or 0.0) - (time.monotonic() - self.since)
            if seconds > 0:  # else the step takes longer than was expected
                left = f", {in_time(seconds)} left"
            click.echo(f"{100 * event.fraction:5.1f} %  {_step(event)}{left}", err=True)

    def echo(self, text: str) -> None:
        """Print lines on standard output, above the bar where there is one."""
        if self.bar is None:
            click.echo(text)
            return
        with self.bar.external_write_mode():
            click.echo(text)

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.bar is not None:
            self.bar.close()


def _step(event: Event) -> str:
    return ", ".join(dict.fromkeys(part for part in (event.stage, event.message) if part))


def in_time(seconds: float) -> str:
    """A duration in words with two digits or more: 40 s, 12 min, 3 h 05 min."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


class VariadicCommand(click.Command):
    """A command whose repeatable options also take several values at once: ``--setting standard ood``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        repeatable = {o for p in self.params if getattr(p, "multiple", False) for o in p.opts}
        expanded: list[str] = []
        current, values = "", 0
        for word in args:
            if word.startswith("-"):
                current, values = (word if word in repeatable else ""), 0
                expanded.append(word)
                continue
            if current and values:
                expanded.append(current)
            values += 1
            expanded.append(word)
        return super().parse_args(ctx, expanded)


def check_values(command: click.Command, words: Sequence[str]) -> None:
    """Raise :class:`click.UsageError` for an option of a command or its subcommands whose value is missing.

    click takes the next word for the value, also where it is another option. A value may begin with ``-``, as a
    negative number does; one that is an option's name, or begins with ``--``, has to be given as ``--option=value``.
    """
    context = click.Context(command, info_name=command.name, **command.context_settings)
    own, left = _options(context), list(words)
    while left and left[0] != "--":
        word = left.pop(0)
        if isinstance(context.command, click.Group) and word in context.command.commands:
            context = click.Context(context.command.commands[word], context, word)
            own = _options(context)
        elif word in own and not (own[word].is_flag or own[word].count):
            if not left or left[0].startswith("--") or left[0] in {*own, *context.help_option_names}:
                raise click.UsageError(f"{word} needs a value.", context)
            left.pop(0)


def _options(context: click.Context) -> dict[str, click.Option]:
    """The options of a context's command, by each of their names."""
    options = [one for one in context.command.get_params(context) if isinstance(one, click.Option)]
    return {name: one for one in options for name in (*one.opts, *one.secondary_opts)}


def instead(before: object) -> str:
    """The end of the sentence that says what was written, where an earlier result was there ``before``."""
    return ", in place of an earlier result" if before else ""


def with_option(message: str, option: str, command: click.Command, helper: str = "") -> str:
    """A message of the library, with how a command takes the option that cures it, and the ``helper`` or that of
    :data:`HELPERS`; as it is where there is neither."""
    how = "; ".join(part for part in (flag(command, option), helper or HELPERS.get(option, "")) if part)
    return f"{message.removesuffix('.')} ({how})." if how else message


def flag(command: click.Command, option: str) -> str:
    """How a command calls an option; empty where it has none."""
    return next((one.opts[0] for one in command.params if one.name == option), "")


def command_line() -> str:
    """The running command with the options that were given, for a document: the option's name stands for a path."""
    context = click.get_current_context()
    words: list[str] = []
    for option in context.command.params:
        name = option.name or ""
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value = name.upper() if option.metavar in ("DIR", "FILE") else context.params[name]
        values = value if isinstance(value, tuple) else () if isinstance(value, bool) else (value,)
        words += [option.secondary_opts[0] if value is False else option.opts[0], *map(str, values)]
    return f"{context.command_path} {shlex.join(words)}".rstrip()


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """Rows as aligned text; ``columns`` maps keys to headings, numbers with three significant digits or more."""
    from ..files import aligned

    return "\n".join(aligned([list(columns.values()), *([_cell(row.get(key)) for key in columns] for row in rows)]))


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def lesion_headings(threshold: float | str = MTV) -> dict[str, str]:
    """Headings of a lesion table, with the threshold from which MTV and TLG count."""
    from ..lesions.measures import MEASURES

    text = str(threshold).replace(" ", "")
    edge = f">= {text} of max" if text.endswith("%") else f">= {text}"
    headings = {"lesion": "lesion"}
    for name, measure in MEASURES.items():
        unit = f" {measure.unit}" if measure.unit == "mL" else ""
        headings[name] = measure.title + unit + (f" ({edge})" if measure.thresholded else "")
    return headings


def change_table(changes: Sequence[Mapping[str, Any]], threshold: float | str = MTV) -> str:
    """PET and result of every lesion, from :func:`PETSuperResLib.lesions.tables.wide_rows`."""
    headings = lesion_headings(threshold)
    rows = [
        {"lesion": c["lesion"]} | {m: f"{c['pet_' + m]:.2f} -> {c['sr_' + m]:.2f}" for m in headings if m != "lesion"}
        for c in changes
    ]
    return table(rows, headings)


def recovered_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was recovered of every lesion, with intervals, evidence and doubts; below it the doubts of several."""
    from ..lesions.measures import MEASURES
    from ..lesions.tables import sentences

    told = ["suvmean", "suvpeak", *(["suvmax"] if any(row["suvmax_recovered"] for row in rows) else [])]
    headings = {"lesion": "lesion", **{name: f"{MEASURES[name].title} recovered (90 %)" for name in told}}
    headings |= {"evidence": "evidence", "doubts": "not to be trusted"}
    having: dict[str, list[str]] = {}  # a doubt: the lesions that have it
    for row in rows:
        for doubt in sentences(row["doubts"]):
            having.setdefault(doubt, []).append(str(row["lesion"]))
    several = {doubt: names for doubt, names in having.items() if len(names) > 1}
    lines = []
    for row in rows:
        line = {"lesion": row["lesion"], "evidence": _evidence(row["evidence_sigma"])}
        doubts = sentences(row["doubts"])
        own = [doubt for doubt in doubts if doubt not in several]
        lines.append(
            line
            | {name: _with_interval(row, name) for name in told}
            | {"doubts": " ".join(own or doubts and ["see below"])}
        )
    if several and {line["doubts"] for line in lines} <= {"", "see below"}:
        headings.pop("doubts")
    below = [f"{'All lesions' if len(n) == len(rows) else ', '.join(n)}: {doubt}" for doubt, n in several.items()]
    return "\n".join([table(lines, headings), *below])


def _evidence(sigma: float | None) -> str:
    if sigma is None:
        return ""
    return f"{sigma:.1f} sigma" if abs(sigma) < 10 else f"{sigma:.0f} sigma"


def _with_interval(row: Mapping[str, Any], measure: str) -> str:
    value, low, high = (row[f"{measure}_{part}"] for part in ("recovered", "low", "high"))
    if value is None:
        return ""
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
