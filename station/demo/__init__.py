"""The demo: a whole plant on one machine, made of the real programs. Nothing in the product knows that it exists."""
