"""What `--config` gives: values with the types that YAML gives them.

Snakemake reads what is nested in `--config` as texts. Its arguments are read again here. They are
the same in the jobs, which get them from the main process.
"""

import re
from typing import Any

import yaml


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
