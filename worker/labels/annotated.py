"""A project's labels: read from Label Studio, and as ground truth, for whoever needs them in one and the same way."""

from backend.label_studio import LabelStudioClient
from backend.projects.pushing import Target
from backend.service import Service
from worker.labels import ground_truth
from worker.labels.annotation_store import AnnotationStore
from worker.labels.ground_truth import GroundTruth
from worker.labels.pull import pull


def refresh(service: Service, client: LabelStudioClient, to: Target, *, whole: bool) -> None:
    """Reads what is new in Label Studio; with `whole` everything is compared. Raises `LabelStudioError`."""
    schema, store = to.current.schema, AnnotationStore(service.redis)
    rationale = service.rationale_area(schema)
    pull(client, store, to.project_id, to.record.key, schema, whole=whole, rationale=rationale)


def truth(service: Service, to: Target) -> GroundTruth:
    """Of what was read last, under the project's rule of consensus."""
    tasks = AnnotationStore(service.redis).tasks(to.record.key)
    return ground_truth.examples(tasks, to.current.schema, method=service.settings.consensus)
