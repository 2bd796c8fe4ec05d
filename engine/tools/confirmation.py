"""Tool calls that a person confirms: the question, the valid answers, and what then is executed.

A confirmation is bound to the tool and to the arguments that the model wrote, by their hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from time import time
from typing import Self, cast

from msgspec import Struct

from ..errors import InputError, closest, listed
from ..messages import JSON, ToolCall
from ..records import Question
from .tool import BadArguments, Tool

CONFIRMATION: Mapping[str, JSON] = {
    "type": "object",
    "properties": {
        "approve": {"type": "boolean"},
        "reason": {"type": "string"},
        "arguments": {"type": "object"},
    },
    "required": ["approve"],
    "additionalProperties": False,
}
"""The JSON Schema of the answer to whether a tool call may be executed."""
_WORDS: Mapping[JSON, bool] = {"approve": True, "reject": False}


def ask_to_confirm(path: str, node: str, call: ToolCall) -> Question:
    """The question whether a tool call of a node may be executed."""
    return Question(
        path=path,
        text=f"{node} wants to call {call.name} with {call.arguments}",
        schema=CONFIRMATION,
        asked=time(),
        tool=call.name,
        arguments=call.arguments,
        digest=_digest(call),
    )


def checked_confirmation(path: str, value: JSON, tool: Tool | None) -> JSON:
    """The answer as it is stored, `{approve, reason, arguments}`; raises `InputError`.

    `arguments` are validated by the tool; the words `approve` and `reject` are valid answers too.
    """
    if isinstance(value, str) and value in _WORDS:
        value = {"approve": _WORDS[value]}
    if not isinstance(value, dict) or not isinstance(value.get("approve"), bool):
        raise InputError(
            f"question {path!r}: the answer must be 'approve', 'reject', or "
            "{approve: true|false, reason: text, arguments: {...}}"
        )
    _check_keys(path, value)
    if not isinstance(value.get("reason"), str | None):
        raise InputError(f"question {path!r}: the reason must be a text")
    arguments = value.get("arguments")
    if arguments is not None and not (isinstance(arguments, dict) and value["approve"]):
        raise InputError(
            f"question {path!r}: arguments must be a mapping, and go with `approve: true` only"
        )
    try:
        if arguments is not None and tool is not None:
            tool.read(json.dumps(arguments))
    except BadArguments as error:
        raise InputError(f"question {path!r}: the arguments do not fit: {error}") from error
    return {name: each for name, each in value.items() if each is not None}


def _check_keys(path: str, value: Mapping[str, JSON]) -> None:
    known = cast("Mapping[str, JSON]", CONFIRMATION["properties"])
    for key in value:
        if key not in known:
            near = closest(key, known)
            hint = f"did you mean {near!r}?" if near else f"it has {listed(known)}"
            raise InputError(f"question {path!r}: the answer has an unknown key {key!r}; {hint}")


class Verdict(Struct, frozen=True):
    """What is executed of a tool call, with which arguments; `reason` is why it is rejected.

    `is_confirmed` says whether a person was asked.
    """

    arguments: str
    is_approved: bool = True
    is_changed: bool = False
    reason: str = ""
    is_confirmed: bool = False

    @classmethod
    def of(cls, call: ToolCall, question: Question | None) -> Self:
        """The call as it is where nobody was asked, else what a person answered.

        Raises `InputError` if the question is about other arguments than those of the call.
        """
        if question is None or question.response is None:
            return cls(call.arguments)
        if question.digest != _digest(call):
            raise InputError(
                f"question {question.path!r}: what was confirmed is not the call that is stored; "
                "the store was changed from outside, so begin a new run"
            )
        answer = cast("Mapping[str, JSON]", question.response.value)
        changed = answer.get("arguments")
        return cls(
            arguments=call.arguments
            if changed is None
            else json.dumps(changed, ensure_ascii=False),
            is_approved=bool(answer["approve"]),
            is_changed=changed is not None,
            reason=str(answer.get("reason", "")),
            is_confirmed=True,
        )


def _digest(call: ToolCall) -> str:
    """The hash that binds a confirmation to a tool and its arguments."""
    text = f"{call.name}\0{call.arguments}"
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
