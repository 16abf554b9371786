"""Which candidates are worth keeping beside the best: those that are right where it is wrong."""

from collections.abc import Sequence

from worker.optimizer.race import Entry


def complement(entries: Sequence[Entry], count: int) -> list[Entry]:
    """Of entries raced on as many examples as the first, those that gain most of what the first gets wrong, greedily;
    of equals the better ranked."""
    if not entries:
        return []
    best = entries[0]
    covered = [graded.right for graded in best.grades]
    rest = [entry for entry in entries[1:] if len(entry.grades) == len(covered)]
    chosen: list[Entry] = []
    while rest and len(chosen) < count:
        most = max(rest, key=lambda entry: (_gain(entry, covered), -rest.index(entry)))
        rest.remove(most)
        chosen.append(most)
        covered = [done or graded.right for done, graded in zip(covered, most.grades, strict=True)]
    return chosen


def _gain(entry: Entry, covered: Sequence[bool]) -> float:
    """Examples won anew, and its own soft score to tell equals apart: never more than one example's worth."""
    won = sum(graded.right and not done for done, graded in zip(covered, entry.grades, strict=True))
    return won + entry.soft / 2
