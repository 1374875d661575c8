"""The images of a request, read and checked: the first stage of a reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import check_ct, check_measurement, check_pair, check_whole
from .errors import InputError
from .files import file_hashes
from .grid import CONTEXT_MM, axial, axial_order, crop_to_region, image_grid, reordered
from .image_resolution import ImageResolution
from .lesions.measures import Lesion, about_threshold, measure_lesions
from .lesions.read import FRAMES, Segmentation, read_segmentation
from .lesions.segments import Segment, region_around
from .physics.noise_width import noise_widths
from .progress import Callback, Reporter
from .request import MARGIN_MM, SEGMENTS, Request
from .resolution import resolution_of
from .results import is_result
from .scanner import Scanner, contradiction, scanner_of
from .suv.volumes import check_suv, told
from .volume import Volume

if TYPE_CHECKING:
    import torch

    from .physics.image_model import ImageMeasurement
    from .physics.image_noise import ImageNoise
    from .physics.measurement import Measurement
    from .problem import Problem


SERVED = 0.5  # of the prior's pixel size: below it, anatomy looks like nothing that it was trained on


@dataclass(frozen=True)
class Inputs:
    """The images of a request.

    Parameters
    ----------
    pet, ct : SUVbw and HU in axial slices, each on its own grid; they lie in one place and are of one patient.
    scanner : the measurement's, the request's or the one that the PET's header names; None for an image of stated FWHM.
    resolution : the PET image's; None with a measurement, whose scanner says it.
    measurement : a sinogram, or None where the PET itself is what was measured.
    region : (x0, x1, y0, y1, z0, z1) in LPS mm, or None for the whole PET.
    segments, lesions : the lesions' masks and their SUVs in the PET; empty without a segmentation.
    provenance : the files and their SHA-256, and the UIDs of DICOM series and their frames of reference, for the
        report; empty without any.
    order : of the given PET's axes that made its slices axial (:func:`~.grid.axial_order`).
    """

    request: Request
    pet: Volume
    ct: Volume
    scanner: Scanner | None
    resolution: ImageResolution | None
    measurement: Measurement | None
    region: tuple[float, ...] | None
    segments: tuple[Segment, ...]
    lesions: tuple[Lesion, ...]
    warnings: tuple[str, ...]
    provenance: dict[str, Any]
    order: tuple[int, int, int] = (0, 1, 2)

    @classmethod
    def of(cls, request: Request, progress: Callback | None = None, say: Callable[[str], None] | None = None) -> Inputs:
        """Read and check; raises the library's errors for what cannot be reconstructed.

        ``progress`` gets an event at the beginning of every step, with the warnings that the steps before gave: those
        of the PET and its header before the CT is read. It may raise :class:`Cancelled`. ``say`` gets scanner and
        resolution in one line as soon as they are known.
        """
        report = Reporter(progress)
        report("reading the PET", 0.0)
        given = read_image(request.pet, "PT", series=request.series)
        order = axial_order(given)
        pet = reordered(given, order)
        measurement = _measurement(request.measurement)
        scanner: Scanner | None
        resolution = None
        if measurement is None:
            stated = (request.fwhm, request.post_filter, request.psf_modelled)
            scanner, resolution = resolution_of_pet(pet, request.scanner, *stated)
        else:
            scanner = measurement.scanner
            if request.scanner is not None and Scanner.get(request.scanner).name != scanner.name:
                raise InputError(f"The measurement is of scanner '{scanner.name}': leave the scanner out.", "scanner")
        of_pet = [*_about_result(request.pet), *check_suv(pet), *(resolution.warnings if resolution else ())]
        if scanner is not None and measurement is None:
            of_pet += [*scanner.notes, *filter(None, [contradiction(scanner, pet.metadata)])]
        check_whole(pet, "PET")
        if say is not None:
            say(_words(scanner, _scanner_from(request, scanner, measurement), resolution))
        report("reading the CT", 0.0, warnings=of_pet)
        ct = axial(read_image(request.ct, "CT", series=request.ct_series))
        of_ct = told(ct)
        check_ct(ct)
        check_whole(ct, "CT")
        report("checking the images" if request.segmentation is None else "reading the lesions", 0.0, warnings=of_ct)
        found = Segmentation() if request.segmentation is None else read_segmentation(request.segmentation, pet, ct)
        segments = found.segments
        of_lesions = [*found.notes, *(about_threshold(request.threshold) if segments else ())]
        report("checking the images", 0.0, warnings=of_lesions)
        margin = MARGIN_MM if request.margin is None else request.margin
        region = region_around(segments, margin) if request.region == SEGMENTS else request.region
        if isinstance(region, tuple):
            crop_to_region(pet, region)  # refused here, where it lies outside
        of_pair = check_pair(pet, ct)
        report("checking the images", 0.0, warnings=of_pair)
        lesions = measure_lesions(pet, segments, threshold=request.threshold)
        warnings = [*of_pet, *of_ct, *of_lesions, *of_pair]
        files = request.files()
        provenance = {"files": files, "files_sha256": file_hashes(files)} if any(files.values()) else {}
        for name, uid in (("series_uids", "series_uid"), (FRAMES, "frame_of_reference")):
            uids = {of: image.metadata.get(uid) for of, image in (("pet", pet), ("ct", ct))}
            provenance |= {name: uids} if any(uids.values()) else {}
        known = (request, pet, ct, scanner, resolution, measurement)
        return cls(*known, region, segments, tuple(lesions), tuple(warnings), provenance, order)  # type: ignore[arg-type]

    @property
    def scanner_from(self) -> str:
        """Where the scanner comes from: ``the measurement``, ``the caller``, ``the header``, or ``none``."""
        return _scanner_from(self.request, self.scanner, self.measurement)

    def words(self) -> str:
        """Scanner and resolution in one line: ``GE Discovery ST (from the header); 6.1 mm scanner, ...: 6.1 mm``."""
        return _words(self.scanner, self.scanner_from, self.resolution)

    def as_given(self, volume: Volume) -> Volume:
        """An axial volume with its axes in the order of the given PET's, so that both are stored alike."""
        return reordered(volume, np.argsort(self.order).tolist())

    def spacing(self, prior_mm: float) -> float:
        """Pixel size of the result in mm: as requested, else the prior's, but never coarser than the PET's.

        Raises :class:`InputError` for a PET whose pixels are finer than half of the prior's.
        """
        finest = min(self.pet.spacing[:2])
        if self.request.spacing or self.measurement is not None or finest >= prior_mm:
            return self.request.spacing or prior_mm
        if finest < SERVED * prior_mm:
            raise InputError(
                f"The PET's pixels of {finest:.3g} mm are too fine for a prior trained at {prior_mm:g} mm (from "
                f"{SERVED * prior_mm:g} mm): give a prior trained on such images, or state the spacing of the result.",
                "spacing",
            )
        return finest

    def problem(self, spacing_mm: float, device: torch.device) -> Problem:
        """The counts and the CT on the SR grid with pixels of ``spacing_mm``: of the measurement, or of the PET.

        Counts that are not Poisson have the weight that their dispersion gives (:mod:`.dispersion`).

        Raises the library's errors for a region outside the PET, or a measurement that is not this PET's.
        """
        from .dispersion import with_measured_dispersion
        from .problem import Problem

        if self.measurement is None:
            assert self.resolution is not None
            return self._image_problem(self.resolution, spacing_mm, device)
        measurement = self.measurement
        problem = Problem.make(measurement, image_grid(measurement.grid, spacing_mm), self.ct, device)
        warnings = check_measurement(measurement, self.pet, self.ct, problem.grid, problem.projector)
        facts = {"trues_per_slice": round(measurement.trues_per_slice)}
        return with_measured_dispersion(replace(problem, facts=facts, warnings=tuple(warnings)))

    def _image_problem(self, resolution: ImageResolution, spacing_mm: float, device: torch.device) -> Problem:
        """The problem of the PET itself, on its own voxels."""
        from .physics.image_noise import hot_suv
        from .problem import Problem

        noise, warnings = noise_of_pet(self.pet, resolution, self.request.noise)
        measurement = pet_measurement(self.pet, self.region, resolution, noise)
        measurement = replace(measurement, hot_suv=hot_suv(self.pet))  # of all of it, also with a region
        problem = Problem.make(measurement, image_grid(measurement.grid, spacing_mm), self.ct, device)
        scanner = self.scanner
        if scanner is not None and not resolution.stated and "fwhm_transaxial_mm" in scanner.unverified:
            warnings.append(
                f"No source was found for the FWHM of {scanner.name}: {scanner.fwhm_transaxial_mm:g} mm is a working "
                "value, and it decides how much is sharpened."
            )
        return replace(problem, facts={"noise": noise.to_dict()}, warnings=tuple(warnings))


