"""Shots tile a video, spans tile a track, and one face stays one face."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2h_models.timebase import Span
from pipelines.config import ClipsConfig
from pipelines.face.face_mesh import Box
from pipelines.prepare.steps.find_clips import (
    Track,
    clip_spans,
    extent,
    find_clips,
    overlap,
    shots,
    split_drifting_track,
    spread,
    tracks,
)
from pipelines.prepare.steps.scan_video import Detection, VideoScan, change, colours_of

CONFIG = ClipsConfig()
STEP = CONFIG.detect_every
SHA = "ab" * 32


def _box(x=100.0, y=100.0, side=100.0):
    return Box(x, y, side, side)


def _scan(boxes_at, frames=400, cuts=()):
    sightings = tuple(Detection(frame=frame, boxes=tuple(boxes_at(frame))) for frame in range(0, frames, STEP))
    return VideoScan(frames=frames, width=1280, height=720, cuts=tuple(cuts), sightings=sightings)


# -------------------------------------------------------------------------------------------- spans
@given(st.integers(0, 10_000), st.integers(1, 5000), st.integers(128, 1024))
def test_spans_tile_a_track_and_none_is_too_short(start, length, longest):
    span = Span(start, start + length)
    pieces = clip_spans(span, max_frames=longest)
    assert pieces[0].start == span.start
    assert pieces[-1].stop == span.stop
    assert all(a.stop == b.start for a, b in itertools.pairwise(pieces))
    assert all(len(piece) <= longest for piece in pieces)
    assert length < longest // 2 or all(len(piece) >= longest // 2 for piece in pieces)


@given(st.lists(st.integers(1, 999), unique=True, max_size=8).map(sorted))
def test_shots_tile_a_video(cuts):
    found = shots(cuts, 1000)
    assert [frame for shot in found for frame in shot] == list(range(1000))
    assert [shot.start for shot in found[1:]] == cuts


def test_a_track_reaches_to_near_borders_only():
    whole = Span(0, 103)
    assert extent(Track([0, 100], [_box()] * 2), whole, STEP) == whole
    assert extent(Track([4, 98], [_box()] * 2), whole, STEP) == whole
    assert extent(Track([10, 90], [_box()] * 2), whole, STEP) == Span(10, 91)


# -------------------------------------------------------------------------------------------- shots
def _room(seed):
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return blocks.repeat(30, axis=0).repeat(40, axis=1)


def test_another_picture_is_a_cut_and_noise_is_none():
    room = _room(0)
    noisy = np.clip(room.astype(int) + np.random.default_rng(1).integers(-6, 7, room.shape), 0, 255).astype(np.uint8)
    assert change(colours_of(room), colours_of(_room(1))) > 0.6
    assert change(colours_of(room), colours_of(noisy)) < CONFIG.cut_threshold / 2


def test_a_flat_wall_that_grows_lighter_is_no_cut():
    walls = [np.full((90, 160, 3), level, np.uint8) for level in range(256)]
    steps = [change(colours_of(a), colours_of(b)) for a, b in itertools.pairwise(walls)]
    assert max(steps) < CONFIG.cut_threshold


def test_a_caption_or_a_hand_is_no_cut():
    room = _room(0)
    covered = room.copy()
    covered[120:, :] = 255
    assert change(colours_of(room), colours_of(covered)) < CONFIG.cut_threshold


# ------------------------------------------------------------------------------------------- tracks
def test_overlap_is_intersection_over_union():
    assert overlap(_box(), _box()) == pytest.approx(1)
    assert overlap(_box(0), _box(50)) == pytest.approx(1 / 3)
    assert overlap(_box(0), _box(200)) == 0


def test_two_faces_are_two_tracks_also_when_their_order_changes():
    scan = _scan(lambda frame: [_box(100), _box(600)][:: 1 if frame % 2 else -1])
    found = tracks(scan.sightings, CONFIG)
    assert [len(track.frames) for track in found] == [80, 80]
    assert all(len({box.x for box in track.boxes}) == 1 for track in found)


def test_a_face_that_is_missed_for_a_moment_is_the_same_face():
    found = tracks(_scan(lambda frame: [] if 100 <= frame < 120 else [_box()]).sightings, CONFIG)
    assert len(found) == 1
    found = tracks(_scan(lambda frame: [] if 100 <= frame < 150 else [_box()]).sightings, CONFIG)
    assert len(found) == 2


def test_a_mistake_of_the_detector_is_no_track():
    assert tracks(_scan(lambda frame: [_box()] if frame == 50 else []).sightings, CONFIG) == []


def test_a_wandering_face_is_cut_so_that_it_stays_large():
    frames = list(range(0, 500, STEP))
    track = Track(frames, [_box(x=100 + frame) for frame in frames])
    pieces = split_drifting_track(track, CONFIG)
    assert [frame for piece in pieces for frame in piece.frames] == frames
    assert len(pieces) > 1
    assert all(spread(piece.boxes) <= CONFIG.max_spread for piece in pieces)


# -------------------------------------------------------------------------------------------- clips
def test_one_face_in_one_shot_is_one_clip():
    (clip,) = find_clips(_scan(lambda _: [_box()]), SHA, CONFIG)
    assert (clip.span, clip.faces, clip.face_px) == (Span(0, 400), 1, 100)
    assert clip.key == f"{SHA[:20]}_0000000_{clip.square.x:04d}x{clip.square.y:04d}"
    assert clip.square.side == 160


def test_no_clip_spans_a_cut():
    clips = find_clips(_scan(lambda _: [_box()], cuts=[130, 290]), SHA, CONFIG)
    assert [(clip.span.start, clip.span.stop) for clip in clips] == [(0, 130), (130, 290), (290, 400)]


def test_a_face_beside_another_is_counted_unless_it_is_background():
    assert {clip.faces for clip in find_clips(_scan(lambda _: [_box(), _box(600, side=80)]), SHA, CONFIG)} == {2}
    large = next(
        clip for clip in find_clips(_scan(lambda _: [_box(), _box(600, side=30)]), SHA, CONFIG) if clip.face_px == 100
    )
    assert large.faces == 1


def test_a_long_track_becomes_clips_of_bounded_length():
    clips = find_clips(_scan(lambda _: [_box()], frames=2500), SHA, CONFIG)
    assert [len(clip.span) for clip in clips] == [833, 833, 834]
    assert [clip.key for clip in clips] == sorted({clip.key for clip in clips})
