"""The signer's UNIX socket: who may connect, frames in, answers out.

Statements are judged on the loop, where no disk is needed for it; one worker thread uses memory and token. Never says
what may be signed. A peer is known by its user id (SO_PEERCRED), which also says for which verbs it may ask; file modes
are the second fence. A frame that cannot be read is answered, and ends its connection. Never waits for a client: one
that does not read loses its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from hsm import verbs
from hsm.bulletin import Bulletin
from hsm.counters.file import StoreError
from hsm.group_commit import Errand
from hsm.listening import BACKLOG, listening
from hsm.messages import (
    LENGTH,
    MAX_FRAME_BYTES,
    FrameError,
    OneOfMany,
    Refusal,
    Request,
    accepted,
    body_length,
    frame,
    parse_request,
    refused,
)
from hsm.peers import Peers
from hsm.signatory import Signatory, refusal
from hsm.signer import SignerError
from hsm.token import TokenError
from hsm.worker import Worker
from trust.codes import Code
from trust.dsse import Envelope
from trust.printable import printable

_LOG = logging.getLogger(__name__)
_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred, unix(7)
_FRAME_TIMEOUT_S = 10.0
_SEND_TIMEOUT_S = 3.0  # a client on this machine that reads takes no time; it bounds the end of `serve`, too
_HEAR_OUT_S = 1.0
_IN_FLIGHT = 32
_TOLD = 500  # characters of one refusal among many: all fit into a frame

Ask = Callable[[Request], Awaitable[bytes]]


class SignerServer:
    """Serves one signer's role on one socket."""

    def __init__(self, signatory: Signatory, path: Path, peers: Peers, worker: Worker) -> None:
        self._signatory = signatory
        self._path = path
        self._peers = peers
        self._worker = worker
        self._bulletin = Bulletin(signatory, worker)
        self._connections: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End `serve`; what is under way is answered first, if its client reads."""
        self._stop.set()

    async def serve(self, on_ready: Callable[[], None]) -> None:
        """Listen until `stop`. SetupError when the socket cannot be had: what is in its place stays."""
        with listening(self._path) as bound:
            server = await asyncio.start_unix_server(self._connected, sock=bound, backlog=BACKLOG)
            try:
                await self._bulletin.begin()
                on_ready()
                await self._stop.wait()
            finally:
                server.close()
                for each in self._connections:
                    each.cancel()
                await asyncio.gather(*self._connections, return_exceptions=True)
                await self._worker.drain()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            peer = _peer_uid(writer)
            if self._peers.may_connect(peer):
                await _converse(partial(self._ask, peer), reader, writer)
            else:
                _LOG.warning("user id %d was refused", peer)
                text = f"this user may not use this signer: id {peer} is not in {self._peers.named} of its signer.toml"
                await _say(writer, frame(refused(0, Code.NOT_AUTHORISED, text)))
            await _hear_out(reader)
        except asyncio.CancelledError:
            _LOG.debug("connection closed: the signer stops")
        except OSError as error:
            _LOG.debug("connection lost: %s", error)
        finally:
            writer.close()

    async def _ask(self, peer: int, request: Request) -> bytes:
        try:
            self._peers.require(peer, request.verb)
            wanted = verbs.errand_or_call(self._signatory, request)
            if request.verb == verbs.STATUS:
                answer: object = await self._bulletin.status()
            else:
                answer = await self._settled(wanted)
        except (SignerError, TokenError, StoreError) as error:
            answer = error
        if isinstance(answer, SignerError | TokenError | StoreError):
            no = refusal(answer)
            return frame(refused(request.id, no.code, str(no)))
        return frame(accepted(request.id, answer))

    async def _settled(self, wanted: Errand | tuple[Errand, ...] | Callable[[], object]) -> object:
        """The answer, which may be the error that is one; of many, a list of what each has got."""
        if isinstance(wanted, tuple):
            found = await asyncio.gather(*map(self._worker.join, wanted))
            # Token or disk: whoever asks hears it for all, and asks for all again. What is signed is not signed twice.
            failed = next((each for each in found if isinstance(each, TokenError | StoreError)), None)
            return failed or [_one(each) for each in found]
        return await (self._worker.call(wanted) if callable(wanted) else self._worker.join(wanted))


def _one(answer: object) -> OneOfMany:
    if isinstance(answer, SignerError):
        return OneOfMany(error=Refusal(code=answer.code.value, message=printable(str(answer), _TOLD)))
    assert isinstance(answer, Envelope), "an errand of many gives an envelope or a refusal"  # noqa: S101
    return OneOfMany(ok=answer)


async def _converse(ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client: read on while answers are being made, at most 32 at a time; each answer carries its request's id."""
    room = asyncio.Semaphore(_IN_FLIGHT)
    under_way: set[asyncio.Task[None]] = set()

    async def reply(request: Request) -> None:
        try:
            await _say(writer, await ask(request))
        except OSError as error:
            _LOG.debug("answer to %s not delivered: %s", request.verb, error)

    def replied(request: Request, task: asyncio.Task[None]) -> None:
        under_way.discard(task)
        room.release()
        bug = None if task.cancelled() else task.exception()
        if bug is not None:  # its transaction was rolled back, so the next request finds what this one found
            _LOG.error("verb %s failed", request.verb, exc_info=bug)
            text = f"{type(bug).__name__} in the signer: see its log"
            writer.write(frame(refused(request.id, Code.INTERNAL, text)))

    try:
        while not writer.is_closing() and (request := await _next_request(reader)) is not None:
            await room.acquire()
            task = asyncio.create_task(reply(request))
            under_way.add(task)
            task.add_done_callback(partial(replied, request))
    except FrameError as error:
        await _say(writer, frame(refused(0, error.code, str(error))))
    finally:
        await asyncio.gather(*under_way, return_exceptions=True)


async def _next_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None when the client has closed. FrameError for what is not one, or too slow in coming."""
    try:
        head = await reader.readexactly(LENGTH.size)
        async with asyncio.timeout(_FRAME_TIMEOUT_S):
            data = await reader.readexactly(body_length(head))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError(Code.MALFORMED, "the connection ended inside a frame") from error
        return None
    except TimeoutError as error:
        raise FrameError(Code.MALFORMED, f"a frame was not complete after {_FRAME_TIMEOUT_S:.0f} s") from error
    return parse_request(data)


async def _hear_out(reader: asyncio.StreamReader) -> None:
    """Drop what still comes until the client closes: closed on it now, it might lose our last word to a reset."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_HEAR_OUT_S):
            while await reader.read(MAX_FRAME_BYTES):
                pass


async def _say(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send, and wait while too much is unread. Past the time limit all that this client was to hear is dropped."""
    if writer.is_closing():
        raise ConnectionResetError("the connection is closed already")
    writer.write(data)
    try:
        async with asyncio.timeout(_SEND_TIMEOUT_S):
            await writer.drain()
    except TimeoutError:
        writer.transport.abort()
        raise


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(peer)[1])
