"""Fusion networks: shared blocks, one file a method."""
