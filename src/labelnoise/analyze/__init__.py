"""Small functions on trajectories: when a network leaves the lazy regime, when it aligns."""
