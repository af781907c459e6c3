"""The figures: one module each in `figures`, with `Options` and `draw`; `parts` is what they share.

`draw(cells, options)` takes a list of `parts.style.CellData` and returns a `parts.style.Drawing`.
"""
