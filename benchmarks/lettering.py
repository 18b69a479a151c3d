"""Generated text over real images: the material of the training and of the measurement of the text detector."""

import functools
import os
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

DATA = Path(os.environ.get("LUCENCY_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

#: From this distance of ink and ground, as a share of the image's range, a line is read without effort.
LEGIBLE = 0.22
#: At most this many slices are taken from one volume.
SLICES = 12
NAMES = [
    "SMITH",
    "JONES",
    "GARCIA",
    "MULLER",
    "DAVIDSON",
    "DOUGLAS",
    "KAUFMAN",
    "SCOTT",
    "NGUYEN",
    "Maria",
    "Anna",
    "Peter",
    "Johann",
    "Li",
    "Wei",
    "Ivanova",
]
WORDS = [
    "DOB:",
    "ID",
    "Acc#",
    "kV",
    "mA",
    "WL",
    "WW",
    "Portable",
    "Semi-Upright",
    "AP",
    "LAT",
    "HOSPITAL",
    "Study",
    "Series",
    "Im:",
    "MRN",
    "DOE",
    "SEX",
    "AGE",
    "Zoom",
]
#: Frequent family and given names, and words of a Chinese scanner's screen.
CHINESE = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英医院姓名男女"


@dataclass(frozen=True)
class Face:
    """A font.

    Args:
        name: In the record.
        path: Font file; "" is the small bitmap font of Pillow.
        chinese: It has Chinese characters.
        bitmap: Drawn without grey edges and enlarged by whole factors, as old scanners do.
        seen: The detector was trained with it.
    """

    name: str
    path: str
    chinese: bool = False
    bitmap: bool = False
    seen: bool = True


@dataclass(frozen=True)
class Line:
    """A drawn line: its tight box in px (first row and column, row and column after the last), look and font."""

    top: int
    left: int
    bottom: int
    right: int
    style: str
    face: str


@dataclass(frozen=True)
class Background:
    """A real image without text of ours.

    Args:
        source: Data set and modality.
        patient: What one person's images share.
        name: File and slice.
        image: (J, I) or (J, I, 3).
    """

    source: str
    patient: str
    name: str
    image: np.ndarray


def faces(folders: Sequence[Path] = ()) -> list[Face]:
    """Return the fonts at hand: matplotlib's, Pillow's bitmap font, Debian's Chinese ones, and those of folders.

    Held out of training: DejaVu Sans Mono, Computer Modern Typewriter, STIX, Noto Serif CJK, Open Sans, Fira Mono,
    and the bitmap rendering of the first.
    """
    import matplotlib

    bundled = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    seen = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "cmr10", "cmss10"]
    unseen = ["DejaVuSansMono", "DejaVuSansMono-Bold", "cmtt10", "STIXGeneral", "STIXGeneralBol"]
    found = [Face(n, str(bundled / f"{n}.ttf"), seen=n in seen) for n in seen + unseen]
    found.append(Face("Pillow bitmap", "", bitmap=True))
    found.append(Face("DejaVuSans bitmap", str(bundled / "DejaVuSans.ttf"), bitmap=True))
    found.append(Face("DejaVuSansMono bitmap", str(bundled / "DejaVuSansMono.ttf"), bitmap=True, seen=False))
    noto = Path("/usr/share/fonts/opentype/noto")
    for name, was_seen in (("NotoSansCJK-Regular", True), ("NotoSansCJK-Bold", True), ("NotoSerifCJK-Regular", False)):
        if (noto / f"{name}.ttc").exists():
            found.append(Face(name, str(noto / f"{name}.ttc"), chinese=True, seen=was_seen))
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".ttf", ".otf", ".woff2")):
            name = path.name.split(".")[0]
            found.append(Face(name, str(path), seen=not name.lower().startswith(("open", "firamono"))))
    return found


@functools.lru_cache(maxsize=2000)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default_imagefont()


