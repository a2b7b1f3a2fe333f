"""Turn the photographed head into a solid: a depth for each pixel, and how the face deforms.

The photograph is treated as taken by the camera of the pose at the head's average distance, so that a head
at rest looks as in the photograph. All maps share one grid over the photograph; millimetres are
those of the face template.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from a2h_models.data_types import SIZE
from pipelines.face import face_mesh
from pipelines.synthetic import photo_regions

LEFT, TOP, RIGHT, BOTTOM = 136, 2, 318, 206  # the moving part of the photograph, pixels
GRID = 1.5  # grid points for each pixel of the photograph
TEXTURE = 3  # texture pixels for each pixel of the photograph
# Assumed distance of the photograph's camera. Nearer, and a turned head would bulge; further, and
# it would look flat.
VIEW_MM = 600.0
# MediaPipe underestimates the rotation of an evenly lit photograph. A deeper relief corrects that:
# it then measures 0.93 of a yaw instead of 0.75.
RELIEF = 1.25
HAIR_DEPTH = 55.0  # mm behind the middle of the face: depth of the hair's outline
# Steep cheeks would be hidden when the head turns, which backward rendering cannot show: depth
# beyond STEEP_MM is scaled by STEEP_SHARE.
STEEP_MM, STEEP_SHARE = 25.0, 0.5
DEPTH_BLUR_PX = 1.5
EDGE_PX = 1.2  # photograph pixels over which the head's outline is blended
DEPTH_SMOOTHING = 2.0  # of the thin-plate spline, so that noise of single landmarks makes no dents
GAP_MM = 19.0  # between the inner lips when the mouth is wide open
JAW_SHARE = 0.8  # motion of the chin / motion of the lower lip

Map = Float32[np.ndarray, "h w"]


@dataclass(frozen=True, kw_only=True)
class Head:
    """The photographed head, before a speaker's appearance is applied."""

    photo: UInt8[np.ndarray, "512 512 3"]
    landmarks: Float64[np.ndarray, "468 2"]  # photograph pixels
    mm: float  # a pixel of the photograph, at the head's middle depth
    origin: Float64[np.ndarray, 2]  # photograph pixels: position of the template's origin
    x: Map  # of each grid point in the head's own frame, mm
    y: Map
    z: Map
    open_down: Map  # mm down for each mm between the lips
    close_down: Map  # mm down that close the photographed smile (negative: up)
    blink_down: Map  # mm down that close the eyes
    lip_top: Map  # photograph y of the upper lip's inner edge
    lip_gap: Map  # photograph pixels between the inner lips at rest; 0 beside the mouth
    outline: Map  # 0 to 1: how much of a texture pixel is head
    hair: Map  # 0 to 1, texture pixels: hair, not face
    white: Map  # 0 to 1, texture pixels: eyes and teeth


@functools.cache
def photographed_head() -> Head:
    """Measure the photograph once: mesh, depth, outline, lips and lids."""
    from skimage.data import astronaut

    photo = np.asarray(astronaut())
    points, rotation = _mesh(photo)
    landmark_depth, mm, origin = _place(points, rotation)
    u, v = _grid()
    depth = RELIEF * _depth(points[:, :2], landmark_depth, u, v)
    near = 1 + depth / VIEW_MM  # perspective: farther points are larger than they look
    in_camera = np.stack([(u - origin[0]) * mm * near, (v - origin[1]) * mm * near, depth], axis=-1)
    x, y, z = np.moveaxis(in_camera @ rotation, -1, 0).astype(np.float32)  # the photographed pose undone
    opening, closing, top, gap = _lips(points[:, :2], u, v, mm)
    return Head(
        photo=photo,
        landmarks=points[:, :2],
        mm=mm,
        origin=origin,
        x=x,
        y=y,
        z=z,
        open_down=opening,
        close_down=closing,
        blink_down=_lids(points[:, :2], u, v, mm),
        lip_top=top,
        lip_gap=gap,
        outline=_outline(points[:, :2]),
        hair=_hair(points[:, :2]),
        white=_white(points[:, :2]),
    )


