"""The relay's socket: who may connect, a request in, its answer out. Never looks into a handshake.

A peer is known by its user id (SO_PEERCRED); file modes are the second fence. Never waits for a client: one that is
slow loses its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from registry.device_service.relay.desk import Desk
from registry.device_service.relay.failures import failed
from registry.device_service.relay.messages import (
    LENGTH,
    Answer,
    FrameError,
    Refusal,
    body_length,
    framed,
    read_request,
)
from trust.codes import Code

_log = logging.getLogger(__name__)
_PEER: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)
_FRAME_TIMEOUT_S: Final = 5.0
_SEND_TIMEOUT_S: Final = 3.0
_MOST: Final = 512  # connections; each process of the registry's has 128 threads for them


class RelayServer:
    """Serves one desk on one socket."""

    def __init__(self, desk: Desk, allowed_uids: Collection[int]) -> None:
        self._desk, self._allowed = desk, frozenset(allowed_uids)
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self, bound: socket.socket) -> AsyncIterator[None]:
        """Answer while the block runs; what is under way then is dropped, and its station begins anew."""
        server = await asyncio.start_unix_server(self._connected, sock=bound)
        try:
            yield
        finally:
            server.close()
            for each in tuple(self._connections):
                each.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= _MOST:
            writer.transport.abort()
            return
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            answer = await self._answered(reader, writer)
            if answer is not None:
                await _say(writer, answer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer | None:
        """None for who closed before a request was whole."""
        peer = _peer_uid(writer)
        if peer not in self._allowed:
            _log.warning("a user was refused at the relay's socket")
            text = f"user id {peer} may not use this socket: name it in relay_uids of the table devices"
            return Refusal(code=Code.NOT_AUTHORISED, message=text)
        try:
            async with asyncio.timeout(_FRAME_TIMEOUT_S):
                size = body_length(await reader.readexactly(LENGTH.size))
                data = await reader.readexactly(size)
            return await self._desk.answer(read_request(data), gone=reader.at_eof)
        except FrameError as error:
            return Refusal(code=error.code, message=str(error))
        except asyncio.IncompleteReadError:
            return None
        except TimeoutError:
            return Refusal(code=Code.MALFORMED, message=f"no whole frame after {_FRAME_TIMEOUT_S:.0f} s")
        except Exception as error:  # noqa: BLE001 - of a task nobody waits for: the registry would wait in vain
            return failed(error)


async def _say(writer: asyncio.StreamWriter, answer: Answer) -> None:
    with contextlib.closing(writer):
        writer.write(framed(answer))
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await writer.drain()


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(peer)[1])
