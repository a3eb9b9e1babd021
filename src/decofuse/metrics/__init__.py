"""Fusion metrics: pure functions of tensors."""
