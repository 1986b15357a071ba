"""News as bytes between instances: MessagePack, records as the log keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias, overload

import msgspec

from grandstand.bus.base import Changed, Committed, Deleted, Missed, News, Present, Rights, Shown
from grandstand.model.frames import Frame
from grandstand.model.session import Session
from grandstand.model.telemetry import Record, joined, unpack

MOST_BYTES = 64 * 1024
"""Records of more are not sent along: whoever wants them reads them from the store."""


class CommittedWord(msgspec.Struct, tag="committed", array_like=True):
    """`Committed`; without a body where that is too long."""

    session_pk: int
    session_id: str
    first_seq: int
    last_seq: int
    at: datetime
    kind: str
    body: bytes | None


class ChangedWord(msgspec.Struct, tag="changed", array_like=True):
    """`Changed`."""

    session: Session


class DeletedWord(msgspec.Struct, tag="deleted", array_like=True):
    """`Deleted`."""

    session_id: str


class ShownWord(msgspec.Struct, tag="shown", array_like=True):
    """`Shown`."""

    session_id: str
    frame: Frame


class PresentWord(msgspec.Struct, tag="present", array_like=True):
    """`Present`."""

    instance: str
    session_id: str
    names: dict[str, int]
    seats: dict[str, str]


class RightsWord(msgspec.Struct, tag="rights", array_like=True):
    """`Rights`."""


class MissedWord(msgspec.Struct, tag="missed", array_like=True):
    """`Missed`: the sender had more to tell than it could keep."""


Word: TypeAlias = (
    CommittedWord | ChangedWord | DeletedWord | ShownWord | PresentWord | RightsWord | MissedWord
)


class Bundle(msgspec.Struct, array_like=True):
    """What one instance told others in one go.

    Attributes:
        origin: which one; it knows already.
    """

    origin: str
    words: list[msgspec.Raw]


class Unread(Sequence[Record]):
    """Records that are decoded when somebody looks: most instances watch few sessions."""

    def __init__(self, kind: str, body: bytes) -> None:
        self._kind = kind
        self._body = body
        self._records: list[Record] | None = None

    def _read(self) -> list[Record]:
        if self._records is None:
            self._records = unpack(self._kind, self._body)
        return self._records

    def __len__(self) -> int:
        return len(self._read())

    def __iter__(self) -> Iterator[Record]:
        return iter(self._read())

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        return self._read()[place]


_encoder = msgspec.msgpack.Encoder()
_bundles = msgspec.msgpack.Decoder(Bundle)
_words: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Word)


def encode(news: News) -> bytes:
    """One piece of news."""
    return _encoder.encode(_word(news))


def bundle(origin: str, words: Sequence[bytes]) -> bytes:
    """Several, on their way."""
    return _encoder.encode(Bundle(origin, [msgspec.Raw(word) for word in words]))


def unbundle(body: bytes) -> Bundle:
    """What `bundle` made.

    Raises:
        msgspec.DecodeError: it is none, or of another version.
    """
    return _bundles.decode(body)


def decode(word: msgspec.Raw) -> News:
    """What `encode` made.

    Raises:
        msgspec.DecodeError: it is none, or of another version.
    """
    told: Word = _words.decode(word)
    match told:
        case CommittedWord():
            records: Sequence[Record] = ()
            if told.body is not None:
                records = Unread(told.kind, told.body)
            return Committed(
                *(told.session_pk, told.session_id, told.first_seq, told.last_seq),
                records,
                told.at,
            )
        case ChangedWord():
            return Changed(told.session)
        case DeletedWord():
            return Deleted(told.session_id)
        case ShownWord():
            return Shown(told.session_id, told.frame)
        case PresentWord():
            return Present(told.instance, told.session_id, told.names, told.seats)
        case RightsWord():
            return Rights()
        case MissedWord():
            return Missed()


def _word(news: News) -> Word:
    match news:
        case Committed():
            body: bytes | None = None
            if sum(record.size for record in news.records) <= MOST_BYTES:
                body = joined(news.records)
            if body is not None and len(body) > MOST_BYTES:
                body = None
            return CommittedWord(
                *(news.session_pk, news.session_id, news.first_seq, news.last_seq, news.at),
                "batch",
                body,
            )
        case Changed():
            return ChangedWord(news.session)
        case Deleted():
            return DeletedWord(news.session_id)
        case Shown():
            return ShownWord(news.session_id, news.frame)
        case Present():
            return PresentWord(news.instance, news.session_id, news.names, news.seats)
        case Rights():
            return RightsWord()
        case Missed():
            return MissedWord()
