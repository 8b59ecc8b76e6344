"""The prior of speech and lips that people share: its pool of clips, how it is fitted, and how it is judged."""
