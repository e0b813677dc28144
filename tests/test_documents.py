"""Check that what the documents name exists: relative links, files, modules and the names in them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/*.md")])
ARCHITECTURE = ROOT / "docs/architecture.md"
PACKAGES = "pyutils|albef_paddle|vilbert_paddle|visualbert_paddle"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FILE = re.compile(rf"(?<![\w/.])(?:{PACKAGES}|configs|shell|tests|benchmarks)/[\w/+.-]*\.(?:py|sh|ya?ml)\b")
PATH = re.compile(rf"`((?:{PACKAGES}|configs|shell|tests|benchmarks|docs)/[\w./+-]*)(?::(\w+))?`")
MODULE = re.compile(rf"(?<![\w/.])((?:{PACKAGES})(?:\.\w+)+)")
IMPORT = re.compile(rf"^from ((?:{PACKAGES})[\w.]*) import (.+)$", re.MULTILINE)

documents = pytest.mark.parametrize("text", [pytest.param(page.read_text("utf-8"), id=page.name) for page in DOCUMENTS])


def defines(file: Path, name: str) -> bool:
    """True if the module `file` defines `name`; a package's `__init__.py` may also import it."""
    pattern = rf"^(?:class|def) {name}\b|^{name}\b.*="
    if file.name == "__init__.py":
        pattern += rf"|\b{name}\b"
    return file.is_file() and bool(re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE))


def exists(module: str) -> bool:
    """True for a package, a module, or a name that one of them defines."""
    place = ROOT / module.replace(".", "/")
    if place.is_dir() or place.with_suffix(".py").is_file():
        return True
    return any(defines(file, place.name) for file in (place.parent.with_suffix(".py"), place.parent / "__init__.py"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_resolve(document):
    targets = [target for target in LINK.findall(document.read_text(encoding="utf-8")) if "://" not in target]
    assert not [target for target in targets if not (document.parent / target).exists()]


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_both_readmes_link_the_same_pages(readme):
    linked = set(LINK.findall((ROOT / readme).read_text(encoding="utf-8")))
    assert linked >= {f"docs/{page.name}" for page in ROOT.glob("docs/*.md") if not page.name.startswith("results_")}


@documents
def test_files_and_modules_exist(text):
    assert not [file for file in FILE.findall(text) if not (ROOT / file).exists()]
    assert not [module for module in MODULE.findall(text) if not exists(module)]


@documents
def test_imports_of_the_examples_exist(text):
    names = [f"{module}.{name.strip()}" for module, listed in IMPORT.findall(text) for name in listed.split(",")]
    assert not [name for name in names if not exists(name)]


def test_names_of_the_architecture_page_are_defined():
    named = PATH.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    assert len(named) > 20
    assert not [path for path, _ in named if not (ROOT / path).exists()]
    assert not [(path, name) for path, name in named if name and not defines(ROOT / path, name)]
