"""The files of each browser session, deleted when the session ends."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import defaultdict
from pathlib import Path


class SessionFiles:
    """The files of each session: its uploads, and a folder for each video.

    A file that two sessions uploaded (Gradio names uploads by their content) stays until both have
    ended.

    Args:
        root: folder of all files; a file outside of it is never touched.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._files: defaultdict[str, set[Path]] = defaultdict(set)
        self._lock = threading.Lock()

    def keep(self, session: str, *files: Path) -> None:
        """Keep files until the session ends."""
        with self._lock:
            self._files[session] |= {file.resolve() for file in files}

    def folder_for(self, session: str) -> Path:
        """Create a folder that is kept until the session ends."""
        folder = Path(tempfile.mkdtemp(dir=self._root))
        self.keep(session, folder)
        return folder

    def delete(self, session: str) -> None:
        """Delete the files that only this session used."""
        with self._lock:
            files = self._files.pop(session, set())
            others = set().union(*self._files.values())
        for file in files - others:
            folder = file if file.is_dir() else file.parent  # an upload lies in a folder of its own
            if self._root in folder.parents:
                shutil.rmtree(folder, ignore_errors=True)
