"""The server program of the demo model: started by `server.py` as a process, never imported.

llama.cpp blocks the interpreter while it loads, and crashes it at exit during a request, hence a
process of its own. It reads one line of JSON, answers with one line, and runs until its standard
input closes, so it ends with its parent.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, cast

CONTEXT_TOKENS = 4096
SLOTS = 2
BATCH_TOKENS = 128  # a cancelled request still finishes its batch: about a second
SEED = 7


def main() -> None:
    """Read the configuration, serve, print the address, and wait for the parent to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configuration = json.loads(sys.stdin.buffer.readline())
    try:
        server = _serve(configuration)
        answer = {"address": server.listening_address}
    except Exception as error:  # noqa: BLE001 - the parent reports it
        answer = {"error": str(error) or type(error).__name__}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    os._exit(0)  # a normal exit would wait for requests that were cancelled


def _serve(configuration: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    # Optional, without types; its absence is reported like any other failure.
    import xllamacpp  # noqa: PLC0415  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

    library = cast(Any, xllamacpp)
    parameters = library.CommonParams()
    parameters.model.path = configuration["gguf"]
    parameters.api_keys = [configuration["key"]]
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = SLOTS
    parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
    parameters.kv_unified = True
    parameters.chat_template = configuration["template"]
    parameters.ui = False
    parameters.warmup = False
    parameters.verbosity = -1
    parameters.sampling.seed = SEED
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = configuration["threads"]
    return library.Server(parameters)


if __name__ == "__main__":  # pragma: no branch - it is never imported
    main()
