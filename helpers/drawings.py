"""Ten drawn classes for a machine with no data and no network.

Every picture is drawn by the code below: the ten classes of CIFAR-10, in its
order, at any size. A network can learn them in a minute, so every notebook runs
from end to end without CIFAR-10. They are no substitute for it: an accuracy on
drawings says nothing about photographs.

A drawing is made in three steps: a background, the figure, then the camera
(light and noise). The figures are drawn four times too large and averaged down,
so that their edges are smooth. Pose, colours, background and light come from a
random generator; the same generator state gives the same scene at every size.
Long because each of the ten figures is drawn in full.
"""

import functools
import numbers
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw

OVERSAMPLING = 4
"""How many times too large a picture is drawn before it is averaged down."""

LARGEST = 2048
"""The width of the largest drawing, in pixels."""

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

BLACK, WHITE, GLASS = (25, 24, 26), (240, 240, 236), (66, 84, 104)
FURS = [
    (122, 78, 44),
    (166, 116, 66),
    (92, 62, 42),
    (196, 160, 112),
    (70, 62, 58),
    (150, 146, 142),
    (226, 216, 200),
]
PAINTS = [
    (196, 40, 40),
    (40, 88, 180),
    (236, 184, 40),
    (48, 140, 84),
    (236, 236, 232),
    (110, 116, 124),
    (230, 120, 40),
]
SKIES = [(120, 176, 228), (168, 204, 232), (200, 214, 224), (232, 206, 178), (150, 166, 190), (226, 232, 238)]
GROUNDS = [(104, 146, 72), (142, 160, 86), (178, 154, 112), (214, 200, 160), (132, 126, 120), (220, 224, 228)]
SEAS = [(44, 92, 138), (60, 120, 140), (86, 116, 140), (38, 74, 100)]


def draw(label: int, rng: np.random.Generator, size: int = 32) -> Image.Image:
    """One drawing of one class.

    Args:
        label: the class as a number from 0 to 9, in CIFAR-10's order.
        rng: decides pose, colours, background, light and noise. It moves on, so a
            second call gives another drawing. From the same state, the same scene
            is drawn at every size; only the grain of the noise differs.
        size: width and height in pixels.

    Returns:
        An RGB picture of size × size pixels.

    Raises:
        ValueError: the label is not a class, ``rng`` no generator, or the size is not from 1 to ``LARGEST``.
    """
    if label not in range(len(FIGURES)):
        raise ValueError(f"There is no class {label!r} to draw: labels go from 0 to {len(FIGURES) - 1}.")
    if not isinstance(size, numbers.Integral) or not 1 <= size <= LARGEST:
        raise ValueError(
            f"A drawing cannot be {size!r} pixels wide: give a size of 1 or more, at most {LARGEST}."
        )
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"rng={rng!r:.80} gives no random numbers that a drawing could be made of. Use np.random.default_rng(3)."
        )
    pen = _Pen(size * OVERSAMPLING, rng)
    FIGURES[int(label)](pen, rng)
    return _photograph(pen.canvas.reduce(OVERSAMPLING), rng)


