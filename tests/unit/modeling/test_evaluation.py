import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from infra.errors import InputError
from infra.recipes import from_dict, to_dict
from modeling.bundle import Bundle
from modeling.data import Clip
from modeling.drift import drift_measures, windows_of
from modeling.evaluate import Evidence, evaluate_bundle
from modeling.evaluation_recipe import EvaluationRecipe, ExtractorRecipe, TaskRecipe
from modeling.extractors import features, frechet_measures
from modeling.fidelity import fidelity_measures
from modeling.frechet import frechet_distance
from modeling.heldout import given_patches, losses
from modeling.latents import LatentClip, encode_windows
from modeling.measure import mean_of
from modeling.memorisation import memorisation_measures
from modeling.oracles import Frames, oracle_measures, scores
from modeling.word_features import NUM_FRAMES, WordNetwork, train, vocabulary
from tests.unit.modeling.small import CHANNELS, moving_clip, small_bundle

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (40, 60, 220)}


def film(number: int, split: str = "train") -> Clip:
    """A block of one of three colours that moves right or left, from anywhere."""
    rng = np.random.default_rng(number)
    colour, right = list(COLOURS)[number % 3], bool(number // 3 % 2)
    pixels = np.full((13, 48, 48, 3), 30, np.uint8)
    start, top = rng.integers(0, 12), rng.integers(0, 36)
    for index in range(13):
        left = start + 2 * (index if right else 12 - index)
        pixels[index, top : top + 12, left : left + 12] = COLOURS[colour]
    return Clip(f"{number:04d}", f"a {colour} block {'right' if right else 'left'}", split, pixels)


@pytest.fixture(scope="module")
def films() -> list[Clip]:
    return [film(number) for number in range(72)]


@pytest.fixture(scope="module")
def network(films: list[Clip]) -> WordNetwork:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modeling.word_features.BATCH", 32)
        return train(films, vocabulary([clip.caption for clip in films]), steps=45)


def videos(numbers: Sequence[int]) -> list[Frames]:
    return [film(number).frames_THWC for number in numbers]


def test_frechet_distance_of_normal_distributions() -> None:
    """Equal covariances: the squared distance of the means. Scaled ones: that of the deviations."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 3, generator=generator)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + torch.tensor([1.0, 2.0, 0.0])) == pytest.approx(5, rel=1e-4)
    assert frechet_distance(a, 3 * a) == pytest.approx(3 * (3 - 1) ** 2, rel=0.05)
    # Fewer samples than features: still a number.
    assert frechet_distance(torch.randn(4, 8), torch.randn(5, 8)) > 0


def test_frechet_distance_grows_when_time_is_shuffled_or_stands_still(
    network: WordNetwork,
) -> None:
    reference = features(network, videos(range(100, 160)), NUM_FRAMES)
    held = videos(range(200, 230))
    rng = np.random.default_rng(0)
    shuffled = [video[rng.permutation(len(video))] for video in held]
    frozen = [np.repeat(video[:1], len(video), axis=0) for video in held]
    distance = {
        name: frechet_distance(features(network, some, NUM_FRAMES), reference)
        for name, some in (("real", held), ("shuffled", shuffled), ("frozen", frozen))
    }
    assert distance["shuffled"] > 2 * distance["real"]
    assert distance["frozen"] > 2 * distance["real"]


def test_frechet_distance_grows_when_captions_words_are_not_shown(network: WordNetwork) -> None:
    reference = features(network, videos(range(100, 160)), NUM_FRAMES)
    held = videos(range(200, 230))
    red = videos([number for number in range(200, 290) if number % 3 == 0])
    rows = {
        name: frechet_measures("words", features(network, some, NUM_FRAMES), reference, reference)
        for name, some in (("all", held), ("red", red))
    }
    assert rows["red"][0].value > 2 * rows["all"][0].value
    assert [row.name for row in rows["all"]] == ["fd_words", "fd_words_floor"]
    assert rows["all"][0].n == 30 and "60 real clips; biased upwards" in rows["all"][0].note


def test_too_few_videos_give_no_distance() -> None:
    assert frechet_measures("words", *(torch.randn(n, 4) for n in (7, 30, 30))) == []


def test_a_word_network_is_the_same_each_time_it_is_trained(films: list[Clip]) -> None:
    one, other = (train(films[:12], ["red"], steps=2) for _ in range(2))
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_captions_that_say_nothing_still_teach_time(films: list[Clip]) -> None:
    silent = [dataclasses.replace(clip, caption="") for clip in films[:12]]
    assert vocabulary([clip.caption for clip in silent]) == []
    vectors = features(train(silent, [], steps=2), videos(range(3)), NUM_FRAMES)
    assert vectors.shape == (3, 32) and vectors.isfinite().all()


def test_copies_of_training_clips_are_told_from_new_ones() -> None:
    training, held = videos(range(40)), videos(range(50, 70))
    late = [np.concatenate([video[:1], video])[:13] for video in training[:10]]
    copies = {row.name: row for row in memorisation_measures(training[:20], held, training)}
    assert copies["memorisation_ratio"].value < 0.05
    assert copies["memorised_share"].value == 1
    # A window of a longer clip is found wherever it begins.
    longer = [np.concatenate([video[-4:], video]) for video in training]
    shifted = {row.name: row for row in memorisation_measures(late[:1], held, longer)}
    assert shifted["nearest_training_clip"].value < 0.05
    fresh = {r.name: r for r in memorisation_measures(videos(range(80, 100)), held, training)}
    assert 0.5 < fresh["memorisation_ratio"].value < 2
    with pytest.raises(InputError, match="no training clip has 13 frames"):
        memorisation_measures(held, held, [training[0][:5]])


def red_enough(some: Sequence[Frames], captions: Sequence[str]) -> Mapping[str, Sequence[float]]:
    """An oracle: is the colour that the caption names the strongest?"""
    marks = []
    for video, caption in zip(some, captions, strict=True):
        strongest = int(video.reshape(-1, 3).max(0).argmax())
        marks.append(float(list(COLOURS)[strongest] in caption))
    return {"accuracy": marks, "none": []}


def out_of_range(some: Sequence[Frames], captions: Sequence[str]) -> Mapping[str, Sequence[float]]:
    return {"accuracy": [17.0] * len(some)}


def nameless(some: Sequence[Frames], captions: Sequence[str]) -> Mapping[str, Sequence[float]]:
    return {"colour": [1.0]}


def broken(some: Sequence[Frames], captions: Sequence[str]) -> Mapping[str, Sequence[float]]:
    raise KeyError("no such file")


HERE = "tests.unit.modeling.test_evaluation"


def test_an_oracle_is_asked_about_generated_real_and_wrongly_captioned_videos() -> None:
    captions = [film(number).caption for number in range(12)]
    right = oracle_measures(f"{HERE}:red_enough", videos(range(12)), videos(range(12)), captions)
    rows = {row.name: row for row in right}
    assert rows["oracle_accuracy"].value == 1 and rows["oracle_accuracy"].n == 12
    assert rows["oracle_accuracy_real"].value == 1
    assert "oracle_none" not in rows
    wrong = oracle_measures(f"{HERE}:red_enough", videos(range(1, 13)), videos(range(12)), captions)
    rows = {row.name: row for row in wrong}
    assert rows["oracle_accuracy"].value == 0 and rows["oracle_accuracy_real"].value == 1
    assert rows["oracle_gain"].value == pytest.approx(-rows["oracle_accuracy_shuffled"].value)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no_such_module:judge", "no oracle at 'no_such_module:judge'"),
        (f"{HERE}:no_such_function", "no oracle at"),
        ("just words", "package.module:function"),
        (f"{HERE}:COLOURS", "is a dict, not a function"),
        (f"{HERE}:out_of_range", r"'accuracy' has to be a list .* from 0 to 1"),
        (f"{HERE}:nameless", "no score 'accuracy'; it has: colour"),
        (f"{HERE}:broken", "failed on 2 videos: KeyError"),
    ],
)
def test_an_oracle_that_is_none_is_refused(path: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        scores(path, videos(range(2)), ["a", "b"])


def test_drift_is_counted_from_a_videos_first_window() -> None:
    base = videos([0])[0]
    still, strays = np.concatenate([base, base[1:]]), np.concatenate([base, 255 - base[1:]])
    assert [len(window) for window in windows_of(still, 13)] == [13, 13]

    def describe(some: Sequence[Frames]) -> torch.Tensor:
        return torch.stack([torch.from_numpy(v[1:]).float().mean((0, 1, 2)) for v in some])

    found = {}
    for name, video in (("still", still), ("strays", strays)):
        rows = drift_measures([video], ["a"], 13, describe, videos(range(6)), "")
        assert [row.name for row in rows] == ["drift_window_1", "drift_last_window"]
        found[name] = rows[-1].value
    assert found["still"] == pytest.approx(0, abs=1e-6) and found["strays"] > 1


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0, 0, "...."),
        (1, 0, "x..."),
        (0, 2, "..xx"),
        (1, 1, "x..x"),
        (4, 0, "xxx."),
        (0, 9, ".xxx"),
    ],
)
def test_a_task_gives_the_frames_it_names_and_always_asks_for_one(
    first: int, last: int, expected: str
) -> None:
    given = given_patches(TaskRecipe(name="any", first=first, last=last), (4, 2, 3))
    assert "".join("x" if one else "." for one in given.flatten()) == expected


@pytest.mark.parametrize(
    ("task", "rows", "expected"),
    [
        (TaskRecipe(name="in", box=0.5), 4, ".... .xx. .xx. ...."),
        (TaskRecipe(name="out", box=0.5, outside=True), 4, "xxxx x..x x..x xxxx"),
        (TaskRecipe(name="small", box=0.1, outside=True), 1, "x.xx"),
    ],
)
def test_a_task_gives_a_box_in_the_middle_of_every_frame_or_all_but_it(
    task: TaskRecipe, rows: int, expected: str
) -> None:
    for frame in given_patches(task, (3, rows, 4)):
        assert " ".join("".join("x" if one else "." for one in row) for row in frame) == expected
    assert not given_patches(TaskRecipe(name="all", box=1), (3, 4, 4))[0].any()


def test_what_is_given_comes_back_as_far_as_its_decoder_sees_nothing_else() -> None:
    """Exactly, where nothing was made before it; and each task is a row, of given pixels alone."""
    bundle = small_bundle()
    clips = [LatentClip(f"{n}", "a", torch.randn(1, 4, CHANNELS, 6, 6)) for n in range(3)]
    recipe = EvaluationRecipe(given_clips=2)
    rows = {row.name: row for row in fidelity_measures(bundle, clips, recipe)}
    names = ["first_frame", "head", "tail", "ends", "inside", "outside"]
    assert list(rows) == [f"given_psnr_db_{name}" for name in names]
    assert all(row.n == 2 and np.isfinite(row.value) for row in rows.values())
    for name in ("first_frame", "head"):
        assert rows[f"given_psnr_db_{name}"].value > 100
    assert rows["given_psnr_db_tail"].value < rows["given_psnr_db_head"].value
    assert "first 1 and last 1 latent frames; these alone" in rows["given_psnr_db_ends"].note
    assert "all but a box of 50% of the sides" in rows["given_psnr_db_inside"].note


def test_losses_are_of_the_asked_frames_alone_and_always_the_same() -> None:
    """A network that says nothing is as wrong as noise and data are large: about 2."""
    bundle = small_bundle()
    for parameter in bundle.dit.patch_out.parameters():
        parameter.zero_()
    clips = [LatentClip(f"{n}", "a", torch.randn(1, 3, 6, 6, 6)) for n in range(40)]
    for task in (TaskRecipe(name="text"), TaskRecipe(name="head", first=2)):
        found = losses(bundle, clips, (0.1, 0.9), task)
        assert found == pytest.approx([2, 2], rel=0.1)
        assert found == losses(bundle, clips, (0.1, 0.9), task)


def test_an_evaluation_recipe_comes_back_from_its_own_json() -> None:
    extractor = ExtractorRecipe(name="x", path="a.b:c", metrics=("text",))
    recipe = EvaluationRecipe(oracle="a.b:judge", extractors=(extractor,))
    assert from_dict(EvaluationRecipe, to_dict(recipe)) == recipe
    with pytest.raises(InputError, match="no field 'oracel'"):
        from_dict(EvaluationRecipe, {"oracel": "a.b:c"})


def test_a_mean_has_an_interval_around_it() -> None:
    row = mean_of("share", [0.0, 1.0] * 50, "of coins")
    assert row.value == 0.5 and row.n == 100 and "95 %: 0.4" in row.note


def evidence(bundle: Bundle, folder: Path) -> Evidence:
    clips = [moving_clip(f"{n:02d}", frames=14) for n in range(20)]
    held = [moving_clip(f"h{n}", frames=14, split="val") for n in range(9)]
    latents = [
        [
            LatentClip(clip.clip_id, clip.caption, encode_windows(bundle.vae, clip, data))
            for clip in part
        ]
        for data in [bundle.recipe.data]
        for part in (clips, held)
    ]
    return Evidence(clips, held, latents[0], latents[1], folder / "words.safetensors")


def always_right(some: Sequence[Frames], captions: Sequence[str]) -> Mapping[str, Sequence[float]]:
    return {"accuracy": [1.0] * len(some)}


def test_the_table_has_every_number_and_a_student_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeling.word_features.STEPS", 2)
    monkeypatch.setattr("modeling.evaluate.GIVEN_CLIPS", 2)
    bundle = small_bundle()
    recipe = EvaluationRecipe(
        oracle=f"{HERE}:always_right", timesteps=(0.5,), task_clips=2, rollouts=1, videos=8
    )
    seen = evidence(bundle, tmp_path)
    rows, pictures = evaluate_bundle(bundle, seen, recipe, tmp_path)
    names = {row.name for row in rows}
    assert len(names) == len(rows)
    expected = """heldout_loss heldout_loss_t0.5 heldout_loss_head heldout_loss_tail
        heldout_loss_image heldout_loss_ends heldout_loss_inside heldout_loss_outside
        given_psnr_db_ends given_psnr_db_inside training_clips_loss vae_psnr_db
        image_to_video_psnr_db oracle_accuracy
        oracle_accuracy_shuffled oracle_gain fd_words fd_words_floor memorisation_ratio
        drift_last_window oracle_accuracy_window_1"""
    assert names >= set(expected.split())
    assert all(np.isfinite(row.value) and row.n for row in rows)
    assert all(path.exists() for path in pictures.values())

    student = dataclasses.replace(bundle, manifest={"teacher": {"version": "1"}})
    rows, _ = evaluate_bundle(student, seen, recipe, tmp_path)
    assert not [row.name for row in rows if "loss" in row.name]
