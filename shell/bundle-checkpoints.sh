#!/bin/sh
# Makes the small trained checkpoints in pyutils/weights/bundled: trains on easy-VQA, rounds to float16, measures the
# rounded weights on the test part, writes the model card.
#   sh shell/bundle-checkpoints.sh visualbert|vilbert|albef [arguments of every stage]
#   LOG_DIR   the runs go to LOG_DIR/MODEL (default output/bundled)
#   BUNDLED   folder of the checkpoints (default pyutils/weights/bundled of the repository)
# A finished training in LOG_DIR is not repeated.
set -e
. "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/launch.sh"
model=${1:-}
case $model in
visualbert | vilbert | albef) shift ;;
*)
    echo "bundle-checkpoints.sh: name the model: visualbert, vilbert or albef" >&2
    exit 2
    ;;
esac
made_by="sh shell/bundle-checkpoints.sh $model${*:+ $*}"
refuse_in_chain "LOG_DIR sets the folder." "$@"
LOG_DIR=$(absolute "${LOG_DIR:-output/bundled}")
cd "$ROOT"
name=$model-easy-vqa
grep -q "^$name:" pyutils/weights/registry.yaml || {
    echo "bundle-checkpoints.sh: pyutils/weights/registry.yaml has no entry $name; write one first" >&2
    exit 2
}
target=${BUNDLED:-pyutils/weights/bundled}/$name
run=$LOG_DIR/$model
data="easy-VQA (the package easy-vqa, MIT licence): 34,753 questions about 3,600 generated images of 64 x 64 pixels"

if [ "$model" = albef ]; then
    LOG_DIR=$run sh shell/albef-quickstart.sh "$@"
    script=albef_paddle/run_vqa.py
    settings="--set data.images=[]"
else
    "$PYTHON" -m pyutils.sample easy-vqa --output sample_data/easy_vqa
    script=$([ "$model" = vilbert ] && echo vilbert_paddle/run_vqa.py || echo visualbert_paddle/run_vqa2.py)
    launch "$script" --config "configs/$model/tiny/easy_vqa.yaml" --output_dir "$run" --resume auto "$@"
    data="$data. Regions: 35 overlapping windows of the image, each described by 192 hand-made numbers (no detector, nothing
  learned; docs/sample_data.md), computed when an image is read"
    settings="--set regions.path=. --set regions.format=windows"
fi
"$PYTHON" -m pyutils.weights convert "$run/best" "$target" --model "$model" --dtype float16
launch "$script" --config "configs/$model/tiny/easy_vqa.yaml" --output_dir "$run/float16" --set "init=$target" --evaluate
# shellcheck disable=SC2086 # several words
"$PYTHON" -m pyutils.weights bundle "$target" --name "$name" --metrics "$run/float16/metrics_test.json" $settings \
    --data "$data" --made_by "$made_by"
