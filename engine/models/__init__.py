"""The models: who answers when a node asks."""

from __future__ import annotations

from .litellm import LiteLLM
from .local import LOCAL_NOTICE, Local
from .protocol import Chunk, Model, Reply, Request
from .resolve import OWN_MODEL, AnyModel, default_model_id
from .scripted import EchoModel, ScriptedModel

__all__ = [
    "LOCAL_NOTICE",
    "OWN_MODEL",
    "AnyModel",
    "Chunk",
    "EchoModel",
    "LiteLLM",
    "Local",
    "Model",
    "Reply",
    "Request",
    "ScriptedModel",
    "default_model_id",
]
