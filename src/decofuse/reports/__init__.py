"""Scores as people and programs read them.

- `folders`: what `decofuse evaluate` found, as CSV, JSON, Markdown, LaTeX or on the terminal
- `results`: the averages that a run of the workflow made, by dataset and method
- `tables`: these side by side, as CSV, JSON and Markdown
- `benchmark`: these beside published numbers, as CSV and as pages for people
- `differences`: what a run does otherwise than the authors of a method did, in words
"""
