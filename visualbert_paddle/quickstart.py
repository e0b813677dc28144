"""VisualBERT on easy-VQA: generate the data, train, evaluate with baselines, draw curve and contact sheet.

python -m visualbert_paddle.quickstart [--output output/easy_vqa] [--data sample_data/easy_vqa] [--blind] [--seed N]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyutils.config import load_config
from pyutils.config.command_line import run_main
from pyutils.console import markdown_table, say, write_table
from pyutils.data.features.__main__ import main as features_command
from pyutils.data.vqa.results import SplitAnswers
from pyutils.engine.determinism import seed_initial
from pyutils.engine.evaluation import predict_split
from pyutils.engine.run import write_metrics
from pyutils.engine.run_log import LOG_FILE
from pyutils.engine.trainer import Trainer
from pyutils.sample.easy_vqa import make_easy_vqa
from pyutils.visualize.contact_sheet import Card, draw_contact_sheet
from pyutils.visualize.curves import draw_training
from pyutils.weights.checkpoint import load_weights
from visualbert_paddle.commands import DEFAULT_CONFIGS
from visualbert_paddle.tasks.vqa import VisualBertVQA, VisualBertVQAConfig

TEST = "test"
SHOWN = 12


def main() -> None:
    """Parse the command line and run all steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output/easy_vqa"), help="folder of the results")
    parser.add_argument("--data", type=Path, default=Path("sample_data/easy_vqa"), help="folder of the data")
    parser.add_argument("--blind", action="store_true", help="also train with the images withheld")
    parser.add_argument("--max_steps", type=int, default=0, help="stop training after these steps; 0: no limit")
    parser.add_argument("--seed", type=int, help="seed of weights, order and dropout (default: the recipe's)")
    options = parser.parse_args()
    config = prepare(options.data, options.output, options.max_steps, options.seed)
    rows, seconds = [], {}
    task, answered, seconds["VisualBERT"] = train(config)
    rows.append(row("VisualBERT", answered))
    rows.append(row("the same model, pictures shuffled", shuffled(config)))
    if options.blind:
        blind = replace(
            config,
            output_dir=f"{config.output_dir}_blind",
            image_input="withheld",
        )
        _, unseen, seconds["blind"] = train(blind)
        rows.append(row("trained with pictures withheld", unseen))
    rows.append(row("most frequent answer of each question", most_frequent(task)))
    report(options, task, answered, rows, seconds)


def prepare(data: Path, output: Path, max_steps: int = 0, seed: int | None = None) -> VisualBertVQAConfig:
    """Generate the data if missing, pack the features, and return the configuration."""
    say(f"easy-VQA as VQA v2 files and region features: {data} {'written' if make_easy_vqa(data) else 'is complete'}")
    folder, store = data / "X_COCO/data/detectron_fix_100", data / "regions.packed"
    if features_command(["convert", str(folder), str(store), "--dtype", "float32"]):
        raise SystemExit(2)
    config = load_config(VisualBertVQAConfig, DEFAULT_CONFIGS / "tiny" / "easy_vqa.yaml")
    return replace(
        config,
        output_dir=str(output),
        tokenizer=str(data / "vocab.txt"),
        regions=replace(config.regions, path=str(store)),
        vqa=replace(config.vqa, root=str(data / "VQA2")),
        train=replace(config.train, max_steps=max_steps, seed=config.train.seed if seed is None else seed),
    )


def train(config: VisualBertVQAConfig) -> tuple[VisualBertVQA, SplitAnswers, float]:
    """Train, then answer the test split with the best weights on the validation split."""
    seed_initial(config.train.seed)
    task = VisualBertVQA(config)
    trainer = Trainer(task, config.train, config.output_dir)
    start = time.monotonic()
    trainer.run()
    seconds = time.monotonic() - start
    load_weights(task.model, Path(config.output_dir) / "best")
    return task, test_answers(task, trainer), seconds


def test_answers(task: VisualBertVQA, trainer: Trainer) -> SplitAnswers:
    """The answers to the test split, written with their metrics to the run's folder `test`."""
    answered = predict_split(task, trainer.cfg, TEST)
    answered.write(trainer.output_dir / TEST)
    found = {**answered.metrics(), **answered.conditions()}
    write_metrics(task, trainer.output_dir, TEST, found, trainer.output_dir / "best")
    return answered


def shuffled(config: VisualBertVQAConfig) -> SplitAnswers:
    """The answers of the trained model when every question gets another image."""
    other = replace(
        config,
        output_dir=f"{config.output_dir}/shuffled",
        image_input="shuffled",
    )
    task = VisualBertVQA(other)
    load_weights(task.model, Path(config.output_dir) / "best")
    return test_answers(task, Trainer(task, other.train, other.output_dir))


def most_frequent(task: VisualBertVQA) -> SplitAnswers:
    """Baseline without images: the most frequent answer to the same question text in training."""
    counts: dict[str, Counter[str]] = {}
    overall: Counter[str] = Counter()
    for record in task.records("train"):
        counts.setdefault(record.question, Counter())[record.answers[0]] += 1
        overall[record.answers[0]] += 1
    fallback = overall.most_common(1)[0][0]
    records = task.records(TEST)
    texts = [counts[r.question].most_common(1)[0][0] if r.question in counts else fallback for r in records]
    chosen = np.array([task.answers.class_of(text) for text in texts])
    return SplitAnswers(records, chosen, task.answers, task.config.vqa.evaluation)


def row(name: str, answered: SplitAnswers) -> dict[str, str]:
    """One line of the result table."""
    accuracy = answered.accuracy()
    by_type = {f"{kind} %": f"{value:.2f}" for kind, value in sorted(accuracy.by_answer_type.items())}
    return {"model": name, "all %": f"{accuracy.overall:.2f}", **by_type}


def report(options, task: VisualBertVQA, answered: SplitAnswers, rows: list[dict], seconds: dict[str, float]) -> None:
    """Print and save the table, draw the curve and the contact sheet, log the files."""
    output = options.output
    write_table(output / "results.md", rows)
    curve = draw_training(output / LOG_FILE, output / "training_curve.png", title="VisualBERT on easy-VQA")
    sheet = draw_contact_sheet(cards(answered, options.data), output / "contact_sheet.png", title="easy-VQA, test part")
    say(f"\neasy-VQA test part, {len(task.records(TEST))} questions\n\n{markdown_table(rows)}\n")
    for name, value in seconds.items():
        say(f"{name}: trained in {value / 60:.1f} minutes")
    say(f"table {output / 'results.md'}, answers {output / TEST / 'result.json'}, images {curve} {sheet}")


def cards(answered: SplitAnswers, data: Path) -> list[Card]:
    """Twelve questions spread over the test part, each about another image."""
    chosen = []
    for row in np.linspace(0, len(answered.records) - 1, SHOWN).astype(int).tolist():
        record = answered.records[row]
        image = data / "images" / record.image.split("_")[1] / f"{record.image}.png"
        chosen.append(Card(image, record.question, answered.texts[row], record.answers[0]))
    return chosen


if __name__ == "__main__":
    run_main(main)
