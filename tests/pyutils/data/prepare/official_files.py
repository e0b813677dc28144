"""Tiny files in the official formats, written where the builders look for them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from PIL import Image


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_lines(path: Path, values: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)


def karpathy(root: Path, name: str = "coco") -> Path:
    """Five images, one of each split of COCO and one more in training; two captions each."""
    images = []
    for number, split in enumerate(("train", "restval", "val", "test", "train")):
        entry: dict[str, Any] = {
            "filename": f"{100 + number}.jpg",
            "imgid": number,
            "split": split.replace("restval", "train") if name == "flickr30k" else split,
            "sentences": [
                {"raw": f"Caption {k} of {number}.", "tokens": [], "sentid": 10 * number + k} for k in range(2)
            ],
        }
        if name == "coco":
            entry["filepath"], entry["cocoid"] = "val2014", 100 + number
            entry["filename"] = f"COCO_val2014_{100 + number:012d}.jpg"
        images.append(entry)
    place = "coco/annotations/dataset_coco.json" if name == "coco" else "flickr30k/dataset_flickr30k.json"
    return write_json(root / place, {"images": images, "dataset": name})


def vqa(root: Path, questions: int = 10) -> None:
    """Questions of train, val and test; nine of ten training answers are "yes", one is "a Dog.", nine of val are ""."""
    for split in ("train2014", "val2014", "test2015"):
        asked, answered = [], []
        for number in range(questions):
            identifier = {"train2014": 1000, "val2014": 2000, "test2015": 3000}[split] + number
            asked.append({"question_id": identifier, "image_id": 7, "question": f"Is it {number}?"})
            best = {"train2014": "Yes", "val2014": ""}[split] if number and split != "test2015" else "a Dog."
            humans = [best] * 7 + ["no", "no", "maybe"]
            answered.append(
                {
                    "question_id": identifier,
                    "image_id": 7,
                    "multiple_choice_answer": best,
                    "answers": [{"answer": answer, "answer_id": k} for k, answer in enumerate(humans)],
                    "question_type": "is it",
                    "answer_type": "other",
                }
            )
        content = {"questions": asked, "data_subtype": split}
        write_json(root / f"vqa/Questions/v2_OpenEnded_mscoco_{split}_questions.json", content)
        if split != "test2015":
            annotations = {"annotations": answered, "data_subtype": split}
            write_json(root / f"vqa/Annotations/v2_mscoco_{split}_annotations.json", annotations)


def visual_genome(root: Path) -> None:
    """Three questions of two images, of which one answer is frequent in VQA."""
    answers = {1: ["Yes.", "On the table."], 2: [""]}
    write_json(
        root / "vg/question_answers.json",
        [
            {
                "id": image,
                "qas": [
                    {"qa_id": 10 * image + k, "image_id": image, "question": "Is it?", "answer": answer}
                    for k, answer in enumerate(given)
                ],
            }
            for image, given in answers.items()
        ],
    )
    write_json(
        root / "vg/image_data.json",
        [{"image_id": 1, "url": "https://host/VG_100K_2/1.jpg"}, {"image_id": 2, "url": "https://host/VG_100K/2.jpg"}],
    )


def genome_regions(root: Path) -> None:
    """Phrases about three images, one of them without any; image 2 is image 102 of COCO, in Karpathy's val split."""
    phrases = {1: ["A red Cup ", "a table", "A red Cup "], 2: ["a dog"], 3: ["..."]}
    write_json(
        root / "vg/region_descriptions.json",
        [
            {
                "id": image,
                "regions": [{"region_id": k, "image_id": image, "phrase": text} for k, text in enumerate(own)],
            }
            for image, own in phrases.items()
        ],
    )
    places = {1: ("VG_100K_2", None), 2: ("VG_100K", 102), 3: ("VG_100K", 100)}
    images = [
        {"image_id": image, "url": f"https://host/{folder}/{image}.jpg", "coco_id": coco}
        for image, (folder, coco) in places.items()
    ]
    write_json(root / "vg/image_data.json", images)


def gqa_questions() -> dict[str, Any]:
    """Two questions of GQA, whose ids differ by a leading zero, and one without answer."""
    question = {"imageId": "2405722", "question": "Is it red?", "answer": "no", "types": {"structural": "verify"}}
    other = {
        "imageId": "n578564",
        "question": "What is it?",
        "answer": "fire hydrant",
        "types": {"structural": "query"},
    }
    hidden = {"imageId": "n1", "question": "Who?"}
    return {"02930152": question, "2930152": other, "201": hidden}


