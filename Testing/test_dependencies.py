"""What the module installs, when it asks, and what it says when that fails; and a Slicer that has none of it yet."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import mrml_scene
import pytest
import slicer_host
from conftest import ROOT

if slicer_host.missing():
    pytest.skip(slicer_host.missing(), allow_module_level=True)

from PETSuperResLib.errors import PETSuperResError  # noqa: E402


@pytest.fixture
def needs(host, monkeypatch):
    """The module's installer with torch and every package at hand; ``lose`` takes some away."""
    mrml_scene.load_module()
    import PETSuperResDependencies as module

    there = {"torch"}
    monkeypatch.setattr(module, "find_spec", lambda name: object() if name in there else None)
    lost: set[str] = set()

    def version(name):
        if name in lost:
            raise PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(module, "version", version)

    def lose(*names):
        lost.update(names)
        there.difference_update(names)

    return SimpleNamespace(run=module.ensureDependencies, lose=lose)


def torch_extension(monkeypatch, install):
    logic = SimpleNamespace(installTorch=lambda askConfirmation: install())
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: logic))


def raising(error):
    def fail(*_arguments, **_options):
        raise error

    return fail


def test_nothing_is_installed_where_all_is_there(needs):
    assert needs.run() is False


def test_without_the_extension_it_is_named(needs, monkeypatch):
    needs.lose("torch")
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(PETSuperResError, match="install the PyTorch extension"):
        needs.run()


@pytest.mark.parametrize(
    ("install", "message"),
    [
        (lambda: None, "press Apply again and agree"),
        (raising(subprocess.CalledProcessError(1, "pip")), "check the network"),
        (raising(ValueError("no such backend")), "check the network"),
    ],
)
def test_torch_that_is_declined_or_fails_says_what_to_do(needs, monkeypatch, install, message):
    needs.lose("torch")
    torch_extension(monkeypatch, install)
    with pytest.raises(PETSuperResError, match=message):
        needs.run()


def test_torch_is_installed_by_its_extension(needs, monkeypatch):
    needs.lose("torch")
    torch_extension(monkeypatch, lambda: "torch")
    assert needs.run() is True


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("User declined"), "Not installed: safetensors"),
        (subprocess.CalledProcessError(1, "pip"), "check the network"),
    ],
)
def test_packages_that_are_declined_or_fail_say_what_to_do(needs, monkeypatch, error, message):
    import slicer.packaging

    needs.lose("safetensors")
    monkeypatch.setattr(slicer.packaging, "pip_ensure", raising(error))
    with pytest.raises(PETSuperResError, match=message):
        needs.run()


@pytest.mark.parametrize("agrees", [True, False])
def test_an_older_slicer_asks_and_uses_its_pip(needs, monkeypatch, agrees):
    import slicer

    asked, installed = [], []
    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or agrees, raising=False)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append, raising=False)
    needs.lose("safetensors", "scikit-image")
    if agrees:
        assert needs.run() is True and installed == [["safetensors>=0.4", "scikit-image>=0.22"]]
    else:
        with pytest.raises(PETSuperResError, match="Not installed: safetensors, scikit-image"):
            needs.run()
        assert not installed
    assert "safetensors, scikit-image" in asked[0]


BARE = """
import sys
for name in ("torch", "safetensors", "skimage"):
    sys.modules[name] = None
import PETSuperResLib.suv, PETSuperResLib.volume, PETSuperResLib.worker as worker
print(worker.facts()["devices"])
"""


def test_the_inputs_and_the_worker_s_facts_do_without_torch_and_safetensors():
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['cpu']", done.stderr