def make_drawings(
    train: int = 5000, test: int = 1000, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A drawn data set with CIFAR-10's shapes and classes.

    The classes are balanced and come in turn: picture i shows class i modulo 10.
    The test pictures are drawn from another random stream than the training
    pictures. Global random generators are neither read nor changed.

    Args:
        train: number of training pictures.
        test: number of test pictures.
        seed: the same seed gives the same bytes.

    Returns:
        train_images (train × 3 × 32 × 32, uint8, 0–255), train_labels (int64),
        test_images and test_labels, as CPU tensors.

    Raises:
        ValueError: a number of pictures, or the seed, is no whole number of 0 or more.
    """
    for name, value in {"train": train, "test": test, "seed": seed}.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 0:
            raise ValueError(f"{name}={value!r} must be a whole number, 0 or more.")
    streams = np.random.SeedSequence(seed).spawn(2)
    return (*_draw_many(train, streams[0]), *_draw_many(test, streams[1]))


def _draw_many(count: int, stream: np.random.SeedSequence) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(stream)
    labels = np.arange(count) % len(FIGURES)
    images = np.empty((count, 32, 32, 3), dtype=np.uint8)
    for i, label in enumerate(labels):
        images[i] = np.asarray(draw(int(label), rng))
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))


# -- tools -------------------------------------------------------------------------------------------


class _Pen:
    """Draws in the coordinates of the figure, whatever the size and the pose.

    A figure lies between -1 and 1, x to the right and y down, and is designed
    facing left. ``pose`` decides how it is mirrored, turned, stretched and moved.
    """

    def __init__(self, pixels: int, rng: np.random.Generator):
        self.pixels = pixels
        self.rng = rng
        self.canvas = Image.new("RGB", (pixels, pixels))
        self._draw = ImageDraw.Draw(self.canvas)
        self.matrix = np.eye(2) * pixels / 2
        self.centre = np.array([pixels / 2, pixels / 2])

    def pose(self, tilt: float, largest: float = 0.92) -> None:
        """Place the figure at random: mirrored or not, turned by up to ``tilt`` degrees.

        ``largest`` is the largest scale: 1 fills the picture from edge to edge.
        """
        between = self.rng.uniform
        angle = np.radians(between(-tilt, tilt))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch = np.array([[between(0.9, 1.1), between(-0.12, 0.12)], [0, between(0.9, 1.1)]])
        scale = between(0.7, 1) * largest * self.pixels / 2
        self.matrix = scale * turn @ stretch
        if self.rng.random() < 0.5:
            self.matrix[0] *= -1
        self.centre = self.pixels / 2 * (1 + between(-0.12, 0.12, size=2))

    def shape(self, points: Points, colour: Colour) -> None:
        """A filled shape with straight sides."""
        self._fill(np.array(points), colour)

    def curve(self, points: Points, colour: Colour) -> None:
        """A filled shape whose outline runs smoothly through the points."""
        self._fill(_spline(len(points)) @ np.array(points), colour)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A filled ellipse around (x, y)."""
        self._fill(_CIRCLE * (rx, ry) + (x, y), colour)

    def stroke(self, points: Points, width: float, colour: Colour) -> None:
        """A line of some width, with round ends."""
        places = np.array(points) @ self.matrix.T + self.centre
        across = max(1, round(width * abs(np.linalg.det(self.matrix)) ** 0.5))
        self._draw.line(places.ravel().tolist(), colour, across, joint="curve")
        for x, y in places[[0, -1]].tolist():
            r = across / 2
            self._draw.ellipse((x - r, y - r, x + r, y + r), colour)

    def backdrop(self, top: Colour, bottom: Colour) -> None:
        """Fill the whole picture from one colour at the top to another at the bottom."""
        column = Image.new("RGB", (1, 2))
        column.putdata([top, bottom])
        self.canvas.paste(column.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR))

    def band(self, top: float, colour: Colour) -> None:
        """Fill the picture below the height ``top`` (0 is the upper edge, 1 the lower), unposed."""
        self._draw.rectangle((0, top * self.pixels, self.pixels, self.pixels), colour)

    def blot(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """An ellipse in picture coordinates (0 to 1), unposed: clouds, bushes, waves."""
        box = (x - rx, y - ry, x + rx, y + ry)
        self._draw.ellipse([side * self.pixels for side in box], colour)

    def _fill(self, points: np.ndarray, colour: Colour) -> None:
        self._draw.polygon((points @ self.matrix.T + self.centre).ravel().tolist(), colour)


@functools.cache
def _spline(corners: int, steps: int = 5) -> np.ndarray:
    """The matrix that takes a ring of corners to a smooth closed curve through them.

    Source: the Catmull–Rom spline, E. Catmull and R. Rom, "A class of local
    interpolating splines", Computer Aided Geometric Design, 1974.

    Returns:
        (corners · steps) × corners, float64.
    """
    t = np.arange(steps) / steps
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    )
    matrix = np.zeros((corners, steps, corners))
    for corner in range(corners):
        for neighbour in range(4):
            matrix[corner, :, (corner + neighbour - 1) % corners] += weights[neighbour]
    return matrix.reshape(corners * steps, corners)


