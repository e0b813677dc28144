"""`python -m pyutils.weights` on real files."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys

import numpy as np
import pytest

from pyutils import packages
from pyutils.errors import InputError
from pyutils.formats.tensor_files import read_safetensors, write_pdparams, write_safetensors
from pyutils.weights import converting, read
from pyutils.weights.__main__ import main
from tests.pyutils.weights.torch_files import BFloat16, write_legacy, write_zip
from tests.support import golden

NAMES = golden("visualbert/checkpoint_names/vqa").folder
AUTHORS, HUB = str(NAMES / "authors.safetensors"), str(NAMES / "hf.safetensors")


def convert(source, destination, *options) -> int:
    return main(["convert", str(source), str(destination), "--model", "visualbert", *options])


def test_conversion_there_and_back_gives_identical_bytes(tmp_path, capsys):
    assert convert(AUTHORS, tmp_path / "ours.safetensors") == 0
    assert convert(tmp_path / "ours.safetensors", tmp_path / "back.safetensors", "--names", "authors") == 0
    assert convert(tmp_path / "back.safetensors", tmp_path / "again.safetensors") == 0
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "ours.safetensors").read_bytes()
    assert main(["diff", AUTHORS, str(tmp_path / "back.safetensors")]) == 0
    assert "no difference" in capsys.readouterr().out


def test_two_code_bases_agree_under_our_names(capsys):
    assert main(["diff", AUTHORS, HUB]) == 1
    assert "| bert.bert.embeddings.LayerNorm.bias | only in the first |" in capsys.readouterr().out
    assert main(["diff", AUTHORS, HUB, "--model", "visualbert"]) == 0


def test_folders_and_pdparams_are_written(tmp_path):
    assert convert(AUTHORS, tmp_path / "folder") == 0
    assert convert(AUTHORS, tmp_path / "x.pdparams", "--dtype", "float16") == 0
    ours, half = read(tmp_path / "folder/model.safetensors"), read(tmp_path / "x.pdparams")
    assert set(ours) == set(half)
    for name, value in ours.items():
        np.testing.assert_array_equal(half[name], value.astype("float16"))
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", "x.pdparams"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_precision_of_safetensors(tmp_path, dtype):
    tensors = {
        "f": np.array([1.0, 1.00390625, 1.01171875, -3.0e4, np.inf, np.nan], "float32"),
        "d": np.array([[0.1]], "float64"),
        "i": np.array([70000]),
    }
    write_safetensors(tmp_path / "x.safetensors", tensors, floats=dtype)
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found["i"].dtype == np.int64
    if dtype == "float16":
        np.testing.assert_array_equal(found["f"], tensors["f"].astype("float16"))
        return
    # Ties go to the even neighbour: 1 + 1/256 down to 1, 1 + 3/256 up to 1 + 4/256.
    np.testing.assert_array_equal(found["f"], [1.0, 1.0, 1.015625, -29952.0, np.inf, np.nan])
    np.testing.assert_allclose(found["d"], 0.1, rtol=2**-8)


LEAVE = "keep the tensors"


@pytest.mark.parametrize(
    ("name", "number", "dtype", "advice"),
    [
        ("x.safetensors", 1e5, "float16", "use bfloat16"),
        ("x.safetensors", 1e300, "float16", LEAVE),
        ("x.safetensors", 1e300, "float32", LEAVE),
        ("x.safetensors", -1e300, "bfloat16", LEAVE),
        ("x.safetensors", 3.4e38, "bfloat16", LEAVE),
        ("x.pdparams", 1e5, "float16", "use bfloat16"),
        ("x.pdparams", 1e300, "float32", LEAVE),
    ],
)
def test_numbers_beyond_a_type_are_named(tmp_path, name, number, dtype, advice):
    tensors = {**read(HUB), "cls.bias": np.full(read(HUB)["cls.bias"].shape, number)}
    write_safetensors(tmp_path / "source.safetensors", tensors)
    with pytest.raises(InputError, match=f"'classifier.bias' .*{dtype}; {advice}"):
        convert(tmp_path / "source.safetensors", tmp_path / name, "--dtype", dtype)
    assert [item.name for item in tmp_path.iterdir()] == ["source.safetensors"]


def test_inspect_names_the_format_the_tensors_and_what_it_is(tmp_path, capsys):
    file = write_zip(tmp_path / "x.bin", {"visual_bert.w": np.ones((2, 3), "float16"), "cls.n": np.array(3)})
    assert main(["inspect", str(file)]) == 0
    out = capsys.readouterr().out
    assert "PyTorch zip" in out and "2 tensors, 7 numbers, 20 bytes: 6 float16 (12 B); 1 int64 (8 B)" in out
    assert "looks like VisualBERT with the names of Hugging Face" in out
    assert "| visual_bert.w | [2, 3] | float16 | 12 |" in out and "| cls.n | [] | int64 | 8 |" in out


STORED = np.array([1.0, -2.0, 0.5], "float32")


def in_formats(path):
    """The same bfloat16 numbers in every format that holds them."""
    bits = (STORED.view("uint32") >> 16).astype("uint16")
    write_safetensors(path / "x.safetensors", {"w": STORED, "n": np.array([3])}, floats=None)
    write_safetensors(path / "b.safetensors", {"w": STORED, "n": np.array([3])}, floats="bfloat16")
    (path / "b.pdparams").write_bytes(pickle.dumps({"w": bits, "n": np.array([3])}, 4))
    for name, write in (("b.pth", write_zip), ("b.th", write_legacy)):
        write(path / name, {"model": {"w": BFloat16(bits), "n": np.array([3])}})


@pytest.mark.parametrize("name", ["b.safetensors", "b.pdparams", "b.pth", "b.th"])
def test_inspect_tells_the_stored_type(tmp_path, capsys, name):
    in_formats(tmp_path)
    np.testing.assert_array_equal(read(tmp_path / name)["w"], STORED)
    assert main(["inspect", str(tmp_path / name)]) == 0
    out = capsys.readouterr().out
    assert "| w | [3] | bfloat16 | 6 |" in out and "| n | [1] | int64 | 8 |" in out
    assert "2 tensors, 4 numbers, 14 bytes: 3 bfloat16 (6 B); 1 int64 (8 B)" in out
    main(["inspect", str(tmp_path / "x.safetensors")])
    assert "| w | [3] | float32 | 12 |" in capsys.readouterr().out


LOOKS = {
    "albef/pretrain": "ALBEF with the names of its authors; with momentum teacher, queues, masked words, matching",
    "albef/vqa": "ALBEF with the names of its authors; with momentum teacher, answer decoder",
    "albef/nlvr_pretrain": "ALBEF with the names of its authors; with text assignment",
    "albef/vit": "a vision transformer with the names of timm (DeiT)",
    "albef/bert_mlm": "a BERT with the names of Hugging Face; with masked words",
    "vilbert/pretrain_vt0": "ViLBERT with the names of its authors; with masked words, masked regions, alignment",
    "vilbert/vl_tasks": "ViLBERT with the names of its authors; with masked words, masked regions, alignment, VQA, "
    "GQA, pairs, entailment, matching, regions, words",
    "visualbert/vqa": "VisualBERT with the names of Hugging Face; with classifier",
    "visualbert/pretrain": "VisualBERT with the names of Hugging Face; with masked words, sentence-image prediction",
    "visualbert/flickr": "VisualBERT with the names of Hugging Face; with masked words, sentence-image "
    "prediction, phrase grounding",
}


@pytest.mark.parametrize("case", LOOKS)
def test_inspect_says_what_a_checkpoint_is(capsys, case):
    assert main(["inspect", str(golden(case).folder / "weights.safetensors")]) == 0
    assert f"looks like {LOOKS[case]}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("family", "case", "names", "told"),
    [
        ("albef", "albef/retrieval", "lavis", "ALBEF with the names of LAVIS; with momentum teacher, queues, matching"),
        ("albef", "albef/vqa", "torchmultimodal", "ALBEF with the names of TorchMultimodal; with momentum teacher, an"),
        ("vilbert", "vilbert/vl_tasks", "paddle_port", "ViLBERT with the names of the old Paddle port; with masked wo"),
        ("visualbert", "visualbert/vqa", "authors", "VisualBERT with the names of its authors; with classifier"),
        ("visualbert", "visualbert/pretrain", "mmf", "VisualBERT with the names of MMF; with masked words, sentence"),
        ("visualbert", "visualbert/vqa", "paddlenlp", "VisualBERT with the names of PaddleNLP; with classifier"),
        ("albef", "albef/ve", None, "ALBEF, ours; with momentum teacher, classifier"),
        ("vilbert", "vilbert/pretrain_vt1", None, "ViLBERT, ours; with masked words, masked regions, alignment"),
        ("visualbert", "visualbert/nlvr2", None, "VisualBERT, ours; with classifier"),
    ],
)
def test_inspect_knows_what_is_written_for_other_code_bases(tmp_path, capsys, family, case, names, told):
    arguments = [str(golden(case).folder / "weights.safetensors"), str(tmp_path / "x.safetensors"), "--model", family]
    assert main(["convert", *arguments, *(["--names", names] if names else [])]) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 0
    assert f"looks like {told}" in capsys.readouterr().out


def test_inspect_of_an_optimizer_and_of_something_else(tmp_path, capsys):
    assert main(["inspect", str(golden("weights").folder / "adamw.pdopt")]) == 0
    assert "looks like the state of an optimizer" in capsys.readouterr().out
    write_safetensors(tmp_path / "x.safetensors", {"conv1.weight": np.ones(2)})
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 0
    assert "looks like none of the known models" in capsys.readouterr().out


def test_diff_tells_shapes_values_and_tolerance(tmp_path, capsys):
    left = {"same": np.array([np.nan, 1.0]), "shape": np.ones(2), "value": np.ones(2), "nan": np.ones(1)}
    right = {**left, "shape": np.ones(3), "value": np.array([1.0, 1.25]), "nan": np.array([np.nan]), "new": np.ones(1)}
    write_safetensors(tmp_path / "a.safetensors", left)
    write_safetensors(tmp_path / "b.safetensors", right)
    arguments = ["diff", str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]
    assert main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| shape | shape [2] and [3] |",
        "| value | differ by up to 0.25 |",
        "| nan | differ by up to inf |",
        "| new | only in the second |",
    ]
    assert main([*arguments, "--tolerance", "0.3"]) == 1
    assert "value" not in capsys.readouterr().out


def test_diff_of_single_numbers_and_of_large_integers(tmp_path, capsys):
    left = {"same": np.float32(0.07), "single": np.array(1.0), "large": np.array([2**60, 5]), "whole": np.array(2**60)}
    right = {**left, "single": np.array(1.5), "large": np.array([2**60 + 1, 5])}
    for name, tensors in (("a", left), ("b", right)):
        write_safetensors(tmp_path / f"{name}.safetensors", {key: np.asarray(value) for key, value in tensors.items()})
    first, second = str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")
    assert main(["diff", first, first]) == 0
    capsys.readouterr()
    assert main(["diff", first, second]) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| single | differ by up to 0.5 |",
        "| large | differ by up to 1 |",
    ]


@pytest.mark.parametrize("tolerance", ["nan", "-1"])
def test_a_tolerance_that_is_none_is_refused(capsys, tolerance):
    with pytest.raises(SystemExit):
        main(["diff", AUTHORS, HUB, f"--tolerance={tolerance}"])
    assert f"expected 0 or more, found {tolerance}" in capsys.readouterr().err


def test_a_single_bfloat16_number_is_read_back(tmp_path, capsys):
    bits = np.array(np.float32(0.5).view("uint32") >> 16, "uint16")
    write_safetensors(tmp_path / "x.safetensors", {"temperature": np.array(0.5, "float32")}, floats="bfloat16")
    (tmp_path / "x.pdparams").write_bytes(pickle.dumps({"temperature": bits}, 4))
    for name in ("x.safetensors", "x.pdparams"):
        found = read(tmp_path / name)["temperature"]
        assert found.shape == () and found.dtype == np.float32 and found == 0.5
        assert main(["inspect", str(tmp_path / name)]) == 0
        assert "| temperature | [] | bfloat16 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize("value", [np.ones(2, "complex64"), np.array(["a", "b"]), np.ones(2, "longdouble")])
def test_tensors_of_other_things_than_numbers_are_named(tmp_path, value):
    file = tmp_path / "x.pdparams"
    file.write_bytes(pickle.dumps({"encoder.embeddings.text.words.table.weight": np.ones(2), "odd": value}, 4))
    told = rf"x\.pdparams: tensor 'odd' .*{value.dtype}"
    with pytest.raises(InputError, match=told):
        convert(file, tmp_path / "y.safetensors")
    with pytest.raises(InputError, match=told):
        main(["diff", str(file), str(file)])
    assert main(["inspect", str(file)]) == 0


def test_types_that_pdparams_lacks_are_named(tmp_path):
    with pytest.raises(InputError, match="'n' has dtype uint16.*safetensors"):
        write_pdparams(tmp_path / "x.pdparams", {"n": np.ones(2, "uint16")})
    with pytest.raises(InputError, match="'n' has dtype complex64"):
        write_safetensors(tmp_path / "x.safetensors", {"n": np.ones(2, "complex64")})


def test_other_destinations_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"x\.pth: weights are written as \.safetensors"):
        convert(AUTHORS, tmp_path / "x.pth")
    with pytest.raises(InputError, match="bfloat16 is written to .safetensors only"):
        convert(AUTHORS, tmp_path / "x.pdparams", "--dtype", "bfloat16")
    with pytest.raises(InputError, match='did you mean "huggingface"'):
        convert(AUTHORS, tmp_path / "x.safetensors", "--names", "hugingface")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "x.safetensors").write_bytes(b"before")

    def full(path, *_):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(converting, "write_safetensors", full)
    with pytest.raises(InputError, match=r"x\.safetensors: cannot be written \(No space left on device\)"):
        convert(AUTHORS, tmp_path / "x.safetensors")
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [b"before"]


def test_errors_are_one_line_with_status_2(tmp_path):
    command = [sys.executable, "-m", "pyutils.weights", "inspect", str(tmp_path / "none.pth")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "\nerror: " in "\n" + done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("source", [".", "/"])
def test_folders_without_a_name_hold_no_checkpoint(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no checkpoint here"):
        main(["inspect", source])
    with pytest.raises(InputError, match="an empty name of a checkpoint"):
        main(["inspect", ""])
    write_safetensors("model.safetensors", {"w": np.ones(2)})
    assert main(["inspect", "."]) == 0


def test_known_checkpoints_are_listed(capsys):
    assert main(["list"]) == 0
    assert "| visualbert-vqa-pre |" in capsys.readouterr().out


def test_vilbert_goes_through_the_same_command(tmp_path, capsys):
    source = write_zip(tmp_path / "pytorch_model_9.bin", golden("vilbert/model").weights)
    arguments = ["convert", str(source), str(tmp_path / "ours.safetensors"), "--model", "vilbert"]
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(["inspect", str(tmp_path / "ours.safetensors")]) == 0
    assert "looks like ViLBERT, ours" in capsys.readouterr().out
    with pytest.raises(InputError, match="ViLBERT has no names 'huggingface': known: authors, paddle_port"):
        main([*arguments, "--names", "huggingface"])


def test_packages_are_announced_by_a_checkout_and_by_an_installation(monkeypatch, tmp_path):
    names = ["albef", "vilbert", "visualbert"]
    assert sorted(packages.announced(packages.CHECKPOINTS)) == names
    assert all(callable(entry.load()) for entry in packages.announced(packages.EXPORTS).values())
    (tmp_path / "some.dist-info").mkdir()
    (tmp_path / "some.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: some\nVersion: 1\n")
    (tmp_path / "some.dist-info/entry_points.txt").write_text(f"[{packages.CHECKPOINTS}]\nown = pyutils.errors\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(packages, "__file__", str(tmp_path / "a/packages.py"))
    assert packages.announced(packages.CHECKPOINTS)["own"].load().__name__ == "pyutils.errors"
