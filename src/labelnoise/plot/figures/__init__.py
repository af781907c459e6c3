"""One module a figure: each is a target of the workflow."""
