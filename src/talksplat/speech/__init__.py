"""From waveforms to the features that drive an avatar."""
