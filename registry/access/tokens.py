"""Access tokens of stations: 32 random bytes that say nothing, kept as their SHA-256, each bound to a station's key.

A token ends after ten minutes; and at once when the root that is served no longer names its station with the key that
asked for it. Never decides about scopes or objects.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Row, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from registry.access.assertion import Client, ClientRefusedError
from registry.access.caller import Scope, StationCaller
from registry.access.denied import Headers, dpop_challenge, unknown
from registry.access.dpop import DpopError, NonceWantedError, Proof, Request, check_proof
from registry.access.guard import Heading
from registry.access.jws import JwsError, decode, encode
from registry.access.nonces import Nonces
from registry.access.once import use_assertion, use_proof
from registry.access.sweeping import Sweeper
from registry.clock import utc_now
from registry.database import Database
from registry.tables import access_tokens
from trust.codes import Code
from trust.keys import PublicKey
from trust.root import Root

LIFETIME_S = 600
_TOKEN_BYTES = 32
_INSERT = insert(access_tokens)
_FIND = select(access_tokens).where(access_tokens.c.token_sha256 == bindparam("token_sha256"))


class _VoidError(Exception):
    """The token is good for nothing."""


class Tokens:
    """`registry.access.guard.StationTokens` on the database. Safe to call from many threads and processes."""

    def __init__(
        self, database: Database, root: Root, nonces: Nonces, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._url = root.registry_url.rstrip("/")
        self._client_keys = {name: PublicKey.from_der(each.client).fingerprint for name, each in root.stations.items()}
        self._nonces = nonces
        self._now = now
        self._sweeper = Sweeper(database, now)

    def issue(self, client: Client, proof: Proof, scopes: frozenset[Scope]) -> str:
        """A fresh token for assertion and proof, both used up with it; ClientRefusedError, or DpopError.

        One transaction: a crash uses up nothing, or everything, and then the token is nobody's.
        """
        token = secrets.token_bytes(_TOKEN_BYTES)
        row = {
            "token_sha256": _digest(token), "station": client.station, "client_sha256": client.key_sha256,
            "thumbprint": proof.thumbprint, "scopes": " ".join(sorted(scopes)),
            "expires_at": int(self._now().timestamp()) + LIFETIME_S,
        }  # fmt: skip

        def use_up(connection: Connection) -> None:
            _once(lambda: use_assertion(connection, client), _assertion_used)
            _once(lambda: use_proof(connection, proof), _proof_used)
            connection.execute(_INSERT, row)

        self._sweeper.sweep_if_due()
        self._database.writing(use_up)
        return encode(token)

    def caller(self, token: str, heading: Heading) -> tuple[StationCaller, Headers]:
        """Who holds the token and made the proof, which is used up; DeniedError otherwise."""
        try:
            proof = self.proof(heading, token)
            self._sweeper.sweep_if_due()
            caller = self._database.writing(lambda connection: self._using(connection, token, proof))
        except _VoidError as error:
            raise unknown(
                Code.ACCESS_TOKEN_INVALID, str(error), [dpop_challenge("invalid_token")], self.nonce()
            ) from error
        except NonceWantedError as error:
            raise unknown(Code.DPOP_NONCE, str(error), [dpop_challenge("use_dpop_nonce")], self.nonce()) from error
        except DpopError as error:
            raise unknown(
                Code.DPOP_INVALID, str(error), [dpop_challenge("invalid_dpop_proof")], self.nonce()
            ) from error
        return caller, self.next_nonce(proof)

    def nonce(self) -> str:
        """For the next proof."""
        return self._nonces.current()

    def next_nonce(self, proof: Proof) -> Headers:
        """What goes with an answer: the nonce that is current, if the proof came with an older one."""
        current = self._nonces.current()
        return () if proof.nonce == current else (("dpop-nonce", current),)

    def proof(self, heading: Heading, token: str | None) -> Proof:
        """The proof that came with a request, not used up yet; DpopError."""
        request = Request(method=heading.method, url=self._url + heading.path, token=token)
        return check_proof(heading.dpop, request, self._nonces.known, int(self._now().timestamp()))

    def _using(self, connection: Connection, token: str, proof: Proof) -> StationCaller:
        caller = self._holder(connection, token, proof)
        _once(lambda: use_proof(connection, proof), _proof_used)
        return caller

    def _holder(self, connection: Connection, token: str, proof: Proof) -> StationCaller:
        row = _find(connection, token)
        if row is None or row.expires_at <= self._now().timestamp():
            raise _VoidError("this access token is nobody's, or over: ask for a new one")
        if self._client_keys.get(row.station) != row.client_sha256:
            raise _VoidError(f"the trust root no longer names station {row.station} with the key that asked for it")
        if row.thumbprint != proof.thumbprint:
            raise DpopError("DPoP proof: made with another key than the access token is bound to")
        return StationCaller(row.station, frozenset(Scope(each) for each in row.scopes.split()))


def _once(use: Callable[[], None], used: Callable[[], Exception]) -> None:
    try:
        use()
    except IntegrityError as error:
        raise used() from error


def _proof_used() -> DpopError:
    return DpopError("DPoP proof: used before; each request needs its own")


def _assertion_used() -> ClientRefusedError:
    return ClientRefusedError(Code.ASSERTION_USED, "client assertion: used before; each is good once")


def _find(connection: Connection, token: str) -> Row[*tuple[object, ...]] | None:
    try:
        raw = decode(token)
    except JwsError:
        return None
    return connection.execute(_FIND, {"token_sha256": _digest(raw)}).one_or_none()


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
