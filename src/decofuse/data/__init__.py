"""Datasets: where they come from, how they pair, how they are cut into patches."""
