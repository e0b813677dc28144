"""Images from folders: finding them, decoding every odd kind, and saying what is wrong with broken ones."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from pyutils.data.image_listing import ImageListing
from pyutils.data.images import Images, as_rgb
from pyutils.data.transforms import albef_transform, normalise
from pyutils.data.transforms.pipeline import ALBEF_STD
from pyutils.errors import InputError

_SIZE = 16


def _values(width: int = 40, height: int = 30) -> np.ndarray:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "val2014").mkdir()
    Image.fromarray(_values()).save(tmp_path / "val2014" / "COCO_val2014_000000000042.png")
    return tmp_path


def _source(root, **options) -> Images:
    return Images(root, albef_transform("evaluate", _SIZE), **options)


def _expected(image: Image.Image) -> np.ndarray:
    return normalise(np.asarray(image.convert("RGB").resize((_SIZE, _SIZE), Image.BICUBIC)))


def test_found_by_path_by_key_and_below_another_folder(folder):
    source = _source(folder)
    expected = _expected(Image.fromarray(_values()))
    for name in (
        "val2014/COCO_val2014_000000000042.png",
        "COCO_val2014_000000000042",
        "COCO_val2014_000000000042.png",
        "coco/images/val2014/COCO_val2014_000000000042.png",
        str(folder / "val2014" / "COCO_val2014_000000000042.png"),
    ):
        assert np.array_equal(source.read(name), expected), name
    assert source.read(name).dtype == np.float32
    assert source.shape == expected.shape
    assert source.missing(["a.png", "COCO_val2014_000000000042", "b", "a.png"]) == ["a.png", "b"]


def test_batch_is_written_into_the_given_array(folder):
    Image.fromarray(_values()[::-1]).save(folder / "other.png")
    source = _source(folder)
    out = np.empty((2, 3, _SIZE, _SIZE), np.float32)
    found = source.read_batch(["other.png", "COCO_val2014_000000000042"], out=out)
    assert found is out
    assert np.array_equal(out[0], source.read("other.png"))
    assert np.array_equal(out[1], source.read("COCO_val2014_000000000042"))


def test_random_batches_follow_the_generator_and_need_one(folder):
    source = Images(folder, albef_transform("pretrain", _SIZE))
    keys = ["COCO_val2014_000000000042"] * 3
    first = source.read_batch(keys, np.random.default_rng(3))
    assert np.array_equal(first, source.read_batch(keys, np.random.default_rng(3)))
    assert not np.array_equal(first[0], first[1])
    with pytest.raises(ValueError, match="random generator"):
        source.read_batch(keys)


def test_source_pickles(folder):
    source = _source(folder)
    key = "COCO_val2014_000000000042"
    assert np.array_equal(pickle.loads(pickle.dumps(source)).read(key), source.read(key))


def test_earlier_roots_win_and_a_name_in_two_folders_is_refused(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    Image.new("RGB", (4, 4), (9, 9, 9)).save(other / "COCO_val2014_000000000042.png")
    assert _source([other, folder]).path("COCO_val2014_000000000042") == other / "COCO_val2014_000000000042.png"
    for part in ("a", "b"):
        (folder / part).mkdir()
        Image.new("RGB", (4, 4)).save(folder / part / "1.png")
    source = _source(folder)
    assert source.path("a/1.png") == folder / "a" / "1.png"
    with pytest.raises(InputError, match="a/1.png or b/1.png.*path from the image folder"):
        source.path("1")
    assert source.missing(["1", "b/1.png"]) == ["1"]
    assert len(ImageListing([folder])._paths) == 3


def test_paths_that_are_there_are_found_without_listing_everything(folder, monkeypatch):
    name = "val2014/COCO_val2014_000000000042.png"
    source = _source([folder / "val2014", folder])
    assert "listing" not in vars(source)
    assert source.missing([name, str(folder / name), name]) == []
    assert "listing" not in vars(source)
    assert source.missing([name, "val2014/0.png", "train2014/COCO_val2014_000000000042.png", "val2014"]) == [
        "val2014/0.png",
        "val2014",
    ]


def test_links_are_followed_once_and_dangling_ones_are_no_images(folder):
    (folder / "val2014" / "up").symlink_to(folder)
    (folder / "again").symlink_to(folder / "val2014")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    listing = ImageListing([folder])
    name = "COCO_val2014_000000000042.png"
    assert sorted(listing._paths) == [f"again/{name}", f"val2014/{name}"]


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = ".jpg" if mode in ("CMYK", "YCbCr") else ".png"
    image = Image.fromarray(_values()).convert(mode)
    image.save(tmp_path / f"x{suffix}")
    reopened = Image.open(tmp_path / f"x{suffix}")
    assert np.array_equal(_source(tmp_path).read("x"), _expected(reopened))


def test_transparent_palettes_do_not_warn(tmp_path):
    image = Image.fromarray(_values()).convert("P")
    image.save(tmp_path / "x.png", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = as_rgb(Image.open(tmp_path / "x.png"))
    assert np.array_equal(np.asarray(found), np.asarray(image.convert("RGB")))


def test_transparency_is_dropped_and_the_colours_under_it_stay(tmp_path):
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "x.png")
    assert np.asarray(as_rgb(Image.open(tmp_path / "x.png")))[0, 0].tolist() == [200, 100, 50]


def test_sixteen_bits_keep_their_upper_half(tmp_path):
    values = np.array([[0, 255, 256], [4660, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    found = np.asarray(as_rgb(Image.open(tmp_path / "x.png")))
    assert found[..., 0].tolist() == [[0, 0, 1], [18, 128, 255]]
    assert np.array_equal(found[..., 0], found[..., 2])


@pytest.mark.parametrize("name", ["evaluate", "pretrain", "finetune", "grounding"])
def test_one_pixel(tmp_path, name):
    Image.new("RGB", (1, 1), (255, 0, 0)).save(tmp_path / "x.png")
    found = Images(tmp_path, albef_transform(name, _SIZE)).read("x", np.random.default_rng(0))
    assert found.shape == (3, _SIZE, _SIZE)
    assert np.isfinite(found).all()


def test_camera_rotation_is_ignored_unless_asked_for(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    Image.fromarray(_values()).save(tmp_path / "x.png", exif=exif)
    upright = Image.fromarray(_values())
    assert np.array_equal(_source(tmp_path).read("x"), _expected(upright))
    turned = upright.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(_source(tmp_path, exif_rotation=True).read("x"), _expected(turned))


def test_large_jpegs_are_decoded_smaller_within_the_documented_difference(tmp_path):
    Image.fromarray(_values(320, 240)).save(tmp_path / "large.jpg", quality=95)
    Image.fromarray(_values(60, 45)).save(tmp_path / "small.jpg", quality=95)
    fast, full = _source(tmp_path), _source(tmp_path, draft_margin=None)
    levels = 255 * np.float32(ALBEF_STD)[:, None, None]
    difference = np.rint(np.abs(fast.read("large") - full.read("large")) * levels)
    assert 0 < difference.max() <= 9
    assert difference.mean() < 1
    assert np.array_equal(fast.read("small"), full.read("small"))


def test_smaller_decoding_keeps_the_place_of_a_crop(tmp_path):
    Image.fromarray(_values(400, 300)).save(tmp_path / "x.jpg", quality=95)
    transform = albef_transform("pretrain", _SIZE)
    for seed in range(6):
        fast, full = (
            Images(tmp_path, transform, draft_margin=margin)._pixels(tmp_path / "x.jpg", np.random.default_rng(seed))
            for margin in (2.0, None)
        )
        assert np.abs(fast.astype(int) - full).max() <= 9


def test_missing_image_names_itself_the_folder_and_the_remedy(folder):
    with pytest.raises(InputError, match=r"'nowhere/7\.jpg' is not below .*check data.images") as caught:
        _source(folder).read("nowhere/7.jpg")
    assert str(folder) in str(caught.value)
    with pytest.raises(InputError, match="image folder .*absent does not exist: set data.images"):
        _source(folder / "absent")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_image_is_named(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\{suffix}: the image is damaged or truncated .*download it again"):
        _source(tmp_path).read("cut")


def test_files_that_are_no_images_are_named(tmp_path):
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(InputError, match=r"empty\.jpg: the file is empty; copy or download it again"):
        _source(tmp_path).read("empty")
    with pytest.raises(InputError, match=r"page\.jpg: its 16 bytes are no image"):
        _source(tmp_path).read("page")


def test_huge_announced_size_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (50, 50)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"bomb\.png: the image is damaged"):
        _source(tmp_path).read("bomb")


def test_a_missing_image_is_not_replaced_by_one_of_another_folder(tmp_path):
    for name in ("shopA/5.jpg", "shopA/6.jpg", "shopB/1.jpg", "deep/val/7.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    images = Images(tmp_path, albef_transform("evaluate", 8))
    wanted = ["shopA/5.jpg", "shopB/5.jpg", "6.jpg", "/server/data/shopA/6.jpg", "val/7.jpg", "train/7.jpg"]
    assert images.missing(wanted) == ["shopB/5.jpg", "train/7.jpg"]
    for name in ("shopB/5.jpg", "train/7.jpg"):
        with pytest.raises(InputError, match=name):
            images.path(name)
    assert images.path("/server/data/shopA/6.jpg") == tmp_path / "shopA/6.jpg"
    assert images.path("val/7.jpg") == tmp_path / "deep/val/7.jpg"


def test_an_exact_path_needs_no_suffix(tmp_path):
    (tmp_path / "training").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "training/10_15955", format="PNG")
    images = Images(tmp_path, albef_transform("evaluate", 8))
    assert images.missing(["training/10_15955", "training/11"]) == ["training/11"]
    assert images.read("training/10_15955").shape == (3, 8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_small_file_of_a_huge_image_is_refused_before_it_is_decoded(folder, mode):
    Image.new(mode, (13_000, 13_000)).save(folder / "bomb.png")
    assert (folder / "bomb.png").stat().st_size < 1 << 20
    source = _source(folder)
    for read in (source.read, lambda name: source.decode(folder / name)):
        with pytest.raises(InputError, match=r"bomb.png: 13000 x 13000 pixels are more than 100,000,000"):
            read("bomb.png")
