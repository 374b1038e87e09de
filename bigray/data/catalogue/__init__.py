"""Named data sets that come as Python packages, one per file: ``catalogue:FILE`` in a recipe."""
