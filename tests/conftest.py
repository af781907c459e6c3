"""Turns on the run-time check of the shapes in the annotations (jaxtyping with beartype).

It must come before the first import of the modules it checks. `rng` and `simulate.compiled` are
left out: they hold functions that Numba compiles, which must not be wrapped.
"""

import os

import jaxtyping

# what is tested is small: two threads would wait for each other more than they help
os.environ["OMP_NUM_THREADS"] = "1"

CHECKED = [
    "labelnoise.analyze.merging",
    "labelnoise.analyze.phases",
    "labelnoise.analyze.pruning",
    "labelnoise.analyze.regimes",
    "labelnoise.analyze.scaling",
    "labelnoise.analyze.sparsity",
    "labelnoise.analyze.summary",
    "labelnoise.analyze.symmetry",
    "labelnoise.analyze.theory",
    "labelnoise.analyze.training",
    "labelnoise.ntk.function_space",
    "labelnoise.linearize.images",
    "labelnoise.ntk.jacobian",
    "labelnoise.ntk.layers",
    "labelnoise.ntk.kernel",
    "labelnoise.ntk.modules",
    "labelnoise.linearize.two_layer",
    "labelnoise.simulate.chain",
    "labelnoise.simulate.compiled_engine",
    "labelnoise.simulate.engines",
    "labelnoise.simulate.observe",
    "labelnoise.simulate.problem",
    "labelnoise.simulate.reduction",
    "labelnoise.simulate.rules",
    "labelnoise.simulate.run",
    "labelnoise.simulate.torch_engine",
    "labelnoise.train.archives",
    "labelnoise.train.augment",
    "labelnoise.train.backward",
    "labelnoise.train.checkpoint",
    "labelnoise.train.images",
    "labelnoise.train.networks",
    "labelnoise.train.noise",
    "labelnoise.train.observe",
    "labelnoise.train.resnet",
    "labelnoise.train.run",
    "labelnoise.train.span",
    "labelnoise.train.steps",
    "labelnoise.train.task",
]

jaxtyping.install_import_hook(CHECKED, "beartype.beartype")
