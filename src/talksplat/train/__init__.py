"""From a portrait to an avatar."""
