"""What the theory predicts in numbers: where SGD is stable, when the lazy regime ends."""

import numpy as np
from jaxtyping import Float, Num

Values = Num[np.ndarray, "..."] | float | int
"""One number, or an array of them."""


def stability_limit(width: int, dim: int) -> float:
    """The largest learning rate at which the first steps are stable: η(d + m) = 2.

    A step on sample x multiplies its residual by 1 − ηk(x, x) with the neural tangent kernel
    k(x, x) = ‖a‖²‖x‖² + ‖Wx‖², so it grows where ηk(x, x) > 2. At the NTK initialisation (eq. 5)
    k(x, x) ≈ ‖x‖²(1 + m/d), and a typical input has ‖x‖² = d. (Of n inputs some are longer, which
    alone does not make a run diverge: between their turns, others shrink the residual.)

    Args:
        width: hidden neurons m.
        dim: input dimension d.

    Returns:
        η_max = 2/(d + m).
    """
    return 2 / (dim + width)


def residual_inflation(eta: Values, width: Values, dim: Values) -> Float[np.ndarray, "..."]:
    """E r²/σ² of SGD with label noise: 1/(1 − η(d + m)/2), which diverges at the stability limit.

    A step on a sample with kernel k adds ηk times its noise to the prediction and shrinks what was
    there by 1 − ηk: in the stationary state the prediction's variance is σ²ηk/(2 − ηk), and the
    residual's σ² + that, σ²/(1 − ηk/2), with k ≈ d + m as in `stability_limit`. A neuron's drift is
    proportional to E r², so that Theorem 4.2's T₁, which has σ² in its place, is divided by this.

    Args:
        eta: learning rate η.
        width: hidden neurons m.
        dim: input dimension d.

    Returns:
        The factor, at least 1; infinite at the limit and beyond.
    """
    share = np.asarray(np.multiply(eta, np.add(width, dim)) / 2, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.where(share < 1, 1 / np.abs(1 - share), np.inf)


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
