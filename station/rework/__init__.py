"""A finished unit that an approved act changes (key, anchor or lock), and what is known of such units afterwards.

The story of one unit is `flow`; the commands come in by `acts` and `bringing`. Never approves anything, and never
decides what an act may do: registry, signer and the device itself judge that, each for itself.
"""
