"""A drawn speaker with exact ground truth."""
