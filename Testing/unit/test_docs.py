"""The documentation's links lead somewhere, and the files and functions that it names exist."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from geometry import ROOT

from PETSuperResLib.cli import cli

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]


def anchors(text: str) -> set[str]:
    """GitHub's anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_a_file_and_a_heading(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_files_that_a_page_names_exist(page):
    rooms = (ROOT, ROOT / "PETSuperResLib", page.parent)
    named = r"[\w/.-]+/[\w.-]+\.py\b|\b(?:PETSuperRes|PETSuperResLib|Testing|physics|prior|sampling)/[\w./-]*\w"
    for path in re.findall(named, page.read_text(encoding="utf-8")):
        assert any((room / path).exists() for room in rooms), path


def test_every_equation_is_where_the_method_says():
    rows = re.findall(r"^\| (\(.*?)\|.*\| (.*) \|$", (ROOT / "docs/method.md").read_text(), re.MULTILINE)
    assert {n for numbers, _ in rows for n in re.findall(r"\d", numbers)} == set("123456789")
    for numbers, where in rows:
        for file, names in re.findall(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, | \([^)]*\), )?)+)", where):
            text = (ROOT / "PETSuperResLib" / file).read_text(encoding="utf-8")
            for name in re.findall(r"`[\w.]*?(\w+)`", names):
                assert re.search(rf"^\s*(?:def|class) {name}\b", text, re.MULTILINE), f"{numbers}: {file} has no {name}"


def shell_commands(text: str) -> list[list[str]]:
    """The words of every whole ``petsuperres`` command in a page's shell blocks, up to a pipe or a redirection."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(block for language, block in blocks if language in ("", "bash")).replace("\\\n", " ")
    found = re.findall(r"^petsuperres (.*?)(?:\s[|<>&].*)?$", lines, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found if "..." not in line]


def of_words(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command or subcommand that the first words name, and those after them."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_that_a_page_shows_are_taken(page):
    """Subcommand, options and their values; nothing is run."""
    text = page.read_text(encoding="utf-8")
    for words in shell_commands(text):
        command, left = of_words(words)
        command.make_context("petsuperres", left)
    for line in re.findall(r"`petsuperres ([a-z][^`]*)`", text):
        command, left = of_words(line.split())
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        assert {word for word in left if word.startswith("--")} <= known, line
