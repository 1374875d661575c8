"""Shared fixtures: small volumes in awkward geometries, the panel in its host, the development data where it is."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# a shell that starts the tests in the background makes them, and what they start, deaf to Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "Testing" / "support"):  # run from the source tree, installed or not
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from PETSuperResLib.volume import Volume  # noqa: E402


def data_dir(*parts: str) -> Path:
    """A path in the development data (PETSUPERRES_DATA, or ../shared/data beside the tree); skips where absent."""
    base = Path(os.environ.get("PETSUPERRES_DATA", ROOT.parent / "shared" / "data"))
    path = base.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the development data {'/'.join(parts) or base.name}: set PETSUPERRES_DATA to its folder")
    return path


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """3 x 3 rotation about an axis (Rodrigues)."""
    x, y, z = np.array(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.radians(degrees)
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


GEOMETRIES = {
    "plain": np.eye(3),
    "oblique": rotation((1, 2, 3), 25),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "oblique left-handed": rotation((3, -1, 2), -40) @ np.diag([-1.0, 1.0, 1.0]),
}


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
    """The GUI host of Testing/slicer_host; skips where it cannot run."""
    import slicer_host

    if slicer_host.missing():
        pytest.skip(slicer_host.missing())
    return slicer_host.start()


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
def panel(host: Any, fake: Any) -> Iterator[Any]:
    """The opened panel; every test ends without an error in a receiver of a signal, and without a message box."""
    host.reset()
    widget = host.open_module()
    yield widget
    errors, messages = list(host.errors), list(host.messages)
    host.reset()
    assert not errors and not messages


@pytest.fixture
def working(host: Any, prior_file: Path, tmp_path: Path) -> Iterator[Any]:
    """The opened panel with the real worker, which has its files in a folder of the test; a small phantom is chosen."""
    from types import SimpleNamespace

    import mrml_scene

    mrml_scene.load_module()  # what follows may be imported then
    from panel_case import choose
    from PETSuperResSlicer import sample_data as sample
    from PETSuperResSlicer.worker.client import WorkerRunner

    host.reset()
    panel = host.open_module()
    (tmp_path / "private").mkdir()
    panel.logic._runner = WorkerRunner(folder=tmp_path / "private")
    pet, ct, segments = sample.phantomNodes(shape=(8, 64, 96), lesions=2)
    choose(panel, host, SimpleNamespace(pet=pet, ct=ct, segments=segments), "Paper standard")
    panel.ui.priorEdit.setText(str(prior_file))
    panel.ui.qualityComboBox.setCurrentIndex(0)
    host.spin(0.2)
    yield panel
    errors, messages = list(host.errors), list(host.messages)
    host.reset()
    assert not errors and not messages
    assert list((tmp_path / "private").iterdir()) == []


def radius(grid: Volume, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """Distance in mm of every voxel from a point in LPS mm."""
    k, j, i = np.indices(grid.shape)
    points = np.stack([i, j, k, np.ones_like(i)], -1) @ grid.ijk_to_lps.T
    return np.linalg.norm(points[..., :3] - centre, axis=-1)


def ball(spacing: tuple[float, float, float], radius_mm: float, half_mm: float = 40.0) -> Volume:
    """A label map with one ball about (0, 0, 0) mm on a grid of its own."""
    size = [int(2 * half_mm / s) for s in spacing]
    grid = Volume(np.zeros(size[::-1]), spacing, tuple(-(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True)))
    return grid.with_array((radius(grid) <= radius_mm).astype(np.float32), "label")
