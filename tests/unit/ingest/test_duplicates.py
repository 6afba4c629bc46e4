import itertools
from pathlib import Path

import cv2
import numpy as np

from ingest.duplicates import HEADER, MAX_SAMPLES, KnownFilms, SignatureMeter, same_film
from ingest.film import ingest_film
from ingest.recipe import DuplicateRecipe, IngestRecipe
from tests.unit.ingest.footage import FPS, Frames, join, shot, write


def signature(path: Path) -> bytes:
    source = {"uri": path.as_uri(), "source_id": "cd" * 32, "size_bytes": 1, "mtime_ns": 1}
    found = ingest_film(path, source, IngestRecipe(), path.parent).source
    result: bytes = found["hash_video"]
    return result


def resized(frames: Frames, height: int, width: int) -> Frames:
    return np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames])


def film(first: int) -> Frames:
    return join([shot(first, 40), shot(first + 1, 50), shot(first + 2, 40)], [("cut", 0)] * 2)


def test_a_re_encoded_smaller_copy_is_the_same_film(tmp_path: Path) -> None:
    original = signature(write(tmp_path / "a.mp4", film(10)))
    vp9 = {"crf": "45", "b": "0", "deadline": "realtime", "cpu-used": "8"}
    small = resized(film(10), 60, 84)
    copies = [
        write(tmp_path / "b.webm", small, codec="libvpx-vp9", options=vp9),
        write(tmp_path / "c.mp4", small, options={"crf": "34"}),
        write(tmp_path / "d.mp4", film(10)[::2], fps=FPS // 2),
    ]
    for copy in copies:
        assert same_film(original, signature(copy), DuplicateRecipe()), copy.name


def test_a_cropped_or_stamped_copy_is_the_same_film(tmp_path: Path) -> None:
    original = signature(write(tmp_path / "a.mp4", film(10)))
    height, width = film(10).shape[1:3]
    top, left = height // 20, width // 12
    cropped = film(10)[:, top : height - top, left : width - left // 2]
    stamped = film(10).copy()
    stamped[:, 4 : height // 8, width - width // 6 : width - 4] = (250, 250, 20)
    for name, frames in (("cropped", cropped), ("stamped", stamped)):
        even = resized(frames, height, width)
        assert same_film(
            original, signature(write(tmp_path / f"{name}.mp4", even)), DuplicateRecipe()
        ), name


def test_known_films_finds_the_copy_among_many_and_only_it(tmp_path: Path) -> None:
    known = KnownFilms(DuplicateRecipe())
    films = {f"film{number}": film(20 + 3 * number) for number in range(6)}
    for name, frames in films.items():
        known.add(name, signature(write(tmp_path / f"{name}.mp4", frames)))
    copy = write(tmp_path / "copy.mp4", resized(films["film4"], 60, 84), options={"crf": "34"})
    assert list(known.same_as(signature(copy))) == ["film4"]
    assert list(known.same_as(signature(copy), skip=lambda name: name == "film4")) == []
    assert list(known.same_as(signature(write(tmp_path / "new.mp4", film(90))))) == []


def made_up(rng: np.random.Generator, seconds: int) -> Frames:
    """Colour grids (seconds, 12, 16, 3) of a film: smooth pictures that change."""
    coarse = rng.uniform(60, 190, 3) + rng.uniform(-50, 50, (seconds, 3, 4, 3))
    return np.stack([cv2.resize(x, (16, 12), interpolation=cv2.INTER_CUBIC) for x in coarse])


def test_what_is_said_of_a_known_film_now_counts() -> None:
    rng, known = np.random.default_rng(1), KnownFilms(DuplicateRecipe())
    one, other = (
        HEADER.pack(5.0, 1) + made_up(rng, 5).clip(0, 255).astype(np.uint8).tobytes()
        for _ in range(2)
    )
    known.add("film", one)
    known.add("film", other)
    assert [*known.same_as(one)] == [] and [*known.same_as(other)] == ["film"]


def altered(rng: np.random.Generator, grids: Frames, kind: int) -> Frames:
    """A copy: with noise, and beyond that cropped, with a logo, or with other samples at a cut."""
    copy = grids + rng.uniform(-2, 2, grids.shape)
    if kind == 1:
        wide = [cv2.resize(x[1:], (16, 12), interpolation=cv2.INTER_LINEAR) for x in copy]
        return np.stack(wide)
    if kind == 2:
        copy[:, :2, 12:] = 250
    if kind == 3:
        copy[0] = rng.uniform(0, 255, 3)
    return copy


def test_no_shortcut_changes_which_films_are_the_same() -> None:
    """Against every pair compared in full: films of many lengths, their copies, and look-alikes."""
    rng, recipe, signatures = np.random.default_rng(5), DuplicateRecipe(), list[bytes]()
    for number in range(60):
        seconds = int(rng.choice([1, 10, 10, 10, 30]))
        grids = made_up(rng, seconds)
        for kind in range(1 + number % 5):
            picture = altered(rng, grids, kind).clip(0, 255).astype(np.uint8)
            if kind == 4:
                seconds, picture = seconds + 1, np.concatenate([picture, picture[-1:]])
            head = HEADER.pack(seconds + rng.uniform(0, 0.02), 1 + number % 2)
            signatures.append(head + picture[:: 1 + number % 2].tobytes())
    signatures.append(HEADER.pack(4.0, 1))  # of a film too short for a sample
    order = rng.permutation(len(signatures)).tolist()
    known, films, pairs = KnownFilms(recipe), dict[str, bytes](), 0
    for number in order:
        signature = signatures[number]
        wanted = [name for name, other in films.items() if same_film(signature, other, recipe)]
        assert list(known.same_as(signature)) == wanted
        known.add(str(number), signature)
        films[str(number)] = signature
        assert known.signature(str(number)) == signature
        pairs += len(wanted)
    assert pairs > 30


def test_films_that_share_backgrounds_are_different() -> None:
    """Same background, an object of the same colour elsewhere: a luma hash calls these equal."""
    signatures = []
    for row, column in itertools.product((2, 18, 34), (4, 30, 60)):
        meter = SignatureMeter()
        for number in range(3 * FPS):
            image = np.full((72, 96, 3), (38, 28, 26), np.uint8)
            left = column + number // 6
            image[row : row + 24, left : left + 24] = (54, 54, 226)
            meter.process(number / FPS, image)
        signatures.append(meter.signature(3.0))
    for one, other in itertools.combinations(signatures, 2):
        assert not same_film(one, other, DuplicateRecipe())


def test_another_duration_is_another_film() -> None:
    def still(duration_s: int) -> bytes:
        meter = SignatureMeter()
        for number in range(duration_s * FPS):
            meter.process(number / FPS, np.full((72, 96, 3), 90, np.uint8))
        return meter.signature(duration_s)

    assert same_film(still(100), still(102), DuplicateRecipe())
    assert not same_film(still(100), still(110), DuplicateRecipe())


def test_a_long_film_keeps_a_short_signature_that_still_compares() -> None:
    def long_film(duration_s: int) -> bytes:
        meter = SignatureMeter()
        for second in range(duration_s * 2):
            level = 40 + (second // 2) % 160
            meter.process(second / 2, np.full((72, 96, 3), level, np.uint8))
        return meter.signature(duration_s)

    shorter, longer = long_film(MAX_SAMPLES - 1), long_film(MAX_SAMPLES + 2)
    assert HEADER.unpack_from(shorter)[1] == 1
    assert HEADER.unpack_from(longer)[1] == 2
    assert same_film(shorter, longer, DuplicateRecipe())
    assert len(long_film(4000)) < MAX_SAMPLES * 576 + 64