def wording(rng: np.random.Generator, *, chinese: bool) -> str:
    """Return a line as scanners and films show it: names, dates, numbers, in English or Chinese."""

    def date() -> str:
        d, m, y = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1930, 2026)
        form = rng.integers(4)
        return (f"{d:02}.{m:02}.{y}", f"{y}-{m:02}-{d:02}", f"{m}/{d}/{y}", f"{y}{m:02}{d:02}")[form]

    def number() -> str:
        return "".join(rng.choice(list("0123456789"), rng.integers(2, 10)))

    def code() -> str:
        return "".join(rng.choice(list(string.ascii_letters + string.digits + "-./:"), rng.integers(3, 10)))

    kinds = ["name", "date", "number", "word", "code", "chinese"]
    weights = [0.15, 0.2, 0.1, 0.1, 0.1, 0.35] if chinese else [0.32, 0.24, 0.16, 0.16, 0.12, 0]
    parts = []
    for kind in rng.choice(kinds, rng.integers(1, 5), p=weights):
        if kind == "name":
            parts.append(str(rng.choice(NAMES)) + rng.choice(["", ",", " [M]", " (F)"]))
        elif kind == "word":
            parts.append(str(rng.choice(WORDS)))
        elif kind == "chinese":
            parts.append("".join(rng.choice(list(CHINESE), rng.integers(2, 6))) + rng.choice(["", ":"]))
        else:
            parts.append({"date": date, "number": number, "code": code}[kind]())
    text = " ".join(parts)
    return text if len(text) >= 4 or chinese else text + " " + number() + "0"


def drawn(text: str, face: Face, height: int, *, turned: int) -> np.ndarray:
    """Return (J, I) float coverage in [0, 1] of a line whose ink is about ``height`` px high, cut to the ink."""
    factor = 1
    if face.bitmap:
        natural = 9 if not face.path else int(np.clip(height, 8, 14))
        factor = max(1, round(height / natural))
    size = max(6, round(height / factor * (1.05 if face.chinese else 1.25)))
    font = _font(face.path, size)
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (int(right - left) + 6, int(bottom - top) + 6))
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "1" if face.bitmap else "L"
    draw.text((3 - left, 3 - top), text, fill=255, font=font)
    ink = np.asarray(canvas, np.float32) / 255
    rows, columns = np.flatnonzero((ink > 0.2).any(1)), np.flatnonzero((ink > 0.2).any(0))
    if not rows.size:
        return np.zeros((0, 0), np.float32)
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink = np.repeat(np.repeat(ink, factor, 0), factor, 1)
    return np.rot90(ink, turned)


