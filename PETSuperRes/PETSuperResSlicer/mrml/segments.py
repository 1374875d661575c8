"""Between MRML segmentations (or label maps) and the backend: a mask for every segment, each on its own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from PETSuperResSlicer.mrml import volumes as mrml

if TYPE_CHECKING:
    from PETSuperResLib.volume import Volume


@dataclass(frozen=True)
class Segments:
    """The segments of a node at one moment. What takes long, :meth:`masks`, may be done in another thread.

    ``layers`` are (segments, array, geometry): the array (K, J, I) holds several segments, which are (name, value)
    pairs; of a label map the pairs are not known yet (None).
    """

    title: str
    layers: list[tuple[list[tuple[int, str, int]] | None, np.ndarray, dict[str, tuple[float, ...]]]]

    def masks(self) -> list[tuple[str, Volume]]:
        """(name, mask) of every segment that is drawn, in order; a mask is the box around it, with 1 inside.

        Overlapping segments stay whole. Raises :class:`InputError` when there is none.
        """
        from PETSuperResLib.errors import InputError

        found = []
        for known, array, geometry in self.layers:
            segments = known
            if segments is None:
                array = np.rint(array) if array.dtype.kind == "f" else array
                segments = [(n, f"Lesion {v}", v) for n, v in enumerate(int(v) for v in np.unique(array) if v > 0)]
            found += [(order, name, self._mask(array == value, geometry)) for order, name, value in segments]
        masks = [(name, mask) for _order, name, mask in sorted(found, key=lambda entry: entry[0]) if mask is not None]
        if not masks:
            raise InputError(f"Segmentation '{self.title}' is empty: draw at least one segment.")
        return masks

    def _mask(self, inside: np.ndarray, geometry: dict[str, tuple[float, ...]]) -> Volume | None:
        """The box around what is inside, None where nothing is."""
        from PETSuperResLib.volume import Volume

        where = [np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        if not all(len(indices) for indices in where):
            return None
        block = tuple(slice(int(indices[0]), int(indices[-1]) + 1) for indices in where)
        first = np.array([part.start for part in reversed(block)])
        shift = np.reshape(geometry["direction"], (3, 3)) @ (first * np.array(geometry["spacing"]))
        origin = tuple(float(v) for v in np.add(geometry["origin"], shift))
        array = inside[block].astype(np.float32)
        place = {**geometry, "origin": origin}
        return Volume(array, unit="label", metadata={"file": self.title}, **place)


def segments_of_node(node: Any) -> Segments:
    """The segments of a segmentation, visible or not, or the labels of a label map, as they are now.

    Raises :class:`InputError` without a node, :class:`GeometryError` for a sheared grid or a non-linear transform.
    """
    from PETSuperResLib.errors import InputError

    if node is None:
        raise InputError("No segmentation is selected: choose one.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        voxels = mrml.voxels_of_node(node, "label")
        return Segments(node.GetName(), [(None, voxels.array.copy(), voxels.geometry)])
    segmentation, labelmap = (
        node.GetSegmentation(),
        slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(),
    )
    if segmentation.GetNumberOfSegments() and not segmentation.ContainsRepresentation(labelmap):
        segmentation.CreateRepresentation(labelmap)
    layers: dict[str, tuple[Any, list[tuple[int, str, int]]]] = {}
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        image = segment.GetRepresentation(labelmap)  # shared with other segments that it does not overlap
        if image is not None and image.GetPointData().GetScalars() is not None:
            layer = layers.setdefault(image.GetAddressAsString(""), (image, []))
            layer[1].append((index, segment.GetName(), segment.GetLabelValue()))
    return Segments(node.GetName(), [_layer(node, image, segments) for image, segments in layers.values()])


def _layer(node: Any, image: Any, segments: list[tuple[int, str, int]]) -> Any:
    """A copy of a layer's voxels, which may change while it is measured, and where they lie."""
    extent = image.GetExtent()
    shape = tuple(max(0, extent[2 * n + 1] - extent[2 * n] + 1) for n in (2, 1, 0))
    array = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    matrix, corner = vtk.vtkMatrix4x4(), np.eye(4)
    image.GetImageToWorldMatrix(matrix)
    corner[:3, 3] = extent[::2]
    return (
        segments,
        array.reshape(shape).copy(),
        mrml.geometry_of(mrml.to_world(node) @ mrml.as_array(matrix) @ corner, node),
    )


def masks_from_node(node: Any) -> list[tuple[str, Volume]]:
    """(name, mask) of every segment that is drawn; see :class:`Segments` and :func:`segments_of_node`."""
    return segments_of_node(node).masks()


def segmentation_from_labels(
    labels: Volume, referenceNode: Any, name: str, names: Mapping[int, str] | None = None
) -> Any:
    """A segmentation node in the reference's scene with a segment for every label of a label map."""
    scene = referenceNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(referenceNode)
    node.CreateDefaultDisplayNodes()
    matrix = vtk.vtkMatrix4x4()
    for (row, column), value in np.ndenumerate(mrml.RAS_FROM_LPS @ labels.ijk_to_lps):
        matrix.SetElement(row, column, float(value))
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
