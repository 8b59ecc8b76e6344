"""Drawing Gaussians: one protocol, three backends."""
