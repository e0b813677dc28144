"""The fuzz runner itself: every seed is read, and a few hundred damaged files of each reader end as they must."""

from __future__ import annotations

import random

import pytest

from pyutils.errors import InputError
from tests.fuzz.__main__ import mutated
from tests.fuzz.seeds import seeds


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    for name in ("h5py", "lmdb"):
        pytest.importorskip(name)
    return seeds(tmp_path_factory.mktemp("seeds"))


def test_readers_refuse_damaged_files_by_name(table, tmp_path):
    source, refused = random.Random(1), dict.fromkeys(table, 0)
    for name, seed in table.items():
        for turn in range(12):
            place = tmp_path / name / str(turn)
            for file, content in seed.files.items():
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                (place / file).write_bytes(mutated(content, source) if turn else content)
            if not turn:
                seed.read(place)
                continue
            try:
                seed.read(place)
            except InputError:
                refused[name] += 1
    assert sum(refused.values()) > 6 * len(refused), refused
