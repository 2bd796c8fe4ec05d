"""The recordings of one test: what the fixture `recorded_model` gives, and checks at the end."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..models.protocol import Model
from ..models.recordings import Recorder, Replay
from .snapshot_text import slug


class RecordedTest:
    """Records the model calls of a test, in a folder of its own, or replays them."""

    def __init__(self, file: Path, test: str) -> None:
        self._folder = file.parent / "__recordings__" / file.stem / slug(test)
        self._recorder: Recorder | None = None
        self._replay: Replay | None = None

    def record(self, model: Model | str | None = None) -> Model:
        """A model that asks `model` of the first call and records, in place of what was there."""
        if self._recorder is None:
            for file in self._folder.glob("*.json"):
                file.unlink()
            self._recorder = Recorder(self._folder, model)
        return self._recorder

    def replay(self, model: Model | str | None = None) -> Model:
        """A model that answers from the recordings; raises `InputError` if there are none."""
        del model
        if self._replay is None:
            if not self._folder.is_dir():
                text = f"{self._folder}: there are no recordings; make them: pytest --models-record"
                raise InputError(text)
            self._replay = Replay(self._folder)
        return self._replay

    def verify(self) -> None:
        """Raise `ReplayMiss` or `UnusedRecordings` if the replay was not of what was recorded."""
        if self._replay is not None:
            self._replay.verify()
