"""Scoring fused images against their sources.

- `scoring`: reading, values, averages; the one way of all that follows
- `split`: a split of a dataset, by manifest and index: the stage of the workflow
- `folders`: folders of images from anywhere, one or several methods side by side
- `ranking`: which of several methods is best, and how means are printed
"""
