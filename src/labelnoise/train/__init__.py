"""Networks on images: where the images come from, how they are drawn and normalised."""
