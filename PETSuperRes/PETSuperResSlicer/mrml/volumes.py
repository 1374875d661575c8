"""Between MRML volume nodes and the backend: voxels, place, SUV marks; how they are shown and where they are put.

MRML is RAS, the backend LPS; both in mm. Linear parent transforms are applied on the way in, so that
the measured position is that of the slice views; results need no transform.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from PETSuperResLib.errors import GeometryError, InputError
from PETSuperResSlicer.mrml import provenance

if TYPE_CHECKING:
    from PETSuperResLib.volume import Volume

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
WINDOW = (6.0, 3.0)  # of FDG in SUV: width and level
SIGMA_WINDOW = (12.0, 0.0)  # window and level of maps in sigma: -6 to 6
HEAT = "vtkMRMLPETProceduralColorNodePET-Heat"
GREYS = ("vtkMRMLColorTableNodeGrey", "vtkMRMLColorTableNodeInvertedGrey")

# Codes of voxel values: code value, coding scheme, meaning of quantity and of unit
CODES = {
    "SUVbw": (
        ("126400", "DCM", "Standardized Uptake Value"),
        ("{SUVbw}g/ml", "UCUM", "Standardized Uptake Value body weight"),
    ),
    "HU": (("112031", "DCM", "Attenuation Coefficient"), ("[hnsf'U]", "UCUM", "Hounsfield unit")),
}
KNOWN_UNITS = {code[0].lower(): unit for unit, (_, code) in CODES.items()} | {"bq/ml": "Bq/mL"}


def ras_bounds(node: Any) -> np.ndarray:
    """The lowest and the highest corner of the box around a node, RAS mm, (2, 3)."""
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    return np.reshape(bounds, (3, 2)).T


def state_of(nodes: Iterable[Any]) -> tuple[Any, ...]:
    """What changes with the voxels or the name of volumes, also where ``arrayFromVolumeModified`` tells no more."""
    return tuple((node.GetName(), node.GetImageData() and node.GetImageData().GetMTime()) for node in nodes)


def voxel_sum(node: Any) -> str:
    """A checksum of a volume's size and of up to a million of its voxels: another frame of a sequence has another."""
    array = slicer.util.arrayFromVolume(node)
    step = max(1, round((array.size / 1e6) ** (1 / 3)))
    sample = np.ascontiguousarray(array[::step, ::step, ::step], np.float32)
    return f"{array.shape} {zlib.crc32(sample):08x}"


def changed_since(result: Any, pet: Any) -> str:
    """A sentence where a PET no longer has the voxels that a result was made from, else an empty text."""
    made_from = provenance.voxels_of_pet(result)
    if not made_from or made_from == voxel_sum(pet):
        return ""
    return f"'{pet.GetName()}' no longer has the voxels that this result was made from: press Apply to make it anew."


def require_unchanged(result: Any, pet: Any) -> None:
    """Raise :class:`InputError` where a PET no longer has the voxels that a result was made from."""
    changed = changed_since(result, pet)
    if changed:
        raise InputError(changed)


def to_world(node: Any) -> np.ndarray:
    """4 x 4 matrix from a node's own to world RAS; refuses a warp."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise GeometryError(f"'{node.GetName()}' is under a non-linear transform: harden it first (Data module).")
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return np.array(slicer.util.arrayFromVTKMatrix(matrix))


def geometry_of(ijkToRAS: np.ndarray, node: Any) -> dict[str, tuple[float, ...]]:
    """Spacing, origin and direction cosines (LPS) of a voxel-to-RAS matrix; refuses shear, naming the node."""
    matrix = RAS_FROM_LPS @ ijkToRAS
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if min(spacing) <= 0:
        raise GeometryError(f"'{node.GetName()}' has a voxel of no size: load it again.")
    direction = matrix[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-3:
        raise GeometryError(
            f"The axes of '{node.GetName()}' are not at right angles (gantry tilt or shear): resample it first."
        )
    return {
        "spacing": tuple(float(v) for v in spacing),
        "origin": tuple(float(v) for v in matrix[:3, 3]),
        "direction": tuple(float(v) for v in direction.ravel()),
    }


def unit_of_node(node: Any) -> str:
    """``SUVbw``, ``Bq/mL`` or ``HU`` by the node's units, else an empty string."""
    entry = node.GetVoxelValueUnits()
    value = (entry.GetCodeValue() or "") if entry is not None else ""
    return KNOWN_UNITS.get(value.lower(), "")


