"""The data order, and loaders with and without worker processes."""

from __future__ import annotations

import numpy as np
import pytest

from pyutils.data import loader as loader_module
from pyutils.data.loader import eval_loader, train_loader
from pyutils.data.order import EvalOrder, TrainOrder, permutation
from pyutils.errors import InputError


def collate(records, rng, training):
    return {
        "x": np.array(records, dtype=np.float32),
        "noise": rng.random(2),
        "training": np.array(training),
        "none": np.zeros((0, 3), dtype=np.int64),
    }


def arrays(loader):
    return [{name: tensor.numpy() for name, tensor in batch.items()} for batch in loader]


def same(first, second):
    return len(first) == len(second) and all(
        a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and np.array_equal(a[k], b[k]) for k in a)
        for a, b in zip(first, second)
    )


def test_an_epoch_meets_every_record_at_most_once_and_each_epoch_has_its_own_order():
    order = TrainOrder(records=22, batch_size=5, seed=7)
    epochs = [np.concatenate([order.positions(e * 4 + b) for b in range(4)]) for e in range(2)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert not np.array_equal(*epochs)
    assert sorted(permutation(22, 7, 0)) == list(range(22))
    assert not np.array_equal(permutation(22, 7, 0), permutation(22, 8, 0))


def test_two_processes_meet_the_records_of_one_at_twice_the_batch():
    one = TrainOrder(records=21, batch_size=4, seed=3)
    two = [TrainOrder(records=21, batch_size=2, world=2, rank=rank, seed=3) for rank in range(2)]
    assert one.steps_per_epoch == two[0].steps_per_epoch == 5
    for step in range(11):
        together = np.concatenate([order.positions(step) for order in two])
        np.testing.assert_array_equal(one.positions(step), together)
    assert two[0].rng(0).random() != two[1].rng(0).random()


def test_accumulated_micro_batches_are_the_big_batch():
    big = TrainOrder(records=25, batch_size=6, seed=1)
    small = TrainOrder(records=25, batch_size=2, accumulation=3, seed=1)
    assert small.effective_batch == 6
    for step in range(9):  # two epochs and one step: the left-out record must not shift the second
        parts = [small.positions(step * 3 + part) for part in range(3)]
        np.testing.assert_array_equal(big.positions(step), np.concatenate(parts))


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_evaluation_shares_hold_every_record_once(world):
    orders = [EvalOrder(records=4, batch_size=2, world=world, rank=rank) for rank in range(world)]
    met = np.concatenate([o.positions(b) for o in orders for b in range(len(o))])
    assert sorted(met) == [0, 1, 2, 3]


def test_batches_do_not_depend_on_workers_or_on_where_a_run_starts():
    order = TrainOrder(records=21, batch_size=4, seed=3)
    whole = arrays(train_loader(range(21), collate, order, 0, 12, workers=0))
    assert same(whole, arrays(train_loader(range(21), collate, order, 0, 12, workers=2)))
    assert same(whole[7:], arrays(train_loader(range(21), collate, order, 7, 12, workers=1)))
    assert whole[0]["none"].shape == (0, 3) and bool(whole[0]["training"])
    assert not same(whole[:1], whole[1:2])


def test_starting_at_a_batch_touches_no_earlier_record():
    touched = []

    class Records(list):
        def __getitem__(self, position):
            touched.append(position)
            return position

    order = TrainOrder(records=12, batch_size=3, seed=0)
    arrays(train_loader(Records(range(12)), collate, order, 3, 4, workers=0))
    assert touched == order.positions(3).tolist()


def test_starting_workers_leaves_the_global_generator_alone():
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    arrays(eval_loader(range(3), collate, EvalOrder(3, 2), "val", workers=1))
    assert np.random.random() == expected  # noqa: NPY002


def test_an_evaluation_loader_keeps_the_tail_and_says_where_records_stand():
    batches = arrays(eval_loader(range(10, 17), collate, EvalOrder(7, 3), "val", workers=0))
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches[2]["x"].tolist() == [16.0] and batches[0]["index"].dtype == np.int64


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("error", "raised"), [(InputError("no features"), InputError), (KeyError("k"), RuntimeError)])
def test_a_failing_record_is_named_with_its_error(workers, error, raised):
    def fails(records, rng, training):
        if "seven" in records:
            raise error
        return {"x": np.zeros(len(records))}

    records = ["a", "b", "seven", "d", "e"]
    with pytest.raises(raised, match=r"split 'val', record 2 \('seven'\).*(no features|KeyError: 'k')"):
        arrays(eval_loader(records, fails, EvalOrder(5, 4), "val", workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_record_that_cannot_be_read_is_named(workers):
    class Records:
        def __getitem__(self, position):
            raise InputError("regions.lmdb: truncated")

    with pytest.raises(InputError, match="split 'val', record 0: could not be read: regions.lmdb: truncated"):
        arrays(eval_loader(Records(), collate, EvalOrder(1, 1), "val", workers))


def test_a_batch_that_only_fails_as_a_whole_names_its_records():
    def fails(records, rng, training):
        if len(records) > 1:
            raise ValueError("shapes differ")
        return {"x": np.zeros(1)}

    with pytest.raises(RuntimeError, match=r"batch of records \[0, 1\]: ValueError: shapes differ"):
        arrays(eval_loader(range(2), fails, EvalOrder(2, 2), "val", 0))


def test_texts_in_a_batch_are_refused():
    with pytest.raises(TypeError, match="'text'.*numbers only"):
        arrays(eval_loader(["a"], lambda r, g, t: {"text": np.array(r)}, EvalOrder(1, 1), "val", 0))


def test_an_empty_evaluation_split_is_named():
    with pytest.raises(InputError, match="split 'testA' is empty"):
        eval_loader([], collate, EvalOrder(0, 2), "testA", 0)


def test_an_empty_or_small_training_split_says_what_to_set():
    with pytest.raises(InputError, match="the training split is empty"):
        TrainOrder(0, 2).check()
    message = r"5 records.*4 x 2 process\(es\) x accumulation_steps 1 = 8. Set train.batch_size to at most 2"
    with pytest.raises(InputError, match=message):
        TrainOrder(5, 4, world=2).check()


def test_too_little_shared_memory_is_an_error_with_the_remedy(monkeypatch):
    monkeypatch.setattr(loader_module, "_free_bytes", lambda: 20 << 20)
    order = EvalOrder(1, 1)
    assert arrays(eval_loader([0], collate, order, "val", 1))
    with pytest.raises(InputError, match="20 MiB free.*2 data worker.*32 MiB.*--shm-size"):
        arrays(eval_loader([0], collate, order, "val", 2))
    big = {"x": np.zeros((30 << 20) // 8)}
    with pytest.raises(InputError, match=r"1 batch.* of 30.0 MiB"):
        arrays(eval_loader([0], lambda r, g, t: big, order, "val", 1))
