"""Where identity, video and utterance stand in the paths of public datasets: pure functions of a
path.

Each layout is one pattern over the end of a path, so that it fits wherever the dataset was
unpacked, as long as the named folders lie below the given one. Sources: the datasets' own
descriptions of their folders and file names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple

from a2h_models.errors import ConfigError, InputError

SHOWN = 3  # paths that a complaint names


class Names(NamedTuple):
    """What a path says. `identity` decides the split; the others only go along."""

    identity: str
    video: str
    utterance: str


class Layout(NamedTuple):
    """One dataset's way to name its files.

    The groups of the pattern are the fields of Names; `{…}` is filled from further groups.
    """

    pattern: re.Pattern[str]
    example: str
    identity: str = "{identity}"
    video: str = "{video}"
    utterance: str = "{utterance}"

    def names(self, file: str) -> Names | None:
        """What a path says, or None where it does not fit."""
        found = self.pattern.search(file)
        if found is None:
            return None
        parts = found.groupdict()
        return Names(self.identity.format(**parts), self.video.format(**parts), self.utterance.format(**parts))


def _path(pattern: str) -> re.Pattern[str]:
    """The end of a path, from the beginning of a folder's or file's name; any suffix."""
    return re.compile(rf"(?:^|/){pattern}\.\w+$")


LAYOUTS: dict[str, Layout] = {
    # person / YouTube video / utterance; 1 and 2 alike
    "voxceleb": Layout(
        _path(r"(?P<identity>id\d{5})/(?P<video>[^/]+)/(?P<utterance>\d+)"),
        "id10270/5r0dWxy17C8/00001.mp4",
    ),
    # party's weekly address and politician, whose further addresses are numbered; or a radio show,
    # whose number stands for its speaker
    "hdtf": Layout(
        _path(r"(?P<video>(?:RD_(?=Radio\d)|W[DR]A_)(?P<identity>Radio\d+|[^\d_/]+)\d*)_(?P<utterance>\d+)"),
        "WDA_EdMarkey_000.mp4 or RD_Radio34_000.mp4",
    ),
    # person, then view / emotion / level / sentence
    "mead": Layout(
        _path(
            r"(?P<identity>[MW]\d{3})/video/(?P<view>[^/]+)/(?P<emotion>[^/]+)/(?P<level>level_\d)/(?P<sentence>\d+)"
        ),
        "M003/video/front/angry/level_1/001.mp4",
        video="{view}",
        utterance="{emotion}_{level}_{sentence}",
    ),
    # person_sentence_emotion_intensity
    "crema-d": Layout(
        _path(r"(?P<identity>\d{4})_(?P<sentence>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>[A-Z]{1,2})"),
        "1001_DFA_ANG_XX.flv",
        video="{identity}",
        utterance="{sentence}_{emotion}_{level}",
    ),
    # modality-channel-emotion-intensity-statement-repetition-actor; modality 02 has no sound, and
    # ends as no_audio
    "ravdess": Layout(
        _path(r"(?P<modality>\d\d)-(?P<channel>\d\d)-(?P<take>\d\d-\d\d-\d\d-\d\d)-(?P<actor>\d\d)"),
        "Actor_01/01-01-03-01-01-01-01.mp4",
        identity="Actor_{actor}",
        video="{modality}-{channel}",
        utterance="{take}",
    ),
    # the folder is a stretch of a broadcast: who speaks in it is not said, so it stands for its
    # speaker
    "lrs2": Layout(
        _path(r"(?:main|pretrain)/(?P<video>\d+)/(?P<utterance>\d+)"),
        "mvlrs_v1/main/5535415699068794046/00001.mp4",
        identity="{video}",
    ),
    # the folder is a talk's YouTube video, which stands for its speaker
    "lrs3": Layout(
        _path(r"(?:pretrain|trainval|test)/(?P<video>[^/]+)/(?P<utterance>\d+)"),
        "trainval/0Fi83BHQsMA/00002.mp4",
        identity="{video}",
    ),
    # person, then perhaps the folders of the downloads, then the sentence in six letters
    "grid": Layout(
        _path(r"(?P<identity>s\d{1,2})/(?:[^/]+/)*(?P<utterance>[bslp][bgrw][abiw][a-z][a-z0-9][anps])"),
        "s1/bbaf2n.mpg",
        video="{identity}",
    ),
}


def layout_named(name: str) -> Layout:
    """A layout by its name.

    Raises:
        ConfigError: if there is none, with the nearest one that there is.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    close = difflib.get_close_matches(name.lower(), LAYOUTS, n=1)
    known = f"the layouts are {', '.join(LAYOUTS)}"
    raise ConfigError(f"there is no layout {name!r}", hint=f"did you mean {close[0]}? {known}" if close else known)


def names_of(files: Iterable[str], name: str) -> dict[str, Names]:
    """What each path says, by a layout's name.

    Raises:
        ConfigError: as `layout_named`.
        InputError: if a path does not fit: who is in it would be a guess, and one person could end
            in two splits.
    """
    layout = layout_named(name)
    found = {file: layout.names(file) for file in files}
    if odd := sorted(file for file, names in found.items() if names is None):
        shown = ", ".join(odd[:SHOWN]) + (", …" if len(odd) > SHOWN else "")
        raise InputError(
            f"{len(odd)} of {len(found)} videos do not lie as layout={name} says: {shown}",
            hint=f"it knows paths like {layout.example}, below the given folder; move the others away, or name the wanted ones by a glob",
        )
    return {file: names for file, names in found.items() if names}
