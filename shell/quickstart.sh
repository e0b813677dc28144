#!/usr/bin/env bash
# Train and evaluate a small VisualBERT on easy-VQA, from scratch:  bash shell/quickstart.sh [--blind] [--seed N] [--max_steps N]
# Installs what is missing (shell/env.sh says where), makes easy-VQA's files, trains, evaluates on the
# test part beside its baselines, and draws the training curve and a contact sheet.
#   --blind   also train the same model with the images withheld
#   OUTPUT    where results go (default output/easy_vqa)
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
ENV_EXTRAS="easy-vqa==1.0 matplotlib>=3.7"
. "$ROOT/shell/env.sh"
"$PYTHON" -m visualbert_paddle.quickstart --output "${OUTPUT:-output/easy_vqa}" --data sample_data/easy_vqa "$@"
