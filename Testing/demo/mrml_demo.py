"""The whole path on a generated PET/CT torso with lesions, in a real MRML scene (``make demo``).

Simulates a low-resolution scan at the paper's standard setting, super-resolves it through the
module's own logic, and leaves scene, volumes, lesion table and a one-page picture in the folder.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [p for p in map(str, (_HERE, _HERE.parent / "support", _HERE.parents[1])) if p not in sys.path]

import mrml_scene  # noqa: E402

from PETSuperResLib.errors import InputError, OutputError  # noqa: E402
from PETSuperResLib.files import quiet  # noqa: E402
from PETSuperResLib.outputs import check_folder  # noqa: E402
from PETSuperResLib.phantoms.demo_case import LESIONS, SEED, SHAPE, SITES, SPACING  # noqa: E402
from PETSuperResLib.volume import Volume  # noqa: E402

NAMES = {  # of the demo's files
    **{name: f"{name}.nii.gz" for name in ("ct", "pet", "reference", "sr")},
    **{"lesions": "lesions.seg.nrrd", "table": "lesions.csv", "scene": "scene.mrml", "report": "report.png"},
}


def main(folder: str | Path = "demo_output", quality: str = "standard", seed: int = SEED) -> dict[str, Path]:
    """Run the demo into ``folder``; returns the files by name. Raises the library's errors."""
    check_folder(folder, dict.fromkeys(NAMES.values(), _is_demo))
    if not mrml_scene.available():
        raise InputError("The demo needs a MRML scene: install it with pip install 'PETSuperResLib[mrml]'.")
    from PETSuperResLib.commands.common import Bar
    from PETSuperResLib.phantoms.torso import torso_phantom
    from PETSuperResLib.physics.simulation import simulate

    began = time.monotonic()
    scene, module = mrml_scene.start(), mrml_scene.load_module()
    from PETSuperResSlicer.mrml import volumes as mrml
    from PETSuperResSlicer.mrml.segments import segmentation_from_labels

    phantom = torso_phantom(seed, SHAPE, SPACING, LESIONS)
    print(f"A generated torso of {SHAPE[2]} x {SHAPE[1]} x {SHAPE[0]} voxels with {len(phantom.lesions)} lesions.")
    with Bar() as bar:
        simulation = simulate(phantom.pet, phantom.ct, setting="standard", counts="realistic", seed=0, progress=bar)
    print(f"Simulated a low-resolution scan: {simulation.lr.spacing[0]:g} mm voxels, {_seconds(began)}.")
    nodes: dict[str, Any] = {
        "ct": mrml.node_from_volume(phantom.ct, "CT", scene),
        "pet": mrml.node_from_volume(simulation.lr, "PET", scene),
        "reference": mrml.node_from_volume(simulation.truth, "Reference", scene),
    }
    names = {n: _name(n, lesion) for n, lesion in enumerate(phantom.lesions, 1)}
    nodes["lesions"] = segmentation_from_labels(phantom.labels, nodes["ct"], "Lesions", names)
    for name in ("pet", "reference"):
        mrml.show_as_pet(nodes[name])
    logic = module.PETSuperResLogic()
    with Bar() as bar:
        nodes["sr"] = logic.process(
            nodes["pet"],
            nodes["ct"],
            preset="Paper standard",
            quality=quality,
            progress=bar,
            measurement=simulation.measurement,
        )
    print(f"Super-resolved it ({quality}): {nodes['sr'].GetSpacing()[0]:g} mm voxels, {_seconds(began)}.")
    nodes["table"] = logic.compareLesions(nodes["pet"], nodes["sr"], nodes["lesions"], nodes["reference"])
    files = _save(scene, nodes, Path(folder), lambda path: _picture(nodes, phantom, simulation, names, path, quality))
    print(f"\n{_text(nodes['table'])}\n")
    print(f"Wrote {', '.join(p.name for p in files.values())} to {folder}; {_seconds(began)}.")
    print(module.RESEARCH_USE)
    return files


def _is_demo(path: Path) -> bool:
    """Whether a file lies beside the scene of an earlier demo, which refers to it."""
    scene = path.with_name("scene.mrml")
    text = scene.read_text(encoding="utf-8", errors="replace") if scene.is_file() else ""
    return "PETSuperRes" in text and (path.name in text or path.name in ("scene.mrml", "report.png"))


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def _name(number: int, lesion: Any) -> str:
    size = 2 * (lesion.shape.radii[0] * lesion.shape.radii[1] * lesion.shape.radii[2]) ** (1 / 3)
    return f"{number} {SITES.get(lesion.organ, lesion.organ.capitalize())}, {size:.0f} mm"


