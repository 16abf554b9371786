"""The TextArea that reasons are shown in: whether a labeling configuration has it, and how it gets it."""

from xml.sax.saxutils import quoteattr

from lxml import etree

from backend.label_studio import LabelStudioClient, LabelStudioRefusedError, Project
from backend.labeling import schema as schemas
from backend.labeling.errors import SchemaError
from backend.labeling.schema import LabelingSchema
from backend.projects.connection import Step
from backend.settings import RATIONALE_CONTROL, Settings

NAME = "rationale"


def missing(schema: LabelingSchema, settings: Settings) -> str:
    """Why no reason is shown, "" where one can be, or where nobody has asked for any."""
    name = settings.rationale_control
    if schema.text_area(name) is not None or (name == RATIONALE_CONTROL and not settings.explain_below):
        return ""
    setting = "EXPLAIN_BELOW" if name == RATIONALE_CONTROL else "RATIONALE_CONTROL"
    there = ", ".join(area.name for area in schema.text_areas) or "none"
    return (
        f'{setting} is set, but the configuration has no TextArea "{name}" (it has: {there}): labels go without reasons'
    )


def ensure(client: LabelStudioClient, project: Project, settings: Settings, *, add: bool) -> Step | None:
    """Adds the TextArea where it is wanted and not there; None where nobody has asked for it."""
    schema, name = schemas.parse(project.config), settings.rationale_control
    if schema.text_area(name) is not None:
        return Step(NAME, "already", f'TextArea "{name}"')
    if not add:
        reason = missing(schema, settings)
        way_out = f"name one of them by RATIONALE_CONTROL, or run `whetstone connect {project.id} --with-rationale`"
        return Step(NAME, "failed", f"{reason}; {way_out}") if reason else None
    try:
        client.set_config(project.id, added(project.config, name))
    except SchemaError as error:
        return Step(NAME, "failed", str(error))
    except LabelStudioRefusedError as error:
        return Step(NAME, "failed", error.detail or str(error))
    return Step(NAME, "done", f'TextArea "{name}" below the controls')


def added(config: str, name: str) -> str:
    """The configuration as it was written, with the TextArea as its last element. Raises `SchemaError` where the name
    is taken, or where the end of the configuration is not found."""
    schema = schemas.parse(config)
    taken = [node.tag for node in etree.fromstring(config.encode()).iter() if node.get("name") == name]
    if taken:
        raise SchemaError(f'the name "{name}" is taken by {taken[0]}: set RATIONALE_CONTROL to another one')
    element = (
        f'<TextArea name={quoteattr(name)} toName={quoteattr(schema.fields[0].name)} editable="true" rows="3" '
        'maxSubmissions="1" placeholder="Why this label?"/>'
    )
    end = config.rindex("</")
    changed = f"{config[:end].rstrip()}\n  {element}\n{config[end:]}"
    if schemas.parse(changed).text_area(name) is None:
        raise SchemaError(f"the configuration's end is not found: add this line by hand: {element}")
    return changed
