"""What the packages offer on their top level: cheap to import, complete, and training in ten lines."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["pyutils", "albef_paddle", "vilbert_paddle", "visualbert_paddle"]


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_imports_no_paddle(package):
    commands = "" if package == "pyutils" else f"; from {package} import commands"
    code = f"import sys, {package}{commands}; print('paddle' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_offered_name_is_there(package):
    module = importlib.import_module(package)
    offered = importlib.import_module(f"{package}.{'interface' if package == 'pyutils' else 'models'}")
    assert module.__all__ == offered.__all__ and len(module.__all__) > 1
    for name in module.__all__:
        assert getattr(module, name) is getattr(offered, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = module.no_such_name


def test_names_of_the_documentation():
    from albef_paddle import AlbefForQuestionAnswering, AlbefForVQA
    from visualbert_paddle import VisualBertForQuestionAnswering, VisualBertForVQA

    assert AlbefForVQA is AlbefForQuestionAnswering and VisualBertForVQA is VisualBertForQuestionAnswering
