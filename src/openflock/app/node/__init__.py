"""One node in a process of its own."""
