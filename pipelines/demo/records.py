"""Record which steps of a demo are done, so that the same command continues."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from a2h_models.errors import ConfigError
from pipelines.core.files import write_text


class StepRecords:
    """Results and times of finished steps, written to a JSON file after each step.

    Args:
        path: the file.
        identity: hash of the demo's settings; a file of another identity is refused.

    Raises:
        ConfigError: if the file belongs to a demo with other videos or settings.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self.entries: dict[str, dict[str, Any]] = {}
        if path.exists():
            content = json.loads(path.read_text())
            if content["identity"] != identity:
                raise ConfigError(
                    f"{path.parent} holds a demo of other videos or settings",
                    hint="choose another folder with out=… (make demo OUT=…), or remove this one",
                )
            self.entries = content["entries"]

    def run_once(self, name: str, step: Callable[[], Any]) -> Any:
        """Run a step unless it is recorded; return its result, which must fit into JSON."""
        if name not in self.entries:
            started = time.monotonic()
            result = step()
            self.entries[name] = {"result": result, "seconds": round(time.monotonic() - started, 1)}
            self._write()
        return self.entries[name]["result"]

    @property
    def seconds(self) -> dict[str, float]:
        """Duration of each step."""
        return {name: float(entry["seconds"]) for name, entry in self.entries.items()}

    def _write(self) -> None:
        write_text(self.path, json.dumps({"identity": self.identity, "entries": self.entries}, indent=1) + "\n")
