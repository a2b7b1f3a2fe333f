"""What a talking head is: tensors in, tensors out. No cluster, no registry, no files but weights.

Make a head talk in three lines: a portrait (RGB, uint8, 256 × 256 × 3, a crop of the head), a
speech (a wave of 16 kHz, mono), frames.

>>> from a2h_models import Animator
>>> animator = Animator.from_pretrained(model)          # models:/audio2head@champion, or the folder of a bundle
>>> frames = [frame for frame in animator.animate(portrait, speech, keypoints="relative")]
>>> len(frames) == -(-len(speech) // 640)               # 25 a second cover 16,000 samples a second
True
>>> frames[0].dtype.name, frames[0].shape[2]            # RGB, as high and wide as the networks draw: 256 at scale=paper
('uint8', 3)

The first frames come long before the last; so does an error, which says what is wrong:

>>> next(animator.animate(portrait / 255, speech))
Traceback (most recent call last):
a2h_models.errors.InputError: a portrait must be uint8 of shape (256, 256, 3), not float64 of shape
(256, 256, 3)

The head can be held still, moved more or less, or driven by poses of one's own (rad and mm-like,
one a frame):

>>> still = next(animator.animate(portrait, speech, still=True))
>>> poses = animator.predict_pose(portrait, speech)     # (t + 1, 6); the first is the portrait's own
>>> nodding = next(animator.animate(portrait, speech, pose=poses[::-1]))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

__all__ = ["Animator"]


def __getattr__(name: str) -> Any:
    """`Animator` brings torch, which `import a2h_models` alone does not wait for."""
    if name == "Animator":
        from a2h_models.inference.animator import Animator

        return Animator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
