"""The cloud's device service: what devices connect to, by the key that is pinned for each and the one in its anchor.

A process of its own, for units at a bench and devices in the field (docs/decisions/0039). Never holds a private key of
the cloud, and never takes a device by anything but its pin.
"""
