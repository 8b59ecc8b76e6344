"""From a raw video to a portrait folder."""
