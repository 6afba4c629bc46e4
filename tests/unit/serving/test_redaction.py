"""Logs hold neither secrets nor what users wrote."""

import logging

import pytest
from sqlalchemy.exc import IntegrityError

from infra.catalog_models import GenerationJob
from serving.access import create_key
from serving.outbox import new_secret
from serving.redaction import Redaction, redacted
from tests.unit.serving.calls import create

WORDS = "the secret wedding of two heads of state"


def test_secrets_are_taken_out_of_records(catalog):
    key, secret = create_key(catalog, name="n", tenant="t"), new_secret()
    logger = logging.Logger("own")
    lines = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    handler = Keep()
    handler.addFilter(Redaction())
    logger.addHandler(handler)
    logger.warning("%s then %s", f"Bearer {key}", secret)
    try:
        raise ValueError(f"{key} postgresql://user:word@host/db")
    except ValueError:
        logger.exception("failed")
    text = "\n".join(lines)
    assert "failed" in text and "ValueError" in text and "host/db" in text
    for hidden in (key, key[5:], secret, secret[6:], "word"):
        assert hidden not in text


@pytest.mark.parametrize("word", ["a'b", "line\nbreak", "é"])
def test_words_are_found_quoted_too(word):
    assert word not in redacted(f"KeyError: {word!r} of {word}", word)
    assert repr(word)[1:-1] not in redacted(f"KeyError: {word!r}", word)


def test_a_failing_model_does_not_log_the_prompt(world, caplog):
    world.generator.error = KeyError(f"no token for {WORDS}")
    create(world, prompt=WORDS, negative_prompt="blood")
    video = world.finish(world.client.get("/v1/videos").json()["data"][0]["id"])
    assert video["status"] == "failed"
    assert video["id"] in caplog.text and "no token for [removed]" in caplog.text
    assert WORDS not in caplog.text


def test_a_failing_server_does_not_log_the_request(world, caplog, monkeypatch):
    def submit(*_args, **_kwargs):
        raise RuntimeError(f"cannot store {WORDS}")

    monkeypatch.setattr(type(world.store), "submit", submit)
    reply = world.client.post("/v1/videos", json={"prompt": WORDS})
    assert reply.status_code == 500 and "RuntimeError" in caplog.text
    assert "in submit" in caplog.text and WORDS not in caplog.text


def test_database_errors_hide_their_values(catalog):
    for expected in (False, True):
        try:
            with catalog.session() as session:
                session.add(GenerationJob(id="v", kind="video", prompt=WORDS))
        except IntegrityError as error:
            assert expected and WORDS not in str(error)
