"""What no LLM is needed for: TF-IDF with logistic regression on the same labels, to stand beside the LLM's figures."""

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from backend.labeling.controls import Control
from backend.labeling.schema import LabelingSchema
from worker.labels.examples import Example

_MOST_ITERATIONS = 1000
_WORD = re.compile(r"\w\w")  # what counts as one
_MILD = 10.0  # the inverse strength of the regularisation: with few labels the default's answers hardly differ


@dataclass(frozen=True, slots=True)
class Classic:
    """One model a control, for a multiple choice one for each of its labels (by `Question.key`); `constant` holds the
    answers of those that learned nothing from the texts."""

    schema: LabelingSchema
    models: Mapping[str, Pipeline]
    constant: Mapping[str, str]

    def predict(self, examples: Sequence[Example]) -> list[dict[str, tuple[str, ...]]]:
        """Values by control, as a prediction has them; controls that were never labelled are left out."""
        texts = [_text(self.schema, example) for example in examples]
        answers = {key: [str(label) for label in model.predict(texts)] for key, model in self.models.items() if texts}
        answers |= {key: [label] * len(texts) for key, label in self.constant.items()}
        return [self._values({key: labels[i] for key, labels in answers.items()}) for i in range(len(texts))]

    def _values(self, answers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        found = {}
        for control in self.schema.controls:
            said = {key: answers[key] for key in _keys(control) if key in answers}
            if said and control.multiple:
                found[control.name] = tuple(label for label, answer in _by_label(control, said) if answer == "yes")
            elif said:
                found[control.name] = (said[control.name],)
        return found


def fit(schema: LabelingSchema, examples: Sequence[Example]) -> Classic:
    """Single words, their counts by the logarithm, as scikit-learn's defaults have it but for a milder regularisation.
    Where only one label was given, or no text has a word, the commonest label is the answer."""
    models, constant = {}, {}
    for control in schema.controls:
        labelled = [example for example in examples if control.name in example.truth]
        texts = [_text(schema, example) for example in labelled]
        for key in _keys(control):
            gold = [_gold(control, key, example) for example in labelled]
            if len(set(gold)) > 1 and any(_WORD.search(text) for text in texts):
                models[key] = _fitted(texts, gold)
            elif gold:
                constant[key] = Counter(gold).most_common(1)[0][0]
    return Classic(schema, models, constant)


def _fitted(texts: Sequence[str], gold: Sequence[str]) -> Pipeline:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The number of unique classes")  # of many labels with few examples
        return _model().fit(texts, gold)


def _model() -> Pipeline:
    return make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=_MILD, max_iter=_MOST_ITERATIONS))


def _keys(control: Control) -> list[str]:
    """As `Question.key` names them, for a set of labels that no task adds to."""
    return [f"{control.name}: {label.value}" for label in control.labels] if control.multiple else [control.name]


def _by_label(control: Control, said: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(label.value, said[f"{control.name}: {label.value}"]) for label in control.labels]


def _gold(control: Control, key: str, example: Example) -> str:
    values = example.truth[control.name]
    if not control.multiple:
        return values[0] if values else ""
    return "yes" if any(key == f"{control.name}: {value}" for value in values) else "no"


def _text(schema: LabelingSchema, example: Example) -> str:
    data: Mapping[str, Any] = example.data
    return "\n".join(value.text for value in schema.values(data))
