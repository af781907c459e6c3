"""`labelnoise.ntk` for people who want only that."""

import ast
import doctest
from pathlib import Path

import pytest
import torch
from torch import nn

from labelnoise import ntk
from labelnoise.ntk.modules import function_of, trained

ROOT = Path(__file__).parents[2]


def test_the_documents_example_is_what_happens():
    result = doctest.testfile(
        str(ROOT / "docs/ntk.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert result.attempted > 15
    assert result.failed == 0


def test_it_knows_nothing_of_the_rest_of_the_package():
    modules = list(Path(ntk.__file__).parent.glob("*.py"))
    assert len(modules) >= 5
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or not (node.module or "").startswith("labelnoise"), path
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("labelnoise") for alias in node.names), path


class Mixed(nn.Module):
    """A layer that is not trained, dropout, and one that was set to evaluation by hand."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(4, 6).requires_grad_(False)
        self.dropout = nn.Dropout(0.5)
        self.still = nn.Dropout(0.5).eval()
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        return self.last(self.still(self.dropout(torch.tanh(self.frozen(x)))))


def test_a_module_is_evaluated_by_its_trained_parameters_and_left_as_it_was():
    torch.manual_seed(0)
    network, x = Mixed().double(), torch.randn(5, 4, dtype=torch.float64)
    kernel = ntk.empirical_ntk(network, x)
    modes = {name: module.training for name, module in network.named_modules()}
    assert modes == {"": True, "frozen": True, "dropout": True, "still": False, "last": True}
    # of a last layer alone: features and a bias
    features = torch.tanh(network.frozen(x))
    wanted = (features @ features.T + 1)[:, None, :, None] * torch.eye(2)[:, None, :]
    torch.testing.assert_close(kernel, wanted.double(), rtol=1e-12, atol=1e-12)
    network.eval()
    same = ntk.empirical_ntk(function_of(network), x, params=trained(network))
    assert torch.equal(kernel, same)
    weight = {"last.weight": network.last.weight}
    part = ntk.empirical_ntk(network, x, params=weight)
    torch.testing.assert_close(part[:, 0, :, 0], features @ features.T, rtol=1e-12, atol=1e-12)


def test_a_refused_module_is_left_as_it_was():
    network = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)).eval()
    with pytest.raises(ValueError, match=r"BatchNorm1d \(1\)"):
        ntk.empirical_ntk(network, torch.randn(3, 4))
    assert not any(module.training for module in network.modules())


def test_a_function_needs_parameters():
    with pytest.raises(TypeError, match="params"):
        ntk.empirical_ntk(lambda p, x: x, torch.randn(3, 4))
