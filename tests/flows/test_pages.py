"""The pages as a browser asks for them."""

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html import unescape
from itertools import takewhile

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from backend.storage.alarms import Alarm, AlarmStore, Raised
from tests.flows.conftest import Web, service_of
from tests.flows.payloads import CONFIG, PROJECT
from tests.histories import AT, LEARNED, URL, History

Open = Callable[..., TestResponse]
PUSHES = {"label_studio_url": URL, "label_studio_api_key": "k"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HERE = {"Origin": "http://localhost"}


@pytest.fixture
def client(web: Web) -> FlaskClient:
    return web(**PUSHES)


@pytest.fixture
def history(client: FlaskClient) -> History:
    return History(service_of(client))


@pytest.fixture
def read(client: FlaskClient) -> Callable[[str], str]:
    """The page's words, without its tags."""
    return lambda path: words(client.get(path, headers=BROWSER))


@pytest.fixture
def press(client: FlaskClient) -> Open:
    """Sends a form as a browser does, and follows where it leads."""

    def send(path: str, **headers: str) -> TestResponse:
        return client.post(path, headers=HERE | headers, follow_redirects=True)

    return send


def words(response: TestResponse) -> str:
    assert response.content_type == "text/html; charset=utf-8", response.text
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.text)).split())


def buttons(response: TestResponse) -> list[str]:
    return re.findall(r'<form method="post" action="([^"]+)"', response.text)


def test_without_a_project_the_first_page_says_what_to_do(read: Callable[[str], str]) -> None:
    assert "whetstone connect PROJECT" in read("/")


def test_the_first_page_lists_projects_with_labels_version_and_verdict(
    read: Callable[[str], str], history: History
) -> None:
    page = read("/")
    for said in ("Reviews", "Project 1", "positive", history.learned, "better, awaits approval", "120 labels"):
        assert said in page


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_to_a_machine_the_first_page_is_not_there(accept: str, client: FlaskClient) -> None:
    answer = client.get("/", headers={"Accept": accept})
    assert (answer.status_code, answer.content_type) == (404, "application/json")


def test_projects_of_one_number_are_told_apart_by_their_keys(client: FlaskClient, history: History) -> None:
    other = History(service_of(client), key="1.1795000000", url="http://other.test")
    linked = set(re.findall(r'href="(/projects/[^"/]+)"', client.get("/", headers=BROWSER).text))
    assert linked == {f"/projects/{PROJECT}", f"/projects/{other.key}"}
    assert all(client.get(path, headers=BROWSER).status_code == 200 for path in linked)
    assert client.get("/projects/1", headers=BROWSER).status_code == 409


def test_a_project_that_label_studio_has_no_more_stands_last_with_the_way_to_forget_it(
    client: FlaskClient, history: History
) -> None:
    other = History(service_of(client), key="2.1795346384")
    service_of(client).store.update_project(PROJECT, gone=True)
    page = client.get("/", headers=BROWSER)
    assert re.findall(r'<h2><a href="(/projects/[^"]+)"', page.text) == ["/projects/2", "/projects/1"]
    assert words(page).count("gone from Label Studio") == 1
    assert "whetstone projects forget 1" in words(page)
    assert PROJECT not in client.get("/metrics").text
    assert other.key in client.get("/metrics").text


def test_after_label_studio_was_made_anew_a_number_means_the_latest_project(
    client: FlaskClient, history: History
) -> None:
    later = History(service_of(client), key="1.1795400000")
    linked = set(re.findall(r'href="(/projects/[^"/]+)"', client.get("/", headers=BROWSER).text))
    assert linked == {"/projects/1", f"/projects/{PROJECT}"}
    assert client.post("/projects/1/rollback", headers=HERE).status_code == 303
    assert (later.active(), history.active()) == (later.seed, history.learned)


def test_a_project_shows_its_last_verdict_and_versions_with_their_lineage(
    read: Callable[[str], str], history: History
) -> None:
    page = read("/projects/1")
    assert "It now says that sarcasm is negative." in page
    assert f"from {history.seed}" in page
    assert "1 demonstration; 1 rule; 2 definitions; scores fitted on 64 labels" in page
    assert (page.count("active since 20"), page.count("last active from 20")) == (1, 1)


def test_before_the_first_report_a_project_shows_what_is_labelled_and_how_many_labels_a_run_needs(
    read: Callable[[str], str], history: History
) -> None:
    store = history.service.store
    assert "until the next run" not in read("/projects/1")
    store.begin_bulk(PROJECT, history.learned, 1200)
    store.advance_bulk(PROJECT, history.learned, done=1100, failed=3)
    store.update_project(PROJECT, labels=132, new_labels=12)
    page = read("/projects/1")
    assert "Pre-annotated 1,100 of 1,200 3 failed" in page
    assert "Labels 132 12 of 20 new labels until the next run" in page
    store.update_project(PROJECT, new_labels=25)
    assert "25 new since the last run" in read("/projects/1")


