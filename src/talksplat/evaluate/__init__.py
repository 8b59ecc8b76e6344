"""Every figure of an avatar on the part of its recording that it has not seen."""

from talksplat.evaluate.evaluation import EvaluationOptions, evaluate

__all__ = ["EvaluationOptions", "evaluate"]
