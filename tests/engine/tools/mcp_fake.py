"""A server that speaks as much MCP as a test needs, and starts at once."""

from __future__ import annotations

import json
import sys
from typing import Any

NAMES = [["structured", "picture", "refused"], ["invalid", "last", "end", "closed", "failed"]]
RESULTS: dict[str, Any] = {
    "structured": {"content": [], "structuredContent": {"a": 1}},
    "picture": {"content": [{"type": "image", "data": "QQ==", "mimeType": "image/png"}]},
    "invalid": {"content": 3},
    "failed": {"content": [], "isError": True},
    "last": {"content": [{"type": "text", "text": "bye"}]},
}


def answer(method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    if method == "initialize":
        info = {"name": "fake", "version": "1"}
        version = parameters["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
        return {"result": result}
    if method == "tools/list":
        page = 1 if "cursor" in parameters else 0
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES[page]]
        return {"result": {"tools": tools, **({} if page else {"nextCursor": "2"})}}
    if method == "tools/call" and parameters["name"] in RESULTS:
        return {"result": RESULTS[parameters["name"]]}
    if parameters.get("name") == "closed":  # as the SDK says it of a connection
        return {"error": {"code": -32000, "message": "Connection closed"}}
    return {"error": {"code": -32601, "message": "not today"}}


for line in sys.stdin:
    request = json.loads(line)
    if (request.get("params") or {}).get("name") == "end":
        break
    if "id" in request:
        found = answer(request["method"], request.get("params") or {})
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **found}), flush=True)  # noqa: T201
        if (request.get("params") or {}).get("name") == "last":
            break
