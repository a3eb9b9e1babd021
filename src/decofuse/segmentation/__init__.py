"""Segmentation networks: judges of fused images, and teachers of fusion networks."""
