"""The settings of a training: the one source of their defaults, ranges and meaning."""

import os
import re
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from labelnoise.config.fields import Count, Flag, Real, Recorded
from labelnoise.config.modules import module_file

NETWORKS = ("mlp", "wide_resnet", "resnet")
"""Networks that come with this package; any other is named `package.module:Class`."""

ALLOWED = "LABELNOISE_ALLOW_MODULES"
"""Environment variable: packages, comma-separated, that a configuration may import from."""

WIDTHS = {"mlp": 512, "wide_resnet": 1, "resnet": 64}
"""The width that is meant where none is given."""

DEPTHS = {"wide_resnet": 10, "resnet": 18}
"""The depth that is meant where none is given."""


class TrainSettings(Recorded):
    """One cell of a training experiment: everything but the seed that decides its numbers."""

    source: Literal["digits", "cifar10"] = Field(
        default="digits",
        description="images: scikit-learn's handwritten digits (8×8, grey, nothing to download) or "
        "CIFAR-10 (32×32, colour; see the section `images`)",
    )
    train_images: Count | None = Field(
        default=64, description="training images, drawn by the seed; all if nothing"
    )
    test_images: Count | None = Field(
        default=64, description="test images, drawn by the seed; all if nothing"
    )
    balanced: Flag = Field(
        default=False, description="draw as many of each class as of any other (or one more)"
    )
    normalisation: Literal["array", "channel", "none"] = Field(
        default="array",
        description="subtract the mean of the training images and divide by their standard "
        "deviation, over all pixels or by channel; or leave them in [0, 1]",
    )
    network: str = Field(
        default="mlp",
        description="`mlp` (the authors': one hidden layer, erf), `wide_resnet` (without batch "
        "statistics), `resnet` (with batch norm, for small images), or a `torch.nn.Module` of "
        "yours, `package.module:Class`",
    )
    width: Count | None = Field(
        default=None,
        description="hidden neurons of an mlp (512 if left out), width factor of a wide_resnet "
        "(1), or channels of a resnet's first stage (64)",
    )
    depth: Count | None = Field(
        default=None,
        description="layers of a wide_resnet, 6·blocks + 4 (10 if left out), or of a resnet, "
        "8·blocks + 2 (18)",
    )
    parametrization: Literal["standard", "ntk"] = Field(
        default="standard",
        description="weights drawn with variance 1/fan_in (2/fan_in before a ReLU), or with "
        "variance 1 and multiplied by that scale in the network",
    )
    network_options: dict[str, Any] = Field(
        default={}, description="further arguments of a network of yours"
    )
    loss: Literal["mse", "cross_entropy"] = Field(
        default="mse",
        description="½ mean (f − y)² over images and classes, y one-hot; or cross-entropy",
    )
    algorithm: Literal["sgd", "sam"] = Field(
        default="sgd", description="gradient descent, or SAM: at the point ρ g/‖g‖ away (§5)"
    )
    rho: Real = Field(default=0.05, ge=0, description="SAM's radius ρ (algorithm sam)")
    batch_size: Count | None = Field(
        default=None, description="images of a step, each epoch in a new order; all if left out"
    )
    augmentation: Literal["none", "crop", "crop_flip"] = Field(
        default="none",
        description="of training images: shifted by up to an eighth of their size, and mirrored "
        "left to right every other time",
    )
    eta: Real = Field(default=1e-3, gt=0, description="learning rate η")
    eta_schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="η at every step, or going to 0 as half a cosine"
    )
    momentum: Real = Field(default=0.0, ge=0, lt=1, description="heavy-ball momentum")
    weight_decay: Real = Field(default=0.0, ge=0, description="weight decay, in the gradient")
    tau: Real = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability τ that an image's label is noised in a step (see `noise`)",
    )
    noise: Literal["redraw", "flip"] = Field(
        default="redraw",
        description="what a noised label becomes: any class, the true one included; or another "
        "class than the true one (the paper's Algorithm 1 flips)",
    )
    steps: Count = Field(default=10_000, description="steps of the algorithm")
    precision: Literal["float32", "tf32", "bf16", "float64"] = Field(
        default="float32",
        description="arithmetic: float32; TF32 in matrix products; bfloat16 where autocast finds "
        "it safe; or float64",
    )
    compile: Flag = Field(
        default=False, description="compile the network (torch.compile; needs a C++ compiler)"
    )
    measured_images: Count | None = Field(
        default=None,
        description="training images that a snapshot measures loss and accuracy on (the first "
        "ones); all if left out",
    )
    rotate: Flag = Field(
        default=True,
        description="run an mlp on the span of its training images (exact, and faster) and not on "
        "all pixels; with weight decay it always runs on all",
    )
    ntk_drift: Flag = Field(
        default=False, description="record how far the NTK of the training images has moved"
    )
    linearisation: Literal["discrete", "continuous"] = Field(
        default="discrete",
        description="the linearised network under gradient descent step by step, or in continuous "
        "time",
    )
    ntk_memory: Count = Field(
        default=1024, description="MiB that the Jacobians of an NTK may take at a time"
    )

    @field_validator("network")
    @classmethod
    def _known(cls, network: str) -> str:
        if network in NETWORKS:
            return network
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", network):
            raise ValueError(
                f"{network!r} is no network; give {', '.join(NETWORKS)} or package.module:Class"
            )
        module = network.partition(":")[0]
        package = module.partition(".")[0]
        if package not in map(str.strip, os.environ.get(ALLOWED, "").split(",")):
            raise ValueError(
                f"{network} would import the package {package}; if you trust it, set the "
                f"environment variable {ALLOWED}={package}"
            )
        if module_file(module) is None:
            raise ValueError(f"{network}: there is no module {module} on PYTHONPATH")
        return network

    @property
    def hidden(self) -> int:
        """The width: as given, or the network's usual one."""
        return self.width or WIDTHS[self.network]

    @property
    def blocks(self) -> int:
        """Residual blocks of each group (of a wide_resnet) or stage (of a resnet)."""
        depth = self.depth or DEPTHS[self.network]
        return (depth - 4) // 6 if self.network == "wide_resnet" else (depth - 2) // 8

    @property
    def essence(self) -> dict[str, Any]:
        """The settings that decide a training; two settings with equal ones train alike."""
        found = self.model_dump(mode="json", exclude={"ntk_memory"})
        if found["algorithm"] == "sgd" or found["rho"] == 0:  # SAM of radius 0 is gradient descent
            found |= {"algorithm": "sgd", "rho": None}
        if found["tau"] == 0:
            found |= {"noise": None}
        return found

    @property
    def is_linearized(self) -> bool:
        """Whether it has a linearised run: full-batch gradient descent on the square loss."""
        plain = self.algorithm == "sgd" or self.rho == 0
        whole = self.batch_size is None and self.eta_schedule == "constant"
        whole = whole and not (self.momentum or self.weight_decay)
        # batch norm makes an output depend on the other images
        own_output = self.network != "resnet" and self.augmentation == "none"
        return plain and whole and own_output and self.loss == "mse"

    @property
    def own_network(self) -> bool:
        """Whether the network is a module of the user's."""
        return self.network not in NETWORKS

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.snapshots > self.steps + 1:
            raise ValueError(
                f"snapshots = {self.snapshots} does not fit: at most steps + 1 = {self.steps + 1}"
            )
        layers = {"wide_resnet": (6, 4), "resnet": (8, 2)}
        if self.depth is not None:
            if self.network not in layers:
                raise ValueError(f"depth has no place in {self.network}; leave it out")
            each, others = layers[self.network]
            if self.depth < each + others or (self.depth - others) % each:
                raise ValueError(
                    f"depth = {self.depth} is none of a {self.network}; give {each}·blocks + "
                    f"{others}: {each + others}, {2 * each + others} …"
                )
        if self.network == "resnet" and (self.ntk_drift or self.parametrization == "ntk"):
            raise ValueError(
                "ntk_drift and parametrization: ntk have no place in a resnet, whose batch norm "
                "makes an output depend on other images; take a wide_resnet"
            )
        if self.network == "mlp" and self.augmentation != "none" and self.rotate:
            raise ValueError(
                f"augmentation: {self.augmentation} leaves the span of the training images; set "
                "rotate: false"
            )
        if self.network_options and not self.own_network:
            raise ValueError(f"network_options has no place in {self.network}; leave it out")
        if self.own_network and (self.width is not None or self.parametrization != "standard"):
            raise ValueError(
                f"width and parametrization have no place in {self.network}; "
                "give what it takes in network_options"
            )
        if self.batch_size is not None and self.batch_size > (self.train_images or self.batch_size):
            raise ValueError(
                f"batch_size = {self.batch_size} does not fit: at most train_images = "
                f"{self.train_images}"
            )
        return self
