"""Values that are not finite, headers that lie, stores of another source: refused by name, found by `verify`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pyutils.data.features import PackedWriter, RegionFeatures, open_regions
from pyutils.data.features.__main__ import main
from pyutils.errors import InputError


def save(folder, name, features, boxes=None):
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}.npy", features)
    if boxes is not None:
        np.save(folder / f"{name}_info.npy", {"bbox": boxes, "image_width": 9, "image_height": 9})


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("good", "other"):
        save(tmp_path / "regions", name, rng.standard_normal((3, 4)).astype(np.float32), np.ones((3, 4)))
    return tmp_path / "regions"


BAD = {"nan": np.nan, "inf": np.inf, "minus": -np.inf, "huge": 1e300}


@pytest.mark.parametrize("value", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("part", ["features", "boxes"])
def test_values_that_are_not_finite(folder, capsys, part, value):
    features, boxes = np.ones((3, 4)), np.ones((3, 4))
    (features if part == "features" else boxes)[1, 2] = value
    save(folder, "bad", features, boxes)
    source = open_regions(folder)
    named = rf"regions, image 'bad': the {part} hold NaN, infinity or numbers too large for float32.*verify"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=named):
            source["bad"]
        for global_region in (False, True) if part == "features" else ():
            with pytest.raises(InputError, match=named):
                source.read_batch(["good", "bad"], global_region=global_region)
        assert np.isfinite(source.read_batch(["good", "other"], global_region=True).features).all()
        assert main(["verify", str(folder)]) == 1
    shown = capsys.readouterr()
    assert f"| bad | 1 {part} are NaN, infinite or too large for float32 |" in shown.out
    assert "good" not in shown.out and "1 of 3 images" in shown.err
    assert main(["convert", str(folder), str(folder.parent / "store")]) == 2
    assert "image 'bad'" in capsys.readouterr().err


def test_finite_values_whose_sum_is_not(folder):
    save(folder, "large", np.full((3, 4), 3e38, dtype=np.float32), np.ones((3, 4)))
    assert open_regions(folder).read_batch(["large"]).features.max() == np.float32(3e38)


def test_the_remedy_of_the_writer_fits_its_type(tmp_path, folder):
    spec = open_regions(folder).spec
    regions = RegionFeatures(np.full((1, 4), np.nan, np.float32), np.ones((1, 4), np.float32))
    with (
        pytest.raises(InputError, match="repair the source, or leave it out$"),
        PackedWriter(tmp_path / "a", spec) as out,
    ):
        out.add("x", regions)


@pytest.mark.parametrize("name", ["a_first", "z_last"])
def test_verify_goes_on_after_a_header_that_lies(folder, capsys, name):
    with (folder / f"{name}.npy").open("wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**12, 4)}
        np.lib.format.write_array_header_1_0(stream, header)
    save(folder, "narrow", np.ones((2, 3), np.float32), np.ones((2, 4)))
    assert main(["verify", str(folder)]) == 1
    shown = capsys.readouterr()
    assert "announces an array (1000000000000, 4) of float32" in shown.out
    assert "| narrow | not 4-d |" in shown.out and "2 of 4 images" in shown.err


def test_compare_allows_rounding_and_says_why_it_differs(folder, capsys):
    half, full = folder.parent / "half", folder.parent / "full"
    for store, dtype in ((half, "float16"), (full, "float32")):
        assert main(["convert", str(folder), str(store), "--dtype", dtype]) == 0
    assert main(["compare", str(folder), str(full)]) == 0
    assert main(["compare", str(folder), str(half)]) == 0
    assert "no feature differs by more than rounding" in capsys.readouterr().out
    assert main(["compare", str(folder), str(half), "--tolerance", "0"]) == 1
    assert "they differ: features differ by" in capsys.readouterr().err
    array = np.load(folder / "good.npy")
    array[0, 0] *= 1.002
    np.save(folder / "good.npy", array)
    assert main(["compare", str(folder), str(half)]) == 1
    assert "they differ: 1 images whose features differ by more than rounding" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_convert_does_not_pass_over_another_source(folder, capsys, dtype):
    store = str(folder.parent / "store")
    assert main(["convert", str(folder), store, "--dtype", dtype]) == 0
    assert main(["convert", str(folder), store, "--dtype", dtype]) == 0
    assert "0 images added, 2 in" in capsys.readouterr().out
    another = folder.parent / "another"
    for name in ("good", "new"):
        save(another, name, np.ones((3, 4), np.float32), np.ones((3, 4)))
    assert main(["convert", str(another), store, "--dtype", dtype]) == 2
    message = capsys.readouterr().err
    assert "was made from another source ('folder: regions', now 'folder: another'): image 'good'" in message
    assert "1 of 2 images would keep theirs" in message
    assert open_regions(store).committed.complete and len(open_regions(store)) == 2
    (another / "good.npy").unlink()
    (another / "good_info.npy").unlink()
    assert main(["convert", str(another), store, "--dtype", dtype]) == 0
    assert len(open_regions(store)) == 3