def written(
    image: np.ndarray,
    rng: np.random.Generator,
    faces_: Sequence[Face],
    heights: tuple[int, int],
    n_lines: int,
    contrast: float = LEGIBLE,
) -> tuple[np.ndarray, list[Line]]:
    """Draw lines of text on an image at random, with every polarity and edge, and return their boxes.

    Args:
        image: (J, I) float32 in [0, 1].
        rng: Source of chance.
        faces_: Fonts to draw from.
        heights: Least and greatest height of ink, px.
        n_lines: How many to try; a line that does not fit is left out.
        contrast: Least distance of the ink from nearly all of what lies behind it, as a share of the image's range;
            from about .2 on a line is read without effort.

    Returns:
        The image with text, and the lines.
    """
    out = image.copy()
    taken = np.zeros(image.shape, bool)
    lines: list[Line] = []
    column_turn = int(rng.choice([0, 0, 0, 1, 3]))
    for _ in range(n_lines):
        face = faces_[rng.integers(len(faces_))]
        height = round(float(np.exp(rng.uniform(*np.log(heights)))))
        ink = drawn(wording(rng, chinese=face.chinese), face, height, turned=column_turn)
        j, i = ink.shape
        if not ink.size or j + 4 > image.shape[0] or i + 4 > image.shape[1]:
            continue
        top, left = int(rng.integers(0, image.shape[0] - j + 1)), int(rng.integers(0, image.shape[1] - i + 1))
        if rng.random() < 0.4:
            # Scanners write at the edges.
            top = int(rng.choice([rng.integers(0, 8), image.shape[0] - j - rng.integers(0, 8)]))
            left = int(rng.choice([rng.integers(0, 8), image.shape[1] - i - rng.integers(0, 8)]))
        top, left = int(np.clip(top, 0, image.shape[0] - j)), int(np.clip(left, 0, image.shape[1] - i))
        gap = max(3, min(j, i) // 3)
        around = (slice(max(0, top - gap), top + j + gap), slice(max(0, left - gap), left + i + gap))
        if taken[around].any():
            continue
        taken[top : top + j, left : left + i] = True
        style = _ink(out, ink, (top, left), rng, contrast)
        lines.append(Line(top, left, top + j, left + i, style, face.name))
    return out, lines


def _ink(out: np.ndarray, ink: np.ndarray, corner: tuple[int, int], rng: np.random.Generator, contrast: float) -> str:
    """Lay the ink over the image, with an edge, a shadow or a panel at random, and return which."""
    (j, i), (top, left) = ink.shape, corner
    margin = 4
    area = (slice(max(0, top - margin), top + j + margin), slice(max(0, left - margin), left + i + margin))
    local = out[area]
    full = np.zeros(local.shape, np.float32)
    dj, di = top - area[0].start, left - area[1].start
    full[dj : dj + j, di : di + i] = ink
    low, middle, high = np.percentile(out[top : top + j, left : left + i], (10, 50, 90))
    style = str(rng.choice(["plain", "plain", "plain", "outline", "shadow", "panel"]))
    choices = [
        c
        for c in (1.0, 0.0, 1.15, float(rng.uniform(0, 1)), float(rng.uniform(0.4, 1)))
        if min(abs(c - low), abs(c - middle), abs(c - high)) > contrast
    ]
    if style in ("plain", "shadow") and not choices:
        style = "outline"
    tone = choices[rng.integers(len(choices))] if choices else float(rng.random() < 0.5)
    other = 0.0 if tone > 0.5 else 1.0
    if style == "panel":
        local[...] = other if rng.random() < 0.7 else (other + 0.25 * (tone - other))
    elif style == "outline":
        edge = np.clip(ndimage.grey_dilation(full, size=(3, 3)), 0, 1)
        local[...] = local * (1 - edge) + other * edge
    elif style == "shadow":
        edge = np.roll(full, (1, 1), (0, 1))
        local[...] = local * (1 - edge) + other * edge
    if contrast < LEGIBLE and rng.random() < 0.4:
        # Letters that let the picture through, as on films.
        full = full * np.float32(rng.uniform(0.5, 1))
    local[...] = local * (1 - full) + tone * full
    return style


def worn(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image after what screens, exports and 16-bit windows do to it: JPEG, blur, noise, other scale."""
    out = image
    if rng.random() < 0.25:
        picture = Image.fromarray((np.clip(out, 0, 1) * 255).astype(np.uint8))
        out = np.asarray(_jpeg(picture, int(rng.integers(50, 95))), np.float32) / 255
    if rng.random() < 0.15:
        picture = Image.fromarray((np.clip(out, 0, 1) * 255).astype(np.uint8))
        out = np.asarray(picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.8)))), np.float32) / 255
    if rng.random() < 0.3:
        out = out + rng.normal(0, rng.uniform(0.005, 0.06), out.shape).astype(np.float32)
    if rng.random() < 0.3:
        out = np.clip(out, 0, None) ** np.float32(rng.uniform(0.6, 1.7))
    if rng.random() < 0.5:
        out = 1 - out
    return out


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    import io

    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


def backgrounds(part: str, *, per_source: int | None = None) -> list[Background]:
    """Return real images of one part: every third patient of a source is for the report, the others for training.

    Args:
        part: "report", "tune" (every fifth of the rest, where there are so many) or "train".
        per_source: At most so many of each source, spread evenly.
    """
    together: dict[str, list[Background]] = {}
    for item in _everything():
        together.setdefault(item.source, []).append(item)
    chosen: list[Background] = []
    for _, items in sorted(together.items()):
        patients = sorted({b.patient for b in items})
        own = {p for n, p in enumerate(patients) if _part(n, len(patients)) == part}
        kept = [b for b in items if b.patient in own]
        if per_source is not None and len(kept) > per_source:
            kept = [kept[n] for n in np.linspace(0, len(kept) - 1, per_source).astype(int)]
        chosen += kept
    return chosen


def _part(number: int, n_patients: int) -> str:
    if number % 3 == 0:
        return "report"
    return "tune" if n_patients >= 15 and number % 15 == 4 else "train"


def _everything() -> Iterator[Background]:
    for source, pattern in (
        ("CXR mass boxes", "cxr_mass_boxes/images/*.jpg"),
        ("CXR structures", "cxr_structures/images/*.jpg"),
        ("US fetal head", "hc18/images/*.jpg"),
        ("MR heart", "sunnybrook_lv/images/*.png"),
        ("Blood smear", "bccd/JPEGImages/*.jpg"),
        ("MedNIST", "mednist/jpeg/*/*.jpeg"),
        ("Masks", "hc18/masks/*0_HC.png"),
        ("Masks", "sunnybrook_lv/labels/*0.dcm.png"),
        ("Masks", "cxr_structures/masks/*l*.png"),
    ):
        for path in sorted(DATA.glob(pattern)):
            picture = np.asarray(Image.open(path))
            if picture.ndim == 3 and source.startswith("CXR"):
                picture = picture[..., 0]
            patient = path.stem.split("-IM-")[0] if "sunnybrook" in pattern else path.stem.split("_")[0]
            patient = (
                f"{path.parent.name} {path.stem}"
                if source in ("CXR structures", "MedNIST", "Blood smear", "Masks")
                else patient
            )
            yield Background(source, patient, path.name, picture)
    yield from _volumes()
    for path in sorted((DATA / "lus_video" / "clips").glob("*.npz")):
        frames = np.load(path)["frames"]
        yield Background("US lung", path.stem, path.stem, frames[len(frames) // 2])


def _volumes() -> Iterator[Background]:
    import SimpleITK as sitk  # noqa: N813

    listed = {
        "CT": ["ct_mr_samples/CT_AVM.nii.gz", "ct_mr_samples/CT_pitch.nii.gz", "ct_mr_samples/example_ct.nii.gz"],
        "MR": [
            "ct_mr_samples/MR_Gd.nii.gz",
            "ct_mr_samples/chris_MRA.nii.gz",
            "ct_mr_samples/chris_PD.nii.gz",
            "ct_mr_samples/example_mr_sm.nii.gz",
            "pyradiomics/brain1_image.nrrd",
            "pyradiomics/brain2_image.nrrd",
            "pyradiomics/prostate_phantom_subvolume.nrrd",
        ],
    }
    for source, names in listed.items():
        for name in names:
            if (DATA / name).exists():
                yield from _slices(source, name, sitk.GetArrayFromImage(sitk.ReadImage(str(DATA / name))))
    for path in sorted((DATA / "nsclc_survival" / "ct").glob("*.npz")):
        yield from _slices("CT tumour", path.stem, np.load(path)["scan"], 2)
    for path in sorted((DATA / "hippocampus" / "images").glob("*.nii.gz"))[::4]:
        yield from _slices("MR hippocampus", path.name, sitk.GetArrayFromImage(sitk.ReadImage(str(path))), 1)


def _slices(source: str, name: str, volume: np.ndarray, n: int = SLICES) -> Iterator[Background]:
    for k in np.unique(np.linspace(0.15, 0.85, n) * (volume.shape[0] - 1)).astype(int):
        yield Background(source, name, f"{name} {k}", volume[k])
