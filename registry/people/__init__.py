"""People at the registry: random ids, passwords, one-time codes, roles, sessions and API tokens, and the roster."""
