"""Generated chest CT of patients who never lived, with lung nodules whose place and size are known.

A body is put together from simple solids (ellipses, tubes, shells), painted one over the other with soft edges, so
that a voxel that two tissues share gets the mean of both, as in a scanner. Nodules are painted by supersampling.

Source:
    Hounsfield units of tissues: Schneider, Pedroni, Lomax 1996, doi:10.1088/0031-9155/41/1/009.
    Aerated lung, -900 to -500 HU: Gattinoni et al. 2001, doi:10.1164/ajrccm.164.9.2103121.
    Solid and part-solid nodules: Fleischner Society, MacMahon et al. 2017, doi:10.1148/radiol.2017161659.
    Vessel radii at a fork, r^3 = r1^3 + r2^3: Murray 1926, doi:10.1073/pnas.12.3.207.
    Noise with the spectrum of filtered back-projection: Riederer, Pelc, Chesler 1978,
    doi:10.1088/0031-9155/23/3/008.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lucency.errors import UsageError
from lucency.image import Image, diagonal_affine

#: (K, J, I) of every phantom: a chest of 18 × 28 × 36 cm, small enough to train on two cores in minutes.
SIZE = (40, 80, 104)
#: (k, j and i) in mm, before the variation between patients.
SPACING_MM = (4.5, 3.5)

# Hounsfield units; each is the middle of its tissue's range (sources above). The scan is without contrast medium.
AIR, FAT, MUSCLE, BLOOD, LIVER, SPLEEN = -1000.0, -100.0, 50.0, 42.0, 58.0, 48.0
CARTILAGE, SPONGY_BONE, RIB, DISC, CORD, COUCH = 110.0, 200.0, 380.0, 80.0, 30.0, -720.0
MEDIASTINAL_FAT = -85.0

#: Range of nodule diameters, mm: under 6 mm the Fleischner Society asks for no routine follow-up.
DIAMETERS_MM = (6.0, 20.0)
#: Chance of 0, 1, 2 and 3 nodules.
COUNT_CHANCES = (0.1, 0.4, 0.3, 0.2)
#: Vessels are followed down to this radius; thinner ones vanish in a voxel of 3.5 mm.
THINNEST_MM = 1.0
#: Where vessels go from the hilum of a lung (outwards, back, up): apex, upper back, front, lower back, base.
LOBES = ((0.5, -0.4, 1.0), (0.8, 0.5, 0.7), (1.0, -0.8, -0.1), (0.9, 0.4, -0.6), (0.4, 0.6, -1.0))
#: Supersampling of nodules per axis; the covered share of a voxel is then right to about 1 %.
FINE = 5


@dataclass(frozen=True, eq=False)
class Phantom:
    """One generated patient and the truth about them.

    Args:
        image: Intensity, int16, HU.
        mask: Labels, uint8, 1 where a nodule fills at least half of the voxel; same grid.
        diameters_mm: Diameter of the sphere of equal volume, per nodule.
        centres_mm: (n, 3) float, mm, LPS.
        part_solid: Whether a nodule is a solid core in ground glass, per nodule.
        age: Fictional, years.
        sex: Fictional, ``"F"`` or ``"M"``; women are drawn a little smaller.
    """

    image: Image
    mask: Image
    diameters_mm: tuple[float, ...]
    centres_mm: np.ndarray
    part_solid: tuple[bool, ...]
    age: int
    sex: str


def patient(number: int, seed: int) -> Phantom:
    """Return generated patient ``number`` of the series ``seed``; the same two numbers give the same patient.

    Args:
        number: Which patient, >= 0.
        seed: Which series, >= 0.

    Raises:
        UsageError: A negative number or seed.
    """
    if number < 0 or seed < 0:
        raise UsageError(f"Patient {number} of series {seed}", expected="two numbers that are not negative")
    rng = np.random.default_rng([seed, number])
    sex = "F" if rng.random() < 0.5 else "M"
    age = int(rng.integers(45, 80))
    body = _Body(rng, scale=float(rng.uniform(0.9, 0.98) if sex == "F" else rng.uniform(0.96, 1.05)))
    body.paint_wall()
    body.paint_lungs()
    body.paint_mediastinum()
    body.paint_vessels()
    nodules = _plant(body, rng)
    image = Image(_scan(body.hu, rng)[np.newaxis], body.affine, "intensity", "HU")
    return Phantom(
        image=image,
        mask=image.with_array(body.truth[np.newaxis], kind="labels", unit="label"),
        diameters_mm=tuple(n.diameter_mm for n in nodules),
        centres_mm=np.array([n.centre_mm for n in nodules], dtype=np.float64).reshape(-1, 3),
        part_solid=tuple(n.part_solid for n in nodules),
        age=age,
        sex=sex,
    )


class _Body:
    """The grid in body coordinates (mm; x left, y back, z up from the lung bases) and what is painted on it."""

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        self.rng, self.scale = rng, scale
        step = np.array([SPACING_MM[0], SPACING_MM[1], SPACING_MM[1]]) * rng.uniform(0.97, 1.03, 3)
        step[2] = step[1]  # pixels are square
        self.step = np.round(step, 3)
        self.edge = float(np.prod(self.step) ** (1 / 3))
        shift = rng.uniform(-1, 1, 3) * (5.0, 5.0, 8.0)  # how the patient lies on the couch
        axes = [(np.arange(n) - (n - 1) / 2) * s + d for n, s, d in zip(SIZE, self.step, shift, strict=True)]
        axes[0] += 86.0 * scale
        self.axes = axes
        self.z, self.y, self.x = np.meshgrid(*axes, indexing="ij", sparse=True)
        self.affine = diagonal_affine([float(s) for s in self.step])
        self.affine[:3, 3] = axes[2][0], axes[1][0], axes[0][0]
        self.hu = np.full(SIZE, AIR)
        self.truth = np.zeros(SIZE, dtype=np.uint8)
        self.apex = 166.0 * scale
        self.cavity = self._cavity()

    def paint(self, distance: np.ndarray, value: float | np.ndarray) -> None:
        """Cover the inside of a solid; ``distance`` is mm from its surface, negative inside."""
        share = np.clip(0.5 - distance / self.edge, 0.0, 1.0)
        self.hu += share * (value - self.hu)

    def tube(self, x: float, y: float, rx: float, ry: float) -> np.ndarray:
        """Distance to an upright tube; centre and radii scale with the body."""
        s = self.scale
        return _radial(rx * s, ry * s, 0.0, self.x - x * s, self.y - y * s, 0.0)

    def _cavity(self) -> np.ndarray:
        """Distance to the inner chest wall: an egg that narrows to the lung apices and is open below."""
        s = self.scale
        rise = np.clip((self.z - 30 * s) / (self.apex - 30 * s), 0.0, 0.999)
        width = np.sqrt(1 - rise**2.6)
        distance = _radial(132 * s, 86 * s, 0.0, self.x / width, (self.y + 6 * s) / width, 0.0, power=2.4)
        return np.asarray(np.maximum(distance * np.clip(width, 0.3, 1.0), self.z - self.apex))

    def paint_wall(self) -> None:
        """Couch, skin and fat, muscle, ribs, sternum, shoulder blades, spine."""
        s, rng = self.scale, self.rng
        fat = rng.uniform(7, 16)
        half = 150 * s + fat + 12 * np.clip((self.z - 110 * s) / (60 * s), 0, 1)  # arms are up: shoulders are broad
        couch = self.y - (116 * s + fat) + 0.0006 * self.x**2  # a shallow trough
        self.paint(np.maximum(np.abs(couch) - 4, np.abs(self.x) - 165), COUCH)
        skin = _radial(1.0, 0.0, 0.0, np.hypot(self.x / half, self.y / (100 * s + fat)), 0.0, 0.0) * 100 * s
        self.paint(skin, FAT)
        self.paint(skin + fat, MUSCLE)
        blade = np.maximum(np.abs(self.cavity - 19) - 3, np.abs(np.abs(self.x) - 75 * s) - 32 * s)
        self.paint(np.maximum(np.maximum(blade, 25 * s - self.y), 70 * s - self.z), RIB)
        # Ribs run down towards the front: about 25 degrees against the slices.
        phase = (self.z - 0.45 * self.y + rng.uniform(0, 25)) % (25 * s) - 12.5 * s
        rib = np.maximum(np.abs(self.cavity - 7) - 4, np.abs(phase) - 6)
        front = (self.y < -58 * s) & (np.abs(self.x) < 85 * s)
        self.paint(rib, np.where(front, CARTILAGE, RIB))
        self.paint(self.cavity, MEDIASTINAL_FAT)
        self.paint(np.maximum(self.tube(0, -93, 19, 6), 25 * s - self.z), SPONGY_BONE)
        disc = np.abs((self.z + rng.uniform(0, 26)) % (26 * s) - 13 * s) < 3 * s
        self.paint(self.tube(0, 58, 17, 14), np.where(disc, DISC, SPONGY_BONE + rng.uniform(-60, 30)))
        arch = np.minimum(self.tube(0, 84, 32, 6), self.tube(0, 96, 4.5, 14))
        self.paint(np.maximum(arch, np.abs((self.z + 8) % (26 * s) - 13 * s) - 9 * s), RIB)
        self.paint(self.tube(0, 79, 13, 11), RIB)
        self.paint(self.tube(0, 79, 8, 7.5), CORD)

    def paint_lungs(self) -> None:
        """Two lungs over the domes of the diaphragm, with liver and spleen below; the back is denser than the front."""
        s, rng = self.scale, self.rng
        side = np.where(self.x < 0, 1.0, 0.82)  # the right dome (x < 0) stands higher
        dome = (
            rng.uniform(44, 52) * side - 62 * ((np.abs(self.x) / s - 62) / 75) ** 2 - 50 * ((self.y / s + 6) / 86) ** 2
        ) * s
        below = np.maximum(self.cavity, self.z - dome + 2)
        self.paint(below, np.where(self.x < 15 * s, LIVER, SPLEEN))
        depth = np.clip((self.y / s + 80) / 160, 0, 1)
        middle = (10 + 16 * depth**2 + 7 * np.exp(-(((self.y / s + 5) / 30) ** 2))) * s
        lungs = np.maximum(np.maximum(self.cavity + 1, middle - np.abs(self.x)), dome - self.z)
        # Gravity: the lung of a lying patient is about 60 HU denser at the back.
        air = rng.uniform(-880, -810) + 60 * depth + 14 * ndimage.gaussian_filter(rng.normal(size=SIZE), 1.2) * 8
        self.lungs = lungs
        self.paint(lungs, air)

    def paint_mediastinum(self) -> None:
        """Heart, aorta with its arch, great veins, gullet, windpipe and main bronchi."""
        s, rng = self.scale, self.rng
        tilt = rng.uniform(0.3, 0.5)
        hx, hy, hz = self.x - 24 * s, self.y + 28 * s, self.z - 56 * s
        long, cross = hx - tilt * hz - 0.35 * hy, hz + tilt * hx
        heart = _radial(56 * s, 38 * s, 44 * s, long, hy + 0.3 * hx, cross) * rng.uniform(0.9, 1.0)
        self.solid = heart
        arch_z = 122 * s
        knee = np.sqrt(
            (np.hypot(self.y - 12 * s, self.z - arch_z) - 30 * s) ** 2 + (self.x - 0.25 * self.y - 6 * s) ** 2
        )
        bow = np.maximum(knee - 12 * s, arch_z - self.z)
        down = np.maximum(self.tube(17, 42, 12, 12), self.z - arch_z)
        up = np.maximum(np.maximum(self.tube(1, -18, 15, 15), self.z - arch_z), 60 * s - self.z)
        cava = np.maximum(self.tube(-22, -14, 9, 9), 60 * s - self.z)
        trunk = _radial(40 * s, 12 * s, 11 * s, self.x - 2 * s, self.y - 2 * s, self.z - 96 * s)
        for vessel in (heart, bow, down, up, cava, trunk):
            self.paint(vessel, BLOOD)
            self.solid = np.minimum(self.solid, vessel)
        self.paint(self.tube(6, 34, 6, 5), MUSCLE - 15)
        pipe = np.maximum(self.tube(-2, 20, 8.5, 8), 102 * s - self.z)
        fork = np.abs(self.x + 2 * s)
        bronchi = np.maximum(np.hypot(self.z - 102 * s + 0.7 * fork, self.y - 18 * s) - 6 * s, fork - 42 * s)
        airway = np.minimum(pipe, bronchi)
        self.paint(airway - 2, MUSCLE)
        self.paint(airway, AIR)
        self.solid = np.minimum(self.solid, airway - 2)
        self.inside = (self.lungs < 0) & (self.solid > 0)

    def paint_vessels(self) -> None:
        """Trees of blood vessels that leave the hilum of each lung and fork by Murray's law."""
        cover = np.zeros(SIZE)
        for start, end, radius in _tree(self):
            where, distance = _segment(self, start, end, radius)
            # A tube thinner than a voxel fills only a part of it: its cross-section over the voxel's face.
            share = np.clip(0.5 - distance / self.edge, 0, 1) * min(1.0, np.pi * radius**2 / self.edge**2)
            np.maximum(cover[where], share, out=cover[where])
        self.cover = np.where(self.lungs < 2, cover, 0.0)
        self.hu += self.cover * (BLOOD - self.hu)

    def voxel(self, point: np.ndarray) -> tuple[int, int, int]:
        """Nearest voxel (k, j, i) of a point (x, y, z), kept on the grid."""
        at = [round((p - a[0]) / (a[1] - a[0])) for p, a in zip(point[::-1], self.axes, strict=True)]
        k, j, i = (min(max(n, 0), size - 1) for n, size in zip(at, SIZE, strict=True))
        return k, j, i


