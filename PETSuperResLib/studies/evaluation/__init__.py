"""Tables and figures on real cases, simulated at the paper's settings."""

from .evaluate import evaluate

__all__ = ["evaluate"]
