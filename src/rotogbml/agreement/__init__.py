"""Room 12: do the sources of a run pull one way? Their gradients, with the noise of single tasks taken out."""
