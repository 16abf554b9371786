"""Which open tasks people should label next, with which reason and probability."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis

from worker.queue.order import Open, Place, Shares, order, tf_idf
from worker.queue.store import Drawn, QueueStore

PROJECT = "1.1795346384"
LATER = Shares.after(500)


def task(number: int, score: float | None = 0.9, **other: object) -> Open:
    """Every fifth is an audit task."""
    return replace(Open(number, f"{number:b} {number**3}", score, number % 5 == 0), **other)  # type: ignore[arg-type]


def tasks(count: int) -> list[Open]:
    """The higher the number, the surer."""
    return [task(n, 0.5 + n / (2 * count)) for n in range(1, count + 1)]


def own(texts: Sequence[str]) -> NDArray[np.float64]:
    """Each text is like itself alone."""
    return np.eye(len(set(texts)))[[sorted(set(texts)).index(text) for text in texts]]


def queue(found: Sequence[Open], count: int = 20, shares: Shares = LATER) -> list[Place]:
    return order(found, count, shares=shares, project=PROJECT, embed=own)


def reasons(places: Sequence[Place]) -> Counter[str]:
    return Counter(place.reason for place in places)


def taken(places: Sequence[Place], reason: str) -> list[int]:
    return [place.task for place in places if place.reason == reason]


def test_a_fifth_is_drawn_by_lot_and_the_rest_is_least_certain() -> None:
    assert reasons(queue(tasks(200))) == {"least certain": 16, "audit": 4}


def test_while_labels_are_few_more_is_drawn_by_lot() -> None:
    assert reasons(queue(tasks(200), shares=Shares.after(199)))["audit"] == 6
    assert reasons(queue(tasks(200), shares=Shares.after(200)))["audit"] == 4


def test_the_least_certain_come_in_the_order_of_their_scores() -> None:
    assert taken(queue(tasks(200)), "least certain") == list(range(1, 17))


def test_audit_tasks_are_drawn_from_the_slice_whatever_their_score() -> None:
    drawn = taken(queue(tasks(1000), 100), "audit")
    assert all(number % 5 == 0 for number in drawn)
    assert 300 < np.mean(drawn) < 750  # of 1 to 1,000; by score they would be below 100


def test_tasks_on_which_the_prompts_disagree_take_a_fifth() -> None:
    found = [replace(each, disagrees=each.id % 4 == 0) if each.id > 100 else each for each in tasks(200)]
    places = queue(found)
    assert reasons(places) == {"least certain": 12, "audit": 4, "disagreement": 4}
    assert all(number > 100 and number % 4 == 0 for number in taken(places, "disagreement"))


def test_every_place_has_its_probability() -> None:
    """100 of 200 were asked, 25 of them disagree, 4 are drawn: 1/2 x 4/25. Then 4 audit tasks of 200 - 4 - 12."""
    found = [replace(each, disagrees=each.id % 4 == 0) if each.id > 100 else each for each in tasks(200)]
    probabilities = {place.reason: place.probability for place in queue(found)}
    assert probabilities["least certain"] == 1.0
    assert probabilities["disagreement"] == pytest.approx(0.08)
    assert probabilities["audit"] == pytest.approx(4 / 184)


def test_any_beginning_of_the_queue_is_mixed_like_the_whole() -> None:
    places = queue(tasks(1000), 100)
    assert reasons(places[:50])["audit"] == 10
    assert 4 <= reasons(places[:25])["audit"] <= 6


def test_a_text_that_nearly_repeats_another_waits() -> None:
    same = [replace(each, text="It broke after a day.") for each in tasks(20)]
    others = [replace(each, id=each.id + 100, score=0.99) for each in tasks(60)]
    first = taken(order([*same, *others], 5, shares=Shares(0, 0), project=PROJECT), "least certain")
    assert len([number for number in first if number <= 20]) == 1


def test_near_repetitions_fill_a_queue_that_nothing_else_does() -> None:
    same = [replace(each, text="It broke after a day.") for each in tasks(20)]
    assert taken(order(same, 10, shares=Shares(0, 0), project=PROJECT), "least certain") == list(range(1, 11))


def test_blind_tasks_are_in_the_audit_alone() -> None:
    found = [replace(each, score=None if each.id % 10 == 0 else each.score) for each in tasks(400)]
    places = queue(found, 100)
    blind = {place.reason for place in places if place.score is None}
    assert blind == {"audit"}


def test_without_predictions_all_is_drawn_by_lot() -> None:
    places = queue([replace(each, score=None) for each in tasks(50)], 20)
    assert reasons(places) == {"audit": 10, "by lot": 10}
    assert {place.probability for place in places if place.reason == "by lot"} == {10 / 40}


def test_when_the_audit_slice_is_used_up_its_places_go_to_the_least_certain() -> None:
    assert reasons(queue([replace(each, audit=False) for each in tasks(50)])) == {"least certain": 20}


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_a_queue_is_no_longer_than_there_are_tasks(count: int) -> None:
    places = queue(tasks(count), 20)
    assert sorted(place.task for place in places) == list(range(1, count + 1))


def test_the_same_tasks_in_any_order_give_the_same_queue() -> None:
    assert queue(tasks(200)) == queue(tasks(200)[::-1])


@pytest.mark.parametrize("texts", [["", " "], ["a", ""], ["!", "?"], ["愛", "愛"]])
def test_texts_with_hardly_a_letter_can_be_compared(texts: list[str]) -> None:
    assert tf_idf(texts).shape[0] == len(texts)


# -- the record


def place(number: int, reason: str = "audit", probability: float = 0.25) -> Place:
    return Place(number, reason, probability, 0.5)  # type: ignore[arg-type]


def test_a_task_is_remembered_under_its_latest_reason(redis_client: Redis) -> None:
    store = QueueStore(redis_client)
    store.keep(PROJECT, [place(1), place(2, "disagreement")])
    store.keep(PROJECT, [place(1, "least certain", 1.0)])
    assert store.drawn(PROJECT) == {"1": Drawn("least certain", 1.0), "2": Drawn("disagreement", 0.25)}
    assert [drawn.chosen for drawn in store.drawn(PROJECT).values()] == [True, True]
    assert not Drawn("audit", 0.25).chosen


def test_the_tasks_that_were_queued_longest_ago_are_forgotten_first(redis_client: Redis) -> None:
    store = QueueStore(redis_client, most=3)
    store.keep(PROJECT, [place(1), place(2)])
    store.keep(PROJECT, [place(3), place(1)])
    store.keep(PROJECT, [place(4)])
    assert set(store.drawn(PROJECT)) == {"1", "3", "4"}
    store.keep("2.1795346384", [])
    assert store.drawn("2.1795346384") == {}
