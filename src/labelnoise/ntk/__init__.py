"""The empirical neural tangent kernel, and gradient descent of the linear model it stands for."""
