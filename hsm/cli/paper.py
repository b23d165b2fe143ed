"""What people approve, as one value: how a kind of document is read, shown and approved is the same for each.

`act`, `device` and `order` say what is theirs alone. Never signs what was not shown; nothing here reaches a signer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsm.cli.asking import Judges, KeyChoice, approved_by_you, read_envelope, stop, write_over
from trust.printable import printable

if TYPE_CHECKING:
    from trust.approval import Role
    from trust.dsse import Envelope
    from trust.root import TrustedRoot
    from trust.statement import Statement

STAMP = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """One kind of document: `body` and `worth` (approving) raise `refused`; `heading` is its first line when shown.

    `kind` is its name in `trust.kinds`; `roles` are those of whoever may approve it, `wanted` the same in words;
    `standing` says what comes next; `options` are the command line's names of entries, where they differ.
    """

    kind: str
    body: Callable[[Envelope], Any]
    heading: Callable[[Any], str]
    worth: Callable[[Envelope, TrustedRoot, datetime], object]
    refused: type[Exception]
    roles: tuple[Role, ...]
    wanted: str
    standing: Callable[[Envelope, TrustedRoot, Path, Path], str]
    options: Mapping[str, str] = field(default_factory=dict)


def trusted_by(root_file: Path) -> TrustedRoot:
    """The trust root that the command was given; ends the program for one that does not hold."""
    from hsm.cli.roots import trusted_root  # noqa: PLC0415 - keeps --help fast

    return trusted_root(root_file)


def show_paper(paper: Paper, file: Path, root_file: Path) -> tuple[TrustedRoot, Envelope]:
    """Every line of the document on stdout; the root and the document."""
    trusted, envelope = trusted_by(root_file), read_envelope(file, paper.kind)
    for line in _lines(paper, envelope, trusted, file):
        click.echo(printable(line))
    return trusted, envelope


def approve_paper(paper: Paper, file: Path, root_file: Path, mine: KeyChoice, *, yes: bool) -> None:
    """Your approval into the file, after the document was shown; what is not worth it is not even shown."""
    from trust.approval import having  # noqa: PLC0415 - keeps --help fast

    trusted, envelope = trusted_by(root_file), read_envelope(file, paper.kind)
    require_worth(paper, envelope, trusted, file)
    everybody = trusted.root.approvers
    judges = Judges(lists=(having(everybody, *paper.roles),), wanted=paper.wanted, known=everybody)
    made = approved_by_you(envelope, _lines(paper, envelope, trusted, file), mine, judges, yes=yes)
    if made is not envelope:
        write_over(file, made.to_json() + b"\n")
    click.echo(printable(paper.standing(made, trusted, file, root_file)), err=True)


def require_worth(paper: Paper, envelope: Envelope, trusted: TrustedRoot, file: Path) -> None:
    """Nobody is asked to approve what nothing can come of; ends the program."""
    try:
        paper.worth(envelope, trusted, datetime.now(UTC))
    except paper.refused as error:
        stop(f"{file}: {error}; nothing was done")


def new_act(
    paper: Paper, trusted: TrustedRoot, document: type[Statement], about: Mapping[str, Any], lasts: timedelta
) -> Envelope:
    """An act of this class, not approved yet, that may be done for so long; ends the program for what is none."""
    import secrets  # noqa: PLC0415 - keeps --help fast

    import msgspec  # noqa: PLC0415

    from trust.in_words import in_words  # noqa: PLC0415
    from trust.statement import envelope  # noqa: PLC0415

    now = datetime.now(UTC)
    entries = {
        "environment": trusted.root.environment, "root_sha256": trusted.sha256, "nonce": secrets.token_hex(32),
        "made_at": now.strftime(STAMP), "not_after": (now + lasts).strftime(STAMP), **about,
    }  # fmt: skip
    try:
        made = envelope(msgspec.convert(entries, document))
        paper.body(made)
    except msgspec.ValidationError as error:
        entry, colon, said = in_words(error).partition(": ")
        stop(f"act: {paper.options.get(entry, entry)}{colon}{said}; correct it")
    except paper.refused as error:
        stop(f"act: {error}")
    return made


def _lines(paper: Paper, envelope: Envelope, trusted: TrustedRoot, file: Path) -> Iterator[str]:
    from hsm.cli.showing import approved_by, fields  # noqa: PLC0415 - keeps --help fast

    try:
        found = paper.body(envelope)
    except paper.refused as error:
        stop(f"{file}: {error}")
    yield f"{paper.heading(found)}, SHA-256 {envelope.payload_sha256}"
    yield from fields(found)
    yield from approved_by(envelope, trusted.root.approvers)
