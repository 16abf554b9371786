"""A row of a file that people labelled: {"id": "1", "text": "...", "label": "positive"}, one JSON object a line.

In place of "text" stand the configuration's data fields, by themselves or as an object under "data".
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from backend.labeling.controls import Control
from backend.labeling.errors import WhetstoneError
from backend.labeling.schema import LabelingSchema


class RowError(WhetstoneError):
    """The message names the field, not the line."""

    exit_code = 2


def parse(line: bytes) -> dict[str, Any]:
    """Raises `RowError`."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RowError(f"not UTF-8 (byte {error.start + 1}): save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise RowError(f"not JSON ({error.msg} at column {error.colno}): one object a line") from None
    except RecursionError:
        raise RowError("not JSON that can be read: it is nested too deeply") from None
    if not isinstance(row, dict):
        raise RowError(f"a {type(row).__name__}, not an object: write {{...}}")
    return row


def data(row: Mapping[str, Any], schema: LabelingSchema) -> dict[str, Any]:
    """What a prompt may see of the row. A configuration's only field may stand under "text". Raises `TaskError`."""
    given = row.get("data")
    row = given if isinstance(given, dict) else row
    data = {key: row[key] for key in schema.keys if key in row}
    if len(schema.fields) == 1 and "text" in row:
        (path, *others), found = schema.fields[0].paths, schema.fields[0].found(data)
        data |= {} if others or found else {path: row["text"]}
    schema.values(data)
    for control in schema.controls:
        control.labels_for(data)
    return data


def labels(row: Mapping[str, Any], data: Mapping[str, Any], schema: LabelingSchema) -> dict[str, tuple[str, ...]]:
    """`label` (or `labels`) is one text, a list of them, or an object of these by control. Without it each control's
    answer may stand under its own name, as in Label Studio's tables. Raises `RowError`."""
    name = "label" if "label" in row else "labels"
    controls = {control.name: control for control in schema.controls}
    by_name = {each: row[each] for each in controls if each in row}
    if name not in row and by_name:
        return {each: _values(each, value, controls[each], data) for each, value in by_name.items()}
    if name not in row:
        raise RowError('the field "label" is missing: what did people decide?')
    given = row[name]
    by_control = given if isinstance(given, dict) else {schema.controls[0].name: given}
    if not isinstance(given, dict) and len(schema.controls) > 1:
        raise RowError(f'the field "{name}" must be an object with a label for each of {", ".join(controls)}')
    if unknown := [key for key in by_control if key not in controls]:
        raise RowError(f'the field "{name}" answers {unknown[0]!r}, which is no control of the configuration')
    return {key: _values(name, value, controls[key], data) for key, value in by_control.items()}


def _values(name: str, given: Any, control: Control, data: Mapping[str, Any]) -> tuple[str, ...]:
    """As Label Studio stores them: a choice's alias where it has one, whichever of both the row holds. A rating may be
    a number."""
    listed = _listed(given, control)
    values = [str(value) if control.ordered and type(value) is int else value for value in listed]
    if not all(isinstance(value, str) for value in values):
        raise RowError(f'the field "{name}" holds {given!r}: it must be a text, or a list of texts')
    if len(values) != 1 and not control.multiple:
        raise RowError(f'the field "{name}" holds {len(values)} labels, {control.name} takes one')
    stored = {label.text: label.value for label in control.labels_for(data)}
    stored |= {label.value: label.value for label in control.labels_for(data)}
    return tuple(stored.get(value.strip(), value.strip()) for value in values)


def _listed(given: Any, control: Control) -> list[Any]:
    """A table holds several labels as JSON, and nothing where none applies. What Label Studio writes there, such as
    {"choices": ["a", "b"]}, is decoded as its results are."""
    if isinstance(given, str) and given.lstrip().startswith(("[", "{")):
        with suppress(ValueError, RecursionError):
            return _listed(json.loads(given), control)
    if given == "" and control.multiple:
        return []
    listed = given if isinstance(given, list) else [given]
    if listed and all(isinstance(each, dict) for each in listed):
        return [value for each in listed for value in control.form.decode(each)]
    return listed


def unknown(truth: Mapping[str, tuple[str, ...]], data: Mapping[str, Any], schema: LabelingSchema) -> list[str]:
    """Labels of the row that the configuration does not have."""
    found = []
    for control in schema.controls:
        known = {label.value for label in control.labels_for(data)}
        found += [value for value in truth.get(control.name, ()) if value not in known]
    return found
