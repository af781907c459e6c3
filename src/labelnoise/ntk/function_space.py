"""A network's linearisation, and its training by gradient descent in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jvp

from .jacobian import Network, Params


def linearize(function: Network, params0: Params) -> Network:
    """f_lin(params, x) = f(params0, x) + J(params0, x)(params − params0), as a pure network.

    Args:
        function: pure network (params, x) → outputs.
        params0: where it is expanded. The parameters of the result have these names, all of them.
    """
    start = {name: value.detach() for name, value in params0.items()}

    def linear(params: Params, x: Tensor) -> Tensor:
        change = {name: params[name] - value for name, value in start.items()}
        outputs = jvp(lambda p: function(p, x), (start,), (change,))
        value, slope = cast(tuple[Tensor, Tensor], outputs)
        return value + slope

    return linear


@dataclass(frozen=True)
class FunctionSpace:
    """The linear model on its training images, in the eigenbasis of K_XX = V diag(λ) Vᵀ.

    Float64 whatever K is in: after t steps eigenvalues down to λ ~ N/(ηt) show, and the rounding of
    a decomposition in float32, some 1e-6 λ_max, would hide these. Those of K itself remain: where
    K was computed to a relative ε, modes under ε λ_max are unknown, and predictions hold up to
    t ~ N/(η ε λ_max).

    Attributes:
        eigenvalues: λ ≥ 0, ascending; rounding below 0 is set to 0.
        eigenvectors: V, a column each.
    """

    eigenvalues: Float[Tensor, "mode"]
    eigenvectors: Float[Tensor, "row mode"]

    @classmethod
    def from_kernel(cls, kernel: Float[Tensor, "image class image class"]) -> "FunctionSpace":
        """Decompose K_XX.

        Raises:
            ValueError: K is not finite, or has a negative eigenvalue that is more than rounding.
        """
        rows = kernel.shape[0] * kernel.shape[1]
        flat = kernel.reshape(rows, rows).double()
        if not flat.isfinite().all():
            raise ValueError("the kernel has entries that are not finite")
        values, vectors = torch.linalg.eigh((flat + flat.T) / 2)
        rounding = float(values[-1]) * torch.finfo(kernel.dtype).eps ** 0.5
        if values[0] < -rounding or values[-1] < 0:
            raise ValueError(
                f"the kernel has the eigenvalue {float(values[0]):.3g} beside its largest, "
                f"{float(values[-1]):.3g}; a kernel J Jᵀ has none below 0"
            )
        return cls(values.clamp(min=0), vectors)

    @property
    def eta_max(self) -> float:
        """2N/λ_max: at a larger η gradient descent diverges; without bound for K = 0."""
        largest = float(self.eigenvalues[-1])
        return 2 * len(self.eigenvalues) / largest if largest else float("inf")

    def predict(
        self,
        steps: Sequence[int | float] | Tensor,
        *,
        eta: float,
        targets: Float[Tensor, "train class"],
        train_start: Float[Tensor, "train class"],
        test_start: Float[Tensor, "test class"],
        test_kernel: Float[Tensor, "test class train class"],
        time: Literal["discrete", "continuous"] = "discrete",
    ) -> tuple[Float[Tensor, "step train class"], Float[Tensor, "step test class"]]:
        """Outputs after gradient descent on ½ mean (f − y)², over all N = images × classes.

        f_t = f_0 − K_{·,X} φ_t(K_XX) (f_0 − y), φ_t(λ) = (1 − (1 − ηλ/N)^t)/λ: exactly the model
        `linearize` after t steps. Continuous: (1 − ηλ/N)^t becomes exp(−ηλt/N), the limit of many
        small steps at the same ηt. In discrete time and above `eta_max` the outputs grow without
        bound, into ±inf or NaN; other steps' outputs are not touched.

        Args:
            steps: t ≥ 0, whole numbers in discrete time.
            eta: learning rate η.
            targets: y.
            train_start: f_0 on the training images.
            test_start: f_0 on the test images.
            test_kernel: K of test × training images.
            time: steps, or the flow.

        Returns:
            Outputs on the training and the test images, float64.

        Raises:
            ValueError: a step is negative, or not whole in discrete time; a shape does not fit K.
        """
        values = self.eigenvalues
        t = torch.as_tensor(steps, dtype=values.dtype, device=values.device)
        if (t < 0).any() or (time == "discrete" and (t != t.round()).any()):
            raise ValueError(
                f"steps must be from 0 on, and whole in discrete time; got {t.tolist()}"
            )
        if targets.numel() != len(values):
            raise ValueError(f"K is of {len(values)} outputs, the targets are {targets.numel()}")
        rate = eta * values / len(values)
        gone = _gone(rate, t[:, None], time)
        # (1 − (1 − u)^t)/u → t where u → 0
        phi = eta / len(values) * torch.where(rate == 0, t[:, None], gone / rate)
        modes = self.eigenvectors.T @ (train_start - targets).double().flatten()
        train = train_start.double().flatten() - (gone * modes) @ self.eigenvectors.T
        test = (
            test_start.double().flatten()
            - (phi * modes) @ (test_kernel.reshape(-1, len(values)).double() @ self.eigenvectors).T
        )
        return train.view(-1, *train_start.shape), test.view(-1, *test_start.shape)

    def coefficients(
        self,
        steps: Sequence[float] | Tensor,
        *,
        eta: float,
        errors: Float[Tensor, "train class"],
        time: Literal["discrete", "continuous"] = "discrete",
    ) -> Float[Tensor, "step train class"]:
        """c_t = φ_t(K_XX)(f_0 − y): the parameters move by −J(X)ᵀ c_t, outputs by −K_{·,X} c_t.

        Args:
            steps: as for `predict`.
            eta: learning rate η.
            errors: f_0 − y on the training images.
            time: steps, or the flow.
        """
        values = self.eigenvalues
        t = torch.as_tensor(steps, dtype=values.dtype, device=values.device)[:, None]
        rate = eta * values / len(values)
        # (1 − (1 − u)^t)/u → t where u → 0
        phi = eta / len(values) * torch.where(rate == 0, t, _gone(rate, t, time) / rate)
        modes = self.eigenvectors.T @ errors.double().flatten()
        return ((phi * modes) @ self.eigenvectors.T).view(-1, *errors.shape)


def _gone(
    rate: Float[Tensor, "mode"],
    t: Float[Tensor, "step 1"],
    time: Literal["discrete", "continuous"],
) -> Float[Tensor, "step mode"]:
    """1 − (1 − u)^t or 1 − exp(−ut): the share of each mode's error that is gone, to rounding."""
    if time == "continuous":
        return -torch.expm1(-rate * t)
    # log1p where the power would round 1 − u; the power where 1 − u may be negative
    small = rate.clamp(max=0.5)
    return torch.where(
        rate < 0.5, -torch.expm1(t * torch.log1p(-small)), 1 - torch.pow(1 - rate, t)
    )
