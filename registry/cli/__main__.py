"""`python -m registry.cli`: the same program as the console script `station-registry`."""

from registry.cli import main

main()
