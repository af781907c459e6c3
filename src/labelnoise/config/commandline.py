"""What `--configfile` and `--config` give: values with the types that YAML gives them.

Snakemake reads what is nested in `--config` as texts. Its arguments are read again here. They are
the same in the jobs, which get them from the main process.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from .load import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML, with `1e-3` a number; keys are texts, as Snakemake has them."""

    # the class's own, since resolvers are added in place
    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's typing has no class variable here)
        first: known[:] for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
# from Python, Snakemake passes a configuration on to its jobs as Python spells it
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("None$"), ["N"])


def typed(argument: str) -> dict[str, Any]:
    """What one argument of `--config` gives.

    Args:
        argument: `key=value`, the value as YAML; what is no YAML stays a text.
    """
    key, _, text = argument.partition("=")
    try:
        # Snakemake takes off the outer quotes, too
        return {key: yaml.load(text.strip("'\""), _Loader)}
    except yaml.YAMLError:
        return {key: text}


def read(files: Iterable[Path]) -> dict[str, Any]:
    """Configuration files, each on top of those before it, as Snakemake merges them.

    Raises:
        ConfigError: a file cannot be read, or is no mapping of keys to values.
    """
    from snakemake.utils import update_config  # slow to import

    merged: dict[str, Any] = {}
    for file in files:
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{file}: cannot be read ({error})") from None
        if not isinstance(content, dict):
            raise ConfigError(f"{file}: holds no mapping of keys to values")
        update_config(merged, content)
    return merged
