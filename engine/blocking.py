"""Synchronous doors to async methods, and threads for synchronous functions in async ones.

This is the one place where event loops and threads for them are made. All doors share the loop, so
that connections of model clients outlive a call, and so that a thousand calls need no more file
descriptors than one. A call that comes from that loop's own thread, or that finds it blocked by
code that does not await, gets a further loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import warnings
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from contextvars import Context, ContextVar, copy_context
from functools import partial, update_wrapper
from inspect import currentframe, signature
from queue import Empty, SimpleQueue
from threading import Event as ThreadEvent
from threading import Lock, Thread, get_ident
from types import FrameType
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

from .errors import BlockedLoopWarning, InputError
from .events import Event, Listener, TokenMode
from .records import Run
from .unknown_names import check_arguments

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Instance = TypeVar("Instance")
DoorArguments = ParamSpec("DoorArguments")

PAGE = 100
"""Items that `all_items` reads at once."""
BLOCKED = 1.0
"""Seconds after which a loop that has not begun a call counts as blocked."""
PATIENCE = 10.0
"""Seconds that connections have to be closed when the process ends."""
IDLE = 10.0
"""Seconds after which an idle thread ends."""
_NOT_USERS = frozenset((__name__.partition(".")[0], "asyncio", "concurrent", "threading"))
"""Packages whose lines no warning points at: this one, and what runs its coroutines and threads."""


class _Line(NamedTuple):
    """A line of code: its file, its number and the globals of its module."""

    file: str
    number: int
    module: dict[str, Any]


_CALLER: ContextVar[_Line | None] = ContextVar("_CALLER", default=None)
"""The line that called a synchronous door, for the loop and the threads that do the work."""


def door(
    method: Callable[Concatenate[Instance, DoorArguments], Coroutine[object, object, T]],
) -> Callable[Concatenate[Instance, DoorArguments], T]:
    """Make the synchronous method of an async one, whose name is the same after an `a`.

    It also works where an event loop is running already, as in a notebook; elsewhere it warns
    then, since it blocks that loop. Ctrl-C cancels the call.
    """

    def call(
        instance: Instance, /, *args: DoorArguments.args, **options: DoorArguments.kwargs
    ) -> T:
        _warn_if_blocking(method.__name__)
        try:
            work = method(instance, *args, **options)
        except TypeError:
            check_arguments(method, _called(call, instance), (instance, *args), options)
            raise
        return run_blocking(work)

    _rename(call, method)
    return call


def stream_door(
    method: Callable[Concatenate[Instance, DoorArguments], AsyncGenerator[Event]],
) -> Callable[Concatenate[Instance, DoorArguments], Iterator[Event]]:
    """Make the synchronous method of one that yields events; leaving the loop cancels the run.

    See `door`.
    """

    def call(
        instance: Instance, /, *args: DoorArguments.args, **options: DoorArguments.kwargs
    ) -> Iterator[Event]:
        _warn_if_blocking(method.__name__)
        try:
            events = method(instance, *args, **options)
        except TypeError:
            check_arguments(method, _called(call, instance), (instance, *args), options)
            raise
        return iterate_blocking(events)

    _rename(call, method)
    shown = signature(method).replace(return_annotation="Iterator[Event]")
    vars(call)["__signature__"] = shown
    return call


def _warn_if_blocking(method: str) -> None:
    """Warn that an event loop is running here, whose other tasks wait, unless in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    ipython: Any = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        instead = (
            f"async for ... in {method}(...)" if "stream" in method else f"await {method}(...)"
        )
        text = f"`{method[1:]}` blocks the event loop that is running here, and all its tasks, "
        warn(f"{text}until it returns; write `{instead}`", BlockedLoopWarning)


def run_blocking(work: Coroutine[object, object, T]) -> T:
    """Run a coroutine on the background loop and wait for its result."""
    call = _BlockingCall(work)
    try:
        call.start()
        call.wait()
        return call.result()
    except BaseException:
        call.cancel()
        raise
    finally:
        del call  # or an error would keep itself alive, with all that the call knew


def iterate_blocking(stream: AsyncGenerator[T]) -> Iterator[T]:
    """The items of an async generator; it runs on the background loop while each is handled."""
    items: SimpleQueue[tuple[T] | None] = SimpleQueue()

    async def pump() -> None:
        try:
            async with aclosing(stream):
                async for item in stream:
                    items.put((item,))
        finally:
            items.put(None)

    call = _BlockingCall(pump())
    try:
        call.start()
        while (item := items.get()) is not None:
            yield item[0]
        call.wait()
        call.result()
    finally:
        call.cancel()


