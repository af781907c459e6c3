"""Networks on images: what they are, their images, label noise, SAM, the training loop."""
