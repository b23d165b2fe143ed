"""The Particle-compatible door: unmodified Particle tooling signs in and proposes device keys. Off unless configured.

Nothing that comes in here pins anything.
"""
