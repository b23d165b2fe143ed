"""GnuTLS by ctypes, as little of it as a DTLS 1.2 server needs; nothing else here loads it, and it loads nothing else.

Blocking where the signer is asked: handshakes run in worker threads, one thread at a time for a session. Never reads a
`pkcs11:` URL, and never resumes a session, since that would pass by the pin.
"""
