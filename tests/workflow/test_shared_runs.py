"""A run that two experiments share is computed once; a figure of either reads the same files."""

from pathlib import Path
from typing import Any

import pytest

from labelnoise.config.load import Config, load
from labelnoise.workflow.recipes import Recipes

FEW = {"train_images": 10, "steps": 20, "snapshots": 3}


def configured(**sam: Any) -> Config:
    """Networks with label noise, and under SAM: of both, one is undisturbed."""
    noisy = {"verb": "train", "settings": FEW, "grid": {"tau": [0.0, 0.5]}, "seeds": 2}
    other = {
        "verb": "train",
        "settings": {**FEW, "algorithm": "sam"} | sam.pop("settings", {}),
        "grid": {"rho": [0.0, 0.1]},
        "seeds": 2,
    }
    return load(
        {
            "experiments": {"noisy": noisy, "sam": other | sam},
            "figures": {
                "figure3": {"experiments": ["noisy"]},
                "figure5": {"experiments": ["sam"]},
            },
        }
    )


def files(config: Config, verb: str, experiment: str) -> list[str]:
    recipes = Recipes(config, Path("workflow/scripts"))
    return [path for cell in config.cells[experiment] for path in recipes.files(verb, cell)]


@pytest.mark.parametrize("verb", ["train", "analyze"])
def test_sam_of_radius_0_is_the_training_without_noise(verb: str) -> None:
    config = configured()
    plain, _ = files(config, verb, "noisy")
    shared, own = files(config, verb, "sam")
    assert shared == plain and "noisy/tau=0.0" in plain
    assert "sam/rho=0.1" in own


@pytest.mark.parametrize(
    "different", [{"seeds": 3}, {"seeds_per_job": 1}, {"settings": {"eta": 0.002}}]
)
def test_what_differs_is_not_shared(different: dict[str, Any]) -> None:
    shared = files(configured(**different), "train", "sam")
    assert all("/sam/rho=" in path for path in shared)


@pytest.mark.parametrize("setting", [{"ntk_memory": 64}, {"noise": "flip"}])
def test_what_decides_nothing_is_no_difference(setting: dict[str, Any]) -> None:
    """Memory; and what a noised label becomes, where none is noised."""
    config = configured(settings=setting)
    assert files(config, "linearize", "sam")[0] == files(config, "linearize", "noisy")[0]


def test_a_cell_that_is_asked_for_by_its_path_is_made_there() -> None:
    config = configured()
    recipes = Recipes(config, Path("workflow/scripts"))
    cell, _ = config.job("sam", "rho=0.0", None)
    assert recipes.inputs("analyze", cell)["runs"] == ["results/train/sam/rho=0.0/block=0.nc"]
