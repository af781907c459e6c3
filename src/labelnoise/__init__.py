"""labelnoise: the learning dynamics of two-layer linear networks with label noise SGD.

Importing this package is cheap: torch, numba, mlflow and matplotlib are imported by the modules
that compute with them, never by the configuration that Snakemake reads.
"""

__version__ = "0.1.0"
