"""Registration of a later CT to the first one: rigid, then deformable, and whether it can be relied on.

Both steps maximise the correlation of HU within the first CT's body (SimpleITK, several resolutions): both images are
CTs, and contrast agent changes few voxels. The rigid step begins at the best of several shifts along the body, as the
studies may reach over different parts of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..errors import GeometryError
from ..lesions.segments import Segment
from ..progress import Reporter
from ..volume import Volume

GRID_MM = 4.0  # voxels on which CTs are registered
SHOWN_MM = 2.0  # voxels of CTs that are shown over each other
FIELD_MM = 8.0  # voxels of the inverse deformation
KNOTS_MM = 60.0  # between the control points of the B-spline
SHIFT_MM = 24.0  # between the first shifts that are tried along the body
LOW_HU, HIGH_HU = -1000.0, 500.0  # values are clipped to these
BODY_HU, BONE_HU = -300.0, 200.0
NOWHERE_HU = -3000.0  # outside the later CT
SAMPLED, SEED = 0.1, 1  # share of the voxels, and where in their neighbourhoods: one input gives one result
MOST_SHIFT = 0.5  # of the shorter study, which need not be in the other
ITERATIONS = 80
MARGIN_MM = 24.0  # around the box of a segment that is carried over
#: least overlap (Dice) of bone and body: below the first number it is refused, below the second one told
MIN_BONE, GOOD_BONE = 0.35, 0.5
MIN_BODY, GOOD_BODY = 0.8, 0.9
Tell = Callable[[float], object]  # hears the share done (0 to 1), and may raise to cancel


@dataclass(frozen=True)
class Registration:
    """Where points of the first study lie in a later one (``to_later``), and back (``to_first``), in LPS mm.

    ``body`` and ``bone`` are the overlaps (Dice) where both CTs are; ``shift_mm`` is how far the rigid part moves the
    middle of the body, ``deformation_mm`` the 95th percentile of what the B-spline moves in it. ``fixed`` is the first
    CT on voxels of 4 mm, ``seen`` the later one brought onto them.
    """

    to_later: sitk.Transform
    to_first: sitk.Transform
    body: float
    bone: float
    shift_mm: float
    deformation_mm: float
    fixed: Volume
    seen: Volume

    def to_dict(self) -> dict[str, float]:
        """The figures, for the report."""
        names = ("body", "bone", "shift_mm", "deformation_mm")
        return {name: round(getattr(self, name), 3) for name in names}

    def check(self, name: str) -> list[str]:
        """Raise :class:`GeometryError` where the registration failed; returns warnings."""
        figures = f"{100 * self.bone:.0f} % of bone and {100 * self.body:.0f} % of the body (Dice)"
        if self.bone < MIN_BONE or self.body < MIN_BODY:
            raise GeometryError(
                f"The CT of {name} cannot be registered to the first one: they overlap by {figures}, and "
                f"{100 * MIN_BONE:.0f} and {100 * MIN_BODY:.0f} % are needed; check that both are of one patient, or "
                "register the study elsewhere and say that it is aligned.",
                "aligned",
            )
        if self.bone < GOOD_BONE or self.body < GOOD_BODY:
            return [f"The CTs of {name} and of the first study overlap by {figures} only: look at them."]
        return []


def register(first: Volume, later: Volume, progress: Reporter | None = None) -> Registration:
    """Register a later CT to the first one, both in HU on any grid.

    Raises :class:`GeometryError` where one shows no body; :meth:`Registration.check` judges the result.
    """
    report = progress or Reporter(None)
    fixed, moving = _coarse(first), _coarse(later)
    bodies = body_of(fixed), body_of(moving)
    if not (bodies[0].array.any() and bodies[1].array.any()):
        raise GeometryError("A CT shows no body, so it cannot be registered: give the whole CT.", "ct")
    images = fixed.to_sitk(), moving.to_sitk()
    mask = sitk.Cast(bodies[0].to_sitk(), sitk.sitkUInt8)
    rigid = _rigid(images, mask, bodies, lambda part: report("registering, rigid", 0.5 * part))
    spline = _deformable(images, mask, rigid, lambda part: report("registering, deformable", 0.5 + 0.4 * part))
    report("registering, inverse", 0.9)
    grid = fixed.grid([FIELD_MM] * 3)
    field = sitk.TransformToDisplacementField(
        spline, sitk.sitkVectorFloat64, grid.shape[::-1], grid.origin, grid.spacing, grid.direction
    )
    lengths = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)[bodies[0].resample_to(grid, "nearest").array > 0]
    inverse = sitk.DisplacementFieldTransform(sitk.InvertDisplacementField(field, maximumNumberOfIterations=30))
    there, back = sitk.CompositeTransform([rigid, spline]), sitk.CompositeTransform([inverse, rigid.GetInverse()])
    seen = Volume.from_sitk(sitk.Resample(images[1], images[0], there, sitk.sitkLinear, NOWHERE_HU), "HU")
    middle = _middle(bodies[0])
    shift = float(np.linalg.norm(np.subtract(rigid.TransformPoint(middle), middle)))
    return Registration(there, back, *_overlaps(fixed, seen), shift, float(np.percentile(lengths, 95)), fixed, seen)


def laid_over(first: Volume, later: Volume, found: Registration) -> tuple[Volume, Volume]:
    """Both CTs on voxels of at least 2 mm of the first one's grid, the later one registered, to be looked at."""
    grid = first.grid([max(SHOWN_MM, s) for s in first.spacing])
    moved = sitk.Resample(later.to_sitk(), grid.to_sitk(), found.to_later, sitk.sitkLinear, LOW_HU)
    return first.resample_to(grid, "linear", LOW_HU), Volume.from_sitk(moved, "HU")