def _mesh(photo: UInt8[np.ndarray, "512 512 3"]) -> tuple[Float64[np.ndarray, "468 3"], Float64[np.ndarray, "3 3"]]:
    """Return landmarks in photograph pixels, and the rotation of the photographed head."""
    import cv2

    square = face_mesh.crop_square(face_mesh.detect_faces(photo), photo.shape[1], photo.shape[0])
    landmarks = face_mesh.mesh(face_mesh.cut_square(photo, square)[None]).landmarks
    rotation, _ = cv2.Rodrigues(face_mesh.solve_pose(landmarks)[0, :3].astype(np.float64))
    scale = square.side / SIZE
    return landmarks[0].astype(np.float64) * scale + [square.x, square.y, 0], np.asarray(rotation)


def _place(
    points: Float64[np.ndarray, "468 3"], rotation: Float64[np.ndarray, "3 3"]
) -> tuple[Float64[np.ndarray, " 468"], float, Float64[np.ndarray, " 2"]]:
    """Return depths of the landmarks (mm behind the origin), mm per pixel, and the origin's pixel.

    The mesh's own depth is tilted and has another scale: a plane and a factor fit it to the depth of
    the rotated template.
    """
    template = face_mesh.template() @ rotation.T
    flat, target = points[:, :2] - points[:, :2].mean(axis=0), template[:, :2] - template[:, :2].mean(axis=0)
    mm = float((flat * target).sum() / (flat**2).sum())
    origin = points[:, :2].mean(axis=0) - template[:, :2].mean(axis=0) / mm
    terms = np.column_stack([points, np.ones(len(points))])
    depth = terms @ np.linalg.lstsq(terms, template[:, 2], rcond=None)[0]
    return np.where(depth > STEEP_MM, STEEP_MM + STEEP_SHARE * (depth - STEEP_MM), depth), mm, origin


def _grid() -> tuple[Map, Map]:
    """Return x and y of the grid's points in the photograph."""
    across = np.arange(round((RIGHT - LEFT) * GRID)) / GRID + LEFT
    down = np.arange(round((BOTTOM - TOP) * GRID)) / GRID + TOP
    u, v = np.meshgrid(across, down)
    return u.astype(np.float32), v.astype(np.float32)


def _depth(
    points: Float64[np.ndarray, "468 2"], z: Float64[np.ndarray, " 468"], u: Map, v: Map
) -> Float64[np.ndarray, "h w"]:
    """Interpolate a smooth depth through the landmarks and the outline of the hair."""
    from scipy.interpolate import RBFInterpolator
    from scipy.ndimage import gaussian_filter

    hair = np.array(photo_regions.HAIR, float)
    points_2d = np.concatenate([points, hair])
    depth = np.concatenate([z, np.full(len(hair), HAIR_DEPTH)])
    spline = RBFInterpolator(points_2d, depth, smoothing=DEPTH_SMOOTHING)
    surface = spline(np.stack([u.ravel(), v.ravel()], axis=1)).reshape(u.shape).clip(z.min(), HAIR_DEPTH)
    return np.asarray(gaussian_filter(surface, DEPTH_BLUR_PX * GRID))


