"""Attachments of a message: images, audio and files, given by path, as bytes or by URL.

An `Attachment` has the bytes and exists only until its run has begun. What is recorded, rendered
and told is its `Part` (in `messages`), without the bytes, which the store has once for each
session, under their sha256. This module is imported only where something is attached.
"""

from __future__ import annotations

import os
import re
import stat
from base64 import b64decode
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Self, TypeAlias, cast
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from pydantic import Field

from .errors import InputError, closest, listed
from .messages import FrozenModel, Part
from .unknown_names import explained

MAX_BYTES = 20_000_000
"""The most bytes of one attachment."""
MAX_RUN_BYTES = 50_000_000
"""The most bytes of all attachments of a run."""
MAX_COUNT = 50
"""The most attachments of a run."""
_MAX_NAME, _MAX_URL = 200, 2000  # characters

_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "m4a": "audio/mp4",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "mp4": "video/mp4",
}
"""Media types by the end of a name; not those of the system, which differ between machines."""
_TEXTS = frozenset(
    (
        *("txt", "md", "rst", "csv", "tsv", "json", "jsonl", "yaml", "yml", "toml", "xml", "html"),
        *("log", "py", "js", "ts", "sql", "svg"),
    )
)
_BEGINNINGS = (
    (rb"\x89PNG\r\n\x1a\n", "png"),
    (rb"\xff\xd8\xff", "jpg"),
    (rb"GIF8[79]a", "gif"),
    (rb"RIFF....WEBP", "webp"),
    (rb"RIFF....WAVE", "wav"),
    (rb"ID3|\xff[\xfb\xf3\xf2]", "mp3"),
    (rb"OggS", "ogg"),
    (rb"fLaC", "flac"),
    (rb"%PDF-", "pdf"),
)
"""How files begin, by the end of their names."""
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),(.*)", re.DOTALL | re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Attachment(FrozenModel):
    """An image, audio or a file that is sent with a message: bytes, or a URL that is passed on.

    `name` is what people and models read; without `media_type` its end says the type. A URL is
    never fetched here: the model's provider does, or refuses it. Raises `InputError` if it is
    empty, too big (20 MB) or text, or if its type is unknown.
    """

    name: str
    media_type: str
    data: bytes | None = Field(default=None, repr=False)
    url: str | None = None

    @explained
    def __init__(
        self,
        *,
        name: str,
        media_type: str | None = None,
        data: bytes | None = None,
        url: str | None = None,
    ) -> None:
        _check_name(name)
        if (data is None) == (url is None):
            raise InputError(f"attachment {name!r}: give its data or its url, one of them")
        if media_type is None:
            media_type = _type_of(name, data)
        _check_type(name, media_type)
        if url is not None:
            _check_url(name, url, media_type)
        super().__init__(name=name, media_type=media_type, data=data, url=url)
        if data is not None:
            _check_size(name, len(data))

    @classmethod
    @explained
    def from_path(cls, path: str | os.PathLike[str], *, media_type: str | None = None) -> Self:
        """Read a file, now and once."""
        return cls(name=Path(path).name, media_type=media_type, data=_read(Path(path)))

    @classmethod
    @explained
    def from_data_url(cls, url: str, *, name: str | None = None) -> Self:
        """Take the bytes out of a `data:` URL, as browsers and chat clients send them."""
        found = _DATA_URL.fullmatch(url)
        if found is None:
            raise InputError("this is no data URL; it begins with data:image/png;base64, or alike")
        media_type, options, text = found.groups()
        if len(text) > 3 * MAX_BYTES:
            raise _too_big(name or "data URL", len(text))
        data = unquote_to_bytes(text)
        if options.lower().endswith(";base64"):
            try:
                data = b64decode(b"".join(data.split()), validate=True)
            except ValueError as error:
                raise InputError(f"the data URL is not valid base64: {error}") from error
        media_type = media_type.lower()
        return cls(name=name or _default_name(media_type), media_type=media_type or None, data=data)

    @property
    def part(self) -> Part:
        """What is recorded of it and shown: all but the bytes."""
        if self.data is None:
            return Part(name=self.name, media_type=self.media_type, url=self.url or "")
        return Part(
            name=self.name,
            media_type=self.media_type,
            size=len(self.data),
            sha256=sha256(self.data).hexdigest(),
        )


Attachable: TypeAlias = Attachment | str | os.PathLike[str] | bytes
"""What can be attached: a path, a URL (also a `data:` one), bytes, or an `Attachment`."""


