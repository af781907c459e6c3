"""The empirical neural tangent kernel, and gradient descent of the linear model it stands for.

Usable by itself: nothing here knows of settings or trainings. See docs/ntk.md.
"""

from .function_space import FunctionSpace, linearize
from .kernel import empirical_ntk, ntk_drift

__all__ = ["FunctionSpace", "empirical_ntk", "linearize", "ntk_drift"]