def _lips(points: Float64[np.ndarray, "468 2"], u: Map, v: Map, mm: float) -> tuple[Map, Map, Map, Map]:
    """Return the motion of lower lip and chin, and the upper lip and the gap at rest.

    The first map is mm down for each mm of opening; the second closes the photographed smile.
    """
    upper, lower = points[list(photo_regions.UPPER_LIP)], points[list(photo_regions.LOWER_LIP)]
    top, bottom = np.interp(u, *upper.T), np.interp(u, *lower.T)
    gap = np.maximum(bottom - top, 0)
    middle, half = (upper[0, 0] + upper[-1, 0]) / 2, (upper[-1, 0] - upper[0, 0]) / 2
    aside = np.abs(u - middle) / half  # 1 at the corners of the mouth
    chin = _smooth_step((1.9 - aside) / 1.3)  # the jaw moves as one, up to its corners
    below = _smooth_step(
        (v - bottom) / (9 + 13 * _smooth_step(aside - 0.5))
    )  # from the motion of the lip to that of the chin
    # the upper lip does not move
    reach = np.where(v < bottom, np.clip((v - top) / np.maximum(gap, 1e-3), 0, 1) * (gap > 0), 1.0)
    lip_opens, chin_opens = np.sqrt(np.clip(1 - aside**2, 0, 1)), JAW_SHARE * chin  # an open mouth is round
    lip_closes = -gap * mm  # the chin need not rise for that
    opening = reach * (lip_opens + (chin_opens - lip_opens) * below)
    closing = reach * lip_closes * (1 - below)
    return _float(opening), _float(closing), _float(top), _float(gap)


def _lids(points: Float64[np.ndarray, "468 2"], u: Map, v: Map, mm: float) -> Map:
    """Return how the upper lids move down over the eyes."""
    down = np.zeros_like(u)
    for upper, lower in photo_regions.EYES:
        above, under = points[list(upper)], points[list(lower)]
        top, bottom = np.interp(u, *above.T), np.interp(u, *under.T)
        gap = np.where((u > above[0, 0]) & (u < above[-1, 0]), np.maximum(bottom - top, 0), 0)
        lid = gap * _smooth_step((v - top + 5) / 5)  # the skin above the lid is stretched
        down = np.where(gap > 0, np.where(v < top, lid, np.clip(bottom - v, 0, gap)), down)
    return _float(down * mm)


def _outline(points: Float64[np.ndarray, "468 2"]) -> Map:
    """Return which texture pixels are head, 0 to 1, with a soft edge."""
    jaw = points[list(photo_regions.JAW)]
    jaw = jaw[(jaw[:, 1] > photo_regions.HAIR[0][1]) & (jaw[:, 1] > photo_regions.HAIR[-1][1])]
    return mask(np.concatenate([np.array(photo_regions.HAIR, float), jaw[::-1]]), EDGE_PX)


def _hair(points: Float64[np.ndarray, "468 2"]) -> Map:
    """Return which texture pixels are hair: outside of the face, above the ends of the ears."""
    face = mask(points[list(photo_regions.FACE_OVAL)], EDGE_PX)
    rows = np.arange(len(face))[:, None] / TEXTURE + TOP
    return _float((1 - face) * _smooth_step((photo_regions.HAIR_END - rows) / 12 + 0.5))


def _white(points: Float64[np.ndarray, "468 2"]) -> Map:
    """Return which texture pixels are neither skin nor hair: eyes, and teeth between the lips."""
    rims = [
        (*upper, *reversed(lower))
        for upper, lower in (*photo_regions.EYES, (photo_regions.UPPER_LIP, photo_regions.LOWER_LIP))
    ]
    return _float(np.sum([mask(points[list(rim)], 0.3) for rim in rims], axis=0))


def mask(polygon: Float64[np.ndarray, "n 2"], edge_px: float) -> Map:
    """Fill a polygon of photograph pixels on the texture's grid, with a soft edge inside it."""
    import cv2

    size = ((BOTTOM - TOP) * TEXTURE, (RIGHT - LEFT) * TEXTURE)
    filled = np.zeros(size, np.uint8)
    cv2.fillPoly(filled, [((polygon - [LEFT, TOP]) * TEXTURE).round().astype(np.int32)], 255)
    steps = max(1, round(edge_px * TEXTURE))
    inner = cv2.erode(filled, np.ones((3, 3), np.uint8), iterations=steps)
    return _float(cv2.GaussianBlur(inner.astype(np.float32) / 255, (0, 0), steps / 2))


def _smooth_step(t: np.ndarray) -> np.ndarray:
    """Return 0 below 0, 1 above 1, and a smooth curve between."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _float(values: np.ndarray) -> Map:
    return np.ascontiguousarray(values, np.float32)
