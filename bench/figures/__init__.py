"""One module for each figure; each has ``measure(runs)``, which gives its results."""
