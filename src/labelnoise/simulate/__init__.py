"""The two-layer linear network f(x) = aᵀWx under label-noise SGD (paper §4.1).

`labelnoise.simulate.run.simulate` takes `Settings` and seeds and returns an `xarray.Dataset`.
"""
