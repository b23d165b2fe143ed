"""`station-registry check`: every row held against what was signed. Never mends anything."""