def carried(segment: Segment, onto: sitk.Transform, source: sitk.Transform) -> Segment | None:
    """A segment in another space: ``onto`` maps its points there, ``source`` points there to it; None if nothing is
    left of it.

    The mask keeps its finest voxel size; the parts of voxels are interpolated linearly.
    """
    mask = segment.mask
    corners = np.array([onto.TransformPoint(corner) for corner in mask.corners().tolist()])
    low, high = corners.min(0) - MARGIN_MM, corners.max(0) + MARGIN_MM
    step = min(mask.spacing)
    i, j, k = np.ceil((high - low) / step).astype(int)
    grid = Volume(np.zeros((k, j, i), np.float32), (step,) * 3, tuple(low))
    padded = sitk.ConstantPad(mask.to_sitk(), [1] * 3, [1] * 3, 0.0)
    moved = Volume.from_sitk(sitk.Resample(padded, grid.to_sitk(), source, sitk.sitkLinear, 0.0), "label")
    inside = np.argwhere(moved.array > 0.05)
    if not len(inside):
        return None
    box = moved.crop(inside.min(0)[::-1], inside.max(0)[::-1] + 1)
    return Segment(segment.label, segment.name, box)


def body_of(ct: Volume) -> Volume:
    """A mask (0 or 1) of the body of a CT in HU: its largest part above -300 HU, with the lungs filled."""
    opened = sitk.BinaryMorphologicalOpening(ct.to_sitk() > BODY_HU, [2, 2, 0])
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(opened), sortByObjectSize=True) == 1
    largest = sitk.GetArrayFromImage(parts).astype(bool)
    filled = np.stack([sitk.GetArrayFromImage(sitk.BinaryFillhole(_plane(layer))) for layer in largest])
    return ct.with_array(filled.astype(np.float32), "label")