def mark_unit(node: Any, unit: str) -> None:
    """Write the unit of the voxels into the node's quantity and units."""
    for code, setter in zip(CODES[unit], (node.SetVoxelValueQuantity, node.SetVoxelValueUnits), strict=True):
        entry = slicer.vtkCodedEntry()
        entry.SetValueSchemeMeaning(*code)
        setter(entry)


@dataclass(frozen=True)
class Voxels:
    """The content of a volume node: ``array`` is the node's own memory, of any type.

    Taking it costs nothing, where a copy of a whole-body CT would hold up the GUI for a second.
    """

    array: np.ndarray
    unit: str
    metadata: dict[str, Any]
    geometry: dict[str, tuple[float, ...]]

    def volume(self, copy: bool = False) -> Volume:
        """As a backend volume; with ``copy`` it never shares the node's memory."""
        from PETSuperResLib.volume import Volume

        array = self.array.astype(np.float32, copy=copy)
        return Volume(array, unit=self.unit, metadata=dict(self.metadata), **self.geometry)

    def around(self, point: Sequence[float], reach_mm: float) -> Voxels | None:
        """The voxels within ``reach_mm`` of a point (LPS mm) along each axis, in the same memory; None without any."""
        spacing, direction = np.array(self.geometry["spacing"]), np.reshape(self.geometry["direction"], (3, 3))
        origin, size = np.array(self.geometry["origin"]), self.array.shape[::-1]
        middle = np.linalg.solve(direction, np.subtract(point, origin)) / spacing
        first = np.clip(np.floor(middle - reach_mm / spacing), 0, size).astype(int)
        last = np.clip(np.ceil(middle + reach_mm / spacing) + 1, 0, size).astype(int)
        if (last <= first).any():
            return None
        (i0, j0, k0), (i1, j1, k1) = first, last
        place = {**self.geometry, "origin": tuple(float(v) for v in origin + direction @ (first * spacing))}
        return replace(self, array=self.array[k0:k1, j0:j1, i0:i1], geometry=place)


def voxels_of_node(node: Any, unit: str | None = None, transformed: bool = True) -> Voxels:
    """Voxels and place (LPS) of a scalar volume node, with its parent transform applied by default.

    ``unit`` overrides the node's. Raises :class:`InputError` for no node or an empty one,
    :class:`GeometryError` for a sheared grid or a non-linear transform.
    """
    if node is None:
        raise InputError("No volume is selected: choose one.")
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise InputError(f"'{node.GetName()}' has no voxels: load the image again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f"'{node.GetName()}' is a colour or vector image: choose a scalar volume.")
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    place = to_world(node) if transformed else np.eye(4)
    geometry = geometry_of(place @ slicer.util.arrayFromVTKMatrix(matrix), node)
    known = unit_of_node(node) if unit is None else unit
    return Voxels(slicer.util.arrayFromVolume(node), known, {"file": node.GetName()}, geometry)


def volume_from_node(node: Any, unit: str | None = None, transformed: bool = True) -> Volume:
    """A copy of a scalar volume node as a backend volume; arguments and errors of :func:`voxels_of_node`."""
    return voxels_of_node(node, unit, transformed).volume(copy=True)


def node_from_volume(volume: Volume, name: str, scene: Any = None, share: bool = False) -> Any:
    """A new volume node with the volume's voxels, geometry and unit; with ``scene`` it is added to it.

    With ``share`` the voxels are not copied: for a volume without another use.
    """
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    set_voxels(node, volume, share)
    if volume.unit in CODES:
        mark_unit(node, volume.unit)
    return add_node(node, scene) if scene is not None else node


def set_voxels(node: Any, volume: Volume, share: bool = False) -> None:
    """Put a volume's voxels and geometry into a node; ``share``: without a copy."""
    image = vtk.vtkImageData()
    image.SetDimensions(volume.shape[::-1])
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(volume.array).ravel(), deep=not share)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(RAS_FROM_LPS @ volume.ijk_to_lps))


