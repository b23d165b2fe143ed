"""The UDP service's protocol: datagrams in, datagrams out. No socket, and no key of the cloud's (docs/decisions/0039).

DTLS 1.2 by GnuTLS. A session is the same whether a socket or a relay carries its datagrams.
"""
