"""What the backend needs in Slicer's Python: torch through the PyTorch extension, the rest through Slicer's pip."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from subprocess import CalledProcessError

import slicer
from slicer.i18n import tr as _

REQUIREMENTS = ("safetensors>=0.4", "pydicom>=2.4", "scipy>=1.11", "scikit-image>=0.22")
DECLINED = _("Not installed: {what}. The PET cannot be super-resolved without: press Apply again and agree.")
FAILED = _("Could not install {what} ({error}): check the network and the free disk space and press Apply again.")


def ensureDependencies() -> bool:
    """Install what is lacking, after asking; returns whether anything was.

    Only the worker imports torch, which takes seconds: here it is looked for. Raises PETSuperResError where the
    user declines or the installation fails.
    """
    torch = find_spec("torch") is None
    if torch:
        _installTorch()
    return _installPackages() or torch


def _installTorch() -> None:
    from PETSuperResLib.errors import PETSuperResError

    try:
        import PyTorchUtils
    except ImportError as error:
        raise PETSuperResError(
            "PyTorch is missing: install the PyTorch extension from the Extensions Manager and restart Slicer."
        ) from error
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)
    except (RuntimeError, ValueError, CalledProcessError) as error:
        raise PETSuperResError(FAILED.format(what="PyTorch", error=error)) from error
    if torch is None:
        raise PETSuperResError(DECLINED.format(what="PyTorch"))


def _installPackages() -> bool:
    """Through slicer.packaging, which checks versions too; before Slicer 5.11 what is absent, after asking."""
    from PETSuperResLib.errors import PETSuperResError

    lacking = [requirement for requirement in REQUIREMENTS if _absent(requirement)]
    what = ", ".join(requirement.partition(">=")[0] for requirement in lacking or REQUIREMENTS)
    try:
        from slicer import packaging
    except ImportError:
        packaging = None
    try:
        if packaging is not None:
            packaging.pip_ensure(list(REQUIREMENTS), requester="PETSuperRes")
        elif lacking:
            question = _("PET super-resolution needs these Python packages: {what}. Install them now?")
            if not slicer.util.confirmOkCancelDisplay(question.format(what=what)):
                raise PETSuperResError(DECLINED.format(what=what))
            slicer.util.pip_install(lacking)
    except CalledProcessError as error:
        raise PETSuperResError(FAILED.format(what=what, error=error)) from error
    except RuntimeError as error:  # the user declined
        raise PETSuperResError(DECLINED.format(what=what)) from error
    return bool(lacking)


def _absent(requirement: str) -> bool:
    """Whether the package of ``name>=1.2`` is not there in any version."""
    try:
        version(requirement.partition(">=")[0])
    except PackageNotFoundError:
        return True
    return False
