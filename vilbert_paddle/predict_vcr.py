"""VCR with two models, one for answers and one for rationales: Q→AR, and the file that the leaderboard takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pyutils import distributed
from pyutils.config import load_config
from pyutils.console import markdown_table, say
from pyutils.engine.evaluation import evaluating, split_loader
from pyutils.engine.precision import autocast
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.vcr import CHOICES, combine
from pyutils.metrics.vcr_results import RESULT_FILE, write_leaderboard
from pyutils.weights.checkpoint import CONFIG_FILE, find_checkpoint
from vilbert_paddle.tasks.vcr import VCRRunConfig, VCRTask
from vilbert_paddle.weights import load_initial

Scores = dict[str, list[float]]


def predict_both(task: VCRTask, source: str, split: str, output_dir: Path) -> None:
    """Score the answers with `task`, and with the model of `source` the rationales after each of the four; write
    `leaderboard.csv`, and where `split` has labels the three accuracies. InputError when the models are not one for
    Q→A and one for QA→R."""
    if task.asked != "answer":
        raise InputError("--checkpoint must be trained for Q→A when --rationale_checkpoint is given")
    other = rationale_task(task, source)
    answers = scores_of(task, split)
    conditioned = [scores_of(other, split, given) for given in range(CHOICES)]
    if distributed.is_main():
        output_dir.mkdir(parents=True, exist_ok=True)
        say(f"for the leaderboard: {write_leaderboard(output_dir / RESULT_FILE, answers, conditioned)}")
        _accuracies(task, split, answers, conditioned, output_dir)
    distributed.barrier()


def rationale_task(task: VCRTask, source: str) -> VCRTask:
    """The model of --rationale_checkpoint on the questions and features of `task`. InputError when it is not for
    QA→R."""
    checkpoint = find_checkpoint(source)
    config = load_config(VCRRunConfig, checkpoint / CONFIG_FILE)
    if config.vcr.asked != "rationale":
        raise InputError(f"{checkpoint}: --rationale_checkpoint must be trained for QA→R, this one is for Q→A")
    own = task.config
    config = replace(
        config,
        vcr=replace(own.vcr, asked="rationale", answer_results=""),
        regions=own.regions,
        annotated_regions=own.annotated_regions,
        tokenizer=own.tokenizer,
    )
    other = VCRTask(config)
    say(str(load_initial(other.model, str(checkpoint))))
    return other


def scores_of(task: VCRTask, split: str, given_answer: int = -1) -> Scores:
    """The four scores of every question; of rationales after answer `given_answer`."""
    task.config = replace(task.config, vcr=replace(task.config.vcr, given_answer=given_answer))
    settings = task.config.train
    with evaluating(task.model), autocast(settings.precision):
        task.predict(split_loader(task, settings, split), split)
    return task.last_scores


def _accuracies(task: VCRTask, split: str, answers: Scores, conditioned: list[Scores], output_dir: Path) -> None:
    labels = {record.annot_id: (record.answer_label, record.rationale_label) for record in task.records(split)}
    if any(None in pair for pair in labels.values()):
        return
    # The rationale is judged after the right answer, whatever was answered.
    rationales = {name: conditioned[answer][name] for name, (answer, _) in labels.items()}
    found = {name: 100.0 * value for name, value in combine(labels, answers, rationales)._asdict().items()}
    write_json(output_dir / f"{split}_accuracies.json", found)
    say(markdown_table([{"split": split, **{name: f"{value:.2f}" for name, value in found.items()}}]))