def _radial(
    a: float,
    b: float,
    c: float,
    x: np.ndarray | float,
    y: np.ndarray | float,
    z: np.ndarray | float,
    power: float = 2.0,
) -> np.ndarray:
    """Distance in mm along the ray from the centre to an ellipsoid of radii a, b, c (0: no such axis)."""
    parts = [(np.abs(v), r) for v, r in ((x, a), (y, b), (z, c)) if r > 0]
    norm = sum((v / r) ** power for v, r in parts) ** (1 / power)
    length = np.sqrt(sum(v**2 for v, _ in parts))
    return np.where(norm > 1e-6, length * (1 - 1 / np.maximum(norm, 1e-6)), -min(r for _, r in parts))


def _tree(body: _Body) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yield the segments (start, end, radius; mm) of all vessel trees."""
    rng, s = body.rng, body.scale
    waiting: list[tuple[np.ndarray, np.ndarray, float, int]] = []
    for side in (-1.0, 1.0):
        hilum = np.array([side * 30, 6.0, 92.0]) * s
        for aim in LOBES * 2:  # an artery and a vein each
            way = np.array(aim) * (side, 1, 1) + rng.normal(scale=0.25, size=3)
            waiting.append((hilum + rng.normal(scale=4, size=3), _unit(way), rng.uniform(3.8, 5.4) * s, 0))
    while waiting:
        start, way, radius, depth = waiting.pop()
        end = start + way * radius * rng.uniform(4.0, 7.5)  # two to four diameters
        yield start, end, radius
        share = rng.uniform(0.35, 0.65)
        turn = _unit(np.cross(way, rng.normal(size=3)))
        for part, sign in ((share, 1.0), (1 - share, -1.0)):
            child = radius * part ** (1 / 3)
            if child >= THINNEST_MM and (depth < 2 or body.inside[body.voxel(end)]):
                angle = np.deg2rad(rng.uniform(20, 50)) * (radius / child) ** 0.5
                waiting.append((end, _unit(np.cos(angle) * way + sign * np.sin(angle) * turn), child, depth + 1))


def _unit(vector: np.ndarray) -> np.ndarray:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _box(body: _Body, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice, slice]:
    """The voxels between two points (x, y, z) and one around them."""
    first, last = body.voxel(low), body.voxel(high)
    k, j, i = (slice(max(a - 1, 0), min(b + 2, n)) for a, b, n in zip(first, last, SIZE, strict=True))
    return k, j, i


def _segment(
    body: _Body, start: np.ndarray, end: np.ndarray, radius: float
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """The box round a straight vessel and the distance of its voxels from the vessel's wall."""
    where = _box(body, np.minimum(start, end) - radius, np.maximum(start, end) + radius)
    k, j, i = where
    p = [body.x[:, :, i] - start[0], body.y[:, j, :] - start[1], body.z[k] - start[2]]
    way = end - start
    along = np.clip((p[0] * way[0] + p[1] * way[1] + p[2] * way[2]) / float(way @ way), 0, 1)
    return where, np.sqrt(sum((a - along * w) ** 2 for a, w in zip(p, way, strict=True))) - radius


