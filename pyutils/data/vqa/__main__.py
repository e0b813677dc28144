"""VQA v2 tools: score a result file, build an answer vocabulary.

`python -m pyutils.data.vqa evaluate` prints the official accuracy of a result file as a Markdown table;
`python -m pyutils.data.vqa answers build --annotations FILE … --output answers_vqa.txt` writes a vocabulary.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Optional

from pyutils.config.command_line import run_main
from pyutils.data.vqa.annotations import official_entries
from pyutils.data.vqa.answers import UNKNOWN, AnswerVocabulary, count_answers
from pyutils.data.vqa.results import read_results
from pyutils.formats.atomic import write_json
from pyutils.metrics.vqa import CURRENT_VERSION, EVALUATION_HELP, VERSIONS, VQAAccuracy, evaluate_answers


def table(result: VQAAccuracy) -> str:
    """Format the accuracies as a Markdown table: overall, by answer type, by question type (both alphabetical)."""
    rows = [("overall", "", result.overall)]
    rows += [("answer type", name, value) for name, value in sorted(result.by_answer_type.items())]
    rows += [("question type", name, value) for name, value in sorted(result.by_question_type.items())]
    lines = ["| questions | type | accuracy (%) |", "|---|---|---:|"]
    return "\n".join(lines + [f"| {kind} | {name} | {value:.2f} |" for kind, name, value in rows])


def evaluate(options: argparse.Namespace) -> None:
    """Print the accuracies of a result file, and write all of them to `options.output` if given."""
    _, _, annotations = official_entries(options.questions, options.annotations)
    result = evaluate_answers(annotations.values(), read_results(options.results, annotations), options.version)
    if options.output:
        write_json(options.output, {"vqa_evaluation": options.version, **asdict(result)})
    print(f"official VQA evaluation, version {options.version}")
    print(table(result))


def build_answers(options: argparse.Namespace) -> None:
    """Write the answers that occur often enough in the annotations, and print how many questions they cover."""
    counts = count_answers(options.annotations)
    vocabulary = AnswerVocabulary.build(counts, options.minimum, not options.without_unknown)
    vocabulary.save(options.output)
    questions = sum(counts.values())
    covered = sum(counts[answer] for answer in vocabulary)
    print(f"questions                      {questions}")
    print(f"different answers              {len(counts)}")
    print(f"given at least {options.minimum:>3} times       {vocabulary.real_answers}")
    print(f"lines written                  {len(vocabulary)}")
    print(f"questions covered              {covered} ({covered / questions:.1%})")
    print(f"wrote {options.output}")


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command line and return 0. Raises InputError for invalid files."""
    parser = argparse.ArgumentParser(prog="python -m pyutils.data.vqa", description="VQA v2 tools")
    commands = parser.add_subparsers(required=True)

    score = commands.add_parser("evaluate", help="score a result file")
    score.add_argument("--questions", required=True, help="official questions JSON of the split")
    score.add_argument("--annotations", required=True, help="official annotations JSON of the split")
    score.add_argument("--results", required=True, help='result.json: a list of {"question_id", "answer"}')
    score.add_argument("--version", type=int, choices=VERSIONS, default=CURRENT_VERSION, help=EVALUATION_HELP)
    score.add_argument("--output", help="also write all accuracies, by question too, to this JSON file")
    score.set_defaults(run=evaluate)

    answers = commands.add_parser("answers", help="answer vocabularies of classifiers")
    build = answers.add_subparsers(required=True).add_parser("build", help="build an answer list from annotations")
    build.add_argument(
        "--annotations", nargs="+", required=True, help="annotations: VQA, OK-VQA, GQA, VizWiz, imdb, or a list"
    )
    build.add_argument("--output", required=True, help="the answers_vqa.txt to write")
    build.add_argument("--minimum", type=int, default=9, help="questions an answer needs (default 9)")
    build.add_argument("--without-unknown", action="store_true", help=f"do not put {UNKNOWN} first")
    build.set_defaults(run=build_answers)

    options = parser.parse_args(arguments)
    options.run(options)
    return 0


if __name__ == "__main__":
    run_main(main)
