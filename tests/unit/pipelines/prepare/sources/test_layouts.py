"""Layouts know where the identity stands; what does not fit is refused, never guessed."""

from __future__ import annotations

import pytest

from a2h_models.errors import ConfigError, InputError
from pipelines.prepare.sources.layouts import LAYOUTS, Names, names_of

# made-up trees: the end of a path as each dataset's description gives it
KNOWN = [
    ("voxceleb", "id10270/5r0dWxy17C8/00001.mp4", Names("id10270", "5r0dWxy17C8", "00001")),
    ("voxceleb", "vox2/dev/mp4/id00012/_raOc3-IRsw/00110.mp4", Names("id00012", "_raOc3-IRsw", "00110")),
    ("hdtf", "RD_Radio34_000.mp4", Names("Radio34", "RD_Radio34", "000")),
    ("hdtf", "clips/WDA_EdMarkey_001.mp4", Names("EdMarkey", "WDA_EdMarkey", "001")),
    ("hdtf", "WRA_AdamKinzinger2_000.mp4", Names("AdamKinzinger", "WRA_AdamKinzinger2", "000")),
    ("mead", "M003/video/front/angry/level_1/001.mp4", Names("M003", "front", "angry_level_1_001")),
    ("mead", "MEAD/W011/video/left_30/neutral/level_1/030.mp4", Names("W011", "left_30", "neutral_level_1_030")),
    ("crema-d", "1001_DFA_ANG_XX.flv", Names("1001", "1001", "DFA_ANG_XX")),
    ("crema-d", "VideoFlash/1076_MTI_SAD_X.flv", Names("1076", "1076", "MTI_SAD_X")),
    ("ravdess", "Actor_01/01-01-03-01-01-01-01.mp4", Names("Actor_01", "01-01", "03-01-01-01")),
    ("ravdess", "Video_Song_Actor_24/Actor_24/01-02-06-02-02-02-24.mp4", Names("Actor_24", "01-02", "06-02-02-02")),
    (
        "lrs2",
        "mvlrs_v1/main/5535415699068794046/00001.mp4",
        Names("5535415699068794046", "5535415699068794046", "00001"),
    ),
    ("lrs3", "lrs3/pretrain/0Fi83BHQsMA/00002.mp4", Names("0Fi83BHQsMA", "0Fi83BHQsMA", "00002")),
    ("lrs3", "test/-abc_DEF123/50012.mp4", Names("-abc_DEF123", "-abc_DEF123", "50012")),
    ("grid", "s1/bbaf2n.mpg", Names("s1", "s1", "bbaf2n")),
    ("grid", "s34/video/mpg_6000/swwzzs.mpg", Names("s34", "s34", "swwzzs")),
]


@pytest.mark.parametrize(("layout", "file", "names"), KNOWN)
def test_each_dataset_is_understood_wherever_it_was_unpacked(layout, file, names):
    for place in ("", "some/where/", "s3://bucket/"):
        assert names_of([place + file], layout) == {place + file: names}


@pytest.mark.parametrize(
    ("layout", "file"),
    [
        ("voxceleb", "5r0dWxy17C8/00001.mp4"),  # the folder was given too deep: nobody's name is left
        ("voxceleb", "xid10270/5r0dWxy17C8/00001.mp4"),
        ("hdtf", "EdMarkey.mp4"),
        ("hdtf", "WXA_EdMarkey_000.mp4"),
        ("mead", "M003/audio/angry/level_1/001.m4a"),
        ("crema-d", "1001_DFA.flv"),
        ("ravdess", "01-01-03-01-01-01.mp4"),
        ("lrs3", "0Fi83BHQsMA/00002.mp4"),
        ("grid", "s1/hello1.mpg"),
        ("grid", "speaker1/bbaf2n.mpg"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(layout, file):
    fits = next(path for name, path, _ in KNOWN if name == layout)
    with pytest.raises(InputError, match="1 of 2 videos do not lie as layout") as refused:
        names_of([fits, file], layout)
    assert file in refused.value.message
    assert LAYOUTS[layout].example in refused.value.hint


def test_many_odd_paths_are_counted_and_a_few_named():
    with pytest.raises(InputError, match=r"9 of 9 .*: 0\.mp4, 1\.mp4, 2\.mp4, …"):
        names_of([f"{number}.mp4" for number in range(9)], "voxceleb")


@pytest.mark.parametrize(("wrong", "right"), [("voxcelb", "voxceleb"), ("VoxCeleb", "voxceleb"), ("cremad", "crema-d")])
def test_a_wrong_name_brings_a_suggestion(wrong, right):
    with pytest.raises(ConfigError, match=f"no layout '{wrong}'") as refused:
        names_of([], wrong)
    assert f"did you mean {right}?" in refused.value.hint


def test_every_layout_fits_its_own_example():
    for layout in LAYOUTS.values():
        for example in layout.example.split(" or "):
            names = layout.names(example)
            assert names
            assert all(names)
