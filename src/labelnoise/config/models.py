"""The models of a configuration file: its sections, their keys, defaults and ranges."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
)

from .fields import Count, Flag, Real, whole

RULES = frozenset(
    ["all", "download", "images", "simulate", "train", "linearize", "prune", "analyze"]
).union(["plot", "track"])
"""Targets that no experiment or figure may be called: the workflow's own rules."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32), BeforeValidator(whole)]
# tagged, so that a mistake is reported against the one form that was meant
Seeds = Annotated[
    Annotated[int, Field(strict=True, ge=1, lt=2**20), BeforeValidator(whole), Tag("(count)")]
    | Annotated[list[Seed], Field(min_length=1), Tag("(list)")],
    Discriminator(lambda value: "(list)" if isinstance(value, list) else "(count)"),
]


Share = Annotated[Real, Field(gt=0, le=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(_Model):
    """A grid of cells that share a verb and fixed settings, each run for every seed."""

    verb: Literal["simulate", "train"] = Field(
        description="what is done for each cell: `simulate` two-layer linear networks, or `train` "
        "networks on images"
    )
    description: str = Field(default="", description="one line on what it is for")
    settings: dict[str, Any] = Field(
        default={}, description="fixed settings; what is left out has its default"
    )
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default={}, description="settings and their values; a cell for each combination"
    )
    seeds: Seeds = Field(default=8, description="how many seeds (0, 1, …), or a list of them")
    seeds_per_job: Count = Field(default=4, description="seeds that share a job and a file")
    together: Literal["eta", "sigma", "rho", "delta", "theta_star_norm"] | None = Field(
        default=None,
        description="a setting of the grid whose values share jobs and files, along a dimension of "
        "their own: for grids of very many short simulations",
    )


class FigureEntry(_Model):
    """A figure: the module that draws it and the experiments that it draws."""

    description: str = Field(default="", description="one line on what it shows, for the report")
    drawn_by: Name | None = Field(
        default=None,
        description="module of `labelnoise.plot.figures`; the figure's own name if left out",
    )
    experiments: Annotated[list[Name], Field(min_length=1)] = Field(
        description="experiments whose cells are drawn"
    )
    options: dict[str, Any] = Field(default={}, description="the module's `Options`")


class Analysis(_Model):
    """Thresholds of the analysis, and how far networks are pruned."""

    lazy_threshold: Real = Field(
        default=0.1,
        gt=0,
        description="a neuron has left the lazy regime when ‖w_i(t) − w_i(0)‖/‖w_i(0)‖ exceeds it",
    )
    alignment_onset: Real = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="Phase II starts when the mean alignment has gone this share of its way to 1",
    )
    channels_kept: Annotated[list[Share], Field(min_length=1)] = Field(
        default=[1.0, 0.98, 0.95, 0.92, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1],
        description="shares of the channels that pruning by merging features leaves; 1 among them",
    )
    weights_kept: Annotated[list[Share], Field(min_length=1)] = Field(
        default=[1.0, 0.7, 0.5, 0.3, 0.2, 0.14, 0.1, 0.07, 0.05, 0.03, 0.02],
        description="shares of the weights that pruning by magnitude leaves; 1 among them",
    )

    @field_validator("channels_kept", "weights_kept")
    @classmethod
    def _holds_one(cls, shares: list[float]) -> list[float]:
        if 1.0 not in shares or len(set(shares)) < len(shares):
            raise ValueError(f"{shares} must hold 1, the unpruned network, and no share twice")
        return shares


class Images(_Model):
    """Where images come from; handwritten digits need nothing."""

    cifar10: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None,
        description="path of a CIFAR-10 archive: the official `cifar-10-python.tar.gz`, or a "
        ".tar.gz of `train/{class}/{number}.jpg` and `test/…`; left out: the official one is "
        "downloaded when it is needed",
    )

    @field_validator("cifar10")
    @classmethod
    def _is_a_plain_path(cls, path: str | None) -> str | None:
        # Snakemake takes braces for wildcards, and what is repeated 20 times for a cycle
        if path is not None and re.search(r"[{}]|(.+?)\1{19}", path):
            raise ValueError(
                f"{path} has braces, or the same letters 20 times in a row, which Snakemake cannot "
                "take; rename it"
            )
        return path


class Tracking(_Model):
    """Where MLflow runs are kept."""

    enabled: Flag = Field(default=True, description="log finished artifacts when the workflow ends")
    uri: str | None = Field(
        default=None,
        description="tracking store; MLFLOW_TRACKING_URI wins, left out: SQLite under results/",
    )


class File(_Model):
    """A whole configuration file."""

    experiments: dict[Name, Experiment] = Field(description="experiments by name")
    figures: dict[Name, FigureEntry] = Field(description="figures by name; each is a target")
    analysis: Analysis = Field(default=Analysis(), description="thresholds of the analysis")
    images: Images = Field(default=Images(), description="where images come from")
    tracking: Tracking = Field(default=Tracking(), description="where MLflow runs are kept")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="device of torch code; auto: a GPU where there is one"
    )
