"""Colours and mirrored pairs: what is changed, how far, and alike in all images of an item."""

import torch

from a2h_models.training.augmentation import (
    color_jitter,
    horizontal_flip,
    random_color_jitter,
    random_speech_jitter,
    speech_feature_jitter,
)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_no_strength_leaves_every_colour():
    images = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(
        color_jitter(images, random_color_jitter(3, 0.0, _generator())), images, atol=1e-5, rtol=0
    )


def test_colours_stay_in_range_and_are_moved_by_a_tenth_at_most_of_what_they_can_be():
    images = torch.rand(16, 3, 8, 8)
    changed = color_jitter(images, random_color_jitter(16, 0.1, _generator()))
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert 0.01 < (changed - images).abs().mean() < 0.2


def test_grey_stays_grey():
    grey = torch.full((4, 3, 2, 2), 0.5)
    changed = color_jitter(grey, random_color_jitter(4, 0.3, _generator()))
    torch.testing.assert_close(changed, changed[:, :1].expand_as(changed), atol=1e-3, rtol=0)


def test_frames_of_a_window_are_recoloured_as_its_portrait_is():
    frames = torch.rand(2, 5, 3, 4, 4)
    colours = random_color_jitter(2, 0.1, _generator())
    torch.testing.assert_close(color_jitter(frames, colours)[:, 3], color_jitter(frames[:, 3], colours))


def test_only_the_chosen_images_are_mirrored_and_twice_is_not_at_all():
    images, which = torch.rand(3, 3, 4, 4), torch.tensor([True, False, True])
    once = horizontal_flip(images, which)
    assert torch.equal(once[1], images[1])
    assert torch.equal(once[0], images[0].flip(-1))
    assert torch.equal(horizontal_flip(once, which), images)


def test_no_strength_leaves_every_voice():
    speech = torch.randn(3, 16, 4, 41)
    torch.testing.assert_close(
        speech_feature_jitter(speech, random_speech_jitter(3, 0.0, _generator())), speech, atol=1e-5, rtol=0
    )


def test_a_voice_is_changed_alike_at_all_times_and_by_as_much_as_each_feature_varies():
    scale = torch.logspace(-2, 2, 41)
    speech = torch.randn(64, 16, 4, 41, generator=_generator(1)) * scale
    changed = speech_feature_jitter(speech, random_speech_jitter(64, 0.3, _generator()))
    factors = (changed.diff(dim=1) / speech.diff(dim=1)).flatten(1)
    torch.testing.assert_close(
        factors, factors.median(dim=1, keepdim=True).values.expand_as(factors), atol=0.02, rtol=0.02
    )
    assert 0.7 <= factors.median(dim=1).values.min() < 0.8
    assert 1.2 < factors.median(dim=1).values.max() <= 1.3
    added = (changed - speech).mean(dim=(1, 2)).std(dim=0) / scale
    torch.testing.assert_close(added, torch.full((41,), 0.3), atol=0.1, rtol=0)
