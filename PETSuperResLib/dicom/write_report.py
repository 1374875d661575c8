"""Measures of segmented regions as a DICOM structured report (TID 1500), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

from ..version import NOTICE, __version__
from .derived import MAKER, stable_uid
from .write_seg import UNICODE, Drawn, own_series

if TYPE_CHECKING:
    from highdicom import sr

Coded = tuple[str, str, str]  # value, scheme and meaning


@dataclass(frozen=True)
class Value:
    """One measure: what it is and how it was had (codes), its value and unit, and the ends of its interval."""

    concept: Coded
    value: float
    unit: Coded
    derivation: Coded | None = None
    method: Coded | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Group:
    """The measures of a region in one image series; ``slices`` of it hold the region, ``series`` says what it is."""

    region: Drawn
    segment: int  # its number in the SEG
    series: Coded
    slices: Sequence[Dataset]
    values: Sequence[Value]


def report_of_groups(
    groups: Sequence[Group],
    seg: Dataset,
    images: Sequence[Dataset],
    parameters: Sequence[str],
    series_number: int,
    description: str,
) -> Dataset:
    """A Comprehensive SR by template TID 1500 with a measurement group (TID 1411) for each of ``groups``.

    ``seg`` holds the regions. ``images`` are all slices that were measured on; patient and study are of the first.
    ``parameters`` say how the algorithm was set. The observer is this software as a device.
    """
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=stable_uid(MAKER), name=MAKER, manufacturer_name=MAKER, model_name=MAKER, serial_number=__version__
    )
    observer = sr.ObserverContext(codes.DCM.Device, device)
    algorithm = sr.AlgorithmIdentification(MAKER, __version__, parameters)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.PETUnspecifiedBodyRegion,
        imaging_measurements=[_group(group, seg, algorithm) for group in groups],
        title=codes.DCM.ImagingMeasurementReport,
    )
    comment = sr.TextContentItem(codes.DCM.Comment, NOTICE, sr.RelationshipTypeValues.CONTAINS)
    report[0].ContentSequence.append(comment)
    document = sr.ComprehensiveSR(
        evidence=[*images, seg],
        content=report[0],
        is_complete=True,
        **own_series(series_number, description),
    )
    document.SpecificCharacterSet = UNICODE
    return document


def _group(
    group: Group, seg: Dataset, algorithm: sr.AlgorithmIdentification
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    from highdicom import sr
    from pydicom.sr.codedict import codes

    used = [sr.SourceImageForMeasurement(s.SOPClassUID, s.SOPInstanceUID) for s in group.slices]
    drawn_on = sr.SourceSeriesForSegmentation(seg.ReferencedSeriesSequence[0].SeriesInstanceUID)
    region = sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, group.segment, source_series=drawn_on)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(group.region.tracking_uid, group.region.name),
        referenced_segment=region,
        finding_type=codes.SCT.Lesion,
        method=sr.CodedConcept(*group.series),
        algorithm_id=algorithm,
        measurements=[_measurement(value, used) for value in group.values],
    )


def _measurement(value: Value, used: Sequence[sr.SourceImageForMeasurement]) -> sr.Measurement:
    from highdicom import sr

    unit, properties = sr.CodedConcept(*value.unit), None
    if value.low is not None and value.high is not None:
        properties = sr.MeasurementProperties(
            upper_measurement_uncertainty=value.high - value.value,
            lower_measurement_uncertainty=value.value - value.low,
        )
        for end in properties:  # to highdicom they have no unit; it is the measure's (PS3.16 TID 310)
            end.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [unit]
    return sr.Measurement(
        name=sr.CodedConcept(*value.concept),
        value=value.value,
        unit=unit,
        derivation=None if value.derivation is None else sr.CodedConcept(*value.derivation),
        method=None if value.method is None else sr.CodedConcept(*value.method),
        properties=properties,
        referenced_images=used,
    )
