"""Every method on the same targets, seeds, budget and episodes: a study whose settings are methods, and its table."""
