"""The local model's server: a program of its own, started by `process.py`, never imported.

llama.cpp would hold the interpreter while it loads and crash it at exit when a request is under
way, so it gets a process. It is given one line of JSON, answers with one line, and lives until
its standard input closes: however the parent ends, this ends too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, cast

CONTEXT_TOKENS = 4096
SLOTS = 2
BATCH_TOKENS = 128  # a request that was given up still finishes its batch: about a second
SEED = 7


def main() -> None:
    """Read the order, serve, say where, and wait for the parent to go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = json.loads(sys.stdin.buffer.readline())
    try:
        server = _serve(order)
        answer = {"address": server.listening_address}
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells the user
        answer = {"error": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    os._exit(0)  # an orderly exit would wait for requests that nobody wants any more


def _serve(order: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    # Here, so that its absence is told like any other fault; it is optional, and has no types.
    import xllamacpp  # noqa: PLC0415  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

    library = cast(Any, xllamacpp)
    parameters = library.CommonParams()
    parameters.model.path = order["gguf"]
    parameters.api_keys = [order["key"]]
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
    parameters.kv_unified = True
    parameters.chat_template = order["template"]
    parameters.ui = False
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.sampling.seed = SEED
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = order["threads"]
    return library.Server(parameters)


if __name__ == "__main__":  # pragma: no branch - it is never imported
    main()
