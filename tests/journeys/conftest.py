"""Small sound data sets, to be spoilt by the test, and the door they are sent through."""

import hashlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from lucency.fit import Settings, fit


class Bench:
    """A data folder, and the walk over it."""

    def __init__(self, place: Path) -> None:
        self.data, self.out = place / "data", place / "run"
        self.data.mkdir()
        self.rng = np.random.default_rng(0)

    def file(self, path):
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def picture(self, path, array=None):
        """Save a picture, by default noise with a bright square, 16 x 16."""
        if array is None:
            array = self.rng.integers(0, 120, (16, 16), dtype=np.uint8)
            j, i = self.rng.integers(0, 10, 2)
            array[j : j + 6, i : i + 6] += 120
        Picture.fromarray(array).save(self.file(path))

    def volume(self, path, array=None, affine=None):
        """Save a NIfTI file, by default noise of 6 x 8 x 10 voxels (i, j, k)."""
        array = self.rng.normal(100, 20, (6, 8, 10)).astype(np.float32) if array is None else array
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), self.file(path))

    def classes(self, n=24, names=("cat", "dog")):
        """Class folders with n pictures in all."""
        for number in range(n):
            self.picture(f"{names[number % len(names)]}/{number:03d}.png")
        return self

    def table(self, rows, header="image,label"):
        """A table beside pictures in ``pictures``."""
        self.file("table.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return self

    def pictures(self, n=24):
        """Pictures that only a table can name."""
        for number in range(n):
            self.picture(f"pictures/{number:03d}.png")
        return self

    def masks(self, n=24, value=1):
        """Volumes with masks."""
        for number in range(n):
            self.volume(f"images/{number:03d}.nii.gz")
            self.mask(number, value)
        return self

    def mask(self, number, value=1, shape=(6, 8, 10), affine=None):
        """One mask, a box of the given value."""
        array = np.zeros(shape, np.uint8)
        i, j, k = self.rng.integers(0, 3, 3)
        array[i : i + 3, j : j + 4, k : k + 5] = value
        self.volume(f"labels/{number:03d}.nii.gz", array, affine)

    def walk(self, upto="inspect", **said):
        """Walk with a budget of seconds."""
        return fit(self.data, self.out, settings=Settings(minutes=0.3, **said), upto=upto)

    def prints(self):
        """Every file of the user's and its digest."""
        files = sorted(p for p in self.data.rglob("*") if p.is_file())
        return {p.relative_to(self.data).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    def refused(self, error, *words, upto="profile", **said):
        """Walk, expecting a refusal that says every word and a remedy; the user's files stay as they are."""
        before = self.prints()
        with pytest.raises(error) as caught:
            self.walk(upto, **said)
        text = str(caught.value)
        assert type(caught.value) is error
        assert [w for w in words if w not in text] == []
        assert caught.value.remedy
        assert str(self.data) not in text
        assert str(self.data.parent) not in text
        assert self.prints() == before
        assert not (self.out / "lock.json").exists()
        return caught.value


@pytest.fixture
def bench(tmp_path):
    """An empty data folder."""
    return Bench(tmp_path)
