"""The exact reduction of a wide and high-dimensional linear network to a core of d + 1 neurons.

Stack P = [W | a] ∈ ℝ^{m×(d+1)}. A rule that changes P by a right multiplication with a matrix
that depends on P only through PᵀP commutes with P ↦ QP for every Q with orthonormal columns. So
with the thin QR P(0) = Q R, the run from P(0) is Q times the run from R: a network of d + 1
neurons. When there are more input dimensions than samples, only the span of the inputs matters
too: W = W V Vᵀ + W_rest with V an orthonormal basis of that span, and W_rest never changes.

This module knows nothing of the rules. Nothing here is approximated.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Reduction:
    """A core network and the way back from it to the full one.

    Attributes:
        core: the reduced state [W | a] at the start; (neuron, input + 1).
        inputs: the training inputs that the core sees; (sample, input).
        neuron_basis: Q, orthonormal columns; None where the width was not reduced.
        input_basis: V, orthonormal columns; None where the inputs were not rotated.
        rest: W(I − VVᵀ), the constant part of W; None where the inputs were not rotated.
    """

    core: Float64[np.ndarray, "neuron inputplus1"]
    inputs: Float64[np.ndarray, "sample input"]
    neuron_basis: Float64[np.ndarray, "width neuron"] | None
    input_basis: Float64[np.ndarray, "dim input"] | None
    rest: Float64[np.ndarray, "width dim"] | None

    def lift_a(
        self, core: Float64[np.ndarray, "neuron inputplus1"], neurons: slice = slice(None)
    ) -> Float64[np.ndarray, "width_"]:
        """Second-layer weights a of the full network, for all neurons or a slice of them."""
        a = core[:, -1]
        return a[neurons] if self.neuron_basis is None else self.neuron_basis[neurons] @ a

    def lift(
        self, core: Float64[np.ndarray, "neuron inputplus1"]
    ) -> tuple[Float64[np.ndarray, "width dim"], Float64[np.ndarray, "width"]]:
        """The full network (W, a) that a state of the core stands for."""
        w = core[:, :-1]
        if self.neuron_basis is not None:
            w = self.neuron_basis @ w
        if self.input_basis is not None and self.rest is not None:
            w = w @ self.input_basis.T + self.rest
        return w, self.lift_a(core)


def no_reduction(
    w: Float64[np.ndarray, "width dim"],
    a: Float64[np.ndarray, "width"],
    x: Float64[np.ndarray, "sample dim"],
) -> Reduction:
    """The full network as its own core."""
    return Reduction(np.column_stack([w, a]), x, None, None, None)


def reduce(
    w: Float64[np.ndarray, "width dim"],
    a: Float64[np.ndarray, "width"],
    x: Float64[np.ndarray, "sample dim"],
    *,
    width: bool = True,
) -> Reduction:
    """Reduce a network trained on the inputs `x` to at most min(d, n) + 1 neurons and inputs.

    With `width=False` only the inputs are rotated: for a rule that does not commute with Q.
    """
    (samples, dim), inputs = x.shape, x
    input_basis = rest = None
    if dim > samples:
        input_basis = np.linalg.qr(x.T)[0]
        inputs = x @ input_basis
        rest = w - (w @ input_basis) @ input_basis.T
        w = w @ input_basis
    core, neuron_basis = np.column_stack([w, a]), None
    if width and core.shape[0] > core.shape[1]:
        neuron_basis, core = np.linalg.qr(core)
    return Reduction(core, inputs, neuron_basis, input_basis, rest)