def _scanner_from(request: Request, scanner: Scanner | None, measurement: Measurement | None) -> str:
    if measurement is not None:
        return "the measurement"
    return "none" if scanner is None else "the caller" if request.scanner is not None else "the header"


def _words(scanner: Scanner | None, scanner_from: str, resolution: ImageResolution | None) -> str:
    source = "stated" if scanner_from == "the caller" else f"from {scanner_from}"
    words = "No scanner" if scanner is None else f"{scanner.name} ({source})"
    return words if resolution is None else f"{words}; {resolution.words()}"


def resolution_of_pet(
    pet: Volume,
    scanner: Scanner | str | Path | dict[str, Any] | None = None,
    fwhm: float | None = None,
    post_filter: float | None = None,
    psf_modelled: bool | None = None,
) -> tuple[Scanner | None, ImageResolution]:
    """The scanner, as given or as the header names it, and the resolution of a PET in its axial slices and along them.

    What is stated of the resolution is as for :func:`~.resolution.resolution_of`; a filter that nobody states is read
    from the noise. Raises :class:`InputError` where neither header nor statement tells the resolution.
    """
    known = scanner_of(scanner, pet.metadata, needed=fwhm is None)
    image = axial(pet)
    voxel_mm = (image.spacing[0], image.spacing[2])
    stated = fwhm, post_filter, psf_modelled
    return known, resolution_of(known, pet.metadata, voxel_mm, *stated, noise_widths(image))


