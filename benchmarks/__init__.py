"""Speed and memory, as ratios of one interleaved run; never a test."""
