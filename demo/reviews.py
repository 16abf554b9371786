"""Real Amazon review sentences and what twenty people thought of each (data/NOTICE.md)."""

import json
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data" / "amazon_20raters.jsonl"

CONFIG = """<View>
  <Header value="What does this sentence of a review say of the product?"/>
  <Text name="text" value="$text"/>
  <Choices name="sentiment" toName="text" choice="single" required="true" showInline="true">
    <Choice value="negative"/>
    <Choice value="positive"/>
  </Choices>
</View>"""


@dataclass(frozen=True, slots=True)
class Review:
    """`label` is the side that most of twenty raters took."""

    id: str
    text: str
    label: str


def reviews(count: int) -> list[Review]:
    """The first `count` sentences of the test half that people found negative or positive, in the file's order."""
    with DATA.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    clear = [row for row in rows if row["split"] == "test" and row["label"] != "neutral"]
    return [Review(row["id"], row["text"], row["label"]) for row in clear[:count]]