def test_drift_is_shown_until_a_report_tells_of_it(read: Callable[[str], str], history: History) -> None:
    alarms = AlarmStore(history.service.redis)
    alarms.add(PROJECT, Raised(Alarm("model", "The model is another.", 2.0), history.learned, AT))
    assert "drift 2026-03-01 12:00 UTC: The model is another." in read("/projects/1")
    history.report()
    assert "drift 2026" not in read("/projects/1")
    alarms.add(PROJECT, Raised(Alarm("labels", "Labels shift.", 1.5), history.learned, AT + timedelta(hours=1)))
    assert "drift 2026-03-01 13:00 UTC: Labels shift." in read("/projects/1")


def test_a_page_reads_versions_and_runs_once(client: FlaskClient, history: History) -> None:
    def reads(path: str) -> list[str]:
        with history.service.redis.monitor() as monitor:
            client.get(path, headers=BROWSER)
            history.service.redis.echo("over")
            commands = iter(monitor.next_command, None)
            return [command["command"] for command in takewhile(lambda each: each["command"] != "ECHO over", commands)]

    key = f"whetstone:project:{PROJECT}"
    page, prompt = reads("/projects/1"), reads(f"/projects/1/prompts/{history.waiting}")
    assert page.count(f"HVALS {key}:versions") == 1
    assert sum(each.startswith(f"ZREVRANGE {key}:runs:order") for each in page) == 1
    assert f"HVALS {key}:versions" not in prompt


def test_times_and_words_are_such_as_people_know(read: Callable[[str], str], history: History) -> None:
    history.save(history.run("run-3", decision="no_headroom", started_at=AT + timedelta(hours=2)))
    page = read("/projects/1")
    assert "begun 2026-03-01 14:00 UTC" in page
    assert "not published: nothing tried was better" in page
    assert "on 50 labels that the search did not see" in page
    assert "made for other labels" in page


def test_the_report_stands_on_the_page_as_people_read_it(client: FlaskClient, history: History) -> None:
    saved = history.report()
    page = client.get("/projects/1", headers=BROWSER)
    assert "right on 24 of 30 labels, 80 %" in words(page)
    assert all(said in words(page) for said in saved["words"])
    assert "Precision and recall of sentiment" in words(page)
    assert page.text.count("<svg") == 2


def test_no_task_text_of_the_report_reaches_the_page(client: FlaskClient, history: History) -> None:
    history.report()
    assert "secret 1" not in client.get("/projects/1", headers=BROWSER).text


def test_a_run_under_way_shows_how_far_it_is_and_the_page_renews_itself(client: FlaskClient, history: History) -> None:
    history.save(history.run("run-3", state="running", stage="race", progress=0.4, candidates=5, best=0.81))
    with service_of(client).dispatch.run_lock(PROJECT):
        page = client.get("/projects/1?done=started", headers=BROWSER)
    assert '<progress max="1" value="0.4"' in page.text
    assert '<meta http-equiv="refresh" content="4; url=/projects/1">' in page.text
    for said in ("race, 40%", "Prompts still in the running 5", "Best so far 81.0%"):
        assert said in words(page)


def test_a_page_without_a_run_stays_as_it_is(client: FlaskClient, history: History) -> None:
    assert "http-equiv" not in client.get("/projects/1", headers=BROWSER).text


def test_a_run_that_no_worker_takes_says_so(press: Open, history: History) -> None:
    page = press("/projects/1/optimize")
    assert "A run waits for its turn" in words(page)
    assert "No worker takes runs now" in words(page)
    assert history.service.dispatch.is_pending(PROJECT, "optimize")


def test_a_run_that_waits_is_canceled(press: Open, history: History) -> None:
    press("/projects/1/optimize")
    assert "Canceled" in words(press("/projects/1/cancel"))
    assert not history.service.dispatch.is_pending(PROJECT, "optimize")


def test_a_run_cannot_be_started_where_no_annotation_can_be_read(web: Web) -> None:
    client = web()
    History(service_of(client))
    page = client.get("/projects/1", headers=BROWSER)
    assert "/projects/1/optimize" not in buttons(page)
    assert "LABEL_STUDIO_API_KEY" in words(page)
    assert client.post("/projects/1/optimize", headers=HERE).status_code == 400


def test_a_version_is_activated_by_its_button(client: FlaskClient, press: Open, history: History) -> None:
    action = f"/projects/1/prompts/{history.waiting}/activate"
    assert action in buttons(client.get("/projects/1", headers=BROWSER))
    assert "That version is active now" in words(press(action))
    assert history.active() == history.waiting
    assert history.service.store.activations(PROJECT)[0].by == "page"


def test_what_is_active_or_of_other_labels_has_no_button(client: FlaskClient, history: History) -> None:
    offered = " ".join(buttons(client.get("/projects/1", headers=BROWSER)))
    assert history.learned not in offered
    assert history.foreign not in offered


def test_the_version_before_is_one_button_away(press: Open, history: History) -> None:
    assert press("/projects/1/rollback").status_code == 200
    assert history.active() == history.seed


