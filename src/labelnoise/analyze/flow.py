"""The label-noise flow: both phases of a run predicted from its start, with nothing fitted.

P = [W | a] moves on two time scales. The fast one shakes it by exp(S_u) about the zero-loss set
Wᵀa = θ*; the slow one carries it along that set, down the trace of the Hessian. `docs/theory.md`
derives what is computed here, and says where it fails.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy.integrate import OdeSolution, solve_ivp
from scipy.optimize import brentq

RTOL, ATOL = 1e-7, 1e-9
"""Tolerances of the integration; the second is relative to the largest entry at the start."""

DRAWS = 32
"""Draws of the fast fluctuation over which observed quantities are averaged."""

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
        g = brentq(imbalance, 0, top, xtol=1e-12 * top, rtol=1e-10)
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
    if arrived(0, core.ravel()) <= 0:
        return core.copy()
    found = solve_ivp(
        slope, (0, 1e6), core.ravel(), "DOP853", rtol=1e-9, atol=1e-12, events=arrived
    )
    if found.status != 1:
        raise RuntimeError("gradient flow does not reach the zero-loss set from this start")
    return np.asarray(found.y[:, -1].reshape(core.shape))


@dataclass(frozen=True)
class Prediction:
    """What a run shows at a step, by the names of `labelnoise.simulate.observe`.

    Means over the network's own neurons and over the fast fluctuation.
    """

    step: float
    tau: float
    w_norm_mean: float
    w_norm_max: float
    alignment_mean: float
    a_rms: float
    a_max: float
    displacement_min: float
    displacement_max: float
    train_loss: float
    test_loss: float
    trace_hessian: float
    lambda_max: float
    rate: float


class Flow:
    """The slow flow of one network from its start on, and what it predicts."""

    def __init__(
        self,
        w: Float64[np.ndarray, "width dim"],
        a: Float64[np.ndarray, "width"],
        dynamics: Dynamics,
        steps: float,
    ) -> None:
        """Integrate dP/dt = rate·½P(S_b − diag(Σ, tr Σ)) over so many steps, by DOP853.

        Args:
            w: first layer W(0).
            a: second layer a(0).
            dynamics: θ*, Σ̂ and the settings.
            steps: how far.

        Raises:
            ValueError: beyond the stability limit.
            RuntimeError: the integration fails.
        """
        self.dynamics, self.steps = dynamics, steps
        self._w = w
        p = np.column_stack([w, a])
        # the rows move alike, P(t) = QR(t): d + 1 of them stand for all
        self._basis: Float64[np.ndarray, "width neuron"]
        self._basis, core = np.linalg.qr(p) if len(p) > p.shape[1] else (np.eye(len(p)), p)
        core = relax(core, dynamics)
        self._shape = core.shape
        size = core.size

        def slope(_: float, state: Float64[np.ndarray, "size"]) -> Float64[np.ndarray, "size"]:
            p = state[:size].reshape(self._shape)
            metric = dynamics.metric(p)
            rate = dynamics.fast(metric).rate
            moved = p @ (rate * dynamics.slow_generator(metric))
            return np.append(moved.ravel(), rate)

        found = solve_ivp(
            slope,
            (0, steps),
            np.append(core.ravel(), 0.0),
            "DOP853",
            rtol=RTOL,
            atol=ATOL * np.abs(core).max(),
            dense_output=True,
        )
        if not found.success:
            raise RuntimeError(f"the slow flow was not integrated: {found.message}")
        self._solution: OdeSolution = found.sol
        self._times: Float64[np.ndarray, "time"] = found.t

    def core(self, step: float) -> Float64[np.ndarray, "neuron k"]:
        """R(t) of P(t) = QR(t), on the zero-loss set: RᵀR = [[A, θ*], [θ*ᵀ, s]]."""
        return np.asarray(self._solution(step)[:-1].reshape(self._shape))

    def tau(self, step: float) -> float:
        """Slow time τ at a step."""
        return float(self._solution(step)[-1])

    def neurons(self, step: float) -> Float64[np.ndarray, "width k"]:
        """[W | a] of all neurons on the zero-loss set, without the fast fluctuation."""
        found: Float64[np.ndarray, "width k"] = self._basis @ self.core(step)
        return found

    def predict(self, step: float) -> Prediction:
        """What a run shows at a step, the fast fluctuation u ~ N(ū, hK⁻¹) included."""
        dynamics, core = self.dynamics, self.core(step)
        metric = dynamics.metric(core)
        fast = dynamics.fast(metric)
        error = dynamics.mean_error(metric, fast)
        p = self._basis @ core
        d = len(error)
        inverse = np.linalg.inv(metric)
        # to second order E exp(S_u) moves θ by K ū + h(3/2 K⁻¹ + ½ tr K⁻¹)θ*: it must be `error`
        second = fast.h * (1.5 * inverse + 0.5 * np.trace(inverse) * np.eye(d))
        shift = inverse @ (error - second @ dynamics.theta_star)
        root = math.sqrt(fast.h) * np.linalg.cholesky(inverse)
        normals = np.random.default_rng(0).standard_normal((DRAWS // 2, d))
        boosts = np.stack([boost(shift + root @ z) for z in np.concatenate([normals, -normals])])
        direction = np.append(dynamics.theta_star, 0) / np.linalg.norm(dynamics.theta_star)
        a = p @ boosts[:, :, -1].T
        # a boost keeps ‖w_i‖² − a_i²
        kept = (p[:, :-1] ** 2).sum(1) - p[:, -1] ** 2
        norm = np.sqrt(np.maximum(kept[:, None] + a**2, 0))
        along = np.abs(p @ (boosts @ direction).T)
        shaken = boosts.mT @ (core.T @ core) @ boosts
        moved = p[:, :-1] - self._w
        displacement = np.linalg.norm(moved, axis=1) / np.linalg.norm(self._w, axis=1)
        covariance = dynamics.covariance
        traces = np.einsum("bij,ji->b", shaken[:, :-1, :-1], covariance)
        traces += shaken[:, -1, -1] * np.trace(covariance)
        # the Hessian's spectrum, but for zeros, is that of K Σ
        half = np.linalg.cholesky(covariance)
        metrics = shaken[:, :-1, :-1] + shaken[:, -1:, -1:] * np.eye(d)
        largest = np.linalg.eigvalsh(half.T @ metrics @ half)[:, -1]
        return Prediction(
            step=step,
            tau=self.tau(step),
            w_norm_mean=float(norm.mean()),
            w_norm_max=float(norm.max(axis=0).mean()),
            alignment_mean=float(np.mean(np.divide(along, norm, where=norm > 0, out=0 * norm))),
            a_rms=float(np.sqrt((a**2).mean(axis=0)).mean()),
            a_max=float(np.abs(a).max(axis=0).mean()),
            displacement_min=float(displacement.min()),
            displacement_max=float(displacement.max()),
            train_loss=float(fast.h * np.trace(covariance @ metric) + error @ covariance @ error)
            / 2,
            test_loss=float(fast.h * np.trace(metric) + error @ error) / 2,
            trace_hessian=float(traces.mean()),
            lambda_max=float(np.mean(largest)),
            rate=fast.rate,
        )

    def step_where(
        self, measure: Callable[[Prediction], float], level: float, *, below: bool = False
    ) -> float:
        """The first step at which a measure reaches a level, from below or (`below`) above.

        Args:
            measure: of a prediction, as `lambda p: p.alignment_mean`.
            level: the level to reach.
            below: whether it is reached from above.

        Returns:
            Steps, to 1e-6 relative; NaN if it is not reached.
        """
        sign = -1.0 if below else 1.0

        def gap(step: float) -> float:
            return sign * (measure(self.predict(step)) - level)

        return self._root(gap)

    def _root(self, gap: Callable[[float], float]) -> float:
        if gap(0) >= 0:
            return 0.0
        before = 0.0
        for time in self._times[1:]:
            if gap(time) >= 0:
                return float(brentq(gap, before, time, rtol=1e-6, xtol=1e-9))
            before = float(time)
        return math.nan

    def escape_step(self, radius: float) -> float:
        """T₁: when the laziest neuron has ‖w_i(t) − w_i(0)‖ = radius·‖w_i(0)‖; NaN if never."""
        start = np.linalg.norm(self._w, axis=1)

        def gap(step: float) -> float:
            moved = np.linalg.norm(self.neurons(step)[:, :-1] - self._w, axis=1)
            return float((moved / start).min()) - radius

        return self._root(gap)

    def onset_step(self, share: float) -> float:
        """When the mean alignment has gone a share of its way from its start to 1.

        With a small share it is the start of Phase II, with one near 1 its end.
        """
        start = self.predict(0).alignment_mean
        return self.step_where(lambda p: p.alignment_mean, start + share * (1 - start))

    def small_weights_step(self) -> float:
        """Where the paper lets Phase II start: all ‖w_i‖ and |a_i| ≤ √η; NaN if never."""
        return self.step_where(
            lambda p: max(p.w_norm_max, p.a_max), math.sqrt(self.dynamics.eta), below=True
        )


def end_state(dim: int, width: int, theta_star_norm: float) -> tuple[float, float, float]:
    """Where the slow flow ends for Σ = I: a network of rank one.

    Returns:
        ‖W‖_F² = √d‖θ*‖, ‖a‖² = ‖θ*‖/√d, and the mean norm √(2√d‖θ*‖/(πm)) of the m neurons.
    """
    w2 = math.sqrt(dim) * theta_star_norm
    return w2, theta_star_norm / math.sqrt(dim), math.sqrt(2 * w2 / (math.pi * width))


def stability_limit(width: int, dim: int) -> float:
    """η at which E r² of SGD diverges at the NTK initialisation: η(d + m)(1 + 2/d) = 2."""
    return 2 / ((dim + width) * (1 + 2 / dim))


def collapse_radius(dim: int, theta_star_norm: float) -> float:
    """ρ beyond which SAM without label noise cannot hold the end state and falls to θ = 0.

    ρ = ρ̂ d^(−1/4) √‖θ*‖, ρ̂ the lesser root of (1 + e₁)ρ̂ = q + e₂ρ̂², to leading order in 1/d and η.
    """
    # E 1/(1 + x²), x ~ N(0, 1)
    mills = math.sqrt(math.pi * math.e / 2) * math.erfc(math.sqrt(0.5))
    q = math.sqrt(2 / math.pi) * (1 + mills)
    e1, e2 = 1 - mills, math.sqrt(2 / math.pi) * (1 - mills)
    root = ((1 + e1) - math.sqrt((1 + e1) ** 2 - 4 * e2 * q)) / (2 * e2)
    return float(root * dim**-0.25 * math.sqrt(theta_star_norm))
