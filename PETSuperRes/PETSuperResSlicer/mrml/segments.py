"""Between MRML segmentations (or label maps) and the backend: a mask for every segment, each on its own grid."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from PETSuperResLib.dicom.regions import OTHER, UNKNOWN, kind_of
from PETSuperResLib.errors import InputError
from PETSuperResLib.lesions.segments import Segment
from PETSuperResLib.progress import at_once
from PETSuperResLib.volume import Volume
from PETSuperResSlicer.mrml import volumes as mrml


def masks_from_node(node: Any) -> list[tuple[str, Volume]]:
    """(name, mask) of every segment of a segmentation, visible or not, or of every label of a label map, in order.

    A mask is the box around the drawn voxels, with 1 inside; overlapping segments stay whole. Raises
    :class:`InputError` without a node and for one without a drawn segment, :class:`GeometryError` for a sheared grid
    or a non-linear transform.
    """
    return at_once(mask_steps(node))


def mask_steps(node: Any) -> Generator[None, None, list[tuple[str, Volume]]]:
    """:func:`masks_from_node` as a generator that stops after each segment."""
    if node is None:
        raise InputError("No segmentation is selected: choose one.")
    segments = _labels(node) if node.IsA("vtkMRMLLabelMapVolumeNode") else _segments(node)
    masks = []
    for name, inside, geometry in segments:
        mask = _mask(inside, geometry, node.GetName())
        if mask is not None:
            masks.append((name, mask))
        yield
    if not masks:
        raise InputError(f"Segmentation '{node.GetName()}' is empty: draw at least one segment.")
    return masks


def mask_of_segment(node: Any, name: str) -> Volume | None:
    """The mask, as of :func:`masks_from_node`, of the segment of an ID; None where nothing is drawn."""
    found = [_mask(inside, geometry, node.GetName()) for _title, inside, geometry in _segments(node, [name])]
    return found[0] if found else None


def reference_segment(node: Any, organ: str) -> Segment | None:
    """The first drawn segment that is a normal ``organ`` by its name (``"liver"``), and no lesion in it."""
    segmentation = node.GetSegmentation()
    for name in segmentation.GetSegmentIDs():
        title = segmentation.GetSegment(name).GetName()
        if organ in title.lower() and kind_of(title, "", UNKNOWN) == OTHER:
            mask = mask_of_segment(node, name)
            if mask is not None:
                return Segment(1, title, mask)
    return None


def _labels(node: Any) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """(name, where it is, place) of every label."""
    voxels = mrml.voxels_of_node(node, "label")
    array = np.rint(voxels.array) if voxels.array.dtype.kind == "f" else voxels.array
    for value in (int(v) for v in np.unique(array) if v > 0):
        yield f"Lesion {value}", array == value, voxels.geometry


def _segments(node: Any, names: Sequence[str] | None = None) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """The same of every segment, or of those of the IDs ``names``.

    Each is read when its turn comes, since a user may edit it meanwhile.
    """
    segmentation = node.GetSegmentation()
    labelmap = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if segmentation.GetNumberOfSegments() and not segmentation.ContainsRepresentation(labelmap):
        segmentation.CreateRepresentation(labelmap)
    for name in list(segmentation.GetSegmentIDs()) if names is None else names:
        segment = segmentation.GetSegment(name)
        image = None if segment is None else segment.GetRepresentation(labelmap)
        if image is None or image.GetPointData().GetScalars() is None:
            continue
        extent = image.GetExtent()  # of an image that is shared with segments that this one does not overlap
        shape = tuple(max(0, extent[2 * n + 1] - extent[2 * n] + 1) for n in (2, 1, 0))
        array = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)
        matrix, corner = vtk.vtkMatrix4x4(), np.eye(4)
        image.GetImageToWorldMatrix(matrix)
        corner[:3, 3] = extent[::2]
        geometry = mrml.geometry_of(mrml.to_world(node) @ slicer.util.arrayFromVTKMatrix(matrix) @ corner, node)
        yield segment.GetName(), array == segment.GetLabelValue(), geometry


def _mask(inside: np.ndarray, geometry: dict[str, Any], title: str) -> Volume | None:
    """The box around the nonzero voxels, None without any."""
    where = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not all(len(indices) for indices in where):
        return None
    block = tuple(slice(int(indices[0]), int(indices[-1]) + 1) for indices in where)
    first = np.array([part.start for part in reversed(block)])
    shift = np.reshape(geometry["direction"], (3, 3)) @ (first * np.array(geometry["spacing"]))
    place = {**geometry, "origin": tuple(float(v) for v in np.add(geometry["origin"], shift))}
    return Volume(inside[block].astype(np.float32), unit="label", metadata={"file": title}, **place)


def segmentation_from_labels(
    labels: Volume, referenceNode: Any, name: str, names: Mapping[int, str] | None = None
) -> Any:
    """A segmentation node in the reference's scene with a segment for every label of a label map."""
    scene = referenceNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(referenceNode)
    node.CreateDefaultDisplayNodes()
    matrix = slicer.util.vtkMatrixFromArray(mrml.RAS_FROM_LPS @ labels.ijk_to_lps)
    array = np.rint(labels.array).astype(np.int32)
    for label in (int(v) + 1 for v in np.flatnonzero(np.bincount(array[array > 0])[1:])):
        image = slicer.vtkOrientedImageData()
        image.SetDimensions(labels.shape[::-1])
        mask = (array == label).astype(np.uint8)
        image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(mask.ravel(), deep=True))
        image.SetImageToWorldMatrix(matrix)
        title = (names or {}).get(label, f"Lesion {label}")
        node.AddSegmentFromBinaryLabelmapRepresentation(image, title)
    return node
