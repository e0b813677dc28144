"""ALBEF's lists from official files, read back with the readers that training uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyutils.data.annotations import albef, classified
from pyutils.data.prepare.__main__ import main
from pyutils.data.records import CaptionRecord, ExpressionRecord
from pyutils.data.vqa import forms
from pyutils.errors import InputError
from tests.pyutils.data.prepare import official_files as official


def _prepare(root: Path, *arguments: str) -> Path:
    assert main([*arguments, "--root", str(root)]) == 0
    return root / "albef"


def test_coco(tmp_path, capsys):
    official.karpathy(tmp_path)
    made = _prepare(tmp_path, "coco")
    train = albef.read_retrieval_train(made / "coco_train.json")
    assert len(train) == 6
    assert train[2] == CaptionRecord("val2014/COCO_val2014_000000000101.jpg", ("Caption 0 of 1.",), 101)
    assert [record.image_id for record in train] == [100, 100, 101, 101, 104, 104]
    test = albef.read_retrieval_eval(made / "coco_test.json")
    assert test[0].captions == ("Caption 0 of 3.", "Caption 1 of 3.")
    assert len(albef.read_pretrain(made / "coco_pretrain.json")) == 3
    printed = capsys.readouterr().out
    assert "coco_train.json: 6 entries, 3 images" in printed
    assert "coco train: 3 images; the published split has 113287" in printed


def test_flickr30k(tmp_path):
    official.karpathy(tmp_path, "flickr30k")
    made = _prepare(tmp_path, "flickr30k")
    entries = json.loads((made / "flickr30k_train.json").read_text())
    assert entries[0] == {"image": "flickr30k-images/100.jpg", "caption": "Caption 0 of 0.", "image_id": 0}
    assert len(albef.read_retrieval_eval(made / "flickr30k_val.json")) == 1


def test_flickr8k_from_its_own_files(tmp_path, capsys):
    official.flickr8k(tmp_path)
    made = _prepare(tmp_path, "flickr8k")
    train = albef.read_retrieval_train(made / "flickr8k_train.json")
    assert [record.captions for record in train] == [("Caption 0 of b .",), ("Caption 1 of b .",)]
    assert {record.image_id for record in train} == {"b.jpg"}
    (test,) = albef.read_retrieval_eval(made / "flickr8k_test.json")
    assert (test.image, test.captions) == ("c.jpg", ("Caption 0 of c .", "Caption 1 of c ."))
    assert albef.read_retrieval_eval(made / "flickr8k_val.json")[0].image == "a.jpg"
    assert albef.read_pretrain(made / "flickr8k_pretrain.json")[0].captions == ("Caption 0 of b .", "Caption 1 of b .")
    assert "1 images of Flickr8k.token.txt are in no split" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("Flickr8k.token.txt", "a.jpg a dog\n", "Flickr8k.token.txt: line 1: expected NAME.jpg#NUMBER, a tab"),
        ("Flickr_8k.testImages.txt", "c.jpg\nb.jpg\n", "testImages.txt: line 2: b.jpg is listed already in .*trainIm"),
        ("Flickr_8k.devImages.txt", "z.jpg\n", "devImages.txt: line 1: z.jpg has no caption in"),
    ],
)
def test_damaged_flickr8k_names_file_and_line(tmp_path, file, text, problem):
    official.flickr8k(tmp_path)
    (tmp_path / "flickr8k/Flickr8k_text" / file).write_text(text)
    with pytest.raises(InputError, match=problem):
        _prepare(tmp_path, "flickr8k")


def test_flickr8k_of_karpathy_without_its_test_split(tmp_path, capsys):
    path = official.karpathy(tmp_path, "flickr30k")
    content = json.loads(path.read_text())
    content["images"] = [image for image in content["images"] if image["split"] != "test"]
    official.write_json(tmp_path / "flickr8k/dataset_flickr8k.json", content)
    made = _prepare(tmp_path, "flickr8k")
    assert len(albef.read_retrieval_train(made / "flickr8k_train.json")) == 6
    assert not (made / "flickr8k_test.json").exists()
    assert "flickr8k: no list of test" in capsys.readouterr().out


def test_captions_of_coco_itself(tmp_path):
    official.coco_captions(tmp_path, "train2017")
    official.coco_captions(tmp_path, "val2017")
    made = _prepare(tmp_path, "coco2017")
    image = "train2017/000000000009.jpg"
    captions = ("Caption 0.", "Caption 1.")
    train = albef.read_retrieval_train(made / "coco2017_train.json")
    assert list(train) == [CaptionRecord(image, (caption,), 9) for caption in captions]
    assert albef.read_pretrain(made / "coco2017_pretrain.json")[0].captions == captions
    (val,) = albef.read_retrieval_eval(made / "coco2017_val.json")
    assert (val.image, val.captions) == ("val2017/000000000009.jpg", captions)


def test_visual_genome_leaves_out_images_that_retrieval_is_measured_on(tmp_path, capsys):
    official.genome_regions(tmp_path)
    made = _prepare(tmp_path, "vg")
    kept = albef.read_pretrain(made / "vg_pretrain.json")
    assert [(record.image, record.captions) for record in kept] == [
        ("VG_100K_2/1.jpg", ("A red Cup", "a table")),
        ("VG_100K/2.jpg", ("a dog",)),
    ]
    assert "3 different phrases of 2 images; 1 images without any left out" in capsys.readouterr().out
    official.karpathy(tmp_path)
    _prepare(tmp_path, "vg")
    assert [record.image for record in albef.read_pretrain(made / "vg_pretrain.json")] == ["VG_100K_2/1.jpg"]
    assert "1 images that are also in COCO's val or test split left out" in capsys.readouterr().out


def test_vqa_answers_weigh_their_share(tmp_path, capsys):
    official.vqa(tmp_path)
    made = _prepare(tmp_path, "vqa")
    train = albef.read_vqa([made / "vqa_train.json", made / "vqa_val.json"])
    assert len(train) == 20
    assert train[1].weighted_answers() == {"Yes": 0.7, "no": 0.2, "maybe": 0.1}
    assert train[1].image == "train2014/COCO_train2014_000000000007.jpg"
    test = albef.read_vqa(made / "vqa_test.json")
    assert (test[0].answers, test[0].image) == ((), "test2015/COCO_test2015_000000000007.jpg")
    assert albef.read_answer_list(made / "answer_list.json") == ("yes",)
    note = "1 of 3 answers, given to 9 questions or more, covering 45.0% of 20 questions; 2 with the empty answer"
    assert note in capsys.readouterr().out


def test_visual_genome_keeps_ranked_answers(tmp_path):
    official.vqa(tmp_path)
    official.visual_genome(tmp_path)
    made = _prepare(tmp_path, "vqa")
    (record,) = albef.read_vqa(made / "vg_qa.json")
    assert (record.weighted_answers(), record.dataset) == ({"yes": 0.5}, "vg")
    assert (record.question_id, record.image) == (10, "VG_100K_2/1.jpg")
    _prepare(tmp_path, "vqa", "--all-vg-answers")
    assert [record.answers for record in albef.read_vqa(made / "vg_qa.json")] == [("yes",), ("on table",)]


def test_training_answers_alone_are_said_to_be_fewer(tmp_path, capsys):
    official.vqa(tmp_path)
    (tmp_path / "vqa/Annotations/v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(InputError, match="vqa is incomplete"):
        main(["vqa", "--root", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "from v2_mscoco_train2014_annotations.json alone, the published 3,128 need train and val" in printed
    assert f"missing  {tmp_path}/vqa/Annotations/v2_mscoco_val2014_annotations.json (answers of val2014)" in printed
    assert (tmp_path / "albef/vqa_train.json").is_file()
    assert not (tmp_path / "albef/vqa_val.json").exists()


def test_nlvr2(tmp_path):
    official.nlvr2(tmp_path)
    made = _prepare(tmp_path, "nlvr2")
    (train,) = albef.read_nlvr2(made / "nlvr_train.json")
    assert (train.left, train.right) == ("images/train/55/train-3-1-img0.png", "images/train/55/train-3-1-img1.png")
    assert (train.label, train.identifier) == (True, "train-3-1-0")
    assert albef.read_nlvr2(made / "nlvr_test.json")[0].left == "test1/test1-3-1-img0.png"


def test_nlvr2_real_files(tmp_path):
    """The published annotations, whose folder NLVR2_ANNOTATIONS names."""
    real = Path(os.environ.get("NLVR2_ANNOTATIONS", "")).absolute()
    if not (real / "dev.json").is_file():
        pytest.skip("NLVR2_ANNOTATIONS names no folder with the published NLVR2 annotations")
    (tmp_path / "nlvr2").symlink_to(real)
    _prepare(tmp_path)
    records = albef.read_nlvr2(tmp_path / "albef/nlvr_dev.json")
    assert len(records) == 6982
    assert 0.4 < np.mean(records.column("label").astype(bool)) < 0.6


def test_snli_ve_leaves_out_examples_without_majority(tmp_path, capsys):
    official.snli_ve(tmp_path)
    made = _prepare(tmp_path, "snli_ve")
    (record,) = classified.read(made / "ve_dev.json", image_paths=True)
    assert (record.image, record.label, record.identifier) == ("flickr30k-images/42.jpg", "neutral", "42.jpg#0")
    assert "ve_dev.json: 1 examples without a gold label left out" in capsys.readouterr().out


def test_refcoco_with_annotated_boxes(tmp_path, capsys):
    official.refcoco(tmp_path)
    made = _prepare(tmp_path, "refcoco+")
    image = "train2014/COCO_train2014_000000000005.jpg"
    train = albef.read_grounding(made / "refcoco+_train.json")
    assert len(train) == 2
    assert train[1] == ExpressionRecord(image, "the dog 1", 0, 5, "train", (1.0, 2.0, 3.0, 4.0))
    test = albef.read_grounding(made / "refcoco+_test.json")
    assert [record.split for record in test] == ["val", "val", "testA", "testA"]
    boxes = albef.read_detections(made / "refcoco+/dets.json")
    assert boxes[5].tolist() == [[1, 2, 3, 4], [5.5, 6, 7, 8], [2, 2, 2, 2]]
    assert json.loads((made / "refcoco+/cocos.json").read_text())["2"]["bbox"] == [0, 0, 9, 9]
    assert "refcoco+/dets.json: boxes of the annotated objects (ground truth)" in capsys.readouterr().out


def test_refcoco_with_detections(tmp_path, capsys):
    official.refcoco(tmp_path)
    found = [{"image_id": 5, "box": [1, 1, 2, 2], "score": 0.5}, {"image_id": 99, "bbox": [0, 0, 1, 1]}]
    path = official.write_json(tmp_path / "dets.json", found)
    made = _prepare(tmp_path, "refcoco+", "--detections", str(path))
    assert json.loads((made / "refcoco+/dets.json").read_text()) == {"5": [[1, 1, 2, 2, 0.5]], "6": []}
    printed = capsys.readouterr().out
    assert f"boxes of {path}" in printed
    assert "1 images without a box, first 6" in printed
    official.write_json(path, [{"image_id": 5, "bbox": [1, 1]}])
    with pytest.raises(
        InputError, match=r'dets\.json: entry 0: expected x, y, width, height in "bbox", found \[1, 1\]'
    ):
        main(["refcoco+", "--root", str(tmp_path), "--detections", str(path)])


def test_other_splitting(tmp_path):
    official.refcoco(tmp_path, "refcoco", "google")
    made = _prepare(tmp_path, "refcoco", "--splitting", "google")
    assert len(albef.read_grounding(made / "refcoco_train.json")) == 2


def test_without_arguments_everything_that_is_there_is_made(tmp_path, capsys):
    official.karpathy(tmp_path)
    official.nlvr2(tmp_path)
    made = _prepare(tmp_path)
    assert (made / "coco_test.json").is_file()
    assert (made / "nlvr_dev.json").is_file()
    printed = capsys.readouterr().out
    assert f"found    {tmp_path}/coco/annotations/dataset_coco.json" in printed
    assert f"missing  {tmp_path}/refcoco/refcoco+/refs(unc).p (expressions of refcoco+)" in printed


def test_a_damaged_set_does_not_keep_the_others_from_being_made(tmp_path):
    official.karpathy(tmp_path).write_text('{"images": [')
    official.nlvr2(tmp_path)
    with pytest.raises(InputError, match=r"dataset_coco\.json: not valid JSON at line 1"):
        main(["all", "--root", str(tmp_path)])
    assert (tmp_path / "albef/nlvr_dev.json").is_file()
    assert not (tmp_path / "albef/coco_train.json").exists()


def test_a_failing_build_leaves_the_previous_list_whole(tmp_path):
    official.nlvr2(tmp_path)
    made = _prepare(tmp_path, "nlvr2")
    before = (made / "nlvr_dev.json").read_text()
    lines = [{"identifier": "dev-1-1-0", "sentence": "a", "label": "True"}, {"identifier": "dev-1", "sentence": "a"}]
    official.write_lines(tmp_path / "nlvr2/dev.json", lines)
    with pytest.raises(InputError, match=r'dev\.json: line 2: "dev-1" is not an NLVR2 identifier'):
        main(["nlvr2", "--root", str(tmp_path)])
    assert (made / "nlvr_dev.json").read_text() == before


def test_missing_images_are_counted_and_named(tmp_path, capsys):
    official.nlvr2(tmp_path)
    for name in ("dev-3-1-img0", "dev-3-1-img1", "test1-3-1-img0"):
        official.write_image(tmp_path / "nlvr2/unpacked" / f"{name}.png")
    with pytest.raises(InputError) as caught:
        main(["nlvr2", "--root", str(tmp_path), "--check-images"])
    message = str(caught.value)
    assert (
        f"nlvr_train.json: 2 of 2 images are not below {tmp_path}/nlvr2: images/train/55/train-3-1-img0.png" in message
    )
    assert "nlvr_test.json: 1 of 2 images are not below" in message
    assert "nlvr_dev.json" not in message
    # Lists name the images where they were found.
    (record,) = albef.read_nlvr2(tmp_path / "albef/nlvr_dev.json")
    assert record.left == "unpacked/dev-3-1-img0.png"
    assert "nlvr_dev.json: 1 entries, 2 images" in capsys.readouterr().out


def test_command_line_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match="unknown set 'nlvr': did you mean \"nlvr2\""):
        main(["nlvr", "--root", str(tmp_path)])
    with pytest.raises(InputError, match="data folder .*nowhere does not exist: name yours with --root"):
        main(["--root", str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match="nothing was made: no set is complete"):
        main(["--root", str(tmp_path)])
    command = [sys.executable, "-m", "pyutils.data.prepare", "--root", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: nothing was made")
    assert "Traceback" not in ended.stderr


def test_too_few_answers_are_not_vqa_v2(tmp_path):
    official.vqa(tmp_path, questions=3)
    with pytest.raises(InputError, match="no answer was given to 9 questions"):
        main(["vqa", "--root", str(tmp_path)])


def test_gqa(tmp_path):
    for name in ("train_balanced", "val_balanced", "submission_all"):
        official.write_json(tmp_path / f"gqa/{name}_questions.json", official.gqa_questions())
    made = _prepare(tmp_path, "gqa")
    first, second, hidden = albef.read_vqa_eval(made / "gqa_train.json")
    assert (first.image, first.weighted_answers()) == ("images/2405722.jpg", {"no": 1.0})
    assert (first.answer_type, second.answer_type, hidden.answers) == ("binary", "open", ())
    assert [forms.gqa_id(record.question_id) for record in (first, second, hidden)] == ["02930152", "2930152", "201"]
    assert set(albef.read_answer_list(made / "gqa_answers.json")) == {"no", "fire hydrant"}
    assert not (made / "gqa_testdev.json").exists()


def test_okvqa_has_no_most_frequent_answer_in_its_files(tmp_path):
    official.okvqa(tmp_path, "train2014")
    official.okvqa(tmp_path, "val2014")
    made = _prepare(tmp_path, "okvqa")
    record = albef.read_vqa_eval(made / "okvqa_val.json")[0]
    assert record.image == "val2014/COCO_val2014_000000051606.jpg"
    assert (record.weighted_answers(), record.answer_type) == ({"pony tail": 1.0}, "other")
    assert albef.read_answer_list(made / "okvqa_answers.json") == ("pony tail",)


def test_vizwiz(tmp_path):
    for split in ("train", "val", "test"):
        official.write_json(tmp_path / f"vizwiz/{split}.json", 2 * official.vizwiz_questions(split)[:1])
    with pytest.raises(InputError, match="entry 1: question 1000000000000 is listed twice"):
        _prepare(tmp_path, "vizwiz")
    for split in ("train", "val", "test"):
        official.write_json(tmp_path / f"vizwiz/{split}.json", official.vizwiz_questions(split))
    with pytest.raises(InputError, match="no answer was given to 2 questions"):
        _prepare(tmp_path, "vizwiz")
    entries = official.vizwiz_questions("train")
    entries[1]["answers"] = entries[0]["answers"]
    official.write_json(tmp_path / "vizwiz/train.json", entries)
    made = _prepare(tmp_path, "vizwiz")
    first = albef.read_vqa_eval(made / "vizwiz_train.json")[0]
    assert first.image == "train/VizWiz_train_00000000.jpg"
    assert first.weighted_answers() == {"unanswerable": 0.8, "unsuitable image": 0.1, "pen": 0.1}
    assert albef.read_answer_list(made / "vizwiz_answers.json") == ("unanswerable",)
    assert [record.answers for record in albef.read_vqa_eval(made / "vizwiz_test.json")] == [(), ()]
