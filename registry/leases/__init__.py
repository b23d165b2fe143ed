"""Leases: what a station's signer may sign before the registry has looked at its memory again (docs/decisions/0020)."""
