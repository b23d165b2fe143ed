"""Where devices in the field connect to: the public TCP and UDP ports, and what one stranger may cost.

An active pin is wanted here: a provisional one is none. Everything is bounded by count and by time before anybody has
proved anything.
"""
