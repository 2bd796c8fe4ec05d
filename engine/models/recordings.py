"""Record and replay of model calls: `Recorder` keeps replies, `Replay` answers with them.

A recording is a JSON file of one request and the replies to it, in the order in which they came. It
is found by the request in a canonical form: model, messages, schema, choices, tools and parameters,
without addresses, the names of keys, time limits, and whether the answer is streamed. Ids of tool
calls, which providers make up, are numbered. A text of several lines is stored as a list of lines.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Literal, TypeAlias, cast

from msgspec import Struct, field
from pydantic import TypeAdapter

from ..errors import InputError, ReplayMiss, ToolError, UnusedRecordings
from ..files import write_atomically
from ..messages import JSON, Message, Part, as_plain
from ..terminal import escape_controls, escape_json
from ..unknown_names import explained
from ..values import check_folder
from .protocol import Chunk, Model, Reply, Request, close_answer
from .registry import AnyModel

VERSION = 1
ModelOrigin: TypeAlias = Literal["graph", "default", "override"]
"""Who named the model: the graph, nobody, or the caller, for all nodes."""
_ADDRESSES = frozenset(("api_base", "api_key_env"))
_WORD = re.compile(r"\s+|\S+\s*")
_REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)
_MAX_LINES = 60
"""Lines of a difference that an error shows."""
_MAX_NAME = 60
"""Characters of a model's id that the name of a file has."""


