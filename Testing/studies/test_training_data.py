"""Training data: divided by patient, kept on disk, and patches that respect the image."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from study_factory import body, write_case, write_study

from PETSuperResLib.cli import run
from PETSuperResLib.cohort.cases import find_cases
from PETSuperResLib.cohort.manifest import divide, read_split, split_cases, write_manifest
from PETSuperResLib.errors import Cancelled, InputError, UnitsError
from PETSuperResLib.progress import Reporter
from PETSuperResLib.studies.training import data as patches
from PETSuperResLib.studies.training import sources
from PETSuperResLib.studies.training.config import TrainingConfig
from PETSuperResLib.studies.training.data import SliceBatches
from PETSuperResLib.studies.training.sources import training_slices

QUIET = Reporter(None)
CONFIG = TrainingConfig(size=32, pixel_mm=4.0, paintings=2, phantom_slices=3, phantom_share=0.3, painted_share=0.3)


# -- manifest -------------------------------------------------------------------------------------------
def test_no_patient_is_in_two_parts_and_shares_are_80_10_10():
    random = np.random.default_rng(0)
    patients = {f"case{n}": f"patient{random.integers(120)}" for n in range(400)}
    parts = divide(patients, 0)
    of: dict[str, set[str]] = {}
    for name, patient in patients.items():
        of.setdefault(patient, set()).add(parts[name])
    assert all(len(found) == 1 for found in of.values())
    shares = {part: sum(found == {part} for found in of.values()) / len(of) for part in ("validation", "test")}
    assert all(share == pytest.approx(0.1, abs=0.5 / len(of)) for share in shares.values())
    assert divide(patients, 0) == parts and divide(patients, 1) != parts


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_few_patients_are_divided_only_where_every_part_gets_one(number):
    parts = divide({f"c{n}": f"p{n}" for n in range(number)}, 0)
    assert set(parts.values()) == ({"train"} if number < 3 else {"train", "validation", "test"})


def test_a_grown_cohort_moves_few_patients():
    before = divide({f"c{n}": f"p{n}" for n in range(200)}, 0)
    after = divide({f"c{n}": f"p{n}" for n in range(210)}, 0)
    assert sum(before[name] != after[name] for name in before) < 10


def test_a_manifest_serves_as_split(tmp_path, capsys):
    for n in range(5):
        write_case(tmp_path / "data" / f"P{n}" / "one", n)
        write_case(tmp_path / "data" / f"P{n}" / "two", 10 + n)
    out = tmp_path / "m.json"
    assert run(["manifest", "--data", str(tmp_path / "data"), "--seed", "3", "--out", str(out)]) == 0
    assert "6 cases of 3 patients" in capsys.readouterr().out
    for part, number in (("train", 6), ("validation", 2), ("test", 2)):
        names = read_split(tmp_path / "data", part, out)
        assert len(names) == number and len({name[:2] for name in names}) == number / 2
        assert split_cases(tmp_path / "data", part, out) == find_cases(tmp_path / "data", names)
    row = json.loads(out.read_text())["cases"]["P0/one"]
    assert row["pet"] == "P0/one/PET_SUV.nii.gz" and row["kind"] == "nifti" and row["patient"] == "P0"
    _, described = training_slices(tmp_path / "data", out, replace(CONFIG, phantom_share=0.0), QUIET)
    assert described == "24 slices of 6 studies of 3 patients in data and 48 slices painted into their CTs"


def test_a_dicom_manifest_names_no_patient_and_needs_no_search(tmp_path, monkeypatch):
    for n in range(3):
        write_study(tmp_path / "data" / f"case{n}", f"SECRET-{n}")
    out = tmp_path / "m.json"
    write_manifest(tmp_path / "data", out)
    assert "SECRET" not in out.read_text()
    expected = find_cases(tmp_path / "data", read_split(tmp_path / "data", "train", out))
    monkeypatch.setattr("PETSuperResLib.cohort.dicom_studies.list_series", None)
    cases = split_cases(tmp_path / "data", "train", out)
    assert cases == expected and cases[0].pet().unit == "SUVbw"


def test_cases_that_cannot_serve_are_skipped_with_the_reason(tmp_path):
    write_case(tmp_path / "good")
    pet, ct = body(shape=(12, 24, 24))
    wrong = {
        "becquerel": (pet.with_array(pet.array * 5000), ct),
        "kilobecquerel": (pet.with_array(pet.array * 40), ct),
        "ct_as_pet": (ct, ct),
        "elsewhere": (pet, replace(ct, origin=(300.0, 0.0, 0.0))),
        "half": (pet, ct.crop((0, 0, 0), (24, 24, 6))),
        "offset": (pet, ct.with_array(ct.array + 1024)),
        "empty": (pet.with_array(np.zeros(pet.shape)), ct),
    }
    for name, (own_pet, own_ct) in wrong.items():
        own_pet.write(tmp_path / name / "PET_SUV.nii.gz")
        own_ct.write(tmp_path / name / "CT_HU.nii.gz")
    damaged = write_case(tmp_path / "damaged") / "CT_HU.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-300])
    content = write_manifest(tmp_path, tmp_path / "m.json")
    assert list(content["cases"]) == content["train"] == ["good"]
    told = {"becquerel": "Bq/mL", "kilobecquerel": "no SUV", "ct_as_pet": "looks like a CT", "elsewhere": "covers 0 %",
            "half": "covers", "offset": "not in HU", "empty": "empty", "damaged": "damaged"}  # fmt: skip
    assert content["skipped"].keys() == told.keys()
    assert all(text in content["skipped"][name] for name, text in told.items()), content["skipped"]


def test_nothing_usable_is_refused_with_the_first_reason(tmp_path):
    pet, ct = body()
    pet.with_array(pet.array * 5000).write(tmp_path / "a" / "PET_SUV.nii.gz")
    ct.write(tmp_path / "a" / "CT_HU.nii.gz")
    with pytest.raises(InputError, match="Bq/mL"):
        write_manifest(tmp_path, tmp_path / "m.json")
    assert not (tmp_path / "m.json").exists()


def test_an_existing_split_is_kept_and_cases_it_does_not_name_are_skipped(tmp_path):
    for name in ("a", "b", "c", "P/one", "P/two"):
        write_case(tmp_path / name)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["b"], "test": ["a", "P"]}))
    content = write_manifest(tmp_path, tmp_path / "m.json")
    assert (content["train"], content["validation"], content["test"]) == (["b"], [], ["P/one", "P/two", "a"])
    assert "does not name" in content["skipped"]["c"]
    kept = write_manifest(tmp_path, tmp_path / "n.json", split=tmp_path / "m.json")
    assert kept["test"] == content["test"] and kept["train"] == content["train"]


def test_a_split_that_parts_a_patient_is_refused_unless_the_pattern_tells_them_apart(tmp_path):
    for name in ("site/one", "site/two"):
        write_case(tmp_path / name)
    split = tmp_path / "s.json"
    split.write_text(json.dumps({"train": ["site/one"], "test": ["site/two"]}))
    with pytest.raises(InputError, match="studies of one patient"):
        write_manifest(tmp_path, tmp_path / "m.json", split)
    content = write_manifest(tmp_path, tmp_path / "m.json", split, patient_pattern="[^/]+/(.*)")
    assert {row["patient"] for row in content["cases"].values()} == {"one", "two"}
    split.write_text(json.dumps({"train": ["site/one"], "test": ["site/one"]}))
    with pytest.raises(InputError, match="in train and in test"):
        write_manifest(tmp_path, tmp_path / "m.json", split)


@pytest.mark.parametrize(("pattern", "told"), [("(", "regular expression"), ("x(.)", "does not match")])
def test_a_wrong_patient_pattern_is_refused(tmp_path, pattern, told):
    write_case(tmp_path / "a")
    with pytest.raises(InputError, match=told):
        write_manifest(tmp_path, tmp_path / "m.json", patient_pattern=pattern)


def test_a_manifest_of_files_that_are_gone_or_damaged_is_refused(tmp_path):
    case = write_case(tmp_path / "data" / "a")
    out = tmp_path / "m.json"
    write_manifest(tmp_path / "data", out)
    (case / "CT_HU.nii.gz").rename(case / "moved.nii.gz")
    with pytest.raises(InputError, match="CT_HU.nii.gz, which is not there"):
        split_cases(tmp_path / "data", "train", out)
    content = json.loads(out.read_text())
    changes: tuple[dict[str, object], ...] = ({"cases": {}}, {"cases": {"a": {"kind": "nifti"}}})
    for change in changes:
        out.write_text(json.dumps(content | change))
        with pytest.raises(InputError, match="damaged"):
            split_cases(tmp_path / "data", "train", out)
    out.write_text("[1]")
    with pytest.raises(InputError, match="not a split file"):
        read_split(tmp_path / "data", "train", out)


# -- cache ----------------------------------------------------------------------------------------------
@pytest.fixture
def cohort(tmp_path) -> Path:
    """Two training cases and a split."""
    for n, name in enumerate(("a", "b")):
        write_case(tmp_path / "data" / name, n)
    (tmp_path / "data" / "split.json").write_text(json.dumps({"train": ["a", "b"]}))
    return tmp_path / "data"


def drawn(batches: SliceBatches) -> torch.Tensor:
    return torch.cat([x for step in range(4) for x in batches.batch(step, 6)])


def forbid(monkeypatch) -> None:
    def stack(source):
        raise AssertionError(f"{source.title} was made again")

    monkeypatch.setattr(sources.SliceSource, "stack", stack)


def test_slices_are_the_same_to_the_bit_from_memory_and_cache_and_made_once(cohort, tmp_path, monkeypatch):
    plain, told = training_slices(cohort, None, CONFIG, QUIET)
    fresh, _ = training_slices(cohort, None, CONFIG, QUIET, tmp_path / "cache")
    forbid(monkeypatch)
    stored, described = training_slices(cohort, None, CONFIG, QUIET, tmp_path / "cache")
    assert torch.equal(drawn(plain), drawn(fresh)) and torch.equal(drawn(plain), drawn(stored))
    assert told == described
    monkeypatch.setenv("PETSUPERRES_CACHE", str(tmp_path / "cache"))
    assert torch.equal(drawn(training_slices(cohort, None, CONFIG, QUIET)[0]), drawn(plain))
    for entry in (tmp_path / "cache").iterdir():
        assert load_file(entry)["slices"].dtype == np.float16


@pytest.mark.slow
def test_several_processes_make_the_same_slices_as_one(cohort, tmp_path):
    one, _ = training_slices(cohort, None, CONFIG, QUIET, tmp_path / "one")
    two, _ = training_slices(cohort, None, CONFIG, QUIET, tmp_path / "two", workers=2)
    assert torch.equal(drawn(one), drawn(two))
    entries = {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    assert entries == {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()} and len(entries) == 5


@pytest.mark.slow
def test_an_error_in_another_process_arrives_as_it_is(cohort, tmp_path):
    pet, _ = body()
    pet.with_array(pet.array * 5000).write(cohort / "b" / "PET_SUV.nii.gz")
    with pytest.raises(UnitsError, match="Case b: .*petsuperres manifest"):
        training_slices(cohort, None, CONFIG, QUIET, tmp_path / "cache", workers=2)


def test_damaged_entries_and_those_of_changed_data_or_settings_are_made_again(cohort, tmp_path):
    cache = tmp_path / "cache"
    expected = drawn(training_slices(cohort, None, CONFIG, QUIET, cache)[0])
    first = {p.name: p.read_bytes() for p in cache.iterdir()}
    for number, entry in enumerate(sorted(cache.iterdir())):
        entry.write_bytes((entry.read_bytes()[:-100], b"", b"\x93NUMPY\x01\x00x", b"PK")[number % 4])
    assert torch.equal(drawn(training_slices(cohort, None, CONFIG, QUIET, cache)[0]), expected)
    assert {p.name: p.read_bytes() for p in cache.iterdir()} == first
    write_case(cohort / "b", 7)
    changed = drawn(training_slices(cohort, None, CONFIG, QUIET, cache)[0])
    assert not torch.equal(changed, expected)
    assert torch.equal(changed, drawn(training_slices(cohort, None, CONFIG, QUIET)[0]))
    names = {p.name for p in cache.iterdir()}
    assert {n.split("-")[0] for n in names - set(first)} == {"b"}
    training_slices(cohort, None, replace(CONFIG, paintings=1), QUIET, cache)
    assert all("painted" in p.name for p in cache.iterdir() if p.name not in names)


def test_a_cancelled_start_leaves_whole_entries_and_goes_on_with_them(cohort, tmp_path):
    def cancel(event):
        if "painted a" in event.message:
            raise Cancelled

    cache = tmp_path / "cache"
    with pytest.raises(Cancelled):
        training_slices(cohort, None, CONFIG, Reporter(cancel), cache)
    left = {p.name: p.stat().st_mtime_ns for p in cache.iterdir()}
    assert len(left) == 3 and not any(name.startswith(".part") for name in left)
    training_slices(cohort, None, CONFIG, QUIET, cache)
    after = {p.name: p.stat().st_mtime_ns for p in cache.iterdir()}
    assert len(after) == 5 and left.items() <= after.items()


@pytest.mark.slow
def test_a_cancelled_start_ends_its_processes(cohort, tmp_path):
    def cancel(event):
        if event.fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        training_slices(cohort, None, CONFIG, Reporter(cancel), tmp_path / "cache", workers=2)
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


def test_a_cohort_larger_than_the_limit_of_open_files_is_read(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    stack = np.arange(2 * 2 * 4 * 4, dtype=np.float16).reshape(2, 2, 4, 4)
    paths = []
    for n in range(200):
        paths.append(tmp_path / f"{n}.safetensors")
        sources.write_entry(paths[-1], sources.Stack(stack + n, 2, 3.0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 60, hard))
    try:
        slices = sources.StoredSlices(paths)
        pairs = [slices[n] for n in (0, 1, 57, 399, -1)]
        values = [float(slices[n][1][3, 3]) for n in range(len(slices))]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(slices) == 400 and values == [float(stack[n % 2, 1, 3, 3]) + n // 2 for n in range(400)]
    np.testing.assert_array_equal(pairs[2][0], stack[1, 0] + 28)
    np.testing.assert_array_equal(pairs[4][1], pairs[3][1])
    with pytest.raises(IndexError):
        slices[400]


def test_progress_of_loading_never_goes_back(cohort, tmp_path):
    seen: list[float] = []
    training_slices(cohort, None, CONFIG, Reporter(lambda e: seen.append(e.fraction)), tmp_path / "cache")
    assert seen == sorted(seen) and seen[-1] == 1.0 and len(seen) > 5


# -- patches --------------------------------------------------------------------------------------------
def coded(side: int = 44) -> tuple[np.ndarray, np.ndarray]:
    """A slice whose every pixel has a value of its own, the same in PET and CT."""
    values = np.arange(1, side * side + 1).reshape(side, side).astype(np.float16)
    return values, values


def test_exact_cuts_keep_the_slices_own_pixels_in_their_order(monkeypatch):
    monkeypatch.setattr(patches, "EXACT_SHARE", 1.0)
    side, turned = 44, set()
    batches = SliceBatches([[coded(side)]], [1.0], 32, 0)
    for pet, ct in zip(*batches.batch(0, 60), strict=True):
        inside = ct > -500
        np.testing.assert_array_equal(ct[inside], ct[inside].round())
        np.testing.assert_array_equal(ct[~inside], np.full(int((~inside).sum()), -1000))
        across = torch.diff(ct, dim=1)[inside[:, 1:] & inside[:, :-1]].unique()
        down = torch.diff(ct, dim=0)[inside[1:] & inside[:-1]].unique()
        assert len(across) == len(down) == 1 and abs(across) == 1 and abs(down) == side
        turned.add((float(across) > 0, float(down) > 0))
        scale = pet[inside] / ct[inside]
        torch.testing.assert_close(scale, scale[:1].expand_as(scale))  # one activity scale for the whole patch
        assert not pet[~inside].any()
    assert len(turned) == 4


def misregistered(monkeypatch, share: float, images: tuple[np.ndarray, np.ndarray], count: int) -> list[torch.Tensor]:
    """(PET, CT) of ``count`` interpolated patches, each from its own stream of random numbers."""
    monkeypatch.setattr(patches, "EXACT_SHARE", 0.0)
    monkeypatch.setattr(patches, "MISREGISTERED_SHARE", share)
    batches = SliceBatches([[images]], [1.0], 32, 0)
    return [torch.cat(batches.batch(step, 1)) for step in range(count)]


def test_misregistration_moves_the_ct_by_a_few_mm_and_never_the_pet(monkeypatch):
    ramp = np.broadcast_to(np.arange(64, dtype=np.float16), (64, 64))
    random = np.random.default_rng(0)
    pet = random.uniform(1, 2, (64, 64)).astype(np.float16)
    found = {}
    for axis, ct in (("x", ramp), ("y", ramp.T)):
        still = misregistered(monkeypatch, 0.0, (pet, np.ascontiguousarray(ct)), 250)
        moved = misregistered(monkeypatch, 1.0, (pet, np.ascontiguousarray(ct)), 250)
        shifts = []
        for (pet_a, ct_a), (pet_b, ct_b) in zip(still, moved, strict=True):
            torch.testing.assert_close(pet_a / pet_a.max(), pet_b / pet_b.max(), rtol=1e-4, atol=1e-5)
            inside = (ct_a > 4) & (ct_b > 4) & (ct_a < 60) & (ct_b < 60)
            if inside.any():
                shifts.append(float((ct_b - ct_a)[inside].median()))
        found[axis] = np.array(shifts)
    for measured in found.values():
        assert len(measured) > 200 and abs(measured.mean()) < 0.4
        assert measured.std() == pytest.approx(patches.MISREGISTERED_PIXELS, rel=0.2)


def test_the_stated_shares_of_interpolated_patches_are_misregistered(monkeypatch):
    images = np.ones((64, 64), np.float16), np.ascontiguousarray(np.broadcast_to(np.arange(64.0), (64, 64)), np.float16)
    still = misregistered(monkeypatch, 0.0, images, 600)
    usual = misregistered(monkeypatch, 0.3, images, 600)
    share = np.mean([not torch.equal(a[1], b[1]) for a, b in zip(still, usual, strict=True)])
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 600) ** 0.5)


def test_groups_are_drawn_by_their_shares_and_slices_of_a_group_alike():
    pet = np.ones((40, 40), np.float16)
    groups = [[(pet, np.full((40, 40), 100 * g + n, np.float16)) for n in range(5)] for g in range(3)]
    batches = SliceBatches(groups, [0.5, 0.35, 0.15], 32, 0)
    number = 3000
    _, ct = batches.batch(0, number)
    code = ct.flatten(1).max(dim=1).values.round().int()
    for g, share in enumerate((0.5, 0.35, 0.15)):
        mine = code[code // 100 == g] % 100
        assert len(mine) / number == pytest.approx(share, abs=4 * (share * (1 - share) / number) ** 0.5)
        counts = np.bincount(mine.numpy(), minlength=5) / len(mine)
        assert np.abs(counts - 0.2).max() < 4 * (0.16 / len(mine)) ** 0.5


@pytest.mark.parametrize(("painted", "phantom"), [(0.6, 0.3), (0.0, 0.5), (0.35, 0.0)])
def test_painted_and_phantom_shares_are_those_of_the_configuration(cohort, painted, phantom):
    config = replace(CONFIG, painted_share=painted, phantom_share=phantom)
    batches, _ = training_slices(cohort, None, config, QUIET)
    expected = [1 - painted - phantom, *([painted] if painted else []), *([phantom] if phantom else [])]
    np.testing.assert_allclose(batches.shares, expected)
    wanted = [8, *([16] if painted else []), *([3] if phantom else [])]
    assert [len(group) for group in batches.sources] == wanted


def test_activity_scales_vary_about_1_and_the_ct_keeps_its_hu(monkeypatch):
    monkeypatch.setattr(patches, "EXACT_SHARE", 1.0)
    image = np.full((40, 40), 2.0, np.float16), np.full((40, 40), 50.0, np.float16)
    pet, ct = SliceBatches([[image]], [1.0], 32, 0).batch(0, 1500)
    scales = (pet.flatten(1).max(dim=1).values / 2).log()
    assert abs(float(scales.mean())) < 4 * 0.3 / 1500**0.5 and float(scales.std()) == pytest.approx(0.3, rel=0.1)
    assert set(ct.unique().tolist()) == {-1000.0, 50.0}


def test_resolutions_come_with_the_patches_and_grow_with_blur_and_zoom(monkeypatch):
    noise = np.random.default_rng(0).uniform(1, 2, (40, 40)).astype(np.float16)
    ct = [np.full((40, 40), hu, np.float16) for hu in (10, 20)]
    resolutions = patches.Resolutions([6.0, 2.0], [0.0, 1.0], 0.5, 2.0)
    batches = SliceBatches([[(noise, ct[0])], [(noise, ct[1])]], [0.5, 0.5], 32, 0, resolutions=resolutions)

    def drawn_by(share: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        monkeypatch.setattr(patches, "EXACT_SHARE", share)
        pet, hu, mm = batches.batch(0, 600)
        return pet, hu.flatten(1).amax(1) > 15, mm

    pet, sharp, mm = drawn_by(1.0)
    assert float(mm.isnan().float().mean()) == pytest.approx(0.5, abs=0.08)
    known = ~mm.isnan()
    assert set(mm[known & ~sharp].tolist()) == {6.0}
    assert np.hypot(2, 2) <= float(mm[known & sharp].min()) and float(mm[known & sharp].max()) <= np.hypot(2, 6)
    spread = (pet[:, 12:20, 12:20].std((1, 2)) / pet[:, 12:20, 12:20].mean((1, 2))).nan_to_num()
    assert spread[sharp].mean() < 0.5 * spread[~sharp].mean()  # blurred
    _, sharp, mm = drawn_by(0.0)  # zoomed by 0.7 to 1.35
    zoomed = mm[~mm.isnan() & ~sharp] / 6
    assert 0.69 < float(zoomed.min()) < 0.8 and 1.2 < float(zoomed.max()) < 1.36


@pytest.fixture
def two_volumes():
    """Two volumes of three slices, 2 mm apart; the PET of slice n is n, its CT -n."""
    array = np.zeros((6, 2, 40, 40), np.float16)
    array[:, 0] += np.arange(6)[:, None, None]
    array[:, 1] -= np.arange(6)[:, None, None]
    return sources.Stack(array, 3, 2.0)


@pytest.mark.parametrize("stored", [False, True])
def test_neighbours_are_of_the_same_volume_and_mirrored_at_its_ends(two_volumes, tmp_path, stored):
    entry = two_volumes
    if stored:
        entry = tmp_path / "entry.safetensors"
        sources.write_entry(entry, two_volumes)
    slices = sources.StoredSlices([entry])
    seen = [slices.around(n, 2) for n in (0, 1, 3, 5)]
    assert [pet[:, 0, 0].tolist() for pet, _, _ in seen] == [
        [2, 1, 0, 1, 2],
        [1, 0, 1, 2, 1],
        [5, 4, 3, 4, 5],
        [3, 4, 5, 4, 3],
    ]
    assert [float(ct[0, 0]) for _, ct, _ in seen] == [0, -1, -3, -5]
    pet, _, slice_mm = slices.around(0, 1, stride=2)
    assert pet[:, 0, 0].tolist() == [2, 0, 2] and slice_mm == 4.0


def test_batches_with_neighbours_bring_their_distance(two_volumes):
    batches = SliceBatches([sources.StoredSlices([two_volumes])], [1.0], 32, 0, neighbours=1)
    pet, ct, slice_mm = batches.batch(3, 8)
    assert pet.shape == (8, 3, 32, 32) and ct.shape == (8, 32, 32)
    assert set(slice_mm.tolist()) == {2.0, 4.0}  # thin slices are sometimes taken two by two
    again = batches.batch(3, 8)
    assert torch.equal(pet, again[0]) and torch.equal(slice_mm, again[2])


def test_a_prior_with_neighbours_gets_volumes_of_several_spacings(cohort, tmp_path):
    config = replace(CONFIG, phantom_slices=40, network=replace(CONFIG.network, neighbours=1))
    batches, described = training_slices(cohort, None, config, Reporter(None), tmp_path / "cache")
    assert "64 phantom slices" in described  # whole volumes of 8 slices at each of four spacings
    gaps = torch.cat([batches.batch(n, 8)[2] for n in range(12)])
    assert len(set(gaps.tolist())) > 3
