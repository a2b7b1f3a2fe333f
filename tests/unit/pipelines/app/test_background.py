"""Work in a thread: what it says is heard in order, and who leaves ends it."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.app.background import follow
from pipelines.app.session_files import SessionFiles


def test_words_come_in_order() -> None:
    def count(say: Callable[[int], None]) -> None:
        for number in range(100):
            say(number)

    assert list(follow(count)) == list(range(100))


def test_an_error_comes_after_what_was_said() -> None:
    def fail(say: Callable[[str], None]) -> None:
        say("one")
        raise ValueError("two")

    words = follow(fail)
    assert next(words) == "one"
    with pytest.raises(ValueError, match="two"):
        next(words)


def test_who_leaves_ends_the_work_at_its_next_word() -> None:
    ended = threading.Event()

    def count(say: Callable[[int], None]) -> None:
        try:
            for number in itertools.count():
                say(number)
        finally:
            ended.set()

    words = follow(count)
    assert next(words) == 0
    words.close()  # comes back when the work has ended
    assert ended.is_set()


def test_files_go_with_their_last_visitor(tmp_path: Path) -> None:
    visits = SessionFiles(tmp_path)
    upload = tmp_path / "1f2e" / "face.png"
    upload.parent.mkdir()
    upload.touch()
    outside = tmp_path.parent / "theirs.txt"
    outside.touch()
    room = visits.room("ann")
    visits.hold("ann", upload, outside)
    visits.hold("bob", upload)
    visits.leave("ann")
    assert (room.exists(), upload.exists(), outside.exists()) == (False, True, True)
    visits.leave("bob")
    assert not upload.exists()
    assert tmp_path.exists()
