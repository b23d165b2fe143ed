"""The signer's UNIX socket: who may connect, frames in, answers out. Policy and token work runs in one worker thread.

Never looks into a statement. A peer is known by its user id (SO_PEERCRED); file modes are the second fence. A frame
that cannot be read is answered, and ends its connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hsm import verbs
from hsm.messages import LENGTH, FrameError, Request, body_length, frame, parse_request, refused
from hsm.policy import CloudPolicy, FactoryPolicy
from trust.codes import Code

_LOG = logging.getLogger(__name__)
_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)
_FRAME_TIMEOUT_S = 10.0
_IN_FLIGHT = 32
_BACKLOG = 128
_SOCKET_MODE = 0o660

Ask = Callable[[Request], Awaitable[bytes]]


class SignerServer:
    """Serves one policy on one socket."""

    def __init__(self, policy: FactoryPolicy | CloudPolicy, path: Path, allowed_uids: Collection[int]) -> None:
        self._policy = policy
        self._path = path
        self._allowed = frozenset(allowed_uids)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")
        self._connections: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End `serve`; what is under way is answered first."""
        self._stop.set()

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Listen until `stop`. The caller holds the directory's lock, so a socket file left behind is nobody's."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._connected, sock=_listening(self._path), backlog=_BACKLOG)
        try:
            on_ready()
            await self._stop.wait()
        finally:
            server.close()
            self._path.unlink(missing_ok=True)
            for each in self._connections:
                each.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await asyncio.to_thread(self._worker.shutdown)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            if _peer_uid(writer) in self._allowed:
                await _converse(self._ask, reader, writer)
            else:
                _LOG.warning("user id %d was refused", _peer_uid(writer))
                await _say(writer, frame(refused(0, Code.NOT_AUTHORISED, "this user may not use this signer")))
        except asyncio.CancelledError:
            _LOG.debug("connection closed: the signer stops")
        except OSError as error:
            _LOG.debug("connection lost: %s", error)
        finally:
            writer.close()

    async def _ask(self, request: Request) -> bytes:
        asked = asyncio.get_running_loop().run_in_executor(self._worker, verbs.answer, self._policy, request)
        (result,) = await asyncio.gather(asked, return_exceptions=True)
        if isinstance(result, BaseException):
            # A bug. Its transaction was rolled back, so the next request finds what this one found.
            _LOG.error("verb %s failed", request.verb, exc_info=result)
            return frame(refused(request.id, Code.INTERNAL, f"{type(result).__name__} in the signer: see its log"))
        return frame(result)


async def _converse(ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client: read on while answers are being made, at most 32 at a time; each answer carries its request's id."""
    room = asyncio.Semaphore(_IN_FLIGHT)
    under_way: set[asyncio.Task[None]] = set()

    async def reply(request: Request) -> None:
        try:
            await _say(writer, await ask(request))
        except OSError as error:
            _LOG.debug("answer to %s not delivered: %s", request.verb, error)
        finally:
            room.release()

    try:
        while (request := await _next_request(reader)) is not None:
            await room.acquire()
            task = asyncio.create_task(reply(request))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
    except FrameError as error:
        await _say(writer, frame(refused(0, error.code, str(error))))
    finally:
        await asyncio.gather(*under_way)


async def _next_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None when the client has closed. FrameError for what is not one, or too slow in coming."""
    try:
        head = await reader.readexactly(LENGTH.size)
        data = await asyncio.wait_for(reader.readexactly(body_length(head)), _FRAME_TIMEOUT_S)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError(Code.MALFORMED, "the connection ended inside a frame") from error
        return None
    except TimeoutError as error:
        raise FrameError(Code.MALFORMED, f"a frame was not complete after {_FRAME_TIMEOUT_S:.0f} s") from error
    return parse_request(data)


async def _say(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(peer)[1])


def _listening(path: Path) -> socket.socket:
    """A bound socket that only owner and group can reach, from its first moment: the directory is 0750 already."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(_SOCKET_MODE)
    except OSError:
        bound.close()
        raise
    return bound
