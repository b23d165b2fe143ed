"""The registry's sockets answer at once: no Nagle wait for the second segment of an answer."""

import socket

import pytest

from registry.serving import listen


def nodelay(listening: socket.socket) -> int:
    with listening, socket.create_connection(listening.getsockname()[:2]), listening.accept()[0] as accepted:
        return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_accepted_connection_sends_small_segments_at_once(host: str) -> None:
    assert nodelay(listen(host, 0)) != 0


def test_control_without_the_option_it_would_wait() -> None:
    assert nodelay(socket.create_server(("127.0.0.1", 0))) == 0