def check_event_loop() -> None:
    """Raise `InputError` unless the caller is a task of a running asyncio event loop."""
    try:
        if asyncio.current_task() is not None:
            return
    except RuntimeError:
        pass
    raise InputError(
        "no asyncio event loop is running here; call the synchronous method instead (`run` for "
        "`arun`), under trio with `await trio.to_thread.run_sync(runner.run, message)`"
    )


class RunStart(Protocol):
    """Starts a run; its events go to a listener, if there is one."""

    def __call__(
        self, *, listener: Listener | None, tokens: TokenMode = "final"
    ) -> Coroutine[object, object, Run]:
        """Run to the end."""
        ...


async def stream_events(
    start: RunStart, *, tokens: bool = True, resets: bool = False
) -> AsyncGenerator[Event]:
    """The events of a run as they happen; closing the generator cancels the run.

    Tokens only with `tokens`; `resets` says that the reader can take back those of the answer.
    """
    check_event_loop()
    events: asyncio.Queue[Event | None] = asyncio.Queue()
    mode: TokenMode = "none" if not tokens else "revocable" if resets else "final"
    started = start(listener=events.put_nowait, tokens=mode)
    run = asyncio.create_task(started, name="teamgraph run")
    run.add_done_callback(lambda _: events.put_nowait(None))
    try:
        while (event := await events.get()) is not None:
            yield event
        run.result()
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


def calling_context() -> Context:
    """A copy of the context variables that knows, for `warn`, which line called this package."""
    context = copy_context()
    context.run(_CALLER.set, _calling_line())
    return context


def warn(message: str, category: type[Warning]) -> None:
    """Warn at the line that called this package, also from a loop or thread behind a door."""
    line = _calling_line() or _Line("<unknown>", 1, {})
    warnings.warn_explicit(
        message,
        category,
        line.file,
        line.number,
        module=line.module.get("__name__"),
        registry=line.module.setdefault("__warningregistry__", {}),
    )


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call a synchronous function in a daemon thread, with the caller's context variables.

    Unlike with `asyncio.to_thread` a cancelled caller is free at once, and neither a loop that is
    closed nor a process that ends waits for the function. It cannot be stopped: it goes on, and its
    result is dropped.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    _WORKERS.submit(partial(_call, copy_context(), function, future))
    return await future


async def on_connection_loop(work: Coroutine[object, object, T]) -> T:
    """Await work on the loop of this process's connections, from any loop; it can be cancelled.

    That loop runs in a daemon thread, ends with the process and calls no function of users, so a
    connection outlives the loop that first used it.
    """
    loop = _LOOPS.of_connections().loop
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))


class PageReader(Protocol[T_co]):
    """Reads a part of a list; nothing after its end."""

    async def __call__(self, *, limit: int, offset: int) -> Sequence[T_co]:
        """At most `limit` items, after the first `offset`."""
        ...


async def all_items(read: PageReader[T]) -> AsyncIterator[T]:
    """All items of a list, read page by page as they are iterated over."""
    offset = 0
    while page := await read(limit=PAGE, offset=offset):
        for item in page:
            yield item
        offset += len(page)


def _calling_line() -> _Line | None:
    """The innermost line of others on this thread's stack, or that which called the door."""
    frame: FrameType | None = currentframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_USERS:
            return _Line(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)
        frame = frame.f_back
    return _CALLER.get()


def _called(call: Callable[..., object], instance: object) -> str:
    """A door as its caller writes it: `Runner.run`."""
    return f"{type(instance).__name__}.{call.__name__}"


def _rename(call: Callable[..., object], method: Callable[..., object]) -> None:
    """Give a door the docstring and signature of its method, and the name without the `a`."""
    update_wrapper(call, method)
    call.__name__ = method.__name__.removeprefix("a")
    owner, dot, _ = method.__qualname__.rpartition(".")
    call.__qualname__ = f"{owner}{dot}{call.__name__}"


def _call(context: Context, function: Callable[[], T], future: asyncio.Future[T]) -> None:
    """Call a function, and give what it returns or raises to a future of another thread."""
    give: Callable[[], None]
    try:
        result = context.run(function)
    except StopIteration as stop:  # no future can have that
        error = RuntimeError("it raised StopIteration")
        error.__cause__ = stop
        give = partial(future.set_exception, error)
    except BaseException as error:  # noqa: BLE001  the caller gets it
        give = partial(future.set_exception, error)
    else:
        give = partial(future.set_result, result)
    with suppress(RuntimeError):  # the loop was closed: nobody waits any more
        future.get_loop().call_soon_threadsafe(_give, future, give)


def _give(future: asyncio.Future[T], give: Callable[[], None]) -> None:
    """Set what the function gave, unless the caller was cancelled meanwhile."""
    if not future.done():
        give()


