"""The figures: one module each, with `Options` and `draw`, in one shared style.

`draw(cells, options)` takes a list of `style.CellData` and returns a `style.Drawing`.
"""
