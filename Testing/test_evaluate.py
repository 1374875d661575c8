"""Evaluation end to end on small generated cases: tables, references, the oracle."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny import table, write_phantom

from PETSuperResLib.errors import InputError
from PETSuperResLib.evaluation import references
from PETSuperResLib.evaluation.evaluate import METRIC_COLUMNS, evaluate
from PETSuperResLib.training.data import find_cases


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    write_phantom(folder / "one")
    (folder / "split.json").write_text(json.dumps({"test": ["one"]}))
    return folder


@pytest.fixture(scope="module")
def tables(data, prior_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "SHARP_TORSOS", 0)
        evaluate(data, out, settings=["standard"], references=["real", "sharp"], prior=prior_file,
                 methods=["lr", "psf-osem", "psf-osem-oracle", "ours-draft"])  # fmt: skip
    return out


def test_every_method_has_a_row_on_every_reference(tables):
    found = table(tables / "metrics.csv")
    assert tuple(found[0]) == METRIC_COLUMNS
    assert {(r["reference"], r["method"]) for r in found} == {
        (reference, method)
        for reference in ("real", "sharp")
        for method in ("lr", "psf-osem", "psf-osem-oracle", "ours-draft")
    }
    assert all(np.isfinite(float(r["psnr"])) for r in found)


def test_the_oracle_is_at_least_as_good_as_a_fixed_iteration(tables):
    found = {(r["reference"], r["method"]): float(r["psnr"]) for r in table(tables / "metrics.csv")}
    for reference in ("real", "sharp"):
        assert found[reference, "psf-osem-oracle"] >= found[reference, "psf-osem"]


def test_lesions_of_both_references_are_measured(tables):
    found = table(tables / "lesions.csv")
    assert {r["reference"] for r in found} == {"real", "sharp"}
    assert all(float(r["suvmax"]) > 0 for r in found)


def test_the_summary_keeps_references_apart_and_says_what_it_is_for(tables):
    text = (tables / "summary.md").read_text(encoding="utf-8")
    assert "## Real references, setting standard" in text and "## Sharp references, setting standard" in text
    assert "Research use only" in text


def test_a_sharp_reference_is_the_same_every_time_and_on_2_mm(data):
    cases = find_cases(data)
    one, again = (references.subjects(cases, "sharp")[0].load()[0] for _ in range(2))
    assert np.array_equal(one.array, again.array) and one.spacing[:2] == (2.0, 2.0)


def test_an_unknown_reference_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="real, sharp"):
        evaluate(data, tmp_path, references=["smooth"])
