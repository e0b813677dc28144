"""`python -m pyutils.data.vqa evaluate`: the official VQA accuracy of a result file, as a Markdown table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Optional

from pyutils.data.vqa.api import VQA
from pyutils.data.vqa.results import read_results
from pyutils.errors import InputError
from pyutils.formats.atomic import write_json
from pyutils.metrics.vqa import VQAAccuracy, evaluate_answers


def table(result: VQAAccuracy) -> str:
    """The accuracies as a Markdown table: overall, by answer type, by question type (both alphabetical)."""
    rows = [("overall", "", result.overall)]
    rows += [("answer type", name, value) for name, value in sorted(result.by_answer_type.items())]
    rows += [("question type", name, value) for name, value in sorted(result.by_question_type.items())]
    lines = ["| questions | type | accuracy (%) |", "|---|---|---:|"]
    return "\n".join(lines + [f"| {kind} | {name} | {value:.2f} |" for kind, name, value in rows])


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line; returns the exit status (2 for bad input, which is printed without a traceback)."""
    parser = argparse.ArgumentParser(prog="python -m pyutils.data.vqa", description="VQA v2 tools")
    evaluate = parser.add_subparsers(required=True).add_parser("evaluate", help="score a result file")
    evaluate.add_argument("--questions", required=True, help="official questions JSON of the split")
    evaluate.add_argument("--annotations", required=True, help="official annotations JSON of the split")
    evaluate.add_argument("--results", required=True, help='result.json: a list of {"question_id", "answer"}')
    evaluate.add_argument("--output", help="also write all accuracies, by question too, to this JSON file")
    options = parser.parse_args(arguments)
    try:
        split = VQA(options.questions, options.annotations)
        answers = read_results(options.results, split.question_ids())
        result = evaluate_answers(split.annotations(), answers)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    if options.output:
        write_json(options.output, asdict(result))
    print(table(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