class Recording(Struct):
    """One request, in its canonical form, and the replies to it; `asked` counts the requests."""

    file: Path
    request: Mapping[str, JSON]
    model_from: ModelOrigin
    replies: list[Reply] = field(default_factory=list[Reply])
    asked: int = 0

    def write(self) -> None:
        """Write the file, whole or not at all."""
        form = {
            "version": VERSION,
            "model_from": self.model_from,
            "request": _in_lines(self.request),
            "replies": [_written(reply) for reply in self.replies],
        }
        text = escape_json(json.dumps(form, ensure_ascii=False, indent=2))
        write_atomically(self.file, f"{text}\n".encode())

    @classmethod
    def read(cls, file: Path) -> Recording:
        """Read a file; raises `InputError` if it is not a recording."""
        try:
            form = json.loads(file.read_text(encoding="utf-8"))
            if form["version"] != VERSION:
                raise ValueError(f"its version is {form['version']}, not {VERSION}")
            request, replies = form["request"], form["replies"]
            if not replies:
                raise ValueError("it has no replies")
            for message in request["messages"]:
                message["content"] = _joined(message["content"])
            read = [
                _REPLY.validate_python({**reply, "text": _joined(reply["text"])})
                for reply in replies
            ]
            return cls(file, request, form["model_from"], read)
        except (OSError, ValueError, LookupError, TypeError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else f"{error}"
            text = f"{file}: this is not a recording: {reason}; record it again, or delete it"
            raise InputError(text) from error


class Recorder:
    """A model that asks another and records what it answers, in a folder of JSON files.

    `model` is what is asked: a `Model`, the id of one for all nodes, or None for the models that
    the graph names; `allow_api_base` is as for a `Runner`. A request that is made again is asked
    again: the first replies in this process replace those in the folder, further ones are added.
    A call that fails is not recorded. The files have the prompts and answers, no keys or headers.
    """

    @explained
    def __init__(
        self,
        folder: str | os.PathLike[str],
        model: Model | str | None = None,
        *,
        allow_api_base: Collection[str] = (),
    ) -> None:
        check_folder("folder", folder)
        self._folder = Path(folder)
        self.override = model if isinstance(model, str) else None
        if model is None or isinstance(model, str):
            model = AnyModel(allow_api_base=allow_api_base)
        self._model = model if isinstance(model, AnyModel) else AnyModel(others=model)
        self._default: str | None = None
        self._recordings: dict[str, Recording] = {}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"recordings: {folder}: {error.strerror}; name another folder"
            raise InputError(text) from error

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the answer of the model, and record the reply."""
        pieces = self._model.ask(request)
        try:
            async for piece in pieces:
                if isinstance(piece, Reply):
                    self._record(request, piece)
                yield piece
        finally:
            await close_answer(pieces)

    async def takes(self, request: Request, part: Part) -> bool:
        """See `TakesAttachments`: what the model that is recorded says."""
        return await self._model.takes(request, part)

    async def warm_up(self, model_id: str) -> None:
        """See `WarmsUp`."""
        await self._model.warm_up(model_id)

    def default_id(self, environ: Mapping[str, str]) -> str:
        """See `ServesIds`."""
        self._default = self._model.default_id(environ)
        return self._default

    def check(self, model_id: str, parameters: Mapping[str, JSON]) -> None:
        """See `ServesIds`."""
        self._model.check(model_id, parameters)

    def check_ready(
        self,
        model_id: str,
        parameters: Mapping[str, JSON],
        environ: Mapping[str, str],
        *,
        with_tools: bool,
    ) -> None:
        """See `ServesIds`."""
        self._model.check_ready(model_id, parameters, environ, with_tools=with_tools)

    def _record(self, request: Request, reply: Reply) -> None:
        form = canonical(request)
        key = _key(form)
        recording = self._recordings.get(key)
        if recording is None:
            recording = Recording(
                self._folder / _file_name(request.model, key), form, self._origin(request.model)
            )
            self._recordings[key] = recording
        recording.replies.append(reply)
        recording.write()

    def _origin(self, model_id: str) -> ModelOrigin:
        if model_id == self.override:
            return "override"
        return "default" if model_id == self._default else "graph"


class Replay:
    """A model that answers from the recordings in a folder, and asks nobody.

    A request that was recorded several times gets the replies in their order, then the last one
    again. One that was not is a `ReplayMiss`, with its difference to the nearest recording.
    `verify` raises what `misses` and `unused` say. Raises `InputError` if the folder has none.
    """

    @explained
    def __init__(self, folder: str | os.PathLike[str]) -> None:
        check_folder("folder", folder)
        self._folder = Path(folder)
        self._recordings: dict[str, Recording] = {}
        for file in sorted(self._folder.glob("*.json")):
            recording = Recording.read(file)
            self._recordings[_key(recording.request)] = recording
        if not self._recordings:
            raise InputError(
                f"{folder}: there are no recordings; make them with --record {folder}, in Python "
                f"with Runner(graph, model=Recorder({str(folder)!r}))"
            )
        self.misses: list[ReplayMiss] = []
        recorded = self._recordings.values()
        self._results = {key: text for each in recorded for key, text in _results(each.request)}

    @property
    def unused(self) -> tuple[Path, ...]:
        """The files of which a reply was never given."""
        recordings = self._recordings.values()
        return tuple(each.file for each in recordings if each.asked < len(each.replies))

    def verify(self) -> None:
        """Raise the first `ReplayMiss`, also if a node went on after it, or `UnusedRecordings`."""
        for miss in self.misses:
            raise miss
        if unused := self.unused:
            raise UnusedRecordings(self._folder, unused)

    async def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the recorded answer word by word, or give it whole where nobody reads pieces."""
        form = canonical(request)
        recording = self._recordings.get(_key(form))
        if recording is None:
            miss = self._miss(form, request.model)
            self.misses.append(miss)
            raise miss
        reply = recording.replies[min(recording.asked, len(recording.replies) - 1)]
        recording.asked += 1
        for word in _WORD.findall(reply.text) if request.stream else ():
            yield Chunk(word)
        yield reply

    async def takes(self, request: Request, part: Part) -> bool:
        """See `TakesAttachments`: a request is recorded with the hashes of what is attached."""
        del request, part
        return True

    def tool_result(self, messages: Sequence[Message], call_id: str) -> str:
        """See `RecallsResults`: what the model was sent when this was recorded."""
        numbers: dict[str, str] = {}
        key = _key({"messages": _numbered(messages, numbers)})
        found = self._results.get((key, numbers[call_id]))
        if found is None:
            call = next(each for each in messages[-1].tool_calls if each.id == call_id)
            raise ToolError(
                f"{self._folder} has no result of this call of {call.name!r}, and a replay calls "
                "no MCP server; record the run again"
            )
        return found

    @property
    def override(self) -> str | None:
        """See `ServesIds`: the id that all nodes asked when this was recorded, if it was one."""
        return self._model_from("override")

    def default_id(self, environ: Mapping[str, str]) -> str:
        """See `ServesIds`: the id that was the default when this was recorded."""
        del environ
        return self._model_from("default") or type(self).__name__

    def check(self, model_id: str, parameters: Mapping[str, JSON]) -> None:
        """See `ServesIds`: nothing is asked, so that any id will do."""

    def check_ready(
        self,
        model_id: str,
        parameters: Mapping[str, JSON],
        environ: Mapping[str, str],
        *,
        with_tools: bool,
    ) -> None:
        """See `ServesIds`: likewise."""

    def _model_from(self, origin: ModelOrigin) -> str | None:
        recordings = self._recordings.values()
        named = (each.request["model"] for each in recordings if each.model_from == origin)
        return cast("str | None", next(named, None))

    def _miss(self, form: Mapping[str, JSON], model_id: str) -> ReplayMiss:
        lines = _lines(form)
        wanted = Counter(lines)

        def likeness(recording: Recording) -> int:
            return (wanted & Counter(_lines(recording.request))).total()

        nearest = max(self._recordings.values(), key=likeness)
        changed = unified_diff(
            _lines(nearest.request), lines, nearest.file.name, "this request", lineterm=""
        )
        return ReplayMiss(self._folder, nearest.file, _shortened([*changed]), model=model_id)


def canonical(request: Request) -> dict[str, JSON]:
    """What a request is found by: all that decides the answer, nothing of a run or a machine."""
    numbers: dict[str, str] = {}
    messages = _numbered(request.messages, numbers)
    parameters = {
        name: value for name, value in request.parameters.items() if name not in _ADDRESSES
    }
    whole: dict[str, JSON] = {
        "model": request.model,
        "messages": messages,
        "schema": as_plain(request.schema),
        "choices": [*request.choices],
        "many": request.many,
        "tools": as_plain(request.tools),
        "parameters": as_plain(parameters),
    }
    return {name: value for name, value in whole.items() if value}


def _numbered(messages: Sequence[Message], numbers: dict[str, str]) -> list[JSON]:
    """Messages as JSON, with the ids of tool calls numbered, which are added to `numbers`."""
    forms: list[JSON] = []
    for message in messages:
        form = message.to_json()
        for call in cast("list[dict[str, JSON]]", form.get("tool_calls", [])):
            call["id"] = numbers.setdefault(str(call["id"]), f"call_{len(numbers) + 1}")
        if message.tool_call_id is not None:
            form["tool_call_id"] = numbers.get(message.tool_call_id, message.tool_call_id)
        forms.append(form)
    return forms


def _results(request: Mapping[str, JSON]) -> Iterator[tuple[tuple[str, str], str]]:
    """The results that a request ends with, by the messages before them and the call's number."""
    messages = cast("list[dict[str, JSON]]", request["messages"])
    begin = len(messages)
    while begin and messages[begin - 1]["role"] == "tool":
        begin -= 1
    key = _key({"messages": cast("JSON", messages[:begin])})
    for message in messages[begin:]:
        yield (key, str(message["tool_call_id"])), str(message["content"])


def _key(form: Mapping[str, JSON]) -> str:
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def _file_name(model_id: str, key: str) -> str:
    name = re.sub(r"[^\w.]+", "-", model_id).strip("-.")[:_MAX_NAME]
    return f"{name}-{key[:16]}.json"


def _written(reply: Reply) -> dict[str, JSON]:
    """A reply as it is written, without what is empty."""
    fields = cast("dict[str, JSON]", as_plain(reply))
    counts = cast("dict[str, JSON]", fields["usage"])
    fields["usage"] = {name: count for name, count in counts.items() if count or name == "cost"}
    return {
        "text": _split(reply.text),
        **{name: fields[name] for name in fields if name != "text" and fields[name]},
    }


def _in_lines(form: Mapping[str, JSON]) -> dict[str, JSON]:
    """A canonical request with texts of several lines as lists of lines, which people can read."""
    messages = cast("Sequence[Mapping[str, JSON]]", form["messages"])
    return {
        **form,
        "messages": [{**each, "content": _split(each["content"])} for each in messages],
    }


def _split(text: JSON) -> JSON:
    return [*text.split("\n")] if isinstance(text, str) and "\n" in text else text


def _joined(text: object) -> object:
    return "\n".join(cast("list[str]", text)) if isinstance(text, list) else text


def _lines(form: Mapping[str, JSON]) -> list[str]:
    text = json.dumps(_in_lines(form), ensure_ascii=False, indent=2)
    return escape_controls(text).splitlines()


def _shortened(lines: Sequence[str]) -> str:
    more = len(lines) - _MAX_LINES
    shown = [*lines[:_MAX_LINES], f"... and {more} more lines"] if more > 0 else lines
    return "\n".join(shown)
