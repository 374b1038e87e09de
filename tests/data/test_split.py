import numpy as np
import pytest

from bigray.data import split
from bigray.errors import DataError


@pytest.mark.parametrize("count", [3, 4, 10, 101, 5000])
def test_parts_hold_every_row_once(count):
    parts = split.hold_out(count, [0.1, 0.2], seed=3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert all(len(part) for part in parts)


def test_sizes_follow_the_fractions_and_the_seed():
    parts = split.hold_out(1000, [0.1, 0.2], seed=3)
    assert [len(part) for part in parts] == [100, 200, 700]
    again = split.hold_out(1000, [0.1, 0.2], seed=3)
    assert all((one == two).all() for one, two in zip(parts, again, strict=True))
    assert (split.hold_out(1000, [0.1, 0.2], seed=4)[0] != parts[0]).any()


def test_large_fractions_of_few_rows_leave_training_rows():
    assert [len(part) for part in split.hold_out(3, [0.49, 0.49], seed=0)] == [1, 1, 1]


def test_too_few_rows():
    with pytest.raises(DataError, match=r"2 row\(s\) cannot be split into 3 parts"):
        split.hold_out(2, [0.1, 0.1], seed=0)


@pytest.mark.parametrize("groups", [3, 5, 40])
def test_groups_never_cross(groups):
    member = [f"g{number % groups}" for number in range(400)]
    parts = split.hold_out_groups(member, [0.1, 0.1], 1, "speaker")
    assert sorted(np.concatenate(parts).tolist()) == list(range(400))
    sets = [{member[row] for row in part} for part in parts]
    assert all(sets)
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]
    if groups == 40:
        assert [len(part) for part in parts] == [40, 40, 320]


def test_rows_of_a_part_are_mixed():
    parts = split.hold_out_groups([f"g{number // 100}" for number in range(1000)], [0.1, 0.1], 1, "speaker")
    assert (np.diff(parts[2]) < 0).sum() > 100


def test_too_few_groups():
    with pytest.raises(DataError, match=r"'speaker' has 2 different value\(s\), and 3 parts"):
        split.hold_out_groups(["a", "b"] * 10, [0.1, 0.1], 1, "speaker")
