"""Configurations of a tiny ViLBERT on the drawn world, one a task."""

from __future__ import annotations

DIMENSION = 32

NETWORK = """
output_dir: {output}
tokenizer: {world}/vocab.txt
max_text: 40
model:
  {{vocab_size: 0, max_positions: 96, region_dim: 32, region_targets: 50, bridge_size: 16, bridge_heads: 2,
   text: {{hidden_size: 16, num_layers: 2, num_heads: 2, intermediate_size: 24, connect_at: [1]}},
   regions: {{hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 24, connect_at: [0]}}}}
train:
  {{batch_size: 8, epochs: 1, workers: 0, log_every: 5, scalars: false, optimizer: {{lr: 1e-3}}}}
"""

VQA_FILES = "v2_OpenEnded_mscoco_{0}_questions.json, annotations: annotations/v2_mscoco_{0}_annotations.json"

DATA = {
    "refer": """
regions: {{path: {world}/lmdb/coco_base64.lmdb}}
annotated_regions: {{path: {world}/lmdb/coco_gt_base64.lmdb}}
refer: {{root: {world}, dataset: refcoco+}}
""",
    "vqa": f"""
regions: {{{{path: {{world}}/lmdb/coco_array.lmdb}}}}
vqa:
  root: {{world}}/VQA2
  splits:
    train: [{{{{questions: annotations/{VQA_FILES.format("train2014")}}}}}]
    val: [{{{{questions: annotations/{VQA_FILES.format("val2014")}}}}}]
    test: [{{{{questions: annotations/v2_OpenEnded_mscoco_test2015_questions.json}}}}]
""",
    "nlvr2": """
regions: {{path: {world}/lmdb/nlvr2_array.lmdb}}
nlvr2: {{root: "{world}/NLVR2/annotations", splits: {{train: train.json, val: dev.json, test: test1.json}}}}
""",
    "ve": """
regions: {{path: {world}/lmdb/flickr30k_base64.lmdb}}
snli_ve: {{root: "{world}/SNLI-VE", splits: {{train: snli_ve_train.jsonl, val: snli_ve_dev.jsonl}}}}
""",
    "retrieval": """
regions: {{path: {world}/lmdb/flickr30k_array.lmdb}}
retrieval: {{annotations: "{world}/karpathy/dataset_flickr30k.json", text_block: 7}}
""",
    "vcr": """
regions: {{path: {world}/lmdb/vcr_array.lmdb}}
annotated_regions: {{path: {world}/lmdb/vcr_gt_array.lmdb}}
vcr: {{root: "{world}/vcr", splits: {{train: train.jsonl, val: val.jsonl, test: test.jsonl}}}}
""",
    "pretrain": """
pretrain:
  splits: {{train: ["{world}/conceptual/caption_train.json"], val: ["{world}/conceptual/caption_valid.json"]}}
  features: {{train: "{world}/lmdb/concap_train_array.lmdb", val: "{world}/lmdb/concap_valid_array.lmdb"}}
""",
}


def task_yaml(task: str, world, output) -> str:
    """The configuration of `task` on the world in folder `world`, as YAML."""
    return (NETWORK + DATA[task]).format(world=world, output=output)
