"""The empirical NTK beside whole Jacobians: seconds and memory.

`python benchmarks/bench_ntk.py` computes the kernel of two networks, in a fresh process with one
thread for each way, and reports the seconds of the call and by how much the process's peak memory
grew in it. One image is done before.
"""

import os
import resource
import subprocess
import sys
import time

from machine import machine

NETWORKS = {
    "MLP 3072-512-10": 128,
    "WideResNet-10-1, 32×32": 16,
}
WAYS = {
    "labelnoise, memory = 2 GiB": 2**31,
    "labelnoise, memory = 64 MiB": 2**26,
    "vmap(jacrev) over images": None,
    "jacrev": None,
}


def draw(name):
    """A network as a pure function, its parameters and images."""
    import torch
    from torch import nn
    from torch.func import functional_call

    class Erf(nn.Module):
        """x ↦ erf(x)."""

        def forward(self, x):
            return torch.erf(x)

    class Block(nn.Module):
        """A residual block without batch statistics."""

        def __init__(self, inside, out, stride):
            super().__init__()
            self.shortcut = nn.Conv2d(inside, out, 1, stride)
            self.branch = nn.Sequential(
                nn.GroupNorm(4, inside), nn.ReLU(), nn.Conv2d(inside, out, 3, stride, 1),
                nn.GroupNorm(4, out), nn.ReLU(), nn.Conv2d(out, out, 3, 1, 1),
            )  # fmt: skip

        def forward(self, x):
            return self.shortcut(x) + self.branch(x)

    torch.manual_seed(0)
    if name.startswith("MLP"):
        layers = nn.Flatten(), nn.Linear(3072, 512), Erf(), nn.Linear(512, 10)
    else:
        layers = (
            nn.Conv2d(3, 16, 3, 1, 1), Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
            nn.GroupNorm(4, 64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(64, 10),
        )  # fmt: skip
    module = nn.Sequential(*layers)
    params = {key: value.detach() for key, value in module.named_parameters()}
    return (
        lambda p, x: functional_call(module, p, (x,)),
        params,
        torch.randn(NETWORKS[name], 3, 32, 32),
    )


def kernel(way, function, params, x):
    """K of all images, (image, class, image, class)."""
    import torch
    from torch.func import jacrev, vmap

    from labelnoise.ntk.kernel import empirical_ntk

    if WAYS[way]:
        return empirical_ntk(function, x, params=params, memory=WAYS[way])
    if way == "jacrev":
        jacobian = jacrev(function)(params, x)
    else:
        one = jacrev(lambda p, x: function(p, x[None])[0])
        jacobian = vmap(one, in_dims=(None, 0))(params, x)
    rows = [part.flatten(2).flatten(0, 1) for part in jacobian.values()]
    return torch.stack([part @ part.T for part in rows]).sum(0).view(len(x), 10, len(x), 10)


def run(name, way):
    """Print one row of the table."""
    import torch

    from labelnoise.ntk.kernel import ntk_drift

    function, params, x = draw(name)
    kernel(way, function, params, x[:1])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = kernel(way, function, params, x)
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    few = {key: value.double() for key, value in params.items()}
    exact = kernel("vmap(jacrev) over images", function, few, x[:4].double())
    error = ntk_drift(exact, found[:4, :, :4].double())
    row = (name, str(NETWORKS[name]), way, f"{seconds:.3g}", f"{peak:.2f}", f"{error:.0e}")
    print("| " + " | ".join(row) + " |", flush=True)
    assert torch.isfinite(found).all()


def main() -> None:
    """Print a Markdown table, one row a network and way."""
    if os.environ.get("BENCH_NTK"):
        run(*os.environ["BENCH_NTK"].split(";"))
        return
    print(", ".join(f"{key} {value}" for key, value in machine().items()))
    print("\nfloat32; the error is relative to float64, on 4 images.\n")
    print("| network | images | way | seconds | peak GiB | error |")
    print("|---|---|---|---:|---:|---:|", flush=True)
    for name in NETWORKS:
        for way in WAYS:
            environment = os.environ | {"BENCH_NTK": f"{name};{way}", "OMP_NUM_THREADS": "1"}
            subprocess.run([sys.executable, __file__], env=environment, check=True)


if __name__ == "__main__":
    main()
