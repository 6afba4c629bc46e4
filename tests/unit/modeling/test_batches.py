import random
from collections import Counter
from itertools import islice

import pytest

from infra.errors import InputError
from modeling.batches import BatchPlan, Pick, Sizes

RANDOM = random.Random(1)
VIDEO = [RANDOM.randint(20, 300) for _ in range(101)]
SIZES = Sizes(VIDEO, [rows // 4 + 1 for rows in VIDEO])
BUDGET = 640


def plan(seed: int = 0) -> BatchPlan:
    return BatchPlan(SIZES, BUDGET, image_share=0.3, seed=seed)


def batches(made: BatchPlan, count: int) -> list[list[Pick]]:
    return [made.next() for _ in range(count)]


def test_no_batch_is_over_its_budget_and_few_rows_are_left_free() -> None:
    rows = [sum(map(SIZES.of, batch)) for batch in batches(plan(), 200)]
    assert max(rows) <= BUDGET
    assert sum(rows) / len(rows) > 0.93 * BUDGET


def test_every_epoch_has_every_clip_once() -> None:
    made, seen = plan(), Counter[tuple[int, int]]()
    while made.position["epoch"] < 4:
        seen.update((pick.epoch, pick.clip) for pick in made.next())
    waiting = [Pick(*pick) for batch in made.position["open"] for pick in batch]
    seen.update((pick.epoch, pick.clip) for pick in waiting)
    whole = Counter((epoch, clip) for epoch in range(4) for clip in range(len(VIDEO)))
    assert Counter({key: n for key, n in seen.items() if key[0] < 4}) == whole


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    count = len(VIDEO)
    orders = []
    for seed in (0, 1):
        made = BatchPlan(Sizes([1] * count, [1] * count), count, 0.0, seed)
        orders += [[pick.clip for pick in batch] for batch in batches(made, 2)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == list(range(count)) for order in orders)


@pytest.mark.parametrize("at", [1, 7, 60])
def test_a_plan_goes_on_where_its_position_says(at: int) -> None:
    whole = batches(plan(), at + 40)
    first, second = plan(), plan()
    batches(first, at)
    second.position = first.position
    assert batches(second, 40) == whole[at:]


def test_images_are_as_many_as_the_recipe_says() -> None:
    picks = [pick for batch in batches(plan(), 300) for pick in batch]
    assert sum(pick.image for pick in picks) / len(picks) == pytest.approx(0.3, abs=0.03)


def test_clips_of_one_row_each_fill_batches_in_order() -> None:
    made = BatchPlan(Sizes([1] * 10, [1] * 10), 4, 0.1, seed=0)
    picks = [pick for batch in islice(iter(made.next, None), 5) for pick in batch]
    assert Counter(pick.clip for pick in picks) == Counter(dict.fromkeys(range(10), 2))
    assert all(len(batch) == 4 for batch in batches(made, 5))


def test_a_clip_that_no_batch_can_hold_is_named() -> None:
    with pytest.raises(InputError, match=r"clip number 1 has 9 rows.*raise token_budget to 9"):
        BatchPlan(Sizes([3, 9], [1, 1]), 8, 0.0, seed=0)
    with pytest.raises(InputError, match="no clip to train on"):
        BatchPlan(Sizes([], []), 8, 0.0, seed=0)
