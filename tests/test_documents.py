"""Check that relative links of the documents resolve and that the code named in docs/architecture.md exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")])
ARCHITECTURE = ROOT / "docs/architecture.md"
TOP = "pyutils|albef_paddle|vilbert_paddle|visualbert_paddle|configs|shell|tests|benchmarks|docs"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(rf"`((?:{TOP})/[\w./+-]*)(?::(\w+))?`")
MODULE = re.compile(r"\b((?:pyutils|albef_paddle|vilbert_paddle|visualbert_paddle)(?:\.\w+)+)")


def definition(name: str) -> re.Pattern:
    return re.compile(rf"^(?:class|def) {name}\b|^{name}\b.*=", re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_resolve(document):
    targets = [target for target in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in target]
    missing = [target for target in targets if not (document.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_both_readmes_link_the_same_pages(readme):
    linked = set(LINK.findall((ROOT / readme).read_text(encoding="utf-8")))
    assert linked >= {f"docs/{page.name}" for page in ROOT.glob("docs/*.md") if not page.name.startswith("results_")}


def test_paths_of_the_architecture_page_exist():
    named = PATH.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    assert len(named) > 20
    wrong = [path for path, _ in named if not (ROOT / path).exists()]
    assert not wrong
    undefined = [(p, name) for p, name in named if name and not definition(name).search((ROOT / p).read_text("utf-8"))]
    assert not undefined


def exists(module: str) -> bool:
    """True for a package, a module, or a name that a module defines."""
    place = ROOT / module.replace(".", "/")
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    parent = place.parent.with_suffix(".py")
    return parent.is_file() and bool(definition(place.name).search(parent.read_text(encoding="utf-8")))


def test_modules_of_the_architecture_page_exist():
    modules = MODULE.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    assert modules
    assert not [module for module in modules if not exists(module)]