_ANGLES = np.linspace(0, 2 * np.pi, 20, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def _pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """One of the colours, a little lighter or darker and a little off in hue."""
    chosen = colours[int(rng.integers(len(colours)))]
    light = rng.integers(-18, 19)
    shifts = (light + rng.integers(-7, 8, 3)).tolist()
    red, green, blue = (min(255, max(0, value + shift)) for value, shift in zip(chosen, shifts, strict=True))
    return red, green, blue


def _tone(colour: Colour, factor: float) -> Colour:
    """The same colour in shadow (factor below 1) or in light (above 1)."""
    red, green, blue = (min(255, round(c * factor)) for c in colour)
    return red, green, blue


def _photograph(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Uneven light, a colour cast and the noise of a camera."""
    pixels = np.asarray(picture, dtype=np.float32)
    cast = rng.uniform(0.75, 1.1) * rng.uniform(0.95, 1.05, 3)
    patches = Image.fromarray(rng.uniform(0.86, 1.14, (3, 3)).astype(np.float32))
    light = np.asarray(patches.resize(picture.size, Image.Resampling.BICUBIC))
    grain = rng.uniform(2, 9)
    # Last, because it alone takes as many numbers from the generator as there are pixels.
    noise = grain * rng.standard_normal(pixels.shape, dtype=np.float32)
    pixels = pixels * light[..., None] * cast.astype(np.float32) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


# -- backgrounds -------------------------------------------------------------------------------------


def _sky(pen: _Pen, rng: np.random.Generator) -> None:
    colour = _pick(rng, SKIES)
    pen.backdrop(_tone(colour, rng.uniform(0.7, 1)), _tone(colour, rng.uniform(1, 1.15)))
    cloud = _tone(colour, rng.uniform(1.05, 1.3))
    for _ in range(rng.integers(0, 4)):
        x, y, r = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.12)
        pen.blot(x, y, 2.2 * r, 0.7 * r, cloud)
        pen.blot(x + 0.7 * r, y - 0.4 * r, r, 0.7 * r, cloud)


def _land(pen: _Pen, rng: np.random.Generator, horizon: float = 0.55) -> None:
    _sky(pen, rng)
    horizon += rng.uniform(-0.2, 0.1)
    ground = _pick(rng, GROUNDS)
    far = _tone(_pick(rng, GROUNDS), 0.8)
    for _ in range(rng.integers(0, 4)):
        pen.blot(rng.uniform(0, 1), horizon, rng.uniform(0.1, 0.3), rng.uniform(0.04, 0.18), far)
    pen.band(horizon, ground)
    for _ in range(rng.integers(0, 4)):
        tuft = _tone(ground, rng.uniform(0.82, 1.15))
        pen.blot(rng.uniform(0, 1), rng.uniform(horizon + 0.1, 1), rng.uniform(0.1, 0.3), 0.03, tuft)


# -- the ten figures ---------------------------------------------------------------------------------
#
# Each paints its background, places itself and draws from back to front. The points are read off a
# sketch; they stay several to a line, as an outline reads better that way.
# fmt: off


def _airplane(pen, rng):
    _sky(pen, rng)
    pen.pose(tilt=22, largest=0.94)
    body = _pick(rng, [WHITE, WHITE, (206, 212, 218), (226, 196, 80), (120, 130, 142)])
    accent = _pick(rng, PAINTS)
    near, far, sweep = rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.6), rng.uniform(0.15, 0.45)
    pen.shape([(-0.26, -0.06), (0.14, -0.06), (0.3 + sweep, -far),
               (0.14 + sweep, -far)], _tone(body, 0.7))
    pen.curve([(-0.95, 0.04), (-0.76, -0.13), (-0.4, -0.18), (0.5, -0.15), (0.95, -0.12),
               (0.93, -0.03), (0.5, 0.12), (-0.4, 0.19), (-0.78, 0.15)], body)
    pen.curve([(-0.93, 0.05), (-0.4, 0.07), (0.9, -0.05), (0.5, 0.12), (-0.4, 0.19),
               (-0.78, 0.15)], _tone(body, 0.8))
    pen.shape([(0.48, -0.14), (0.78, -0.6), (0.98, -0.6), (0.92, -0.08)], accent)
    pen.shape([(0.6, -0.05), (0.84, -0.05), (1.08, 0.16), (0.94, 0.16)], _tone(body, 0.75))
    pen.stroke([(-0.6, -0.04), (0.5, -0.04)], 0.06, _tone(accent, 0.8))
    pen.shape([(-0.86, -0.05), (-0.72, -0.13), (-0.66, -0.03), (-0.82, 0.0)], GLASS)
    pen.shape([(-0.3, 0.04), (0.2, 0.04), (0.34 + sweep, near),
               (0.16 + sweep, near)], _tone(body, 0.82))
    pen.oval(-0.12 + sweep / 3, 0.1 + near / 3, 0.17, 0.07, _tone(body, 0.5))


def _automobile(pen, rng):
    _land(pen, rng, horizon=0.6)
    pen.pose(tilt=6)
    paint = _pick(rng, PAINTS)
    roof, front, back = rng.uniform(-0.5, -0.38), rng.uniform(-0.42, -0.25), rng.uniform(0.5, 0.85)
    pen.oval(0, 0.42, 0.95, 0.08, (60, 60, 62))
    pen.curve([(front - 0.25, -0.02), (front, roof + 0.06), (0.1, roof - 0.02),
               (back - 0.2, roof + 0.06), (back, 0)], _tone(paint, 0.9))
    pen.shape([(front - 0.12, -0.05), (front + 0.06, roof + 0.1), (0.07, roof + 0.06),
               (0.07, -0.05)], GLASS)
    pen.shape([(0.14, -0.05), (0.14, roof + 0.06), (back - 0.26, roof + 0.1),
               (back - 0.12, -0.05)], GLASS)
    pen.curve([(-0.95, 0.3), (-0.96, 0.1), (-0.8, -0.02), (-0.3, -0.08), (0.6, -0.08),
               (0.92, -0.02), (0.97, 0.2), (0.92, 0.32), (0, 0.34)], paint)
    pen.stroke([(-0.9, 0.28), (0.9, 0.28)], 0.06, _tone(paint, 0.6))
    pen.oval(-0.9, 0.1, 0.06, 0.06, (250, 240, 190))
    pen.oval(0.92, 0.08, 0.04, 0.06, (180, 30, 30))
    for x in (-0.54, 0.54):
        pen.oval(x, 0.3, 0.21, 0.21, BLACK)
        pen.oval(x, 0.3, 0.1, 0.1, (186, 188, 192))


def _bird(pen, rng):
    flying = rng.random() < 0.4
    (_sky if flying else _land)(pen, rng)
    pen.pose(tilt=14)
    feathers = _pick(rng, [*FURS, *PAINTS])
    belly = _pick(rng, [WHITE, (236, 200, 150), (226, 140, 80)])
    beak = _pick(rng, [(240, 170, 40), (70, 62, 58)])
    if flying:
        lift = rng.uniform(0.55, 0.9)
        pen.curve([(-0.2, 0), (0.0, -lift * 0.6), (0.42, -lift), (0.4, -lift * 0.5),
                   (0.25, 0.05)], _tone(feathers, 0.6))
    else:
        wood = _pick(rng, [(96, 70, 48), (70, 60, 50)])
        pen.stroke([(-1.4, 0.82), (1.4, rng.uniform(0.72, 0.92))], 0.12, wood)
        for x in (-0.04, 0.14):
            pen.stroke([(x, 0.4), (x - 0.04, 0.8)], 0.05, beak)
    pen.shape([(0.3, -0.05), (0.95, 0.1), (1.0, 0.26), (0.8, 0.32), (0.25, 0.3)], _tone(feathers, 0.7))
    pen.curve([(-0.62, -0.3), (-0.3, -0.5), (0.1, -0.25), (0.5, 0.08), (0.42, 0.3), (0.05, 0.46),
               (-0.35, 0.3), (-0.55, 0.0)], feathers)
    pen.curve([(-0.5, -0.05), (-0.2, 0.02), (0.1, 0.3), (0.05, 0.44), (-0.3, 0.3)], belly)
    pen.oval(-0.48, -0.34, 0.27, 0.25, feathers)
    pen.shape([(-0.7, -0.44), (-0.7, -0.26), (-1.02, -0.3)], beak)
    pen.oval(-0.56, -0.4, 0.06, 0.06, WHITE)
    pen.oval(-0.57, -0.4, 0.04, 0.04, BLACK)
    if flying:
        pen.curve([(-0.25, -0.02), (0.1, -lift * 0.7), (0.75, -lift), (0.7, -lift * 0.5),
                   (0.35, 0.12), (0, 0.16)], _tone(feathers, 0.8))
    else:
        pen.curve([(-0.2, -0.12), (0.15, -0.14), (0.66, 0.2), (0.4, 0.24),
                   (0.0, 0.16)], _tone(feathers, 0.72))


def _cat(pen, rng):
    _land(pen, rng)
    pen.pose(tilt=7)
    fur = _pick(rng, [*FURS, (214, 130, 60)])
    dark, light = _tone(fur, 0.7), _tone(fur, 1.25)
    lean = rng.uniform(-0.12, 0.12)
    pen.stroke([(0.3, 0.78), (0.75, 0.72), (0.85, 0.4), (0.7, rng.uniform(-0.1, 0.25))], 0.13, dark)
    pen.curve([(-0.02, -0.3), (0.26, 0.0), (0.46, 0.5), (0.4, 0.86), (-0.4, 0.86), (-0.46, 0.5),
               (-0.28, 0.0)], fur)
    pen.curve([(0, 0.0), (0.14, 0.2), (0.1, 0.5), (-0.1, 0.5), (-0.14, 0.2)], light)
    for x in (-0.13, 0.13):
        pen.stroke([(x, 0.4), (x * 1.1, 0.84)], 0.15, _tone(fur, 1.08))
    for side in (-1, 1):
        x = lean + side * 0.3
        pen.shape([(x - side * 0.22, -0.6), (x + side * 0.06, -1.0), (x + side * 0.08, -0.45)], fur)
        pen.shape([(x - side * 0.12, -0.62), (x + side * 0.03, -0.88),
                   (x + side * 0.04, -0.55)], (214, 150, 146))
    pen.oval(lean, -0.42, 0.4, 0.33, fur)
    if rng.random() < 0.5:
        for x in (-0.12, 0, 0.12):
            pen.stroke([(lean + x, -0.72), (lean + x, -0.58)], 0.05, dark)
        for y in (0.1, 0.3, 0.5):
            pen.stroke([(0.28 + y / 5, y), (0.16, y + 0.04)], 0.06, dark)
            pen.stroke([(-0.28 - y / 5, y), (-0.16, y + 0.04)], 0.06, dark)
    pen.oval(lean, -0.26, 0.19, 0.13, light)
    eyes = _pick(rng, [(150, 200, 70), (236, 196, 60), (110, 180, 220)])
    for x in (-0.17, 0.17):
        pen.oval(lean + x, -0.46, 0.1, 0.09, eyes)
        pen.oval(lean + x, -0.46, 0.035, 0.085, BLACK)
    pen.shape([(lean - 0.06, -0.34), (lean + 0.06, -0.34), (lean, -0.26)], (190, 96, 96))
    for side in (-1, 1):
        for y in (-0.34, -0.22):
            pen.stroke([(lean + side * 0.16, -0.27), (lean + side * 0.56, y)], 0.02, WHITE)


def _legs(pen, rng, front, back, top, foot, width, colour):
    """A front and a hind leg, each in mid-step: the hind one bends backwards at the hock."""
    for x, knee in ((front, -0.02), (back, 0.1)):
        step = rng.uniform(-0.14, 0.14)
        pen.stroke([(x, top), (x + step / 2 + knee, (top + foot) / 2), (x + step, foot)], width, colour)
        pen.stroke([(x + step, foot), (x + step - 0.07, foot)], width, _tone(colour, 0.7))


def _deer(pen, rng):
    _land(pen, rng)
    pen.pose(tilt=6, largest=0.86)
    fur = _pick(rng, [(166, 108, 60), (142, 94, 58), (186, 132, 80)])
    horn = _pick(rng, [(226, 206, 166), (96, 74, 54)])
    _legs(pen, rng, -0.2, 0.52, 0.2, 0.92, 0.07, _tone(fur, 0.65))
    pen.curve([(-0.45, 0.0), (-0.2, -0.14), (0.3, -0.12), (0.6, -0.1), (0.66, 0.12), (0.45, 0.26),
               (0, 0.26), (-0.38, 0.24)], fur)
    pen.curve([(-0.3, 0.22), (0, 0.18), (0.4, 0.2), (0.3, 0.28), (0, 0.29)], _tone(fur, 1.4))
    pen.curve([(0.56, -0.12), (0.72, -0.16), (0.76, 0.06), (0.64, 0.08)], WHITE)
    pen.shape([(-0.16, -0.1), (-0.42, 0.2), (-0.62, -0.42), (-0.42, -0.5)], fur)
    for side, tone in ((0.16, 0.75), (0.0, 1.0)):
        x, colour = -0.5 + side, _tone(horn, tone)
        tip = rng.uniform(0.1, 0.25)
        pen.stroke([(x, -0.56), (x + 0.14, -0.76), (x + tip, -1.02)], 0.06, colour)
        pen.stroke([(x + 0.1, -0.7), (x - 0.12, -0.94)], 0.05, colour)
        pen.stroke([(x + 0.14, -0.78), (x + 0.34, -0.92)], 0.05, colour)
    pen.curve([(-0.4, -0.6), (-0.2, -0.68), (-0.24, -0.56), (-0.38, -0.5)], _tone(fur, 0.8))
    pen.curve([(-0.42, -0.6), (-0.6, -0.6), (-0.88, -0.4), (-0.88, -0.3), (-0.72, -0.28),
               (-0.46, -0.36)], fur)
    pen.oval(-0.87, -0.35, 0.05, 0.05, BLACK)
    pen.oval(-0.6, -0.49, 0.04, 0.04, BLACK)
    if rng.random() < 0.4:
        for x, y in ((-0.1, 0), (0.1, 0.06), (0.3, 0), (0.48, 0.06), (0.2, -0.06)):
            pen.oval(x, y, 0.035, 0.035, WHITE)
    _legs(pen, rng, -0.32, 0.56, 0.18, 0.95, 0.08, fur)


def _dog(pen, rng):
    _land(pen, rng)
    pen.pose(tilt=7, largest=0.86)
    fur = _pick(rng, FURS)
    ear = _tone(fur, rng.uniform(0.45, 0.7))
    nod = rng.uniform(-0.06, 0.1)
    pen.stroke([(0.55, -0.05), (0.78, -0.22), (rng.uniform(0.75, 0.95), -0.55)], 0.12, fur)
    _legs(pen, rng, -0.2, 0.5, 0.2, 0.8, 0.13, _tone(fur, 0.7))
    pen.curve([(-0.5, 0.05), (-0.35, -0.2), (0.1, -0.18), (0.5, -0.18), (0.64, 0.05), (0.5, 0.32),
               (0.1, 0.3), (-0.3, 0.38)], fur)
    pen.shape([(-0.2, -0.15), (-0.45, 0.2), (-0.66, -0.2 + nod), (-0.35, -0.45 + nod)], fur)
    pen.stroke([(-0.56, -0.02 + nod), (-0.26, -0.24 + nod)], 0.09, _pick(rng, PAINTS))
    if rng.random() < 0.5:
        pen.curve([(0.05, -0.19), (0.4, -0.19), (0.42, 0.05),
                   (0.15, 0.1)], _pick(rng, [WHITE, _tone(fur, 0.55)]))
    pen.curve([(-0.78, -0.3 + nod), (-1.06, -0.26 + nod), (-1.08, -0.12 + nod), (-0.9, -0.04 + nod),
               (-0.7, -0.06 + nod)], _tone(fur, 1.15))
    pen.stroke([(-0.92, -0.02 + nod), (-0.94, 0.1 + nod)], 0.1, (214, 100, 110))
    pen.oval(-0.6, -0.36 + nod, 0.27, 0.27, fur)
    pen.oval(-1.04, -0.25 + nod, 0.07, 0.06, BLACK)
    pen.oval(-0.72, -0.4 + nod, 0.05, 0.06, BLACK)
    pen.curve([(-0.52, -0.62 + nod), (-0.34, -0.52 + nod), (-0.28, -0.2 + nod),
               (-0.38, -0.04 + nod), (-0.5, -0.2 + nod)], ear)
    _legs(pen, rng, -0.34, 0.5, 0.2, 0.85, 0.15, fur)


def _frog(pen, rng):
    _land(pen, rng)
    pen.pose(tilt=10)
    skin = _pick(rng, [(92, 160, 62), (70, 136, 70), (132, 170, 60), (120, 110, 60)])
    dark, pale = _tone(skin, 0.7), _pick(rng, [(220, 226, 160), (236, 232, 200)])
    wide = rng.uniform(0.9, 1.1)
    for side in (-1, 1):
        pen.oval(side * 0.62 * wide, 0.36, 0.28, 0.34, dark)
        pen.curve([(side * 0.5, 0.62), (side * 0.95 * wide, 0.6), (side * 1.02 * wide, 0.74),
                   (side * 0.45, 0.78)], dark)
    pen.curve([(0, -0.34), (0.45 * wide, -0.2), (0.62 * wide, 0.2), (0.48, 0.66), (-0.48, 0.66),
               (-0.62 * wide, 0.2), (-0.45 * wide, -0.2)], skin)
    pen.curve([(0, 0.12), (0.36, 0.1), (0.4, 0.4), (0.26, 0.66), (-0.26, 0.66), (-0.4, 0.4),
               (-0.36, 0.1)], pale)
    for side in (-1, 1):
        pen.oval(side * 0.34, -0.4, 0.22, 0.22, skin)
        pen.oval(side * 0.34, -0.42, 0.15, 0.15, (244, 236, 180))
        pen.oval(side * 0.34, -0.42, 0.1, 0.07, BLACK)
        pen.stroke([(side * 0.3, 0.3), (side * 0.26, 0.72)], 0.14, dark)
        for toe in (-0.14, 0, 0.14):
            pen.stroke([(side * 0.26, 0.7), (side * 0.28 + toe, 0.84)], 0.06, dark)
    pen.stroke([(-0.48 * wide, -0.08), (-0.25, 0.04), (0.25, 0.04),
                (0.48 * wide, -0.08)], 0.06, _tone(skin, 0.4))
    if rng.random() < 0.5:
        for x, y in ((-0.1, -0.24), (0.12, -0.18), (-0.46, 0.2), (0.48, 0.16)):
            pen.oval(x, y, 0.06, 0.05, dark)


def _horse(pen, rng):
    _land(pen, rng)
    pen.pose(tilt=6)
    coat = _pick(rng, [(112, 66, 38), (146, 88, 48), (58, 48, 44), (186, 182, 176), (206, 160, 100)])
    mane = _pick(rng, [(40, 34, 32), (224, 206, 166)] if coat[0] > 90 else [(36, 32, 32)])
    nod = rng.uniform(-0.05, 0.12)
    _legs(pen, rng, -0.24, 0.5, 0.1, 0.88, 0.1, _tone(coat, 0.65))
    pen.curve([(0.55, -0.22), (0.78, -0.14), (0.86, 0.2), (0.78, 0.6), (0.68, 0.2)], mane)
    pen.curve([(-0.48, -0.1), (-0.3, -0.26), (0.1, -0.22), (0.5, -0.28), (0.68, -0.08),
               (0.58, 0.18), (0.1, 0.24), (-0.34, 0.22)], coat)
    pen.curve([(-0.14, -0.22), (-0.42, 0.14), (-0.6, -0.3), (-0.7, -0.62 + nod),
               (-0.44, -0.78 + nod), (-0.3, -0.5)], coat)
    pen.curve([(-0.42, -0.86 + nod), (-0.24, -0.7 + nod), (-0.06, -0.36), (-0.06, -0.14),
               (-0.22, -0.3), (-0.4, -0.62 + nod)], mane)
    pen.curve([(-0.44, -0.82 + nod), (-0.66, -0.78 + nod), (-0.98, -0.46 + nod),
               (-0.98, -0.3 + nod), (-0.82, -0.28 + nod), (-0.52, -0.5 + nod)], coat)
    pen.shape([(-0.58, -0.76 + nod), (-0.5, -1.0 + nod), (-0.42, -0.74 + nod)], coat)
    if rng.random() < 0.5:
        pen.stroke([(-0.66, -0.72 + nod), (-0.9, -0.48 + nod)], 0.06, WHITE)
    pen.oval(-0.66, -0.62 + nod, 0.045, 0.045, BLACK)
    pen.oval(-0.92, -0.36 + nod, 0.035, 0.035, BLACK)
    _legs(pen, rng, -0.34, 0.54, 0.1, 0.92, 0.12, coat)


def _ship(pen, rng):
    _sky(pen, rng)
    sea, level = _pick(rng, SEAS), rng.uniform(0.55, 0.68)
    pen.band(level, sea)
    pen.pose(tilt=5)
    pen.centre[1] = (level - 0.06) * pen.pixels
    hull = _pick(rng, [*PAINTS, (50, 56, 70), (50, 56, 70)])
    if rng.random() < 0.35:
        sail = _pick(rng, [WHITE, WHITE, (226, 196, 150), (206, 80, 70)])
        pen.stroke([(0, 0), (0, -1.05)], 0.05, (90, 66, 46))
        pen.curve([(0.05, -1.0), (0.3, -0.6), (0.5, -0.12), (0.25, -0.08), (0.05, -0.1)], sail)
        pen.shape([(-0.06, -0.92), (-0.06, -0.12), (-0.7, -0.1)], _tone(sail, 0.85))
        pen.shape([(-0.85, 0.0), (0.72, 0.0), (0.6, 0.3), (-0.55, 0.3)], hull)
    else:
        house = _pick(rng, [WHITE, WHITE, (226, 214, 190)])
        funnel, place = _pick(rng, PAINTS), rng.uniform(-0.05, 0.3)
        for x in (place, place + 0.28):
            pen.shape([(x, -0.36), (x + 0.02, -0.68), (x + 0.2, -0.68), (x + 0.2, -0.36)], funnel)
            pen.stroke([(x + 0.04, -0.66), (x + 0.18, -0.66)], 0.07, BLACK)
        pen.stroke([(-0.5, 0), (-0.5, -0.75)], 0.04, _tone(house, 0.5))
        pen.shape([(-0.35, 0.0), (-0.3, -0.4), (place + 0.5, -0.4), (place + 0.5, 0.0)], house)
        pen.shape([(-0.55, 0.0), (-0.52, -0.2), (0.75, -0.2), (0.75, 0.0)], _tone(house, 0.9))
        pen.stroke([(-0.22, -0.29), (place + 0.42, -0.29)], 0.06, GLASS)
        for x in (-0.4, -0.2, 0, 0.2, 0.4, 0.6):
            pen.oval(x, -0.1, 0.04, 0.04, GLASS)
        pen.shape([(-1.0, -0.08), (0.9, 0.0), (0.84, 0.34), (-0.75, 0.34)], hull)
        pen.stroke([(-0.8, 0.24), (0.84, 0.24)], 0.08, _tone(hull, 0.6))
    pen.band(level + 0.04, sea)
    for _ in range(rng.integers(4, 9)):
        wave = _tone(sea, rng.uniform(0.8, 1.5))
        pen.blot(rng.uniform(0, 1), rng.uniform(level + 0.05, 1), rng.uniform(0.05, 0.18), 0.012, wave)


def _truck(pen, rng):
    _land(pen, rng, horizon=0.6)
    pen.pose(tilt=5)
    paint, load = _pick(rng, PAINTS), _pick(rng, [*PAINTS, WHITE, WHITE])
    top, cab = rng.uniform(-0.72, -0.5), rng.uniform(-0.4, -0.3)
    pen.oval(0, 0.5, 0.95, 0.07, (60, 60, 62))
    pen.shape([(-0.9, 0.36), (0.94, 0.36), (0.94, 0.26), (-0.9, 0.26)], BLACK)
    pen.shape([(-0.36, 0.28), (-0.36, top), (0.96, top), (0.96, 0.28)], load)
    pen.shape([(-0.36, 0.28), (-0.36, 0.2), (0.96, 0.2), (0.96, 0.28)], _tone(load, 0.65))
    if rng.random() < 0.6:
        pen.stroke([(-0.28, (top + 0.2) / 2), (0.88, (top + 0.2) / 2)], 0.14, _pick(rng, PAINTS))
    pen.shape([(-0.96, 0.3), (-0.98, 0.0), (-0.82, cab), (-0.42, cab), (-0.42, 0.3)], paint)
    pen.shape([(-0.9, -0.02), (-0.78, cab + 0.08), (-0.52, cab + 0.08), (-0.52, -0.02)], GLASS)
    pen.oval(-0.93, 0.14, 0.05, 0.06, (250, 240, 190))
    for x in (-0.66, 0.36, 0.74):
        pen.oval(x, 0.4, 0.18, 0.18, BLACK)
        pen.oval(x, 0.4, 0.08, 0.08, (186, 188, 192))


# fmt: on
FIGURES = (_airplane, _automobile, _bird, _cat, _deer, _dog, _frog, _horse, _ship, _truck)
"""What draws each class, in CIFAR-10's order."""
