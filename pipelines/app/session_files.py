"""Whose files lie on the server, so that they go when their visitor does."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import defaultdict
from pathlib import Path


class SessionFiles:
    """The files of each visitor: uploads, and a folder for each video.

    A file that two visitors gave (Gradio names uploads by their content) stays until both have
    left.

    Args:
        folder: below which all of them lie; what lies elsewhere is never touched.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._held: defaultdict[str, set[Path]] = defaultdict(set)
        self._lock = threading.Lock()

    def hold(self, visitor: str, *files: Path) -> None:
        """Note that these are the visitor's."""
        with self._lock:
            self._held[visitor] |= {file.resolve() for file in files}

    def room(self, visitor: str) -> Path:
        """A new folder for what is made for a visitor."""
        made = Path(tempfile.mkdtemp(dir=self._folder))
        self.hold(visitor, made)
        return made

    def leave(self, visitor: str) -> None:
        """Delete what was the visitor's alone."""
        with self._lock:
            files = self._held.pop(visitor, set())
            others = set().union(*self._held.values())
        for file in files - others:
            room = file if file.is_dir() else file.parent  # an upload lies in a folder of its own
            if self._folder in room.parents:
                shutil.rmtree(room, ignore_errors=True)
