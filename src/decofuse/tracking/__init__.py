"""MLflow, provenance, checksums."""
