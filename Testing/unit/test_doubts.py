"""What of a lesion's figures is not to be trusted, in words."""

from __future__ import annotations

import pytest

from PETSuperResLib.lesions.doubts import doubts_of, with_doubts
from PETSuperResLib.lesions.measures import INTERVALS, RECOVERED, Lesion

SURE = {
    "label": 1,
    "name": "A",
    "voxels": 100,
    "suvmax": 9.0,
    "suvmean": 6.0,
    "suvpeak": 7.0,
    "mtv_ml": 2.0,
    "tlg": 12.0,
}
SURE |= {"volume_ml": 2.0, "evidence_sigma": 12.0, "suvmean_recovered": 6.2, "suvmean_low": 5.0, "suvmean_high": 7.0}
SURE |= {"suvmax_recovered": 9.0, "suvmax_low": 8.0, "suvmax_high": 11.0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"evidence_sigma": 2.1}, "Not supported by the data (2.1 sigma)."),
        ({"volume_ml": 0.2}, "Smaller than the resolution (7.3 of 8.0 mm): SUVmax is lost."),
        ({"suvmean": 4.0}, "SR's SUVmean outside the interval."),
        ({"interval_note": "No interval: too small."}, "No interval: too small."),
    ],
)
def test_a_doubt_is_told_in_a_sentence(changes, words):
    lesion = with_doubts(Lesion(**SURE | changes), 8.0)
    assert lesion.doubts == words
    assert (lesion.suvmax_recovered is None) == (lesion.volume_ml == 0.2) and lesion.suvmean_recovered == 6.2


def test_of_a_lesion_colder_than_its_surroundings_nothing_is_recovered():
    cold = with_doubts(Lesion(**SURE | {"evidence_sigma": -3.1}), 8.0)
    assert cold.doubts == "Colder than its surroundings (-3.1 sigma): hot lesions alone are recovered."
    assert [getattr(cold, name) for name in (*RECOVERED, *INTERVALS)] == [None] * len((*RECOVERED, *INTERVALS))
    assert cold.suvmean == 6.0
    unsure = with_doubts(Lesion(**SURE | {"evidence_sigma": -2.9}), 8.0)
    assert unsure.doubts == "Not supported by the data (-2.9 sigma)." and unsure.suvmean_recovered == 6.2


def test_the_gravest_doubt_comes_first():
    told = doubts_of(Lesion(**SURE | {"evidence_sigma": 1.0, "volume_ml": 0.1, "suvmean": 1.0}), 8.0)
    assert [text.split()[0] for text in told] == ["Not", "Smaller", "SR's"]
