"""Which version follows when the model, the settings or the labeling configuration of a project are others."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.labeling.calibration import Calibration
from backend.labeling.prompt import PromptVersion
from backend.projects import activation
from backend.service import Seen, Service
from backend.settings import Settings
from tests.flows.payloads import CONFIG, OTHER_CONFIG, PROJECT
from tests.histories import LEARNED, History

PUSHES = {"label_studio_url": "http://127.0.0.1:1", "label_studio_api_key": "key"}


class Processes:
    """Each call starts one with the settings named."""

    def __init__(self, redis_url: str) -> None:
        self._base = {"redis_url": redis_url, "openai_base_url": "http://127.0.0.1:1/v1", "llm_model": "scripted-1"}

    def __call__(self, *, serves: bool = True, **changes: Any) -> Service:
        return Service(Settings(**(self._base | changes)), serves=serves)


@pytest.fixture
def start(redis_url: str) -> Processes:
    return Processes(redis_url)


@pytest.fixture
def history(start: Processes) -> History:
    return History(start())


def served(service: Service, config: str = CONFIG) -> PromptVersion:
    return service.current(PROJECT, config).version


def latest(service: Service) -> tuple[str, str]:
    found = service.store.activations(PROJECT)[0]
    return found.version, found.by


def test_another_model_gets_what_was_learned_without_its_calibration(start: Processes, history: History) -> None:
    service = start(llm_model="scripted-2", **PUSHES)
    version = served(service)
    assert (version.model, version.parent, version.origin) == ("scripted-2", history.learned, "rewrite")
    assert version.prompt.instruction == LEARNED.instruction
    assert version.prompt.calibration == Calibration()
    assert latest(service) == (version.name, "model changed")
    assert service.dispatch.is_pending(PROJECT, "label_project")
    assert service.dispatch.request(PROJECT, "optimize").trigger == "model"
    assert served(service) == version


def test_the_model_before_gets_its_own_version_back(start: Processes, history: History) -> None:
    served(start(llm_model="scripted-2"))
    assert served(start()).name == history.learned


def test_the_initial_prompt_follows_the_model_unless_a_person_chose_it(start: Processes, history: History) -> None:
    record = history.service.store.project(PROJECT)
    assert record
    activation.roll_back(history.service, record, by="ann")
    version = served(start(llm_model="scripted-2"))
    assert (version.parent, version.model) == (history.seed, "scripted-2")
    assert served(start(llm_model="scripted-2", instruction="Say which.")) == version


def test_a_version_of_another_model_is_activated_by_its_prompt(start: Processes, history: History) -> None:
    service = start(llm_model="scripted-2")
    now = served(service)
    record = service.store.project(PROJECT)
    assert record
    assert service.store.previous(PROJECT) is None
    assert activation.activate(service, record, history.learned, by="ann").active == now.name
    waiting = activation.activate(service, record, history.waiting, by="ann").active
    assert served(service).name == waiting
    assert (served(service).model, served(service).parent) == ("scripted-2", history.waiting)


def test_the_version_of_a_configuration_comes_back_with_it(start: Processes, history: History) -> None:
    service = start()
    assert served(service, OTHER_CONFIG).origin == "seed"
    assert served(service).name == history.learned
    assert latest(service) == (history.learned, "configuration restored")


def test_a_configuration_that_comes_back_under_another_model_keeps_its_prompt(
    start: Processes, history: History
) -> None:
    served(start(), OTHER_CONFIG)
    service = start(llm_model="scripted-2")
    served(service, OTHER_CONFIG)
    assert (served(service).parent, served(service).model) == (history.learned, "scripted-2")


def test_an_initial_prompt_that_was_active_before_keeps_its_name(start: Processes) -> None:
    service = start()
    first = served(service)
    assert served(service, OTHER_CONFIG) != first
    assert served(service) == first
    assert latest(service) == (first.name, "seed")


def test_of_two_web_services_the_one_started_last_decides_and_the_other_says_so_once(start: Processes) -> None:
    old = start(instruction="Old words.")
    served(old)
    new = start(instruction="New words.", llm_model="scripted-2")
    with capture_logs() as lines:
        found = [served(service).prompt.instruction for service in (new, old, new, old, old)]
    assert found == ["New words."] * 5
    (told,) = [line for line in lines if line["log_level"] == "warning"]
    assert told["settings"] == ["LLM_MODEL", "INSTRUCTION"]
    assert len(old.store.all_versions(PROJECT)) == 2


def test_an_earlier_instruction_comes_back_with_a_restart(start: Processes) -> None:
    first = served(start(instruction="Old words."))
    assert served(start(instruction="New words.")).prompt.instruction == "New words."
    assert served(start(instruction="Old words.")) == first


@pytest.mark.parametrize("changes", [{"llm_model": ""}, {"instruction": "Other words."}, {"llm_prompt_style": "text"}])
def test_no_command_or_worker_replaces_what_the_service_serves(start: Processes, changes: dict[str, str]) -> None:
    web = start()
    name = served(web).name
    assert served(start(serves=False, **changes)).name == name == served(web).name


def test_a_command_replaces_no_learned_version_either(start: Processes, history: History) -> None:
    served(start())
    assert served(start(serves=False, llm_model="")).name == history.learned


def test_what_a_command_began_the_service_corrects(start: Processes) -> None:
    web, command = start(), start(serves=False, llm_model="")
    assert served(command).model == "default"
    assert served(web).model == "scripted-1"
    assert served(command) == served(web)


def test_a_changed_guideline_is_followed_by_processes_of_the_service_s_settings(start: Processes) -> None:
    web, worker = start(), start(serves=False)
    served(web)
    worker.see_project(PROJECT, Seen(CONFIG, expert_instruction="Sarcasm is negative."))
    assert served(worker).prompt.instruction == "Sarcasm is negative." == served(web).prompt.instruction


def test_each_of_two_configurations_asked_for_at_once_is_answered_by_a_version_of_its_own(start: Processes) -> None:
    services = [start() for _ in range(4)]
    configs = [CONFIG, OTHER_CONFIG] * 40

    def hashes(number: int) -> tuple[str, str]:
        current = services[number % 4].current(PROJECT, configs[number])
        return current.version.config_hash, current.schema.config_hash

    with ThreadPoolExecutor(8) as threads:
        assert all(version == schema for version, schema in threads.map(hashes, range(len(configs))))