@dataclass(frozen=True)
class _Nodule:
    centre_mm: tuple[float, float, float]
    diameter_mm: float
    part_solid: bool


def _plant(body: _Body, rng: np.random.Generator) -> list[_Nodule]:
    """Draw nodules at random places of the lungs, none touching another, and paint them."""
    wanted = int(rng.choice(len(COUNT_CHANCES), p=COUNT_CHANCES))
    # A nodule keeps clear of thick vessels, else its edge would be nobody's truth.
    room = ndimage.distance_transform_edt(_padded(body.inside & (body.cover < 0.6)), sampling=body.step)[
        1:-1, 1:-1, 1:-1
    ]
    nodules: list[_Nodule] = []
    for _ in range(wanted):
        diameter = float(rng.uniform(*DIAMETERS_MM))
        free = np.argwhere(room > diameter / 2 + body.edge / 2)
        for _ in range(50):
            at = free[rng.integers(len(free))] + rng.uniform(-0.5, 0.5, 3) if len(free) else np.zeros(3)
            centre = body.affine[:3, :3] @ at + body.affine[:3, 3]
            where, share = _blob(body, centre, diameter, rng)
            clear = all(np.linalg.norm(centre - n.centre_mm) > (diameter + n.diameter_mm) / 2 + 8 for n in nodules)
            # On a voxel's corner the smallest nodules would fill no voxel by half and leave no truth.
            if len(free) and clear and (share >= 0.5).sum() >= 2:
                nodules.append(_paint_nodule(body, rng, where, share, centre, diameter))
                break
    return nodules


