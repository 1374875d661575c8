"""Names in words, for figures and reports: methods, settings, count levels."""

from __future__ import annotations

from ...errors import ScannerError
from ...physics.simulation import COUNT_LEVELS
from ...scanner import setting as paper_setting

LABELS = {
    "lr": "LR",
    "osem": "OSEM",
    "psf-osem": "PSF-OSEM",
    "psf-osem-oracle": "PSF-OSEM oracle",
    "map-rdp": "MAP (rel. diff.)",
    "map-bowsher": "MAP (Bowsher)",
    "map-bowsher-sharp": "MAP (Bowsher, sharp)",
    "interpolated": "Interpolated",
    "van-cittert": "Van Cittert",
    "van-cittert-oracle": "Van Cittert oracle",
    "rl": "RL",
    "rl-oracle": "RL oracle",
    "rl-tv": "RL-TV",
    "rl-tv-oracle": "RL-TV oracle",
    "krl": "KRL",
    "krl-oracle": "KRL oracle",
    "map-bowsher-image": "Bowsher (image)",
    "map-bowsher-image-oracle": "Bowsher (image) oracle",
    "iterative-yang": "Iterative Yang",
    "rbv": "RBV",
    "srcnn": "SRCNN",
    "unet": "UNet",
    "deepsr": "DeepSR",
    "supervised": "Supervised",
    "supervised-any": "Supervised (any)",
    "srdpm": "SRDPM",
    "petdm": "PETDM",
    "scorepet": "ScorePET",
    "dps": "DPS",
    "ours-draft": "Ours (draft)",
    "ours-standard": "Ours (standard)",
    "ours-paper": "Ours (paper)",
    "no-dc": "w/o DC",
    "no-psf": "w/o PSF",
    "no-ppcr": "w/o PPCR",
    "no-ct": "w/o CT",
    "standard-no-dc": "Standard w/o DC",
    "standard-no-psf": "Standard w/o PSF",
    "standard-no-ties": "Standard w/o ties",
    "standard-no-ct": "Standard w/o CT",
    "standard-ct-concat": "Standard, CT concat",
    "standard-unconditional": "Standard, uncond.",
    "ct-concat": "CT Concat",
}


def label(method: str) -> str:
    """A method's name as figures show it; the name itself where there is no other."""
    return LABELS.get(method, method)


def setting_in_words(setting: str) -> str:
    """A setting's blur and dose, such as ``standard (8 mm, 10 % dose)``; only the name for an unknown one."""
    try:
        scanner = paper_setting(setting)
    except ScannerError:
        return setting
    return f"{setting} ({scanner.fwhm_transaxial_mm:g} mm, {100 * scanner.dose_fraction:g} % dose)"


def counts_in_words(setting: str, counts: str) -> str:
    """How many trues a slice has at a setting and count level; only the names for unknown ones."""
    try:
        scanner, level = paper_setting(setting), COUNT_LEVELS[counts]
    except (ScannerError, KeyError):
        return f"{counts} counts, setting {setting}"
    trues = scanner.trues_per_slice * scanner.dose_fraction * level
    return (
        f"{counts} counts, setting {setting}: {trues / 1000:,.0f} thousand trues per slice in the mean, "
        f"and {100 * scanner.background_fraction:g} % of that as scatter and randoms on top"
    )
