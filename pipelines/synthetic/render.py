"""Render one frame of a synthetic speaker.

The solid head is rotated, its mouth opened, and the camera of the pose looks at it in front of the still
plate (body and background). The camera belongs to a square of the frame: the crop that preparation
will find. Rendering is backward: for each pixel of the frame a fixed-point iteration finds the
photograph's pixel that is visible there. That works because a head that turns by less than 30°
hides hardly any of its own front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from a2h_models.data_types import SIZE
from a2h_models.features.head_pose import CENTRE, FOCAL
from pipelines.synthetic.appearance import Appearance, plate_to_frame
from pipelines.synthetic.head import BOTTOM, GAP_MM, GRID, LEFT, RIGHT, TEXTURE, TOP, Map

LIP_EDGE = 0.6  # photograph pixels over which the lower lip fades into the dark
STEPS = 14  # of the iteration; each halves the error at least
DAMPING = 0.9
TEETH_SHARE = 0.8  # of the photographed gap shows teeth; a wider opening is dark
CAVITY = np.array([38.0, 14.0, 14.0], np.float32)  # RGB inside an open mouth


@dataclass(frozen=True, kw_only=True)
class Camera:
    """the camera of the pose for a square of the frame."""

    x: int
    y: int
    side: int

    @property
    def scale(self) -> float:
        return self.side / SIZE

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + CENTRE * self.scale, self.y + CENTRE * self.scale


class Renderer:
    """Renders one speaker into frames of `size` × `size` pixels."""

    def __init__(self, appearance: Appearance, camera: Camera, rest: Float64[np.ndarray, 6], size: int) -> None:
        self.appearance = appearance
        self.camera = camera
        self.size = size
        self.plate = self._warp_plate(rest)
        self._corners = _sample_points(appearance.head.outline)

    def _warp_plate(self, rest: Float64[np.ndarray, 6]) -> Float32[np.ndarray, "s s 3"]:
        import cv2

        fit = plate_to_frame(self.appearance.head, rest, self.camera.scale, self.camera.centre)
        plate = cv2.warpAffine(
            self.appearance.plate, fit, (self.size, self.size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(plate, np.float32)

    def render(self, pose: Float64[np.ndarray, 6], opening: float, blink: float) -> UInt8[np.ndarray, "s s 3"]:
        """Return a frame for a pose (rad and mm), a mouth opening and closed eyes (0 to 1)."""
        import cv2

        screen_x, screen_y = self._project(pose, opening, blink)
        left, top, right, bottom = self._bounds(screen_x, screen_y)
        if right <= left or bottom <= top:
            return self._finish(self.plate)
        u, v = self._find_sources(screen_x, screen_y, (left, top, right, bottom))
        v, dark = self._mouth(u, v, opening)
        texture_xy = ((u - LEFT) * TEXTURE + (TEXTURE - 1) / 2, (v - TOP) * TEXTURE + (TEXTURE - 1) / 2)
        colour = cv2.remap(self.appearance.texture, *texture_xy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        colour = colour * (1 - dark) + CAVITY * dark
        share = cv2.remap(self.appearance.head.outline, *texture_xy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)[
            ..., None
        ]
        frame = self.plate.copy()
        frame[top:bottom, left:right] = frame[top:bottom, left:right] * (1 - share) + colour * share
        return self._finish(frame)

    def _finish(self, frame: Float32[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
        picture = np.asarray(frame.clip(0, 255).round(), np.uint8)
        return picture[:, ::-1] if self.appearance.mirrored else picture

    def _project(self, pose: Float64[np.ndarray, 6], opening: float, blink: float) -> tuple[Map, Map]:
        """Project every grid point into the frame.

        A mirrored speaker is rendered with the mirrored pose, so that the flipped frame has `pose`.
        """
        import cv2

        head, (wide, high, deep) = self.appearance.head, self.appearance.stretch.astype(np.float32)
        if self.appearance.mirrored:
            pose = mirror_pose(pose)
        y = (
            head.y
            + head.open_down * np.float32(GAP_MM * opening)
            + head.close_down
            + head.blink_down * np.float32(blink)
        )
        turn = cv2.Rodrigues(pose[:3])[0].astype(np.float32)
        x, y, z = head.x * wide, y * high, head.z * deep
        eye_x, eye_y, eye_z = (
            turn[axis, 0] * x + turn[axis, 1] * y + turn[axis, 2] * z + np.float32(pose[3 + axis]) for axis in range(3)
        )
        focal = np.float32(FOCAL * self.camera.scale)
        centre_x, centre_y = self._centre()
        return focal * eye_x / eye_z + np.float32(centre_x), focal * eye_y / eye_z + np.float32(centre_y)

    def _centre(self) -> tuple[float, float]:
        """Return the camera's centre in the frame before it is mirrored."""
        x, y = self.camera.centre
        return (self.size - 1 - x if self.appearance.mirrored else x), y

    def _bounds(self, screen_x: Map, screen_y: Map) -> tuple[int, int, int, int]:
        """Return the rectangle of the frame that the head may cover."""
        x, y = screen_x[self._corners], screen_y[self._corners]
        low, high = (0, 0), (self.size, self.size)
        left, top = np.clip([x.min() - 2, y.min() - 2], low, high).astype(int)
        right, bottom = np.clip([x.max() + 3, y.max() + 3], low, high).astype(int)
        return int(left), int(top), int(right), int(bottom)

    def _find_sources(self, screen_x: Map, screen_y: Map, bounds: tuple[int, int, int, int]) -> tuple[Map, Map]:
        """Find for each pixel of the frame the photograph's pixel that is visible there."""
        import cv2

        left, top, right, bottom = bounds
        target_x, target_y = np.meshgrid(
            np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)
        )
        step = self._affine(screen_x, screen_y)
        u = step[0, 0] * target_x + step[0, 1] * target_y + step[0, 2]
        v = step[1, 0] * target_x + step[1, 1] * target_y + step[1, 2]
        for _ in range(STEPS):
            grid = ((u - LEFT) * GRID, (v - TOP) * GRID)
            error_x = target_x - cv2.remap(screen_x, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            error_y = target_y - cv2.remap(screen_y, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            u = np.clip(u + DAMPING * (step[0, 0] * error_x + step[0, 1] * error_y), LEFT - 1, RIGHT)
            v = np.clip(v + DAMPING * (step[1, 0] * error_x + step[1, 1] * error_y), TOP - 1, BOTTOM)
        return u, v

    def _affine(self, screen_x: Map, screen_y: Map) -> Float32[np.ndarray, "2 3"]:
        """Fit the affine map frame → photograph over the head."""
        rows, columns = self._corners
        frame_points = np.stack(
            [screen_x[self._corners], screen_y[self._corners], np.ones(len(rows), np.float32)], axis=1
        )
        photo_points = np.stack([columns / GRID + LEFT, rows / GRID + TOP], axis=1)
        return np.asarray(np.linalg.lstsq(frame_points.astype(np.float64), photo_points, rcond=None)[0].T, np.float32)

    def _mouth(self, u: Map, v: Map, opening: float) -> tuple[Map, Float32[np.ndarray, "h w 1"]]:
        """Correct the pixels between the lips: teeth are not stretched, and it is dark below them.

        Returns:
            The photograph's rows, and how dark each pixel is (0 to 1).
        """
        import cv2

        head = self.appearance.head
        grid = ((u - LEFT) * GRID, (v - TOP) * GRID)
        top = cv2.remap(head.lip_top, *grid, cv2.INTER_LINEAR)
        gap = cv2.remap(head.lip_gap, *grid, cv2.INTER_LINEAR)
        inside = (gap > 0.3) & (v > top) & (v < top + gap)  # noqa: PLR2004  less than a third of a pixel is a corner
        # photograph pixels between the lips in this frame
        now = GAP_MM * opening / head.mm * gap / max(float(head.lip_gap.max()), 1e-3)
        deep = (v - top) / np.maximum(gap, 1e-3) * now
        teeth = TEETH_SHARE * gap
        dark = np.clip((deep - teeth) / np.maximum(0.25 * gap, 0.5), 0, 1) * np.clip((top + gap - v) / LIP_EDGE, 0, 1)
        dark = np.where(inside, dark, 0).astype(np.float32)
        return np.where(inside, top + np.minimum(deep, gap), v).astype(np.float32), dark[..., None]


def mirror_pose(pose: Float64[np.ndarray, "… 6"]) -> Float64[np.ndarray, "… 6"]:
    """Return the pose of the mirror image: yaw, roll and x change sign."""
    return np.asarray(pose * np.array([1.0, -1.0, -1.0, -1.0, 1.0, 1.0]))


def _sample_points(outline: Map) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of some grid points on the head."""
    import cv2

    grid = cv2.resize(
        outline, (round((RIGHT - LEFT) * GRID), round((BOTTOM - TOP) * GRID)), interpolation=cv2.INTER_AREA
    )
    rows, columns = np.nonzero(grid > 0)
    return rows[::17], columns[::17]
