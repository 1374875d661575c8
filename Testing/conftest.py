"""Shared fixtures: small volumes in awkward geometries, the panel in its host, the development data where it is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry import GEOMETRIES, radius

from PETSuperResLib.volume import Volume

# tests started in the background of a shell, and their processes, would ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Where several processes share the cores each has one thread: more would only wait for each other.

    They take it over from here; when they have imported NumPy it is too late.
    """
    if config.getoption("numprocesses", None):
        os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that hold a time are the panel's: 'make test' looks for them in its folder alone, to collect less."""
    panel = Path(__file__).parent / "slicer"
    elsewhere = [item.nodeid for item in items if item.get_closest_marker("timing") and panel not in item.path.parents]
    if elsewhere:
        raise pytest.UsageError(f"Move these tests to Testing/slicer, or 'make test' leaves them out: {elsewhere}")


@pytest.fixture(params=GEOMETRIES)
def awkward(request: pytest.FixtureRequest) -> Volume:
    """Random values with anisotropic voxels, an offset origin and each kind of orientation."""
    values = np.random.default_rng(0).random((7, 9, 11)).astype(np.float32)
    direction = tuple(GEOMETRIES[request.param].ravel())
    return Volume(values, (2.1, 3.3, 4.7), (-120.5, 33.25, 810.0), direction, "SUVbw")


@pytest.fixture
def sphere_pet() -> Volume:
    """Background 1 SUV and a hot sphere of 12 mm radius with 8 SUV at (0, 0, 0) mm, 2 mm voxels."""
    grid = Volume(np.zeros((30, 32, 34)), (2.0, 2.0, 2.0), (-33.0, -31.0, -29.0))
    return grid.with_array(np.where(radius(grid) <= 12, 8.0, 1.0).astype(np.float32), "SUVbw")


@pytest.fixture(scope="session")
def prior_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained prior as a file."""
    from tiny import tiny_prior

    folder = tmp_path_factory.mktemp("prior")
    tiny_prior(folder)
    return next(folder.glob("*.safetensors"))


@pytest.fixture(scope="session")
def host() -> Any:
    """The GUI host of Testing/support/slicer_host; skips where it cannot run."""
    import slicer_host

    if slicer_host.missing():
        pytest.skip(slicer_host.missing())
    return slicer_host.start()


@pytest.fixture
def case(host: Any) -> Any:
    """PET, CT and segments of a body with two hot cubes, in the scene."""
    from panel_case import make_case

    return make_case()


@pytest.fixture
def fake(host: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A runner under the test's control, which the panel's logic gets."""
    import mrml_scene
    from panel_case import FakeRunner

    runner, module = FakeRunner(), mrml_scene.load_module()
    logic = module.PETSuperResLogic
    monkeypatch.setattr(module, "PETSuperResLogic", lambda: logic(runner=runner))
    return runner


@pytest.fixture
def panel(host: Any, fake: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The opened panel; every test ends without an error in a receiver of a signal, and without a message box."""
    from PETSuperResSlicer.panel import lesions

    if request.node.get_closest_marker("timing") is None:
        monkeypatch.setattr(lesions, "DELAY_MS", 20)  # nobody goes on drawing
    host.reset()
    widget = host.open_module()
    yield widget
    errors, messages = list(host.errors), list(host.messages)
    host.reset()
    assert not errors and not messages


@pytest.fixture
def client(host: Any) -> Any:
    """The client of the real worker that the ``working`` panel has; closed with it."""
    import mrml_scene

    mrml_scene.load_module()  # what follows may be imported then
    from PETSuperResSlicer.worker.client import WorkerClient

    return WorkerClient()


@pytest.fixture(scope="session")
def small_case() -> Any:
    """A generated PET/CT of two lesions, so small that a draft takes a second."""
    from PETSuperResLib.phantoms.demo_case import demo_case

    return demo_case(shape=(8, 64, 96), lesions=2)


@pytest.fixture
def working(host: Any, client: Any, small_case: Any, prior_file: Path, tmp_path: Path) -> Iterator[Any]:
    """The opened panel with the real worker, which has its files in a folder of the test; a small phantom is chosen."""
    from types import SimpleNamespace

    from panel_case import choose
    from PETSuperResSlicer import sample_data as sample

    host.reset()
    panel = host.open_module()
    (tmp_path / "private").mkdir()
    client.folder = str(tmp_path / "private")
    panel.logic._runner = client
    volumes = {"pet": small_case.simulation.lr, "ct": small_case.phantom.ct, "labels": small_case.phantom.labels}
    pet, ct, segments = sample.add_nodes(volumes, {"lesions": small_case.names})
    choose(panel, host, SimpleNamespace(pet=pet, ct=ct, segments=segments), "Paper standard")
    panel.ui.priorEdit.setText(str(prior_file))
    panel.ui.qualityComboBox.setCurrentIndex(0)
    host.spin(0.2)
    yield panel
    errors, messages = list(host.errors), list(host.messages)
    host.reset()
    assert not errors and not messages
    assert list((tmp_path / "private").iterdir()) == []
