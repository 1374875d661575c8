"""The request: checked once, told by field, the same from Python, JSON and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from PETSuperResLib.cli import cli
from PETSuperResLib.errors import InputError, PETSuperResError
from PETSuperResLib.request import QUALITIES, Request, options
from PETSuperResLib.sampling import PROFILES, Sampler
from PETSuperResLib.scanner import Scanner

FULL = {
    "pet": "/data/pet.nrrd", "ct": "/data/ct.nrrd", "prior": "/data/p.safetensors", "segmentation": "/data/seg.nrrd",
    "scanner": Scanner.get("GE Discovery ST", dose_fraction=0.5).to_dict(), "quality": "draft", "samples": 3,
    "seed": 7, "device": "cpu", "region": [-20.0, 20.0, -30.0, 30.0, 0.0, 9.0], "margin": None, "spacing": 1.5,
    "noise": 12.0, "measurement": None, "fwhm": None, "post_filter": 5.0, "psf_modelled": True,
    "series": "PET WB", "ct_series": "1.2.3",
    "threshold": "41%", "evidence": True,
}  # fmt: skip


def test_a_request_goes_through_json_unchanged():
    request = Request.from_dict(json.loads(json.dumps(FULL)))
    assert set(FULL) == set(options(Request)), "every field is tried"
    assert request.scanner.dose_fraction == 0.5 and request.region == (-20, 20, -30, 30, 0, 9)
    assert json.loads(json.dumps(request.to_dict())) == json.loads(json.dumps(FULL))
    assert Request.from_dict(request.to_dict()) == request


def test_relative_paths_become_absolute_for_a_process_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    own = Path("own.json")
    own.write_text(json.dumps(Scanner.get("GE Discovery ST").to_dict()))
    plain = Request("pet.nii", Path("ct.nii"), own).to_dict()
    assert (plain["pet"], plain["ct"]) == (str(tmp_path / "pet.nii"), str(tmp_path / "ct.nii"))
    assert plain["scanner"]["name"] == "GE Discovery ST"


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"pet": None}, "pet"),
        ({"ct": 3}, "ct"),
        ({"scanner": "Acme"}, "scanner"),
        ({"quality": "best"}, "quality"),
        ({"samples": 0}, "samples"),
        ({"samples": 1.5}, "samples"),
        ({"samples": True}, "samples"),
        ({"seed": -1}, "seed"),
        ({"region": [1, 0, 0, 1, 0, 1]}, "region"),
        ({"region": "here"}, "region"),
        ({"region": None, "margin": 5.0}, "margin"),
        ({"margin": 5.0}, "margin"),
        ({"threshold": "forty"}, "threshold"),
        ({"region": [float("nan"), 1, 0, 1, 0, 1]}, "region"),
        ({"spacing": 0.1}, "spacing"),
        ({"spacing": float("nan")}, "spacing"),
        ({"noise": 0}, "noise"),
        ({"post_filter": 16}, "post_filter"),
        ({"psf_modelled": 1}, "psf_modelled"),
        ({"fwhm": 40}, "fwhm"),
        ({"post_filter": 5.0, "fwhm": 6.0}, "post_filter"),
        ({"region": "segments", "segmentation": None}, "segmentation"),
        ({"measurement": "m"}, "region"),
        ({"measurement": "m", "region": None}, "noise"),
        ({"colour": "red"}, ""),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_name_of_its_field(change, option):
    with pytest.raises(PETSuperResError) as caught:
        Request.from_dict(FULL | change)
    assert caught.value.option == option and next(iter(change)) in str(caught.value).lower().replace(" ", "_")


def test_an_object_of_this_process_cannot_be_sent_to_another():
    with pytest.raises(InputError, match="quality is an object of this process"):
        Request("pet.nii", "ct.nii", quality=Sampler.get("draft", steps=1)).to_dict()


def test_the_command_line_offers_every_field_with_its_help_and_limits():
    commands = {name: {p.name: p for p in cli.commands[name].params} for name in ("reconstruct", "batch")}
    for name, about in options(Request).items():
        assert about.help and commands["reconstruct"][name].help == about.help
        assert (name in commands["batch"]) == about.shared
    assert commands["reconstruct"]["samples"].type.min == 1 and commands["reconstruct"]["spacing"].type.max == 10


def test_every_quality_is_a_profile_of_a_sampler():
    assert set(QUALITIES) == set(PROFILES)


def test_slicers_gui_can_make_one_before_torch_is_installed():
    code = "import sys, PETSuperResLib.request, PETSuperResLib.worker.protocol; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
