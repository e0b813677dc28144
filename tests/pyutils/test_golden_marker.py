"""The marker `golden` is on each test that reads a golden case, through whatever name."""

from __future__ import annotations

from tests.support import golden_names

SOURCE = """
import pytest
from tests.support import golden as opened

CASE = opened("albef/vit")

@pytest.fixture
def recorded():
    return CASE.outputs

def helper():
    return opened("albef/text")

def test_module(): return CASE
def test_fixture(recorded): return recorded
def test_helper(): return helper()
@pytest.mark.parametrize("name", CASE.inputs)
def test_parametrized(name): pass
def test_other(tmp_path): pass
"""


def test_names_that_read_golden_cases(tmp_path):
    module = tmp_path / "test_example.py"
    module.write_text(SOURCE)
    marked = {name for name in golden_names(module) if name.startswith("test_")}
    assert marked == {"test_module", "test_fixture", "test_helper", "test_parametrized"}
