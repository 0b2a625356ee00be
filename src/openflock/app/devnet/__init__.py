"""A network of processes on one machine."""
