"""How good a picture or a mouth is; the same functions serve as losses."""