def _padded(inside: np.ndarray) -> np.ndarray:
    """Add a voxel of outside all round, so that the scan's border counts as a wall."""
    return np.pad(inside, 1, constant_values=False)


def _blob(
    body: _Body, centre: np.ndarray, diameter: float, rng: np.random.Generator
) -> tuple[tuple[slice, slice, slice], np.ndarray]:
    """The box round a slightly bumpy ellipsoid of a sphere's volume and the share of each voxel that it fills."""
    stretch = rng.uniform(0.85, 1.18, 3)
    stretch /= np.prod(stretch) ** (1 / 3)
    bumps = [(_unit(rng.normal(size=3)), float(rng.uniform(0.0, 0.06))) for _ in range(3)]
    where = _box(body, centre - 0.75 * diameter, centre + 0.75 * diameter)
    offsets = (np.arange(FINE) - (FINE - 1) / 2) / FINE
    fine = [
        (axis[part, np.newaxis] + offsets * step).ravel()
        for axis, part, step in zip(body.axes, where, body.step, strict=True)
    ]
    z, y, x = np.meshgrid(*fine, indexing="ij")
    p = np.stack([x - centre[0], y - centre[1], z - centre[2]]) / stretch[:, np.newaxis, np.newaxis, np.newaxis]
    length = np.sqrt((p**2).sum(axis=0))
    bumpy = sum(a * np.cos(3 * np.tensordot(u, p, 1) / np.maximum(length, 1e-6)) for u, a in bumps)
    inside = length <= diameter / 2 * (1 + bumpy)
    counts = [n // FINE for n in inside.shape]
    share = inside.reshape(counts[0], FINE, counts[1], FINE, counts[2], FINE).mean(axis=(1, 3, 5))
    return where, share


def _paint_nodule(
    body: _Body,
    rng: np.random.Generator,
    where: tuple[slice, slice, slice],
    share: np.ndarray,
    centre: np.ndarray,
    diameter: float,
) -> _Nodule:
    """Paint one nodule: solid, or a solid core of half the diameter in ground glass."""
    part_solid = bool(diameter > 9 and rng.random() < 0.3)
    value = rng.uniform(-560, -380) if part_solid else rng.uniform(10, 60)
    body.hu[where] += share * (value - body.hu[where])
    if part_solid:
        core, core_share = _blob(body, centre, diameter * rng.uniform(0.45, 0.6), rng)
        body.hu[core] += core_share * (rng.uniform(0, 40) - body.hu[core])
    body.truth[where][share >= 0.5] = 1
    return _Nodule((float(centre[0]), float(centre[1]), float(centre[2])), diameter, part_solid)


def _scan(hu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur a little, add noise as filtered back-projection leaves it, and round: (K, J, I) int16, HU."""
    blurred = ndimage.gaussian_filter(hu, (0.2, 0.4, 0.4))
    white = np.fft.rfft2(rng.normal(size=hu.shape), axes=(1, 2))
    v, u = np.meshgrid(np.fft.fftfreq(hu.shape[1]), np.fft.rfftfreq(hu.shape[2]), indexing="ij")
    frequency = np.hypot(v, u)
    # Ramp filter times the roll-off of a soft kernel: little noise at low and at the highest frequencies.
    noise = np.fft.irfft2(white * np.sqrt(frequency) * np.exp(-((frequency / 0.3) ** 2)), s=hu.shape[1:], axes=(1, 2))
    noise *= rng.uniform(14, 24) / noise.std()
    return np.asarray(np.clip(np.rint(blurred + noise), -1024, 3071), dtype=np.int16)
