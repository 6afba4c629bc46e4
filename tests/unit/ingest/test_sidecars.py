from pathlib import Path

import pytest

from ingest.sidecars import CaptionFileError, Cue, read_cues, text_for

CUES = [Cue(0.0, 2.0, "first"), Cue(2.0, 5.0, "second")]


def test_a_clip_gets_the_cue_that_overlaps_it_most() -> None:
    assert text_for(CUES, 0.1, 1.9) == "first"
    assert text_for(CUES, 1.5, 4.0) == "second"
    assert text_for(CUES, 4.0, 6.0) == "second"
    assert text_for(CUES, 4.5, 8.0) is None
    assert text_for([], 0.0, 1.0) is None


def test_webvtt_cues_are_read_with_their_times(tmp_path: Path) -> None:
    path = tmp_path / "film.vtt"
    path.write_text("WEBVTT\n\n00:00:01.000 --> 00:00:02.500\na red\nball\n")
    assert read_cues(path) == [Cue(1.0, 2.5, "a red ball")]


def test_a_text_file_describes_the_whole_film(tmp_path: Path) -> None:
    path = tmp_path / "film.txt"
    path.write_text("a harbour\nat dawn\n")
    assert text_for(read_cues(path), 3.0, 99.0) == "a harbour at dawn"


def test_json_holds_timed_captions_or_one_for_the_whole_film(tmp_path: Path) -> None:
    path = tmp_path / "film.json"
    path.write_text('[{"start": 0, "end": 2.5, "text": "a red\\nball"}]')
    assert read_cues(path) == [Cue(0.0, 2.5, "a red ball")]
    path.write_text('{"caption": "a harbour", "camera": "x"}')
    assert text_for(read_cues(path), 50.0, 60.0) == "a harbour"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.vtt", b"1\n00:01 -> 00:02\nhello\n", "its first line is not WEBVTT"),
        ("b.vtt", b"WEBVTT\n\n00:00:01.000 --> 00:00:xx.000\nhello\n", "does not parse"),
        ("c.vtt", b"WEBVTT\n\n00:00:01.000 --> 00:00:02.000\n\xff\xfe\n", "not UTF-8"),
        ("d.vtt", b"WEBVTT\n", "holds no text"),
        ("e.vtt", b"WEBVTT\n\n00:00:05.000 --> 00:00:02.000\nhello\n", "ends before it begins"),
        ("f.txt", b"", "holds no text"),
        ("g.txt", b"caf\xe9", "not UTF-8"),
        ("h.json", b'{"start": 0', "does not parse"),
        ("i.json", b'{"camera": "x"}', "holds no captions: a list of"),
        ("j.json", b'[{"start": 0, "end": 1, "text": "a"}, {"text": "b"}]', "entry 2 of the JSON"),
        ("k.json", b'[{"start": NaN, "end": 1, "text": "a"}]', "ends before it begins"),
        ("l.json", b"[" * 100_000, "does not parse"),
        ("m.json", b'{"caption": " "}', "holds no text"),
    ],
)
def test_a_caption_file_that_does_not_parse_says_why(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CaptionFileError, match=reason):
        read_cues(tmp_path / name)


def test_what_cannot_be_words_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "film.txt"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(CaptionFileError, match="has 5120 MiB; at most 16 are read"):
        read_cues(path)
