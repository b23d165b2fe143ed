"""The registry's sockets: no Nagle wait for the second segment of an answer, and an address that is taken is said."""

import socket
from unittest import mock

import pytest

from registry import serving
from registry.serving import listen
from registry.settings import SetupError


def nodelay(listening: socket.socket) -> int:
    with listening, socket.create_connection(listening.getsockname()[:2]), listening.accept()[0] as accepted:
        return accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_accepted_connection_sends_small_segments_at_once(host: str) -> None:
    assert nodelay(listen(host, 0)) != 0


def test_control_without_the_option_it_would_wait() -> None:
    assert nodelay(socket.create_server(("127.0.0.1", 0))) == 0


def test_an_address_in_use_names_its_own_options() -> None:
    with serving.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=r"choose another --host or --port$"):
            serving.listen("127.0.0.1", port)
        with pytest.raises(SetupError, match=r"choose another --metrics-host or --metrics-port$"):
            serving._beside(mock.Mock(), ("127.0.0.1", port))
