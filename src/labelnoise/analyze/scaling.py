"""Power laws in measured times: exponents with confidence intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PowerLaw:
    """A fitted y = C x^p.

    Attributes:
        exponent: p; NaN with fewer than two different x.
        low: lower end of the exponent's confidence interval; NaN with fewer than three.
        high: its upper end.
        prefactor: C.
        used: values that were fitted.
        left_out: values that were not, because they are NaN.
    """

    exponent: float
    low: float
    high: float
    prefactor: float
    used: int
    left_out: int

    def __call__(self, x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """C x^p."""
        return np.asarray(self.prefactor * x**self.exponent)


def fit_power_law(
    x: Float[np.ndarray, "x"], y: Float[np.ndarray, "x seed"], confidence: float = 0.95
) -> PowerLaw:
    """Fit y = C x^p by least squares of the mean over seeds of log y on log x.

    The interval is Student's for the slope of that regression, k − 2 degrees of freedom for k
    values of x. The points are the means over seeds, not the runs, for two reasons. Seeds are
    shared by all x (the same samples in the same order), so the runs are not independent; what a
    seed does at every x alike moves the intercept and leaves the residuals of the means clean. And
    what the runs deviate from a power law is common to all seeds: it is in the residuals of the
    means and widens the interval, where an interval over seeds would shrink around a slope that
    depends on the range.

    Args:
        x: positive values, in any order.
        y: a positive measurement for each x and seed, such as a time; NaN where a run never got
            there. These are left out (of a time, the late ones: where many are, the fit is
            biased towards the early ones).
        confidence: level of the interval.

    Returns:
        The law; NaN where there are too few values of x for it.

    Raises:
        ValueError: x or y holds a number that is not positive.
    """
    if np.any(x <= 0) or np.any(y <= 0):
        raise ValueError("a power law needs positive x and y")
    finite = np.isfinite(y)
    used, left_out = int(finite.sum()), int((~finite).sum())
    present = finite.any(axis=1)
    log_x = np.log(x[present])
    counts = finite[present].sum(axis=1)
    log_y = np.where(finite, np.log(np.where(finite, y, 1)), 0)[present].sum(axis=1) / counts
    deviation = log_x - log_x.mean() if used else log_x
    spread = float(np.sum(deviation**2))
    nan = float("nan")
    if np.unique(log_x).size < 2:
        return PowerLaw(nan, nan, nan, nan, used, left_out)
    exponent = float(deviation @ log_y) / spread
    intercept = float(log_y.mean() - exponent * log_x.mean())
    freedom = len(log_x) - 2
    half = nan
    if freedom > 0:
        from scipy.stats import t

        residuals = log_y - intercept - exponent * log_x
        error = np.sqrt(float(residuals @ residuals) / freedom / spread)
        half = float(t.ppf(0.5 + confidence / 2, freedom)) * float(error)
    low, high = exponent - half, exponent + half
    return PowerLaw(exponent, low, high, float(np.exp(intercept)), used, left_out)


@dataclass(frozen=True)
class ProductLaw:
    """A fitted y = C Π x_k^{p_k}.

    Attributes:
        exponents: p_k by the name of x_k.
        prefactor: C.
        scatter: root mean square of log₁₀ of measured over fitted.
        used: values that were fitted.
    """

    exponents: Mapping[str, float]
    prefactor: float
    scatter: float
    used: int

    def __call__(self, **x: Float[np.ndarray, "..."] | float) -> Float[np.ndarray, "..."]:
        """C Π x_k^{p_k}."""
        powers = [np.asarray(x[name], np.float64) ** p for name, p in self.exponents.items()]
        return np.asarray(self.prefactor * np.prod(np.broadcast_arrays(*powers), axis=0))


def fit_product_law(
    x: Mapping[str, Float[np.ndarray, "run"]], y: Float[np.ndarray, "run"]
) -> ProductLaw | None:
    """Fit y = C Π x_k^{p_k} by least squares in the logarithms, over all runs whose y is finite.

    Args:
        x: positive values by name.
        y: positive measurements; NaN ones are left out.

    Returns:
        The law; None where the runs do not determine it (too few, or x that do not vary apart).
    """
    finite = np.isfinite(y)
    columns = [np.log(values[finite]) for values in x.values()]
    design = np.column_stack([np.ones(int(finite.sum())), *columns])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    log_y = np.log(y[finite])
    solution = np.linalg.lstsq(design, log_y, rcond=None)[0]
    scatter = float(np.sqrt(np.mean((design @ solution - log_y) ** 2))) / np.log(10)
    exponents = dict(zip(x, map(float, solution[1:]), strict=True))
    return ProductLaw(exponents, float(np.exp(solution[0])), scatter, int(finite.sum()))
