"""Checkpoints: what a killed training goes on from, as safetensors, whole or not there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from labelnoise.artifacts.store import replacing


@dataclass(frozen=True)
class Checkpoint:
    """One training's checkpoint file.

    Attributes:
        path: of the file.
        identity: what decides the training's numbers; a file of another identity is not read.
    """

    path: Path
    identity: str

    def load(self) -> tuple[int, dict[str, Tensor]] | None:
        """The steps taken and the state; None where there is no checkpoint of this training.

        A damaged file is as good as none: the training starts again.
        """
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("identity") != self.identity:
                    return None
                names = file.keys()
                return int(metadata["step"]), {name: file.get_tensor(name) for name in names}
        except (FileNotFoundError, SafetensorError):
            return None

    def save(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Write the state after `step` steps."""
        save_tensors(state, self.path, {"identity": self.identity, "step": str(step)})

    def remove(self) -> None:
        """Remove the file: the training's result is kept elsewhere."""
        self.path.unlink(missing_ok=True)


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file whole; the same tensors give the same bytes."""
    # copies: tensors that share memory, as tied weights do, are refused
    ready = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    ready = {name: tensor.contiguous() for name, tensor in ready.items()}
    with replacing(path) as temporary:
        # not save_file: it writes to a temporary file of its own, which a kill would leave behind
        temporary.write_bytes(save(ready, dict(metadata or {})))
