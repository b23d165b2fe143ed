"""The TCP service's protocol: bytes in, bytes out. No socket, no clock, no key of the cloud's (docs/decisions/0039).

The protocol is Particle's, byte for byte where the device key has 1024 bits. AES-CBC without a MAC is its limit, and
one of the reasons for which new products use the UDP service.
"""
