"""A stand-in for ``slicer.parameterNodeWrapper`` with its interface and the same content in the node."""

from .connectors import GuiConnector, createGuiConnector, parameterNodeGuiConnector
from .packs import isParameterPack, parameterPack
from .validators import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Maximum,
    Minimum,
    NotNone,
    SingleStep,
    Validator,
    WithinRange,
)
from .wrapper import findChildWidgetForParameter, isParameterNodeWrapper, parameterNodeWrapper

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "GuiConnector",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "Validator",
    "WithinRange",
    "createGuiConnector",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "isParameterPack",
    "parameterNodeGuiConnector",
    "parameterNodeWrapper",
    "parameterPack",
]
