"""Images of several distributions: found, decoded once, split by class, and read back as arrays."""
