"""From two source images to one fused image."""
