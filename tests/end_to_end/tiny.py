"""The smallest configuration with both verbs and a figure of each."""

import json
from pathlib import Path
from typing import Any

from .conftest import Checkout, new_checkout

TINY: dict[str, Any] = {
    "experiments": {
        "lines": {
            "verb": "simulate",
            "settings": {"width": 20, "dim": 4, "eta": 0.01, "steps": 2000, "snapshots": 21},
            "grid": {"sigma": [0.0, 4.0]},
            "seeds": 2,
        },
        "mlps": {
            "verb": "train",
            "settings": {
                **{"train_images": 10, "test_images": 10, "width": 16},
                **{"steps": 30, "snapshots": 4},
            },
            "grid": {"tau": [0.0, 0.5]},
            "seeds": 2,
        },
    },
    "figures": {
        "figure2": {"experiments": ["lines"], "description": "σ, simulated"},
        "figure3": {"experiments": ["mlps"], "description": "τ, trained"},
    },
}


def tiny_checkout(folder: Path) -> Checkout:
    """A checkout with this configuration, and nothing on top of it."""
    checkout = new_checkout(folder)
    text = json.dumps(TINY, ensure_ascii=False)
    (folder / "config/config.yaml").write_text(text, encoding="utf-8")
    (folder / "config/smoke.yaml").write_text("{}")
    return checkout
