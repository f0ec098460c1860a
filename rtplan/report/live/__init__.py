"""The interactive page: planes through a case as numbers and lines, the facts beside them, our own script."""
