"""What a grid showed: summed up with intervals, beside its goals, drawn, and written as a page."""
