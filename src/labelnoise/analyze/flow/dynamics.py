"""What a network [W | a] does on both time scales, wherever it is on the zero-loss set."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

Matrix = Float64[np.ndarray, "k k"]


def generator(x: Float64[np.ndarray, "dim"]) -> Matrix:
    """S_x = [[0, x], [xᵀ, 0]]: a step of SGD is P ← P(I − η r S_x); (dim + 1, dim + 1)."""
    s = np.zeros((len(x) + 1, len(x) + 1))
    s[-1, :-1] = s[:-1, -1] = x
    return s


def boost(u: Float64[np.ndarray, "dim"]) -> Matrix:
    """exp(S_u) = I + sinh‖u‖ S_û + (cosh‖u‖ − 1) S_û², which leaves WWᵀ − aaᵀ as it is."""
    size = float(np.linalg.norm(u))
    if size == 0:
        return np.eye(len(u) + 1)
    s = generator(u / size)
    found: Matrix = np.eye(len(u) + 1) + math.sinh(size) * s + (math.cosh(size) - 1) * (s @ s)
    return found


@dataclass(frozen=True)
class Fast:
    """The stationary state of the fast variable, for a given place on the zero-loss set.

    Attributes:
        residual_variance: E r² before a step, with r = f(x) − y − ε.
        rate: dτ/dt, slow time in a step: η²v of SGD, 2ηρ² + … of SAM.
        h: the fluctuations' size: u ~ N(ū, hK⁻¹), Cov θ = hK; h = ηv/2 of SGD.
        friction: by how much SAM's sign multiplies the pull back to the set; 1 of SGD.
    """

    residual_variance: float
    rate: float
    h: float
    friction: float


@dataclass(frozen=True)
class Dynamics:
    """What is trained, and how.

    Attributes:
        theta_star: ground truth θ*; (dim,).
        covariance: Σ̂ = XᵀX/n of the training inputs, or the inputs' Σ; (dim, dim), regular.
        eta: learning rate η.
        sigma: label noise level σ.
        rho: SAM's radius ρ; 0 is SGD.
        noise: label noise law, `sign` (±σ) or `gaussian`. Of SGD's flow only σ² counts.
    """

    theta_star: Float64[np.ndarray, "dim"]
    covariance: Float64[np.ndarray, "dim dim"]
    eta: float
    sigma: float = 0.0
    rho: float = 0.0
    noise: Literal["sign", "gaussian"] = "sign"

    def __post_init__(self) -> None:
        if self.eta <= 0 or self.sigma < 0 or self.rho < 0:
            raise ValueError(
                f"eta = {self.eta} must be positive, sigma = {self.sigma} and rho = {self.rho} "
                "must not be negative"
            )
        if np.linalg.matrix_rank(self.covariance) < len(self.covariance):
            raise ValueError(
                "covariance has not full rank (fewer samples than dimensions?): rotate the inputs "
                "into their span first"
            )

    def metric(self, core: Float64[np.ndarray, "neuron k"]) -> Float64[np.ndarray, "dim dim"]:
        """K = WᵀW + ‖a‖²I of a state [W | a], the tangent kernel k(x, x') = xᵀKx'."""
        w, a = core[:, :-1], core[:, -1]
        found: Float64[np.ndarray, "dim dim"] = w.T @ w + (a @ a) * np.eye(w.shape[1])
        return found

    def multiplier(self, metric: Float64[np.ndarray, "dim dim"]) -> Float64[np.ndarray, "dim"]:
        """What keeps the slow flow on the zero-loss set: b = K⁻¹(Σ + tr Σ·I)θ*; (dim,)."""
        pull = self.covariance @ self.theta_star + np.trace(self.covariance) * self.theta_star
        return np.linalg.solve(metric, pull)

    def slow_generator(self, metric: Float64[np.ndarray, "dim dim"]) -> Matrix:
        """M of the slow flow dP/dτ = PM: ½(S_b − diag(Σ, tr Σ)), symmetric."""
        m = generator(self.multiplier(metric))
        m[:-1, :-1] -= self.covariance
        m[-1, -1] -= np.trace(self.covariance)
        return m / 2

    def fast(self, metric: Float64[np.ndarray, "dim dim"]) -> Fast:
        """The fast variable's stationary state where the tangent kernel is K.

        The prediction's variance g² solves g²(1 + χ) = ½ηT·E r̃², T = tr(ΣK). SGD has r̃ = r and
        χ = 0, SAM r̃ = r + ρN sign r and N² = xᵀKx. In E r̃² the samples of long x count more.

        Raises:
            ValueError: no stationary state: η(T + 2 tr((ΣK)²)/T) ≥ 2 (mean-square instability).
        """
        kernel = self.covariance @ metric
        trace = float(np.trace(kernel))
        weight = 1 + 2 * float(np.sum(kernel * kernel.T)) / trace**2
        if self.eta * trace * weight >= 2:
            raise ValueError(
                f"eta = {self.eta:g} is beyond the stability limit {2 / (trace * weight):g}"
            )
        scale, eta, rho = math.sqrt(trace), self.eta, self.rho

        def second_moment(g2: float) -> float:
            """E r̃², each sample weighted by its kernel."""
            g2, n = weight * g2, math.sqrt(weight) * scale
            return g2 + self.sigma**2 + 2 * rho * n * self._mean_residual(g2) + rho**2 * n**2

        if rho == 0:
            v = self.sigma**2 / (1 - eta * trace * weight / 2)
            h = eta * v / 2
            return Fast(self.sigma**2 + h * trace, eta**2 * v, h, 1.0)

        def imbalance(g: float) -> float:
            pull = g**2 + rho * scale * self._correlation(g)
            return pull - eta * trace / 2 * second_moment(g**2)

        top = scale * rho + self.sigma
        while imbalance(top) < 0:
            top *= 2
        g = brentq(imbalance, 0.0, top, xtol=1e-12 * top, rtol=1e-10)
        rate = 2 * eta * (rho**2 + rho * self._mean_residual(g**2) / scale)
        rate += eta**2 * second_moment(g**2)
        friction = 1 + rho * scale * self._correlation(g) / g**2
        return Fast(self.sigma**2 + g**2, rate, g**2 / trace, friction)

    def _mean_residual(self, g2: float) -> float:
        """E|z − ε| of z ~ N(0, g²)."""
        if self.noise == "gaussian" or self.sigma == 0 or g2 == 0:
            share = math.sqrt(2 / math.pi) if self.noise == "gaussian" or g2 > 0 else 1.0
            return share * math.sqrt(g2 + self.sigma**2)
        ratio = self.sigma / math.sqrt(g2)
        return math.sqrt(2 * g2 / math.pi) * math.exp(-(ratio**2) / 2) + self.sigma * math.erf(
            ratio / math.sqrt(2)
        )

    def _correlation(self, g: float) -> float:
        """E[z sign(z − ε)] of z ~ N(0, g²)."""
        if g == 0:
            return 0.0
        if self.noise == "gaussian":
            return math.sqrt(2 / math.pi) * g**2 / math.hypot(g, self.sigma)
        return math.sqrt(2 / math.pi) * g * math.exp(-((self.sigma / g) ** 2) / 2)

    def mean_error(
        self, metric: Float64[np.ndarray, "dim dim"], fast: Fast
    ) -> Float64[np.ndarray, "dim"]:
        """E θ − θ* = −rate/(2η·friction) Σ⁻¹b: the pull back to the set is the multiplier."""
        size = fast.rate / (2 * self.eta * fast.friction)
        return -size * np.linalg.solve(self.covariance, self.multiplier(metric))

    def fluctuations(
        self,
        metric: Float64[np.ndarray, "dim dim"],
        fast: Fast,
        normals: Float64[np.ndarray, "draw dim"],
    ) -> Float64[np.ndarray, "draw k k"]:
        """Boosts exp(S_u) with u ~ N(ū, hK⁻¹), whose mean moves θ* to E θ at second order.

        Args:
            metric: K.
            fast: the fast variable's state there.
            normals: draws of N(0, I), which become u.
        """
        inverse = np.linalg.inv(metric)
        # E exp(S_u) moves θ by K ū + h(3/2 K⁻¹ + ½ tr K⁻¹)θ*
        second = fast.h * (1.5 * inverse + 0.5 * np.trace(inverse) * np.eye(len(inverse)))
        shift = inverse @ (self.mean_error(metric, fast) - second @ self.theta_star)
        root = math.sqrt(fast.h) * np.linalg.cholesky(inverse)
        return np.stack([boost(shift + root @ normal) for normal in normals])


def relax(
    core: Float64[np.ndarray, "neuron k"], dynamics: Dynamics, *, tolerance: float = 1e-8
) -> Float64[np.ndarray, "neuron k"]:
    """The initial fast phase: gradient flow from [W | a] to the zero-loss set.

    It runs dP/dt = −P S_g with g = Σ(Wᵀa − θ*), a right multiplication, and leaves WWᵀ − aaᵀ.

    Raises:
        RuntimeError: it does not get there (the start is a saddle: W = 0 and a = 0).
    """

    def error(state: Float64[np.ndarray, "size"]) -> Float64[np.ndarray, "dim"]:
        p = state.reshape(core.shape)
        found: Float64[np.ndarray, "dim"] = p[:, :-1].T @ p[:, -1] - dynamics.theta_star
        return found

    def slope(_: float, state: Float64[np.ndarray, "size"]) -> Float64[np.ndarray, "size"]:
        s = generator(dynamics.covariance @ error(state))
        found: Float64[np.ndarray, "size"] = -(state.reshape(core.shape) @ s).ravel()
        return found

    def arrived(_: float, state: Float64[np.ndarray, "size"]) -> float:
        return float(np.linalg.norm(error(state))) - tolerance * float(
            np.linalg.norm(dynamics.theta_star)
        )

    arrived.terminal = True  # type: ignore[attr-defined]
    if arrived(0.0, core.ravel()) <= 0:
        return core.copy()
    found = solve_ivp(
        slope, (0.0, 1e6), core.ravel(), "DOP853", rtol=1e-9, atol=1e-12, events=arrived
    )
    if found.status != 1:
        raise RuntimeError("gradient flow does not reach the zero-loss set from this start")
    return np.asarray(found.y[:, -1].reshape(core.shape))
