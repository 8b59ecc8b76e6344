"""talksplat: one video of a person in, the same person saying new words out."""

__version__ = "0.1.0"
