"""Packages of the backend in Slicer's Python: torch by the PyTorch extension, the others by Slicer's pip."""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from subprocess import CalledProcessError

import slicer
from slicer.i18n import tr as _

from PETSuperResLib.errors import PETSuperResError

TORCH = "torch>=2.4"
REQUIREMENTS = ("safetensors>=0.4", "pydicom>=2.4", "highdicom>=0.23", "scipy>=1.12", "scikit-image>=0.22")
DECLINED = _("Not installed: {what}. The PET cannot be super-resolved without: try again and agree.")
FAILED = _("Could not install {what} ({error}): check the network and the free disk space and try again.")
NO_EXTENSION = _("{what}: install the PyTorch extension from the Extensions Manager and restart Slicer.")
UNCHANGED = _("The installation changed nothing ({what}): restart Slicer and try again before using other modules.")


def ensure_dependencies() -> bool:
    """Install missing or old packages, after a question; returns whether any version has changed.

    Only the worker imports torch, which takes seconds: here its version is looked up. Raises PETSuperResError where
    the user declines or the installation fails.
    """
    before = _versions()
    lacking = [requirement for requirement, found in before.items() if not _suits(requirement, found)]
    if not lacking:
        return False
    if TORCH in lacking:
        _install_torch()
    packages = [requirement for requirement in lacking if requirement != TORCH]
    if packages:
        _install_packages(packages)
    importlib.invalidate_caches()
    return _versions() != before


def _install_torch() -> None:

    try:
        import PyTorchUtils
    except ImportError as error:
        raise PETSuperResError(NO_EXTENSION.format(what=_torch_now())) from error
    wanted = TORCH.removeprefix("torch")
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=wanted)
    except (RuntimeError, ValueError, CalledProcessError) as error:
        raise PETSuperResError(FAILED.format(what=TORCH, error=error)) from error
    if torch is None:
        raise PETSuperResError(DECLINED.format(what=TORCH))
    importlib.invalidate_caches()
    if not _suits(TORCH, _version(TORCH)):
        raise PETSuperResError(UNCHANGED.format(what=_torch_now()))


def _torch_now() -> str:
    """The fault of the installed torch, if any."""
    found = _version(TORCH)
    if found is None:
        return str(_("PyTorch is missing"))
    least = TORCH.partition(">=")[2]
    return str(_("PyTorch {found} is too old, {least} or newer is needed").format(found=found, least=least))


def _install_packages(lacking: list[str]) -> None:
    """By slicer.packaging; before Slicer 5.11 by pip, after a question."""
    what = ", ".join(requirement.partition(">=")[0] for requirement in lacking)
    try:
        from slicer import packaging
    except ImportError:
        packaging = None
    try:
        if packaging is not None:
            packaging.pip_ensure(list(REQUIREMENTS), requester="PETSuperRes")
        else:
            question = _("PET super-resolution needs these Python packages: {what}. Install them now?")
            if not slicer.util.confirmOkCancelDisplay(question.format(what=what)):
                raise PETSuperResError(DECLINED.format(what=what))
            slicer.util.pip_install(lacking)
    except CalledProcessError as error:
        raise PETSuperResError(FAILED.format(what=what, error=error)) from error
    except RuntimeError as error:  # the user declined
        raise PETSuperResError(DECLINED.format(what=what)) from error


def _versions() -> dict[str, str | None]:
    """The installed version for each requirement ``name>=1.2``, None where the package is not there."""
    return {requirement: _version(requirement) for requirement in (TORCH, *REQUIREMENTS)}


def _version(requirement: str) -> str | None:
    try:
        return version(requirement.partition(">=")[0])  # reads the package's metadata: ten milliseconds
    except PackageNotFoundError:
        return None


def _suits(requirement: str, found: str | None) -> bool:
    """Whether a version is new enough; None is not."""
    from packaging.requirements import Requirement

    return found is not None and Requirement(requirement).specifier.contains(found, prereleases=True)
