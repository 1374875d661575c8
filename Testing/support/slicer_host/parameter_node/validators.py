"""Limits on a parameter's value, and the annotations that shape its widget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args


class Validator:
    """Base of the limits: ``validate`` raises ValueError (TypeError for a wrong type)."""

    def validate(self, value: Any) -> None:
        """Raise when the value is not allowed."""
        raise NotImplementedError


@dataclass
class NotNone(Validator):
    """Any value but None."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("The value must not be None")


@dataclass
class IsNone(Validator):
    """None alone."""

    def validate(self, value: Any) -> None:
        if value is not None:
            raise ValueError("The value must be None")


@dataclass
class IsInstance(Validator):
    """A value of one of the types; None passes."""

    classtype: Any

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"The value {value!r} must be of type {self.classtype}, not {type(value)}")


@dataclass
class WithinRange(Validator):
    """From minimum to maximum, both included."""

    minimum: Any
    maximum: Any

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"The value must lie in [{self.minimum}, {self.maximum}], not {value}")


@dataclass
class Minimum(Validator):
    """Not below."""

    minimum: Any

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"The value must be at least {self.minimum}, not {value}")


@dataclass
class Maximum(Validator):
    """Not above."""

    maximum: Any

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"The value must be at most {self.maximum}, not {value}")


@dataclass
class Choice(Validator):
    """One of a list."""

    choices: Any

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"The value must be one of {self.choices}, not {value!r}")


@dataclass
class Exclude(Validator):
    """None of a list."""

    excludedValues: Any

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"The value must not be one of {self.excludedValues}")


@dataclass
class Default:
    """The first value, given in an annotation."""

    value: Any


@dataclass
class Decimals:
    """Decimals that a widget shows."""

    value: int


@dataclass
class SingleStep:
    """The step of a widget's arrows."""

    value: float


def split(annotated: Any) -> tuple[Any, list[Any]]:
    """The type and the annotations of a possibly annotated type."""
    kind, *notes = get_args(Annotated[annotated, None])
    return kind, notes[:-1]


def plain(annotated: Any) -> Any:
    """The type without its annotations."""
    return split(annotated)[0]


def first(notes: list[Any], kind: type) -> Any:
    """The first annotation of a class, or None."""
    return next((note for note in notes if isinstance(note, kind)), None)
