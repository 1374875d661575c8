"""The list of single changes that tests must notice ('make mutations') names places that the code has."""

from __future__ import annotations

import mutations
import pytest


@pytest.mark.parametrize("change", mutations.CHANGES, ids=lambda change: f"{change[0]}: {change[2].strip()[:40]}")
def test_every_change_has_its_one_place_and_its_tests(change):
    file, old, new, tests = change
    text = (mutations.ROOT / "PETSuperResLib" / file).read_text(encoding="utf-8")
    assert text.count(old) == 1 and old != new
    assert (mutations.ROOT / "Testing" / tests).is_file()
