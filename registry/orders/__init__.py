"""Work orders at the registry: the papers that it keeps, and its own count of what was made under each."""
