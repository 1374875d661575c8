"""Networks trained on pairs: SRCNN, UNet and DeepSR on the LR image, and the strongest one that we can make."""

from __future__ import annotations

from .learned import RestorerConfig
from .networks import ImageRestorer, UNet, image_channels, srcnn, vdsr

STRONGEST_INPUTS = ("em24", "em12", "em48", "lr", "ct")
STRONGEST_NEIGHBOURS = 1
IN_COMMON = (
    "asinh scale; squared error in SUV with weights from the input, so that the network learns the posterior mean; "
    "AdamW with a moving average of the weights; pairs of the training patients at the standard setting, of their own "
    "PET and of sharp uptake painted into their CTs"
)


def _strongest() -> ImageRestorer:
    channels = image_channels(STRONGEST_INPUTS, STRONGEST_NEIGHBOURS)
    return ImageRestorer(UNet(channels, (48, 96, 192, 256)), STRONGEST_INPUTS, STRONGEST_NEIGHBOURS)


SRCNN = RestorerConfig(name="srcnn", build=lambda: ImageRestorer(srcnn(), residual=False), steps=8000)
UNET = RestorerConfig(name="unet", build=lambda: ImageRestorer(UNet()), steps=6000)
DEEPSR = RestorerConfig(name="deepsr", build=lambda: ImageRestorer(vdsr()), steps=4000, size=48, learning_rate=3e-4)
STRONGEST = RestorerConfig(name="supervised", build=_strongest, steps=6000)

SUPERVISED = (
    SRCNN.method(
        "Dong et al., ECCV 2014 (arXiv 1501.00092): kernels 9-1-5 on the LR image, interpolated by a cubic spline.",
        f"{IN_COMMON}.",
    ),
    UNET.method(
        "Ronneberger et al., MICCAI 2015, on the interpolated LR image.",
        f"widths of 32 to 256, no normalisation, output added to the LR image; {IN_COMMON}.",
    ),
    DEEPSR.method(
        "Oztaltan et al. 2024 (DeepSR); no architecture is public: the 20-layer residual CNN of Kim et al., CVPR 2016 "
        "(VDSR), as in Song et al., IEEE TCI 2020.",
        f"the architecture, without anatomical or position inputs; {IN_COMMON}.",
    ),
    STRONGEST.method(
        "None: an estimate of the best that a network can reach from pairs, to compare with.",
        "UNet on three slices of the LR image and of PSF-OSEM at 12, 24 and 48 updates, and the CT, output added to "
        f"the image of 24 updates; {IN_COMMON}.",
        needs_ct=True,
    ),
)