def attachments_of(given: Sequence[Attachable]) -> tuple[Attachment, ...]:
    """The attachments of a run; files are read here. Raises `InputError`."""
    if isinstance(given, str | bytes | os.PathLike | Attachment) or not isinstance(given, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        raise InputError(
            f"attachments is a {type(given).__name__}; give a list of paths, bytes, URLs or "
            "Attachment(...)"
        )
    if len(given) > MAX_COUNT:
        raise InputError(f"{len(given)} attachments are too many; attach at most {MAX_COUNT}")
    found = tuple(_attachment(each, number) for number, each in enumerate(given, 1))
    total = sum(len(each.data or b"") for each in found)
    if total > MAX_RUN_BYTES:
        raise InputError(
            f"the attachments have {total:,} bytes together, and a run takes at most "
            f"{MAX_RUN_BYTES:,}; attach fewer, or smaller ones"
        )
    return found


def parts_by_name(given: Sequence[str | Part]) -> tuple[Part, ...]:
    """Parts that only have names, for a dry run; nothing is read."""
    if isinstance(given, str) or not isinstance(given, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        text = f"attachments is a {type(given).__name__}; give a list of names of files"
        raise InputError(text)
    return tuple(_named(each) for each in given)


def _named(given: object) -> Part:
    if isinstance(given, Part):
        return given
    if isinstance(given, Attachment):
        return given.part
    if not isinstance(given, str):
        raise InputError(f"attachments has a {type(given).__name__}; give names of files")
    if _SCHEME.match(given):
        return _from_url(given).part
    name = Path(given).name
    _check_name(name)
    media_type = _type_of(name, None)
    _check_type(name, media_type)
    return Part(name=name, media_type=media_type)


def _attachment(given: object, number: int) -> Attachment:
    if isinstance(given, Attachment):
        return given
    if isinstance(given, bytes | bytearray | memoryview):
        data = bytes(cast("bytes", given))
        ending = _ending_of(data)
        if ending is None and data:
            raise InputError(
                f"attachment {number}: these bytes do not say what they are; give "
                "Attachment(name='photo.png', data=...)"
            )
        return Attachment(name=f"attachment-{number}.{ending or 'pdf'}", data=data)
    if isinstance(given, str) and given[:5].lower() == "data:":
        return Attachment.from_data_url(given)
    if isinstance(given, str) and _SCHEME.match(given):
        return _from_url(given)
    if isinstance(given, str | os.PathLike):
        return Attachment.from_path(cast("str", given))
    raise InputError(
        f"attachment {number} is a {type(given).__name__}; give a path, bytes, a URL, or "
        "Attachment(...)"
    )


def _from_url(url: str) -> Attachment:
    parts = _split(url)
    return Attachment(name=Path(parts.path).name or parts.netloc, url=url)


def _split(url: object) -> SplitResult:
    """The parts of a URL that can be passed on; raises `InputError`."""
    if isinstance(url, str):
        with suppress(ValueError):  # such as http://[
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") and parts.hostname:
                return parts
    raise InputError(
        f"attachment {str(url)[:60]!r} is no http or https URL, and no other can be passed on; "
        "give the path of a file, or its bytes"
    )


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path} is a folder; attach the files in it")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is no file; attach a file, or its bytes")
        _check_size(path.name, status.st_size)
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        near = closest(path.name, _names(path.parent))
        meant = f"did you mean {near!r}?" if near else "give the path of a file"
        raise InputError(f"there is no file {str(path)!r} to attach; {meant}") from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be attached: {reason}") from error


def _names(folder: Path) -> list[str]:
    try:
        return [each.name for each in folder.iterdir()]
    except OSError:
        return []


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"the name of an attachment is {name!r}; give a text, like 'photo.png'")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise InputError(
            f"the name of an attachment, {name[:40]!r}, has more than {_MAX_NAME} characters or "
            "such that cannot be printed; give it another one"
        )


def _check_size(name: str, size: int) -> None:
    if not size:
        raise InputError(f"attachment {name!r} is empty; leave it out")
    if size > MAX_BYTES:
        raise _too_big(name, size)


def _too_big(name: str, size: int) -> InputError:
    return InputError(
        f"attachment {name!r} has {size:,} bytes, and one may have {MAX_BYTES:,}; make it smaller, "
        "or pass a URL on"
    )


def _check_type(name: str, media_type: object) -> None:
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        near = closest(str(media_type), _TYPES.values())
        meant = f"did you mean {near!r}?" if near else "write it as in 'image/png'"
        raise InputError(f"attachment {name!r}: {media_type!r} is no media type; {meant}")
    if media_type.startswith("text/") or media_type == "application/json":
        raise _is_text(name)


def _is_text(name: str) -> InputError:
    return InputError(
        f"attachment {name!r} is text, which models read as text; put it into the message, or "
        "pass it in state={...} for the template to show"
    )


def _check_url(name: str, url: object, media_type: str) -> None:
    parts = _split(url)
    if parts.password is not None or len(str(url)) > _MAX_URL:
        raise InputError(
            f"attachment {name!r}: the URL has a password or more than {_MAX_URL} characters; "
            "give another, or the bytes"
        )
    if media_type.startswith("audio/"):
        raise InputError(
            f"attachment {name!r}: audio cannot be passed on as a URL; give the file, or its bytes"
        )


def _type_of(name: str, data: bytes | None) -> str:
    """The media type, by the end of the name, else by how the bytes begin."""
    ending = Path(name).suffix.removeprefix(".").lower()
    if ending in _TEXTS:
        raise _is_text(name)
    known = _TYPES.get(ending) or _TYPES.get(_ending_of(data or b"") or "")
    if known is None:
        near = closest(ending, _TYPES) if ending else None
        meant = f"did you mean .{near}?" if near else f"names end with {listed(_TYPES, 20)}"
        raise InputError(
            f"attachment {name!r}: its media type is unknown; {meant}; or give "
            "Attachment(..., media_type='image/png')"
        )
    return known


def _ending_of(data: bytes) -> str | None:
    found = (end for pattern, end in _BEGINNINGS if re.match(pattern, data, re.DOTALL))
    return next(found, None)


def _default_name(media_type: str) -> str:
    ending = next((end for end, known in _TYPES.items() if known == media_type), "")
    return f"attachment.{ending}" if ending else "attachment"
