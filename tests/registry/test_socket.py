"""The registry's sockets answer at once: no Nagle wait for the second segment of an answer."""

import socket

import pytest

from registry.serving import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_accepted_connection_sends_small_segments_at_once(host: str) -> None:
    with listen(host, 0) as listening:
        with socket.create_connection(listening.getsockname()[:2]), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_control_without_the_option_it_would_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
