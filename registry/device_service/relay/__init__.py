"""The bench relay's end at the device service: a device's handshake, carried by its station over the registry's HTTPS.

The socket is for the registry on this machine and nobody else. Which station asks is the registry's word, since it has
seen its token; which pins are good there is found out here, from the records themselves.
"""
