"""Artifacts on disk: how they are written, what made them, checked, bundled and redone."""
