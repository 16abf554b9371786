import threading
import time

from backend.outage import Outage


def test_while_it_is_on_nobody_tries_and_then_one() -> None:
    outage = Outage(2)
    assert outage.lets_try()
    assert [outage.failed(), outage.failed(), outage.is_on, outage.lets_try()] == [True, False, True, False]
    deadline = time.monotonic() + 60
    while not outage.lets_try():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert not outage.lets_try()


def test_when_it_is_over_everybody_may_try() -> None:
    outage = Outage(60)
    outage.failed()
    outage.passed()
    assert [outage.is_on, outage.lets_try(), outage.lets_try(), outage.failed()] == [False, True, True, True]