class _Workers:
    """Daemon threads that call functions; an idle one is reused, and ends after a while."""

    def __init__(self) -> None:
        self._idle: deque[SimpleQueue[Callable[[], None]]] = deque()

    def submit(self, work: Callable[[], None]) -> None:
        """Call in an idle thread, or in a new one; raises `RuntimeError` if there can be none."""
        try:
            queue = self._idle.pop()
        except IndexError:
            queue = SimpleQueue()
            Thread(target=self._run, args=(queue,), name="teamgraph-call", daemon=True).start()
        queue.put(work)

    def drop(self) -> None:
        """Forget the threads of the parent process."""
        self._idle = deque()

    def _run(self, queue: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            try:
                work = queue.get(timeout=IDLE)
            except Empty:
                try:
                    self._idle.remove(queue)
                except ValueError:  # it was taken just now
                    work = queue.get()
                else:
                    return
            work()
            del work  # with all that the function knew
            self._idle.append(queue)


class _BlockingCall(Generic[T]):
    """A coroutine on a background loop, with the context variables of the thread that waits."""

    def __init__(self, work: Coroutine[object, object, T]) -> None:
        self._work = work
        self._context = calling_context()
        self._loop: _BackgroundLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._claim = Lock()
        self._ended = ThreadEvent()

    def start(self) -> None:
        """Give the work to a loop; raises `RuntimeError` where the system has no thread left."""
        try:
            self._loop = _LOOPS.after(get_ident() if self._loop is None else self._loop.thread_id)
        except RuntimeError:
            self._work.close()
            self._ended.set()
            raise
        self._loop.loop.call_soon_threadsafe(self._begin, self._loop, context=self._context)

    def wait(self) -> None:
        """Wait until the work has ended; a loop that does not begin it is left for another."""
        while not self._ended.wait(BLOCKED if self._task is None else None):
            with self._claim:
                if self._task is None:
                    self.start()

    def result(self) -> T:
        """The result of the work, or its error."""
        if self._task is None:  # pragma: no cover - it has ended, so it was begun
            raise RuntimeError("the call was never begun")
        return self._task.result()

    def cancel(self) -> None:
        """Cancel what has not ended, and wait for its end, unless this is the loop's own thread."""
        if self._ended.is_set() or self._loop is None:
            return
        with self._claim:
            if self._task is None:  # no loop has begun it, and none will
                self._work.close()
                self._loop = None
                return
        self._loop.loop.call_soon_threadsafe(self._task.cancel)
        if get_ident() != self._loop.thread_id:
            self._ended.wait()

    def _begin(self, loop: _BackgroundLoop) -> None:
        with self._claim:
            if self._loop is not loop:
                return
            self._task = loop.loop.create_task(self._work)
        self._task.add_done_callback(lambda _: self._ended.set())


class _BackgroundLoop:
    """An event loop that runs in a daemon thread until the process ends."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._run, name="teamgraph", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self.loop.close()
            raise
        self.thread_id = self._thread.ident

    def close(self, patience: float = BLOCKED) -> None:
        """Cancel what is running; a loop that takes longer is left to the process's end."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(patience)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            loop = runner.get_loop()
            while not loop.is_closed():  # pragma: no branch - see `return`
                try:
                    loop.run_forever()
                    return
                except (KeyboardInterrupt, SystemExit):
                    continue  # raised by a task: its waiter gets it


class _BackgroundLoops:
    """The background loops of this process; a forked child begins with none."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loops: list[_BackgroundLoop] = []
        self._connections: _BackgroundLoop | None = None
        self._inherited: list[_BackgroundLoop] = []

    def after(self, thread_id: int | None) -> _BackgroundLoop:
        """The loop after the one that runs in this thread; the first if none does."""
        with self._lock:
            thread_ids = [loop.thread_id for loop in self._loops]
            index = thread_ids.index(thread_id) + 1 if thread_id in thread_ids else 0
            if index == len(self._loops):
                self._loops.append(_BackgroundLoop())
            return self._loops[index]

    def of_connections(self) -> _BackgroundLoop:
        """The loop that has the connections, and no calls of users."""
        with self._lock:
            self._connections = self._connections or _BackgroundLoop()
            return self._connections

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            loops, self._loops = self._loops, []
            connections, self._connections = self._connections, None
        for loop in loops:
            loop.close()
        if connections is not None:
            connections.close(PATIENCE)

    def drop(self) -> None:
        """Forget the loops of the parent process, whose threads this one does not have.

        They are referenced for ever: to close one would take its wake-up from the parent's.
        """
        self._inherited += [*self._loops, *([self._connections] if self._connections else [])]
        self._loops, self._connections = [], None
        self._lock = Lock()


_LOOPS = _BackgroundLoops()
_WORKERS = _Workers()
atexit.register(_LOOPS.close)
if hasattr(os, "register_at_fork"):  # pragma: no branch - where processes can fork
    os.register_at_fork(after_in_child=_LOOPS.drop)
    os.register_at_fork(after_in_child=_WORKERS.drop)
