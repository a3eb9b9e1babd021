"""`python -m decofuse.cli`."""

from decofuse.cli import main

main()
