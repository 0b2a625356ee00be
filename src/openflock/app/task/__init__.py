"""Tasks on a chain."""
