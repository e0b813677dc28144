"""VisualBERT's commands and scripts as users type them, its data folders, and archives in parts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pyutils.data.prepare.datasets import load_dataset
from pyutils.data.prepare.datasets import main as datasets_command
from pyutils.download.catalogue import choose
from pyutils.download.join import find_parts
from pyutils.download.join import main as join_command
from pyutils.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("model.hidden_size=16", "model.num_layers=1", "model.num_heads=2", "model.intermediate_size=16")
QUICK = ("train.scalars=false", "train.workers=0", "train.eval_batch_size=32")
ONE_STEP = [word for setting in (*SMALL, *QUICK) for word in ("--set", setting)] + ["--max_steps", "1"]
TINY = [*ONE_STEP, "--set", "train.batch_size=8", "--set", "train.accumulation_steps=1"]


def run(*command: str, cwd: Path = ROOT, **extra: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_")}
    environment = {**kept, "PYUTILS_CPU_THREADS": "1", "GPUS": "", "PYTHON": sys.executable, **extra}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=cwd, env=environment)


@pytest.fixture
def home(whole_world, tmp_path):
    """`$HOME/.paddlenlp/datasets` laid out as the original's users have it, over the drawn world."""
    folder = tmp_path / "home/.paddlenlp/datasets"
    folder.mkdir(parents=True)
    for name, below in (("COCOCaptions", "COCO"), ("VQA2", "VQA2"), ("NLVR2", "NLVR2")):
        (folder / name).symlink_to(whole_world / below)
    return tmp_path / "home"


PRETRAIN = [
    ("coco_captions", "X_COCO", "coco_detectron_fix_100", "16"),
    ("vqa2", "X_COCO", "coco_detectron_fix_100", "16"),
    ("coco_captions", "X_COCO", "coco_detectron_fix_144", "16"),
    ("nlvr2", "X_NLVR", "nlvr2_detectron_fix_144", "8"),
]


@pytest.mark.parametrize("dataset, folder, kind, batch", PRETRAIN)
def test_pretraining_command(whole_world, home, tmp_path, dataset, folder, kind, batch):
    """As typed in the original's page; what follows the last line makes the network small and the data the sample's."""
    done = run(
        *(sys.executable, str(ROOT / "visualbert_paddle/run_pretrain.py")),
        *("--input_dir", f"{whole_world}/{folder}/", "--output_dir", str(tmp_path / "out")),
        *("--dataset", dataset, "--model_type", "visualbert", "--model_name_or_path", ""),
        *("--image_feature_type", kind, "--train_batch_size", batch, "--learning_rate", "1e-5"),
        *("--num_train_epochs", "3", *ONE_STEP, "--set", f"tokenizer={whole_world}/vocab.txt"),
        *("--set", "model.vocab_size=0", "--set", "model.visual_dim=32"),
        cwd=tmp_path,
        HOME=str(home),
    )
    assert done.returncode == 0, done.stderr
    config = (tmp_path / "out/config.yaml").read_text()
    assert f"dataset: {dataset}" in config
    assert ("words_and_matching" in config) == (dataset == "coco_captions")
    assert f"batch_size: {batch}" in config
    assert (tmp_path / "out/best/model.safetensors").is_file()


def test_nlvr2_command(whole_world, home, tmp_path):
    done = run(
        *(sys.executable, str(ROOT / "visualbert_paddle/run_nlvr2.py")),
        *("--input_dir", f"{whole_world}/X_NLVR/", "--output_dir", str(tmp_path / "out"), "--task_name", "nlvr2"),
        *("--model_type", "visualbert", "--model_name_or_path", "", "--batch_size", "4"),
        *("--gradient_accumulation_steps", "4", "--learning_rate", "2e-5", "--save_steps", "5000"),
        *("--num_train_epochs", "10", *ONE_STEP, "--set", f"tokenizer={whole_world}/vocab.txt"),
        *("--set", "model.vocab_size=0", "--set", "model.visual_dim=32"),
        cwd=tmp_path,
        HOME=str(home),
    )
    assert done.returncode == 0, done.stderr
    assert "effective batch 16 (4 x 1 process(es) x 4 accumulation)" in done.stderr
    assert (tmp_path / "out/dev/predictions.csv").is_file()


@pytest.mark.parametrize(
    "script, missing",
    [
        ("vqa-coco-pretrain.sh", "data/detectron_fix_100"),
        ("vqa-pretrain.sh", "data/detectron_fix_100"),
        ("nlvr2-coco-pretrain.sh", "data/detectron_fix_144"),
        ("nlvr2-pretrain.sh", "data/detectron_fix_144"),
        ("nlvr2-finetune.sh", "data/detectron_fix_144"),
        ("vcr-finetune.sh", "nowhere"),
        ("flickr-finetune.sh", "data/detectron_fix_100"),
    ],
)
def test_scripts_say_what_is_missing_from_any_folder(tmp_path, script, missing):
    for command, cwd in ((("sh", script), ROOT / "shell"), (("sh", f"shell/{script}"), ROOT)):
        done = run(*command, cwd=cwd, DATA_DIR=str(tmp_path / "nowhere"), HOME=str(tmp_path), LOG_DIR=str(tmp_path))
        assert done.returncode == 2
        assert f"{missing} is missing" in done.stderr
        assert f"DATA_DIR=sample sh shell/{script}" in done.stderr
        assert "ANNOTATIONS" in done.stderr


