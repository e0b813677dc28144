from __future__ import annotations

import numpy as np
import pytest

from pyutils.data.boxes import box_problem
from pyutils.data.features import FeatureSpec, open_regions
from pyutils.data.features.__main__ import main
from pyutils.errors import InputError

RIGHT = np.array([[10.0, 20, 60, 80], [0, 0, 100, 90], [30, 30, 101, 91]])


@pytest.mark.parametrize(
    ("boxes", "named"),
    [
        (RIGHT, ""),
        (RIGHT / 100, "relative"),
        (RIGHT * [1, 1, np.nan, 1], "NaN"),
        (RIGHT * 4, "beyond"),
        (np.array([[60.0, 50, 20, 30], [10, 20, 30, 40]]), "x, y, width, height"),
        (RIGHT - 50, "beyond"),
        (np.zeros((0, 4)), ""),
        (np.concatenate([np.tile(RIGHT, (10, 1)), [[5.0, 5, 5, 5]]]), ""),
    ],
)
def test_problems_by_hand(boxes, named):
    found = box_problem(boxes, 100, 90)
    assert found == "" if not named else named in found


def test_without_a_size_only_the_corners_are_checked():
    assert box_problem(RIGHT / 100, 0, 0) == "" and box_problem(RIGHT * 4, 0, 0) == ""
    assert "width, height" in box_problem(RIGHT[:, [2, 3, 0, 1]], 0, 0)


@pytest.mark.parametrize(("factor", "named"), [(1.0, ""), (0.01, "relative"), (3.0, "beyond")])
def test_a_store_with_other_boxes_is_refused(tmp_path, capsys, factor, named):
    for number in range(12):
        np.save(tmp_path / f"{number}.npy", np.ones((3, 4), np.float32))
        info = {"bbox": (RIGHT * factor).astype(np.float32), "image_width": 100, "image_height": 90}
        np.save(tmp_path / f"{number}_info.npy", info, allow_pickle=True)
    source = open_regions(tmp_path)
    assert isinstance(source.spec, FeatureSpec)
    if not named:
        source.check_boxes()
        assert main(["verify", str(tmp_path)]) == 0
        return
    with pytest.raises(InputError, match=f"image '0' and 7 of 7 .*{named}"):
        source.check_boxes()
    assert main(["verify", str(tmp_path)]) == 2 and named in capsys.readouterr().err