def vizwiz_questions(split: str) -> list[dict[str, Any]]:
    """Two questions of VizWiz, one of them unanswerable; in test both without answers."""
    entries: list[dict[str, Any]] = []
    for number, answers in enumerate(
        (["unanswerable"] * 8 + ["unsuitable image", "pen"], ["basil"] * 6 + ["spice"] * 4)
    ):
        entry: dict[str, Any] = {"image": f"VizWiz_{split}_{number:08d}.jpg", "question": "What is this?"}
        if split != "test":
            entry["answers"] = [{"answer_confidence": "yes", "answer": answer} for answer in answers]
            entry["answer_type"] = "other" if number else "unanswerable"
            entry["answerable"] = number
        entries.append(entry)
    return entries


def okvqa(root: Path, split: str) -> None:
    """Two questions of OK-VQA with ten answers, whose annotations name no most frequent one."""
    questions = [{"question_id": 5 + k, "image_id": 51606, "question": "What is it?"} for k in range(2)]
    answers = [
        {"answer": text, "raw_answer": f"{text}s", "answer_id": k} for k, text in enumerate(["pony tail"] * 10, 1)
    ]
    entries = [
        {**question, "answer_type": "other", "question_type": "four", "answers": answers} for question in questions
    ]
    for entry in entries:
        del entry["question"]
    write_json(root / f"okvqa/OpenEnded_mscoco_{split}_questions.json", {"data_subtype": split, "questions": questions})
    write_json(root / f"okvqa/mscoco_{split}_annotations.json", {"data_subtype": split, "annotations": entries})


def flickr8k(root: Path) -> None:
    """Four images with two captions each, in Flickr8k's own files; the last is in no split."""
    folder = root / "flickr8k/Flickr8k_text"
    folder.mkdir(parents=True)
    lines = [f"{name}.jpg#{k}\tCaption {k} of {name} .\n" for name in "abcd" for k in range(2)]
    (folder / "Flickr8k.token.txt").write_text("".join(lines))
    for split, name in (("train", "b"), ("dev", "a"), ("test", "c")):
        (folder / f"Flickr_8k.{split}Images.txt").write_text(f"{name}.jpg\n")


def coco_captions(root: Path, split: str) -> None:
    """Two images, one of them without caption, in COCO's own form."""
    content = {
        "images": [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 25, "file_name": "000000000025.jpg"}],
        "annotations": [{"id": k, "image_id": 9, "caption": f"Caption {k}."} for k in range(2)],
    }
    write_json(root / f"coco/annotations/captions_{split}.json", content)


def nlvr2(root: Path) -> None:
    """One training pair in folder 55, one pair of dev and test1."""
    for name, split in (("train", "train"), ("dev", "dev"), ("test1", "test1")):
        line = {"sentence": "Both are dogs.", "label": "True", "identifier": f"{split}-3-1-0"}
        write_lines(root / f"nlvr2/{name}.json", [line | {"directory": 55} if name == "train" else line])


def snli_ve(root: Path) -> None:
    """Each split: a neutral example, and one on which the annotators disagreed."""
    for split in ("train", "dev", "test"):
        lines = [
            {"Flickr30K_ID": "42", "sentence2": "A man.", "gold_label": label, "pairID": f"42.jpg#{number}"}
            for number, label in enumerate(("neutral", "-"))
        ]
        write_lines(root / f"snli_ve/snli_ve_{split}.jsonl", lines)


def refcoco(root: Path, dataset: str = "refcoco+", splitting: str = "unc") -> Path:
    """Three references: train and val in image 5, testA in image 6; image 5 has a third object."""
    folder = root / "refcoco" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    refs = [
        {
            "ref_id": number,
            "ann_id": 10 + number,
            "category_id": 1,
            "image_id": image,
            "split": split,
            "file_name": f"COCO_train2014_{image:012d}_{number}.jpg",
            "sent_ids": [number * 2, number * 2 + 1],
            "sentences": [
                {"sent_id": number * 2 + k, "raw": f"The Dog {k}!", "sent": f"the dog {k}", "tokens": ["the", "dog"]}
                for k in range(2)
            ],
        }
        for number, (image, split) in enumerate(((5, "train"), (5, "val"), (6, "testA")))
    ]
    (folder / f"refs({splitting}).p").write_bytes(pickle.dumps(refs, protocol=2))
    boxes = {10: [1.0, 2.0, 3.0, 4.0], 11: [5.5, 6, 7, 8], 12: [0, 0, 9, 9], 13: [2, 2, 2, 2]}
    write_json(
        folder / "instances.json",
        {
            "images": [
                {"id": image, "file_name": f"COCO_train2014_{image:012d}.jpg", "width": 20, "height": 30}
                for image in (5, 6)
            ],
            "annotations": [
                {"id": number, "image_id": 6 if number == 12 else 5, "category_id": 1, "bbox": box}
                for number, box in boxes.items()
            ],
            "categories": [{"id": 1, "name": "dog"}],
        },
    )
    return folder
