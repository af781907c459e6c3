"""When the lazy regime ends, by Theorem 4.2, up to a constant."""

import numpy as np
from jaxtyping import Float, Num

Values = Num[np.ndarray, "..."] | float | int
"""One number, or an array of them."""


def escape_time(
    sigma: Values,
    eta: Values,
    width: Values,
    constant: float = 1.0,
) -> Float[np.ndarray, "..."]:
    """T₁ = C/(σ²η²√m), the end of the lazy regime (Theorem 4.2 without its √(log m)).

    The theorem is an upper bound up to a constant; see `escape_constant`.

    Args:
        sigma: label noise level σ; 0 gives infinity.
        eta: learning rate η.
        width: hidden neurons m.
        constant: C.

    Returns:
        Steps, of the shape that the arguments broadcast to.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(
            constant / (np.square(sigma) * np.square(eta) * np.sqrt(width)), dtype=np.float64
        )


def escape_constant(
    escape_step: Float[np.ndarray, "run"],
    sigma: Float[np.ndarray, "run"],
    eta: Float[np.ndarray, "run"],
    width: Float[np.ndarray, "run"],
) -> float:
    """C of T₁ = C/(σ²η²√m): the median over measured runs of T₁σ²η²√m.

    Args:
        escape_step: measured T₁ in steps; NaN where a run never left, which is left out.
        sigma: label noise level σ > 0.
        eta: learning rate η.
        width: hidden neurons m.

    Returns:
        C; NaN if no run left.
    """
    constants = escape_step / escape_time(sigma, eta, width)
    constants = constants[np.isfinite(constants)]
    return float(np.median(constants)) if len(constants) else float("nan")
