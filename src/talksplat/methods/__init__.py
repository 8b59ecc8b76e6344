"""One file and one row for each published method."""