def noise_of_pet(
    pet: Volume, resolution: ImageResolution, percent: float | None = None
) -> tuple[ImageNoise, list[str]]:
    """The noise that a PET (SUVbw) of known resolution shows, and what to tell the user of it.

    ``percent`` is a stated one, standard deviation over mean of a voxel of SUV 1, which counts as far as the image
    bears it out (:meth:`.ImageNoise.or_stated`).
    """
    from .physics.image_noise import image_noise

    measured = image_noise(axial(pet), resolution.noise_fwhm_mm, resolution.noise_exponent)
    return measured.or_stated(percent, resolution.noise_known)


def pet_measurement(
    pet: Volume,
    region: Sequence[float] | None,
    resolution: ImageResolution,
    noise: ImageNoise,
    margin_mm: float = CONTEXT_MM,
) -> ImageMeasurement:
    """A PET (SUVbw, axial slices), or what is within ``margin_mm`` of a ``region`` of it, as what was measured.

    ``noise`` is that of the whole PET.
    """
    from .physics.image_model import image_measurement

    image = pet
    if region is not None:
        image = crop_to_region(pet, region, margin_mm)
        first = round(float((np.linalg.inv(pet.ijk_to_lps) @ (*image.origin, 1.0))[2]))
        noise = noise.part(first, first + image.shape[0])
    image = image.with_array(image.array.clip(0), "SUVbw")
    known = resolution.hot_part, resolution.converging, resolution.described
    return image_measurement(image, resolution.fwhm_mm, noise, *known)


def read_image(image: Volume | str | Path, modality: str, option: str = "", series: str | None = None) -> Volume:
    """A volume as given, a file, or the series of a modality (``"PT"``, ``"CT"``) from a DICOM folder.

    Messages call a file by its name or, with ``option``, by its path and this option: patients' files share names.
    """
    if isinstance(image, Volume):
        return image
    volume = Volume.read(image, modality=modality, series=series)
    name = f"{image} ({option})" if option else Path(image).name
    return replace(volume, metadata={**volume.metadata, "file": name})


def _about_result(pet: Volume | str | Path) -> list[str]:
    """The warning that the file of a PET is a result, by the report beside it."""
    if isinstance(pet, Volume) or not is_result(pet):
        return []
    return [
        f"{Path(pet).name} is a result of PETSuperRes, by the report beside it, and would be super-resolved a second "
        "time: give the PET of the scanner."
    ]


def _measurement(measurement: Measurement | str | Path | None) -> Measurement | None:
    if not isinstance(measurement, (str, Path)):
        return measurement
    from .physics.measurement import Measurement

    return Measurement.read(measurement)
