"""What the module installs, when it asks, and what it says when that fails; and a Slicer that has none of it yet."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import mrml_scene
import pytest
import slicer
import slicer.packaging
from geometry import ROOT
from PETSuperResSlicer import dependencies as module

from PETSuperResLib.errors import PETSuperResError


@pytest.fixture
def needs(host, monkeypatch):
    """The module's installer where every package is at hand in version 9.9; ``have`` says otherwise (None: absent)."""
    mrml_scene.load_module()
    there: dict[str, str | None] = {}
    read: list[str] = []

    def version(name):
        read.append(name)
        found = there.get(name, "9.9")
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(module, "version", version)
    return SimpleNamespace(run=module.ensure_dependencies, have=lambda **names: there.update(names), read=read)


def torch_extension(monkeypatch, install):
    """The PyTorch extension, whose installTorch has these keywords."""

    def installTorch(
        askConfirmation=False,
        forceComputationBackend=None,
        torchVersionRequirement=None,
        torchvisionVersionRequirement=None,
    ):
        assert askConfirmation and torchVersionRequirement == ">=2.4"
        return install()

    logic = SimpleNamespace(installTorch=installTorch)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=lambda: logic))


def raising(error):
    def fail(*_arguments, **_options):
        raise error

    return fail


def test_nothing_is_installed_where_all_is_there(needs):
    assert needs.run() is False
    assert len(needs.read) == 1 + len(module.REQUIREMENTS)  # at every Apply: ten milliseconds for each


def test_without_the_extension_it_is_named(needs, monkeypatch):
    needs.have(torch=None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(PETSuperResError, match="install the PyTorch extension"):
        needs.run()


@pytest.mark.parametrize(
    ("install", "message"),
    [
        (lambda: None, "try again and agree"),
        (raising(subprocess.CalledProcessError(1, "pip")), "check the network"),
        (raising(ValueError("no such backend")), "check the network"),
    ],
)
def test_torch_that_is_declined_or_fails_says_what_to_do(needs, monkeypatch, install, message):
    needs.have(torch=None)
    torch_extension(monkeypatch, install)
    with pytest.raises(PETSuperResError, match=message):
        needs.run()


@pytest.mark.parametrize("before", [None, "1.13.1+cu117"])
def test_a_missing_or_old_torch_is_installed_by_its_extension(needs, monkeypatch, before):
    needs.have(torch=before)
    torch_extension(monkeypatch, lambda: needs.have(torch="2.9.0+cu126") or "torch")
    assert needs.run() is True and needs.run() is False


def test_an_older_torch_that_stays_says_what_to_do(needs, monkeypatch):
    needs.have(torch="2.3.1")
    torch_extension(monkeypatch, lambda: "torch")
    with pytest.raises(PETSuperResError, match="changed nothing .PyTorch 2.3.1 is too old, 2.4 or newer .*: restart"):
        needs.run()
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    with pytest.raises(PETSuperResError, match="PyTorch 2.3.1 is too old, 2.4 .*: install the PyTorch extension"):
        needs.run()


def test_a_torch_that_is_new_enough_is_left_alone(needs, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    for version in ("2.4.0", "2.10.0+cu128", "2.11.0.dev20260101"):
        needs.have(torch=version)
        assert needs.run() is False


def test_a_package_that_is_upgraded_ends_the_worker_that_has_the_old_one_loaded(needs, monkeypatch):
    from panel_case import FakeRunner

    needs.have(pydicom="2.1")
    monkeypatch.setattr(slicer.packaging, "pip_ensure", lambda *_some, **_options: needs.have(pydicom="3.0"))
    runner = FakeRunner()
    logic = mrml_scene.load_module().PETSuperResLogic(runner)
    logic.ensureDependencies()
    assert runner.closed
    runner.closed = False
    logic.ensureDependencies()
    assert not runner.closed


def test_the_module_requires_what_the_library_requires(needs):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in (module.TORCH, *module.REQUIREMENTS):
        assert f'    "{requirement}",\n' in text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("User declined"), "Not installed: safetensors"),
        (subprocess.CalledProcessError(1, "pip"), "check the network"),
    ],
)
def test_packages_that_are_declined_or_fail_say_what_to_do(needs, monkeypatch, error, message):
    needs.have(safetensors=None)
    monkeypatch.setattr(slicer.packaging, "pip_ensure", raising(error))
    with pytest.raises(PETSuperResError, match=message):
        needs.run()


@pytest.mark.parametrize("agrees", [True, False])
def test_an_older_slicer_asks_and_uses_its_pip(needs, monkeypatch, agrees):
    asked, installed = [], []
    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or agrees, raising=False)
    monkeypatch.setattr(slicer.util, "pip_install", installed.append, raising=False)
    needs.have(**{"safetensors": None, "scikit-image": "0.19.3"})
    if agrees:
        needs.run()
        assert installed == [["safetensors>=0.4", "scikit-image>=0.22"]]
    else:
        with pytest.raises(PETSuperResError, match="Not installed: safetensors, scikit-image"):
            needs.run()
        assert not installed
    assert "safetensors, scikit-image" in asked[0]


BARE = """
import sys
for name in ("torch", "safetensors", "skimage"):
    sys.modules[name] = None
import PETSuperResLib.suv, PETSuperResLib.volume, PETSuperResLib.worker.serve as worker
print(worker.facts()["devices"])
"""


CONSOLE = """
import sys
sys.modules["torch"] = None
import mrml_scene
logic = mrml_scene.load_module().PETSuperResLogic()
from panel_case import make_case
from PETSuperResLib.errors import InputError
case = make_case()
try:
    logic.process(case.pet, case.ct)
except InputError as error:
    print(error)
"""


def test_without_torch_the_console_says_what_to_call(host):
    folder = ROOT / "Testing" / "support"
    done = subprocess.run([sys.executable, "-c", CONSOLE], cwd=folder, capture_output=True, text=True, timeout=100)
    assert "'torch' is missing: call ensureDependencies() of this logic first." in done.stdout, done.stderr


def test_the_inputs_and_the_worker_s_facts_do_without_torch_and_safetensors():
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['cpu']", done.stderr
