"""DecoFuse: reproducible pipelines for decomposition-based image fusion.

Importing the package is cheap on purpose: neither torch nor MLflow is loaded until a stage needs it.
"""

__version__ = "0.1.0"
