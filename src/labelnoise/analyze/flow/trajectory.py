"""The slow flow of one network from its start on, and what a run shows along it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.integrate import OdeSolution, solve_ivp
from scipy.optimize import brentq

from .dynamics import Dynamics, relax

RTOL, ATOL = 1e-7, 1e-9
"""Tolerances of the integration; the second is relative to the largest entry at the start."""

DRAWS = 32
"""Draws of the fast fluctuation over which observed quantities are averaged."""


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
        steps: float | int,
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
        self.dynamics, self.steps = dynamics, float(steps)
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
            (0.0, float(steps)),
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

    def core(self, step: float | int) -> Float64[np.ndarray, "neuron k"]:
        """R(t) of P(t) = QR(t), on the zero-loss set: RᵀR = [[A, θ*], [θ*ᵀ, s]]."""
        return np.asarray(self._solution(step)[:-1].reshape(self._shape))

    def tau(self, step: float | int) -> float:
        """Slow time τ at a step."""
        return float(self._solution(step)[-1])

    def neurons(self, step: float | int) -> Float64[np.ndarray, "width k"]:
        """[W | a] of all neurons on the zero-loss set, without the fast fluctuation."""
        found: Float64[np.ndarray, "width k"] = self._basis @ self.core(step)
        return found

    def predict(self, step: float | int) -> Prediction:
        """What a run shows at a step, the fast fluctuation u ~ N(ū, hK⁻¹) included."""
        dynamics, core = self.dynamics, self.core(step)
        metric = dynamics.metric(core)
        fast = dynamics.fast(metric)
        error = dynamics.mean_error(metric, fast)
        p = self._basis @ core
        d = len(error)
        normals = np.random.default_rng(0).standard_normal((DRAWS // 2, d))
        boosts = dynamics.fluctuations(metric, fast, np.concatenate([normals, -normals]))
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
            step=float(step),
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
        if gap(0.0) >= 0:
            return 0.0
        before = 0.0
        for time in self._times[1:]:
            if gap(float(time)) >= 0:
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
        start = self.predict(0.0).alignment_mean
        return self.step_where(lambda p: p.alignment_mean, start + share * (1 - start))

    def small_weights_step(self) -> float:
        """Where the paper lets Phase II start: all ‖w_i‖ and |a_i| ≤ √η; NaN if never."""
        return self.step_where(
            lambda p: max(p.w_norm_max, p.a_max), math.sqrt(self.dynamics.eta), below=True
        )
