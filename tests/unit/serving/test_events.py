"""The stream of a job's events, and how soon work on a cancelled job stops."""

import json
import threading

import pytest

from tests.unit.serving.calls import create


def events(text):
    """[(id, event, data)] of a stream."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


def stream(world, video_id, last=None):
    headers = {} if last is None else {"last-event-id": str(last)}
    return world.client.get(f"/v1/videos/{video_id}/events", headers=headers)


def test_events_end_with_the_video_itself(world):
    video = create(world)
    reply = stream(world, video["id"])  # returns when the stream ends: with the job
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = events(reply.text)
    assert found[0][1] == "video.queued" and found[1][1] == "video.in_progress"
    assert found[-1][1] == "video.completed"
    assert found[-1][2]["video"]["id"] == video["id"]
    assert {event for _, event, _ in found[2:-1]} <= {"video.progress"}


def test_a_stream_resumes_after_the_last_event_that_was_seen(world):
    video = create(world)
    found = events(stream(world, video["id"]).text)
    for index, (event_id, _, _) in enumerate(found[:-1]):
        again = events(stream(world, video["id"], event_id).text)
        assert [each[0] for each in again] == [each[0] for each in found[index + 1 :]]
    done = stream(world, video["id"], found[-1][0])
    assert (done.status_code, done.text) == (204, "")  # an EventSource stops asking


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30])
def test_a_wrong_last_event_id_is_refused(world, last):
    reply = stream(world, create(world)["id"], last)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "Last-Event-ID")


def test_a_stream_of_a_deleted_video_ends(world):
    world.generator.gate = threading.Event()
    video = create(world)
    threading.Timer(0.2, world.client.delete, [f"/v1/videos/{video['id']}"]).start()
    assert stream(world, video["id"]).text.rstrip().endswith(f'{{"id": "{video["id"]}"}}')


@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_work_stops_within_two_steps(world, how):
    world.generator.step_s = 0.03
    video = create(world, steps=500)
    url = f"/v1/videos/{video['id']}"
    while world.client.get(url).json()["progress"] < 1:
        pass
    reply = world.client.post(f"{url}/cancel") if how == "cancel" else world.client.delete(url)
    steps = world.generator.steps_taken
    assert reply.status_code == 200
    after = create(world, steps=1)
    world.finish(after["id"])
    assert world.generator.steps_taken - steps <= 2 + 1  # the other job's own step
    if how == "cancel":
        ended = world.client.get(url).json()
        assert (ended["status"], ended["error"]["code"]) == ("failed", "cancelled")
        assert [name for name in world.files() if f"{video['id']}/" in name] == []


def test_cancelling_what_has_ended_changes_nothing(world):
    video = world.finish(create(world)["id"])
    reply = world.client.post(f"/v1/videos/{video['id']}/cancel")
    assert reply.json() == video
