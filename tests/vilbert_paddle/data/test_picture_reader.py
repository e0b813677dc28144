"""Region features that are damaged, mixed or unusual."""

from __future__ import annotations

import numpy as np
import pytest

from pyutils.data.features.inputs import RegionConfig
from pyutils.errors import InputError
from tests.vilbert_paddle.data.lmdb_files import DIMENSION, as_text, picture, write_lmdb
from vilbert_paddle.data.regions import RegionReader, region_arrays


def opened(path, **options):
    return RegionReader(RegionConfig(path=str(path), max_regions=8), DIMENSION, **options)


def test_without_keys_entry_and_with_both_value_formats(tmp_path):
    pictures = {f"COCO_train2014_00000000000{n}": picture(n, n + 2) for n in range(4)}
    values = {key: as_text(content) if n % 2 else content for n, (key, content) in enumerate(pictures.items())}
    found = opened(write_lmdb(tmp_path / "mixed", values, key_list=False)).read(list(pictures))
    assert found.mask.sum(axis=1).tolist() == [3, 4, 5, 6]
    for row, content in enumerate(pictures.values()):
        regions = content["num_boxes"]
        np.testing.assert_array_equal(found.features[row, 1 : 1 + regions], content["features"])
        np.testing.assert_array_equal(found.boxes[row, 1 : 1 + regions], content["boxes"])
        np.testing.assert_allclose(found.features[row, 0], content["features"].mean(axis=0), atol=1e-6)
    assert not found.features[found.mask == 0].any()


def test_a_missing_picture_is_named(tmp_path):
    reader = opened(write_lmdb(tmp_path / "some", {"7": picture(7, 3)}))
    with pytest.raises(InputError, match=r"some has no features for image '8'"):
        reader.read(["7", "8"])


def test_a_picture_without_regions_has_a_global_one_of_zeros(tmp_path):
    reader = opened(
        write_lmdb(tmp_path / "empty", {"0": picture(0, 3), "1": picture(1, 0), "2": as_text(picture(2, 0))})
    )
    found = reader.read(["0", "1", "2"])
    assert found.mask.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert not found.features[1:].any()
    assert region_arrays(found)["region_boxes"][1, 0].tolist() == [0, 0, 1, 1, 1]


def with_box(box, **size):
    content = picture(5, 3, **size)
    content["boxes"][1] = box
    return content


def test_boxes_without_area_and_over_the_edge_stay(tmp_path):
    reader = opened(write_lmdb(tmp_path / "edge", {"a": with_box([30, 20, 30, 20]), "b": with_box([90, 70, 110, 81])}))
    boxes = region_arrays(reader.read(["a", "b"]))["region_boxes"]
    np.testing.assert_allclose(boxes[0, 2], [0.3, 0.25, 0.3, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(boxes[1, 2], [0.9, 0.875, 1.1, 81 / 80, 220 / 8000], atol=1e-6)


@pytest.mark.parametrize(
    "box", [[120, 10, 130, 20], [-30, 5, -20, 9], [50, 20, 40, 30], [0, np.nan, 3, 4], [0, 0, np.inf, 4]]
)
def test_boxes_of_another_picture_are_refused(tmp_path, box):
    reader = opened(write_lmdb(tmp_path / "wrong", {"good": picture(1, 5), "bad": with_box(box)}))
    with pytest.raises(InputError, match=r"wrong, image 'bad', region 1: box .* 100 x 80 pixels"):
        reader.read(["good", "bad"])
    assert reader.read(["good"]).mask.sum() == 6


def test_annotated_boxes_are_checked_too(tmp_path):
    detected = write_lmdb(tmp_path / "detected", {"x": picture(5, 3)})
    annotated = write_lmdb(tmp_path / "annotated", {"x": with_box([50, 20, 40, 30])})
    with pytest.raises(InputError, match=r"annotated, image 'x'"):
        opened(detected, annotated=RegionConfig(path=str(annotated)))


def test_unknown_picture_size(tmp_path):
    content = picture(5, 3)
    del content["image_w"]
    reader = opened(write_lmdb(tmp_path / "sizeless", {"x": content}))
    with pytest.raises(InputError, match=r"image 'x': the image size is unknown"):
        reader.read(["x"])


def test_another_dimension_is_refused_at_once(tmp_path):
    path = write_lmdb(tmp_path / "narrow", {"x": picture(5, 3)})
    with pytest.raises(InputError, match="expected 2048-d regions, .*narrow holds 16-d"):
        RegionReader(RegionConfig(path=str(path)), 2048)


def test_class_distributions_are_required_where_asked(tmp_path):
    path = write_lmdb(tmp_path / "plain", {"x": picture(5, 3)})
    with pytest.raises(InputError, match="holds no class probabilities"):
        opened(path, class_probs=True)
    found = opened(write_lmdb(tmp_path / "full", {"x": picture(5, 3, classes=7)}), class_probs=True).read(["x"])
    assert found.class_probs.shape == (1, 4, 7) and not found.class_probs[0, 0].any()


def test_withheld_and_no_more_regions_than_allowed(tmp_path):
    path = write_lmdb(tmp_path / "many", {"x": picture(5, 12)})
    assert opened(path).read(["x"]).mask.sum() == 9
    reader = RegionReader(RegionConfig(path=str(path)), DIMENSION, image_input="withheld")
    blind = region_arrays(reader.read(["x", "x"]))
    assert blind["region_features"].shape == (2, 1, DIMENSION) and not blind["region_features"].any()
    assert blind["region_boxes"].tolist() == [[[0, 0, 1, 1, 1]]] * 2