def _save(scene: Any, nodes: dict[str, Any], folder: Path, picture: Callable[[Path], object]) -> dict[str, Path]:
    """Write every node, the scene that refers to them and the picture: all of them, or nothing."""
    new, names = not folder.exists(), NAMES
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as temporary:
            part = Path(temporary)
            for key, node in nodes.items():
                with quiet():
                    written = _write(node, part / names[key])
                if not written:
                    raise OutputError(f"{folder / names[key]} could not be written: check free space and permissions.")
            scene.SetRootDirectory(str(part))
            scene.SetURL(str(part / names["scene"]))
            if not scene.Commit(str(part / names["scene"])):
                raise OutputError(f"{folder / 'scene.mrml'} could not be written: check free space and permissions.")
            try:
                picture(part / names["report"])
            except OutputError as error:
                raise OutputError(str(error).replace(str(part), str(folder))) from error
            for file in part.iterdir():
                os.replace(file, folder / file.name)
    except BaseException:
        if new:
            with suppress(OSError):
                folder.rmdir()
        raise
    scene.SetRootDirectory(str(folder.resolve()))
    scene.SetURL(str(folder.resolve() / names["scene"]))
    return {key: folder / name for key, name in names.items()}


def _write(node: Any, path: Path) -> bool:
    """Whether a node was written whole; the writer of NIfTI reports no full disk, so its file is read back."""
    if node.GetStorageNode() is None:
        node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(node):
        return False
    try:
        return not path.name.endswith(".nii.gz") or Volume.read(path).array.size > 0
    except InputError:
        return False


def _picture(
    nodes: dict[str, Any], phantom: Any, simulation: Any, names: dict[int, str], path: Path, quality: str
) -> Path:
    from mrml_report import Case, write_report
    from PETSuperResSlicer.mrml import volumes as mrml

    from PETSuperResLib import measure_lesions
    from PETSuperResLib.studies.evaluation.metrics import whole_field

    sr, truth = mrml.volume_from_node(nodes["sr"]), simulation.truth
    images = {"LR": simulation.lr, "SR": sr, "reference": truth}
    scores = {}
    for name in ("LR", "SR"):
        score = whole_field(truth, images[name].resample_to(truth))
        scores[name] = f"{score['psnr']:.1f} dB   SSIM {score['ssim']:.2f}   NMSE {score['nmse']:.3f}"
    lesions = {name: measure_lesions(volume, phantom.labels, names=names) for name, volume in images.items()}
    lesions["SR"] = _with_recovered(lesions["SR"], nodes["table"])
    case = Case(
        phantom.ct,
        simulation.lr,
        sr,
        truth,
        phantom.labels,
        lesions,
        scores,
        "PETSuperRes on a generated PET/CT torso",
        f"Simulated scan: 8 mm PSF, 10 % dose, half the views and bins, Poisson counts, 8 mm voxels (left); "
        f"super-resolved to {sr.spacing[0]:g} mm with quality '{quality}'. Lesions outlined.",
    )
    return write_report(case, path)


def _with_recovered(lesions: list[Any], table: Any) -> list[Any]:
    """Lesions with the recovered SUVs and the intervals of a table's rows."""
    names = [f"{measure}_{what}" for measure in ("suvmean", "suvpeak") for what in ("recovered", "low", "high")]
    rows = range(table.GetNumberOfRows())
    values = [{name: table.GetTable().GetValueByName(row, name).ToDouble() for name in names} for row in rows]
    return [replace(lesion, **own) for lesion, own in zip(lesions, values, strict=True)]


def _text(table: Any) -> str:
    """The table's SUVmean, SUVpeak and MTV as aligned text, with what was recovered and its interval."""
    from PETSuperResLib.commands.common import table as aligned

    headings = {"lesion": "lesion", "volume_ml": "mL"}
    for measure, title in (("suvmean", "SUVmean"), ("suvpeak", "SUVpeak"), ("mtv_ml", "MTV mL")):
        names = {f"{image}_{measure}": image.upper() for image in ("pet", "sr")}
        names |= {f"{measure}_{what}": what for what in ("recovered", "low", "high")} if measure == "suvmean" else {}
        headings |= {name: f"{title} {what}" for name, what in {**names, f"reference_{measure}": "reference"}.items()}
    rows = []
    for row in range(table.GetNumberOfRows()):
        cells = {name: table.GetTable().GetValueByName(row, name) for name in headings}
        rows.append({n: v.ToString() if n == "lesion" else float(v.ToDouble()) for n, v in cells.items()})
    return aligned(rows, headings)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "demo_output")
