"""CITATION.cff and the issue forms keep to the formats that GitHub reads, and say what the project says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from PETSuperResLib.version import __version__

ROOT = Path(__file__).resolve().parents[2]
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
HAS = {  # what a form's elements may have besides their label and description
    "markdown": {"value"},
    "input": {"placeholder", "value"},
    "textarea": {"placeholder", "value", "render"},
    "dropdown": {"options", "multiple", "default"},
    "checkboxes": {"options"},
}


def test_the_citation_names_this_version_and_the_papers_authors():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software" and cited["message"]
    assert cited["title"] == "PETSuperRes" and cited["version"] == __version__ and cited["license"] == "Apache-2.0"
    assert f'EXTENSION_HOMEPAGE "{cited["repository-code"]}"' in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert all(author.keys() == {"name"} for author in cited["authors"])
    [paper] = cited["references"]
    named = re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8")).partition("## Citation")[2]
    assert paper["type"] == "article" and f"*{paper['title']}*" in named
    initials = [re.sub(r"(\w)[^\s.]*\.?", r"\1.", author["given-names"]) for author in paper["authors"]]
    people = [f"{first} {author['family-names']}" for first, author in zip(initials, paper["authors"], strict=True)]
    assert f"Method: {', '.join(people)}: *" in named
    assert f", {paper['year']}, [" in named and f"(https://doi.org/{paper['doi']})" in named


def test_the_version_is_the_packages():
    assert f'\nversion = "{__version__}"\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.name)
def test_issue_forms_are_as_github_reads_them(form):
    said = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert said.keys() <= {"name", "description", "labels", "body", "title", "assignees"}
    assert said["name"] and said["description"]
    asked = [element for element in said["body"] if element["type"] != "markdown"]
    for name in ("id", "label"):
        values = [element.get(name) or element["attributes"].get(name) for element in asked]
        assert all(values) and len(set(values)) == len(values)
    for element in said["body"]:
        assert element.keys() <= {"type", "id", "attributes", "validations"}
        assert element["attributes"].keys() <= {"label", "description", *HAS[element["type"]]}
        assert element["type"] != "markdown" or element["attributes"]["value"]
        options = element["attributes"].get("options", [])
        words = [option["label"] if isinstance(option, dict) else option for option in options]
        assert len(set(words)) == len(words) and ("options" in HAS[element["type"]]) == bool(words)


@pytest.mark.parametrize("form", ["bug.yml", "suv.yml"])
def test_reports_ask_for_the_version_and_for_no_patient_data(form):
    body = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / form).read_text(encoding="utf-8"))["body"]
    [private] = [element for element in body if element.get("id") == "private"]
    assert all(option["required"] for option in private["attributes"]["options"])
    [version] = [element for element in body if element.get("id") == "version"]
    assert version["validations"]["required"]