def add_node(node: Any, scene: Any, window: tuple[float, float] | None = None) -> Any:
    """Add a finished volume node to a scene with a display node.

    With ``window`` (window, level) the display node is made with them. Otherwise MRML goes through all voxels to
    find a window, which holds up the GUI for half a second in a whole body.
    """
    if window is not None:
        display = scene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.AutoWindowLevelOff()
        display.SetWindowLevel(*window)
        display.SetAndObserveColorNodeID(GREYS[0])
        node.SetAndObserveDisplayNodeID(display.GetID())
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return node


def add_derived(
    volume: Volume, name: str, kind: str, sibling: Any, scene: Any, window: tuple[float, float] = WINDOW
) -> Any:
    """A volume made from others as a new node, marked as such, beside ``sibling``; its voxels are not copied."""
    node = node_from_volume(volume, name, share=True)
    provenance.mark(node, kind)
    add_node(node, scene, window)
    place_beside(node, sibling, scene)
    return node


def remove_volume(node: Any) -> None:
    """Take a volume out of its scene together with its display nodes, which MRML would leave behind.

    It is removed from the slice views first, whose pipelines would otherwise keep its voxels.
    """
    scene = None if node is None else node.GetScene()
    if scene is None:
        return
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
        for layer in ("Foreground", "Background", "Label"):
            if getattr(composite, f"Get{layer}VolumeID")() == node.GetID():
                getattr(composite, f"Set{layer}VolumeID")(None)
    for index in reversed(range(node.GetNumberOfDisplayNodes())):
        if node.GetNthDisplayNode(index) is not None:
            scene.RemoveNode(node.GetNthDisplayNode(index))
    scene.RemoveNode(node)


def place_beside(node: Any, sibling: Any, scene: Any) -> None:
    """Put a node under the same study or folder as its sibling in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    known = hierarchy.GetItemByDataNode(sibling)
    place_under(node, (hierarchy.GetItemParent(known) if known else 0) or hierarchy.GetSceneItemID(), hierarchy)


def place_under(node: Any, parent: int, hierarchy: Any) -> None:
    """Put a node under an item of the subject hierarchy."""
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def show_as_pet(node: Any, window: float = WINDOW[0], level: float = WINDOW[1]) -> None:
    """Inverted grey and the window (SUV) that PET readers use."""
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(window, level)


def show_like(node: Any, source: Any) -> None:
    """The colours and window of another PET, so that the two compare; PET-Heat for both where that is grey.

    Grey over a CT looks like the CT; other chosen colours are kept. ``source`` may be None.
    """
    display, other = node.GetDisplayNode(), None if source is None else source.GetScalarVolumeDisplayNode()
    colours = other.GetColorNodeID() if other is not None else GREYS[0]
    if (colours is None or colours in GREYS) and node.GetScene().GetNodeByID(HEAT) is not None:
        colours = HEAT
        if other is not None:
            other.SetAndObserveColorNodeID(HEAT)
    display.SetAndObserveColorNodeID(colours or GREYS[1])
    display.AutoWindowLevelOff()
    window = (other.GetWindow(), other.GetLevel()) if other is not None and other.GetWindow() > 0 else WINDOW
    display.SetWindowLevel(*window)


def display_of(node: Any) -> Any:
    """The display node by which a volume is shown in slices; where it was deleted, a new one before the others."""
    if node.GetScalarVolumeDisplayNode() is None:
        others = [node.GetNthDisplayNodeID(number) for number in range(node.GetNumberOfDisplayNodes())]
        node.CreateDefaultDisplayNodes()  # takes the place of the first one
        for other in others:
            if not node.HasDisplayNodeID(other):
                node.AddAndObserveDisplayNodeID(other)
    return node.GetScalarVolumeDisplayNode()


def share_window(changed: Any, displays: Iterable[Any]) -> None:
    """Give display nodes the window and level of another one."""
    window = changed.GetWindow(), changed.GetLevel()
    for display in displays:
        if (display.GetWindow(), display.GetLevel()) != window:
            display.AutoWindowLevelOff()
            display.SetWindowLevel(*window)


def spread_window(volume: Any) -> tuple[float, float]:
    """Window and level of the samples' spread, which is not a PET: up to its 99.5th percentile."""
    step = max(1, round((volume.array.size / 1e6) ** (1 / 3)))  # a million voxels suffice
    top = max(float(np.percentile(volume.array[::step, ::step, ::step], 99.5)), 1e-3)
    return top, top / 2