SAMPLE_SCRIPTS = [
    "vqa-finetune.sh",
    "vqa-coco-pretrain.sh",
    "vqa-pretrain.sh",
    "nlvr2-coco-pretrain.sh",
    "nlvr2-pretrain.sh",
    "nlvr2-finetune.sh",
    "vcr-finetune.sh",
    "flickr-finetune.sh",
]


@pytest.fixture(scope="module")
def sample_root(tmp_path_factory):
    """A small drawn world of the size of features that the tiny configurations are for."""
    folder = tmp_path_factory.mktemp("sample") / "world"
    done = run(
        *(sys.executable, "-m", "pyutils.sample", "world", "--output", str(folder), "--scenes", "24"),
        *("--shapes", "3", "--colours", "4", "--sentences", "6", "--only", "vqa,coco,nlvr2,vcr,entities"),
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("script", SAMPLE_SCRIPTS)
def test_scripts_run_on_the_sample(sample_root, tmp_path, script):
    log = tmp_path / "logs"
    # VQA's own sample is easy-VQA, which the quick start covers.
    sample = "sample-world" if script == "vqa-finetune.sh" else "sample"
    options = {"SAMPLE_ROOT": str(sample_root), "SAMPLE_SCENES": "24", "LOG_DIR": "logs", "DATA_DIR": sample}
    done = run("sh", str(ROOT / "shell" / script), *TINY, cwd=tmp_path, **options)
    assert done.returncode == 0, done.stderr
    where = [log / "q_a", log / "qa_r"] if script.startswith("vcr") else [log]
    assert all((folder / "best/model.safetensors").is_file() for folder in where)
    if script.startswith("vcr"):
        assert {"q_a", "qa_r", "q_ar"} < set(json.loads((log / "metrics_val.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vqa", "nlvr2"])
def test_chain_starts_each_stage_from_the_last(sample_root, tmp_path, task):
    options = {"SAMPLE_ROOT": str(sample_root), "SAMPLE_SCENES": "24", "LOG_DIR": "chain", "DATA_DIR": "sample"}
    chain = ("sh", str(ROOT / "shell/visualbert-chain.sh"), task, *TINY)
    done = run(*chain, cwd=tmp_path, **options)
    assert done.returncode == 0, done.stderr
    for stage, source in (("pre", "coco-pre"), ("finetune", "pre")):
        assert f"init: {tmp_path}/chain/{source}/best" in (tmp_path / f"chain/{stage}/config.yaml").read_text()
    shutil.rmtree(tmp_path / "chain/finetune")
    again = run(*chain, cwd=tmp_path, **options)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("resuming from") == 2  # the finished stages are not trained anew
    assert (tmp_path / "chain/finetune/best/model.safetensors").is_file()


def test_chain_needs_a_task():
    done = run("sh", "shell/visualbert-chain.sh", "vcr")
    assert done.returncode == 2
    assert "vqa|nlvr2" in done.stderr


def test_data_sets_by_name(home, whole_world, capsys):
    datasets = home / ".paddlenlp/datasets"
    captions = load_dataset("coco_captions", home=datasets, download=False)
    assert set(captions) == {"train", "val"}
    assert len(captions["train"][0].captions) == 5
    assert load_dataset("vqa2", "minival", home=datasets)[0].question
    pairs = load_dataset("nlvr2", "dev", home=datasets)
    assert pairs[0].left.replace("img0", "img1") == pairs[0].right
    assert datasets_command(["nlvr2", "--home", str(datasets), "--offline"]) == 0
    assert f"nlvr2 dev: {len(pairs)} records" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"load_dataset: unknown data set 'nlvr': did you mean \"nlvr2\""):
        load_dataset("nlvr", home=datasets)
    with pytest.raises(InputError, match=r"nlvr2 has no split 'test': did you mean \"test1\""):
        load_dataset("nlvr2", "test", home=datasets)


def test_sums_of_annotations(home, whole_world):
    datasets, file = home / ".paddlenlp/datasets", whole_world / "NLVR2/annotations/dev.json"
    real = hashlib.md5(file.read_bytes()).hexdigest()
    assert len(load_dataset("nlvr2", "dev", home=datasets, md5={"dev.json": real}))
    wrong = {"dev.json": "0" * 32}
    with pytest.raises(InputError, match=rf"dev\.json: expected md5 {'0' * 32}, found {real}.*accept_mismatch"):
        load_dataset("nlvr2", "dev", home=datasets, md5=wrong)
    with pytest.warns(UserWarning, match=rf"expected md5 {'0' * 32}, found {real}"):
        assert len(load_dataset("nlvr2", "dev", home=datasets, md5=wrong, accept_mismatch=True))


def test_archives_beside_the_folder_are_unpacked(whole_world, tmp_path, monkeypatch):
    """Archives put there by hand are used; what is not there at all is named with its place."""
    with zipfile.ZipFile(archive := tmp_path / "COCOCaptions.zip", "w") as stream:
        for split in ("train", "val"):
            name = f"captions_{split}2014.json"
            stream.write(whole_world / "COCO/annotations" / name, f"annotations/{name}")
    (tmp_path / "COCOCaptions").mkdir()
    ((_, part),) = choose(["coco2014:annotations"])
    archive.rename(tmp_path / "COCOCaptions" / part.file)
    options = {"home": tmp_path, "download": False, "accept_mismatch": True}
    with pytest.warns(UserWarning, match="sha256|bytes"):
        assert set(load_dataset("coco_captions", **options)) == {"train", "val"}
    (tmp_path / "VQA2/extras/vocabs").mkdir(parents=True)
    shutil.copy(whole_world / "VQA2/extras/vocabs/answers_vqa.txt", tmp_path / "VQA2/extras/vocabs")
    with tarfile.open(tmp_path / "VQA2/imdb.tar.gz", "w:gz") as stream:
        for split in ("train2014", "val2014", "minival2014", "test2015"):
            name = f"imdb_{split}.npy"
            stream.add(whole_world / "VQA2/annotations" / name, f"imdb/{name}")
    assert len(load_dataset("vqa2", **options)) == 4
    with pytest.raises(InputError, match=r"NLVR2/annotations/train\.json is missing: put it there, or .*https"):
        load_dataset("nlvr2", **options)


@pytest.fixture
def parts(tmp_path):
    """A tar archive in eight parts, all but the last of 4,000 bytes."""
    (tmp_path / "regions.txt").write_bytes(os.urandom(20000))
    with tarfile.open(tmp_path / "fix_100.tar", "w") as stream:
        stream.add(tmp_path / "regions.txt", "detectron_fix_100/regions.txt")
    content = (tmp_path / "fix_100.tar").read_bytes()
    (tmp_path / "fix_100.tar").unlink()
    made = []
    for number, start in enumerate(range(0, len(content), 4000)):
        made.append(tmp_path / f"fix_100.tar.part{number:02d}")
        made[-1].write_bytes(content[start : start + 4000])
    return made


def test_parts_are_joined_and_unpacked(parts, tmp_path, capsys):
    found = join_command([str(parts[0]), "--parts", str(len(parts)), "--unpack", str(tmp_path / "data")])
    assert found == 0
    unpacked = tmp_path / "data/detectron_fix_100/regions.txt"
    assert unpacked.read_bytes() == (tmp_path / "regions.txt").read_bytes()
    assert f"{len(parts)} parts" in capsys.readouterr().out
    assert (tmp_path / "fix_100.tar").is_file()


def test_parts_that_are_missing_or_of_the_wrong_size(parts, tmp_path):
    assert len(parts) == 8
    with pytest.raises(InputError, match=r"1 of 9 parts of fix_100\.tar are missing: fix_100\.tar\.part08"):
        find_parts(parts[0], 9)
    with pytest.raises(InputError, match=r"expected 3 parts, found more: fix_100\.tar\.part03"):
        find_parts(parts[0], 3)
    content = parts[2].read_bytes()
    parts[2].write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"wrong size: fix_100\.tar\.part02 \(3999 bytes\); expected 4000 bytes"):
        join_command([str(parts[0])])
    parts[2].unlink()
    with pytest.raises(InputError, match=r"1 of 8 parts .* missing: fix_100\.tar\.part02; download them again"):
        join_command([str(parts[0])])
    assert not (tmp_path / "fix_100.tar").exists()
    parts[2].write_bytes(content)
    parts[-1].write_bytes(b"")
    with pytest.raises(InputError, match=r"wrong size: fix_100\.tar\.part07 \(0 bytes\)"):
        find_parts(parts[0])
    with pytest.raises(InputError, match=r"named like NAME\.part00"):
        find_parts(tmp_path / "fix_100.tar")
    with pytest.raises(InputError, match="nor any other part"):
        find_parts(tmp_path / "other.tar.part00")


def test_named_sets_refuse_unknown_sums_and_empty_files(tmp_path):
    (tmp_path / "NLVR2/annotations").mkdir(parents=True)
    (tmp_path / "NLVR2/annotations/dev.json").write_text("")
    with pytest.raises(InputError, match=r"md5: unknown file 'nope\.json': .*dev\.json"):
        load_dataset("nlvr2", "dev", home=tmp_path, md5={"nope.json": "0" * 32})
    with pytest.raises(InputError, match="nlvr2 has no split"):
        load_dataset("nlvr2", ["dev", "test1"], home=tmp_path)
    with pytest.raises(InputError, match=r"dev\.json: holds no record"):
        load_dataset("nlvr2", "dev", home=tmp_path)


def test_an_unknown_mode_of_vcr_ends_the_script():
    done = subprocess.run(
        ["sh", str(ROOT / "shell/vcr-finetune.sh")], env={**os.environ, "MODE": "foo"}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "MODE=foo: expected q_a or qa_r" in done.stderr
