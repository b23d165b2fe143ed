"""The audit as it is asked for: a copy of the ledger, held against the heads that others know of it.

A ledger that was rewritten whole, its checkpoints dropped, is sound in itself. So the signer, where it answers, is
asked for its last head, and an outsider brings a checkpoint that he kept. Both are taken before the copy: a log that
grows meanwhile still goes on from them. Never writes anything, and never takes a head for good that the root's log key
has not signed, but the signer's own word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hsm.signer import SignerError, SignerStatus, SignerUnavailableError
from station import config as settings
from station import wiring
from station.agreement import check_signer, log_key
from station.audit import AuditReport, KnownHead, audit
from station.faults import Fault
from station.root import load_root
from station.usage import UsageError
from trust.root import TrustedRoot
from trust.signed_note import MAX_NOTE_BYTES, NoteError, NoteKey, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """What the audit found, the sizes of the heads it was held against, and why the signer's is not among them."""

    report: AuditReport
    signer: int | None
    checkpoint: int | None
    not_asked: str


async def audit_ledger(config_file: Path, checkpoint: Path | None = None) -> Audited:
    """Recompute the station's whole ledger; `checkpoint` is a signed note that it must go on from.

    UsageError if that is no checkpoint of this log, the fault `setup` if there is no ledger to read.
    """
    config, paths = settings.load(config_file)
    root = load_root(paths.root)
    key = log_key(root, config.station.name)
    kept = [] if checkpoint is None else [_kept(checkpoint, key)]
    status = await _status(config, paths, root)
    signers = [] if isinstance(status, str) else _signers(status, key.name)
    engine = wiring.open_ledger(paths.database, copy=True)
    try:
        signed = None if isinstance(status, str) else sum(head.size for head in signers)
        report = audit(engine, root, config.station.name, known=[*signers, *kept], signed=signed)
    finally:
        engine.dispose()
    return Audited(
        report=report,
        signer=signed,
        checkpoint=kept[0].size if kept else None,
        not_asked=status if isinstance(status, str) else "",
    )


def _kept(path: Path, key: NoteKey) -> KnownHead:
    """The checkpoint in a file."""
    try:
        if path.stat().st_size > MAX_NOTE_BYTES:
            raise UsageError(f"{path} is no checkpoint: too long")
        head = verify(path.read_bytes().decode(), key.name, key.spki)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; name a file of station ledger checkpoint") from error
    except (NoteError, UnicodeDecodeError) as error:
        text = f"{path} is no checkpoint of {key.name} by the log key that the trust root names: {error}"
        raise UsageError(text) from error
    return KnownHead(whose=f"the checkpoint in {path}", size=head.size, root_hash=head.root_hash)


async def _status(config: settings.Config, paths: settings.Paths, root: TrustedRoot) -> SignerStatus | str:
    """What the root's signer says, or why it says nothing."""
    signer = wiring.open_signer(paths)
    try:
        status = await signer.status()
        check_signer(config, root, status)
    except (SignerError, SignerUnavailableError) as error:
        return str(error)
    except Fault as error:
        return error.detail
    finally:
        await signer.close()
    return status


def _signers(status: SignerStatus, origin: str) -> list[KnownHead]:
    head = status.checkpoints.get(origin)
    whose = "the last head that the signer has signed"
    return [] if head is None else [KnownHead(whose=whose, size=head.size, root_hash=head.root_hash)]