def _plane(layer: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(layer.astype(np.uint8))


def _coarse(ct: Volume) -> Volume:
    grid = ct.grid([max(GRID_MM, s) for s in ct.spacing])
    smooth = sitk.SmoothingRecursiveGaussian(ct.to_sitk(), [0.4 * s for s in grid.spacing])
    coarse = Volume.from_sitk(smooth, "HU").resample_to(grid, "linear", LOW_HU)
    return coarse.with_array(coarse.array.clip(LOW_HU, HIGH_HU))


def _middle(mask: Volume) -> list[float]:
    """The centroid of a mask in LPS mm."""
    k, j, i = (np.flatnonzero(mask.array.any(axis)) for axis in ((1, 2), (0, 2), (0, 1)))
    ijk = [0.5 * (n[0] + n[-1]) for n in (i, j, k)]
    return (mask.ijk_to_lps @ [*ijk, 1.0])[:3].tolist()


def _method(mask: sitk.Image, shrink: list[int], smooth: list[float]) -> sitk.ImageRegistrationMethod:
    """A registration by correlation within the mask, at several resolutions."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel(smooth)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return method


def _rigid(
    images: tuple[sitk.Image, sitk.Image], mask: sitk.Image, bodies: tuple[Volume, Volume], tell: Tell
) -> sitk.Transform:
    """The rigid transform of most correlation, from the best of the shifts along the body."""
    middles = [np.array(_middle(body)) for body in bodies]
    lengths = [float(np.ptp(body.corners()[:, 2])) for body in bodies]
    reach = round((0.5 * abs(lengths[0] - lengths[1]) + MOST_SHIFT * min(lengths)) / SHIFT_MM)
    trial, found = _method(mask, [4], [8.0]), {}
    for step in range(-reach, reach + 1):
        tell(0.5 * (step + reach) / (2 * reach + 1))
        start = sitk.Euler3DTransform(middles[0].tolist())
        start.SetTranslation((middles[1] - middles[0] + [0, 0, step * SHIFT_MM]).tolist())
        trial.SetInitialTransform(start)
        with suppress(RuntimeError):  # of ITK, where the images have nothing in common
            found[step] = trial.MetricEvaluate(*images), start
    if not found:
        raise GeometryError("The CTs show nothing in common: give studies of one part of the body.", "ct")
    transform = min(found.values(), key=lambda one: one[0])[1]
    method = _method(mask, [4, 2], [8.0, 4.0])
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.05, ITERATIONS, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    _execute(method, images, 2, lambda part: tell(0.5 + 0.5 * part))
    return transform


def _deformable(
    images: tuple[sitk.Image, sitk.Image], mask: sitk.Image, rigid: sitk.Transform, tell: Tell
) -> sitk.Transform:
    """The B-spline of most correlation, applied before the rigid transform: small, and in the first study's space."""
    size = np.multiply(images[0].GetSize(), images[0].GetSpacing())
    spline = sitk.BSplineTransformInitializer(images[0], [max(1, round(length / KNOTS_MM)) for length in size])
    method = _method(mask, [2, 1], [4.0, 2.0])
    method.SetOptimizerAsLBFGS2(
        solutionAccuracy=1e-4, numberOfIterations=ITERATIONS // 2, deltaConvergenceTolerance=1e-4
    )
    method.SetMovingInitialTransform(rigid)
    method.SetInitialTransform(spline, inPlace=True)
    _execute(method, images, 2, tell)
    return spline


def _execute(
    method: sitk.ImageRegistrationMethod, images: tuple[sitk.Image, sitk.Image], levels: int, tell: Tell
) -> None:
    """Run a registration; an exception that ``tell`` raises to cancel stops it and is raised then."""
    raised: list[Exception] = []

    def iteration() -> None:
        done = method.GetCurrentLevel() + min(1.0, method.GetOptimizerIteration() / ITERATIONS)
        try:
            tell(done / levels)
        except Exception as error:
            raised.append(error)
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, iteration)
    method.Execute(*images)
    if raised:
        raise raised[0]


def _overlaps(fixed: Volume, seen: Volume) -> tuple[float, float]:
    """Dice of the bodies and of the bones, where both CTs are."""
    both = seen.array > NOWHERE_HU + 1
    pairs = [tuple(body_of(ct).array > 0 for ct in (fixed, seen)), (fixed.array > BONE_HU, seen.array > BONE_HU)]
    body, bone = (float(2 * (a & b & both).sum() / max((a & both).sum() + (b & both).sum(), 1)) for a, b in pairs)
    return body, bone