def test_a_button_that_comes_too_late_is_told_why(press: Open, history: History) -> None:
    page = press(f"/projects/1/prompts/{history.foreign}/activate")
    assert (page.status_code, "another labeling configuration" in words(page)) == (409, True)
    assert history.active() == history.learned


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": "http://evil.test"}, {"Origin": "null"}, {"Origin": "https://localhost.evil.test"}],
)
@pytest.mark.parametrize("action", ["rollback", "optimize", "cancel", "prompts/p0003/activate"])
def test_a_form_of_another_site_changes_nothing(
    action: str, headers: dict[str, str], client: FlaskClient, history: History
) -> None:
    answer = client.post(f"/projects/1/{action}", headers=headers)
    assert (answer.status_code, history.active()) == (403, history.learned)
    assert not service_of(client).dispatch.is_pending(PROJECT, "optimize")


def test_a_get_changes_nothing(client: FlaskClient, history: History) -> None:
    assert client.get("/projects/1/rollback", headers=BROWSER).status_code == 405
    assert history.active() == history.learned


def test_a_prompt_is_shown_as_people_read_it_and_against_the_active_one(
    read: Callable[[str], str], history: History
) -> None:
    page = read(f"/projects/1/prompts/{history.waiting}")
    assert "Decide how the customer feels." in page
    assert f"Against the active version, {history.learned}" in page
    assert "- - Sarcasm is negative." in page


def test_the_active_prompt_shows_what_changed_from_the_one_it_was_made_of(
    read: Callable[[str], str], history: History
) -> None:
    page = read(f"/projects/1/prompts/{history.learned}")
    assert f"What changed from {history.seed}" in page
    assert "+ - Sarcasm is negative." in page


def test_html_in_labels_prompts_and_verdicts_is_shown_and_not_obeyed(client: FlaskClient, history: History) -> None:
    evil = "<img src=x onerror=alert(1)>"
    client.post("/setup", json={"project": PROJECT, "schema": CONFIG.replace("neutral", evil.replace("<", "&lt;"))})
    named = history.add(replace(LEARNED, instruction=evil, rules=(evil,)), origin=evil, parent=history.learned)
    history.save(history.run("run-5", words=(evil,), fixes=(evil,), challenger=evil, trigger=evil))
    history.report()
    for path in ("/", "/projects/1", f"/projects/1/prompts/{named}", f"/projects/1/prompts/{evil}"):
        page = client.get(path, headers=BROWSER)
        assert evil not in page.text, path
        assert "&lt;img src=x onerror" in page.text, path


def test_an_address_that_is_none_is_no_link(client: FlaskClient, history: History) -> None:
    service_of(client).store.update_project(PROJECT, label_studio_url="javascript:alert(1)//")
    assert "javascript:" not in client.get("/projects/1", headers=BROWSER).text


def test_a_password_in_label_studios_address_stays_off_the_pages(client: FlaskClient, history: History) -> None:
    service_of(client).store.update_project(PROJECT, label_studio_url="http://hook:hush@ls.test/sub/")
    pages = [client.get(path, headers=BROWSER).text for path in ("/", "/projects/1")]
    assert 'href="http://ls.test/sub/projects/1/data"' in pages[1]
    assert not any("hush" in page for page in pages)


@pytest.mark.parametrize("path", ["/", "/projects/1", "/projects/7"])
def test_a_page_may_run_no_script_and_stand_in_no_frame(path: str, client: FlaskClient, history: History) -> None:
    page = client.get(path, headers=BROWSER)
    policy = page.headers["Content-Security-Policy"]
    assert {"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"} <= set(policy.split("; "))
    assert not re.search(r"<script|<style|style=|\son\w+=|https?://(?!label-studio\.test)", page.text)


def test_what_a_page_loads_is_there(client: FlaskClient) -> None:
    loads = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/", headers=BROWSER).text)
    assert loads
    assert all(client.get(path).status_code == 200 for path in loads)


@pytest.mark.parametrize("path", ["/projects/7", "/projects/1/prompts/p0099-aaaa"])
def test_what_is_not_there_is_said_with_a_way_out(path: str, client: FlaskClient, history: History) -> None:
    page = client.get(path, headers=BROWSER)
    assert (page.status_code, "whetstone" in words(page)) == (404, True)


def test_pages_want_credentials_when_they_are_set_and_record_whose(web: Web) -> None:
    client = web(basic_auth_user="ann", basic_auth_pass="pass word", **PUSHES)
    history = History(service_of(client))
    for path in ("/", "/projects/1", "/static/whetstone.css"):
        refused = client.get(path, headers=BROWSER)
        assert (refused.status_code, "WWW-Authenticate" in refused.headers) == (401, True)
    right = {"Authorization": "Basic " + b64encode(b"ann:pass word").decode()}
    assert client.post("/projects/1/rollback", headers=HERE | right).status_code == 303
    assert history.service.store.activations(PROJECT)[0].by == "ann (page)"


def test_redis_away_is_said_on_a_page_too(web: Web) -> None:
    page = web(redis_url="redis://127.0.0.1:1/0").get("/", headers=BROWSER)
    assert (page.status_code, "Redis" in words(page)) == (503, True)
