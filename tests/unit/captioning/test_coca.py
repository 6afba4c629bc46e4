"""CoCa behind our class gives the same numbers as open_clip's own."""

import dataclasses
import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import open_clip
import pytest
import torch
from open_clip.coca_model import CoCa
from open_clip.push_to_hf_hub import save_for_hf

from captioning.coca import CocaCaptioner, model_config
from captioning.recipe import CocaRecipe
from captioning.words import WordTokenizer
from infra.errors import InputError, NotFoundError

SMALL = CocaRecipe(
    cell=16, patch=8, width=32, head_width=16, vision_layers=1, max_words=12, views=2
)
CLIP_VOCABULARY = 49408


@pytest.fixture
def saved(tmp_path: Path) -> tuple[CoCa, Path]:
    """A small CoCa with open_clip's own vocabulary, saved by open_clip, and its folder."""
    torch.manual_seed(0)
    config = model_config(SMALL, CLIP_VOCABULARY) | {"custom_text": True}
    model = CoCa(**{key: value for key, value in config.items() if key != "custom_text"})
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.2)
    processing = {"size": 32, "mode": "RGB", "mean": [0.5] * 3, "std": [0.25] * 3}
    open_clip.model.set_model_preprocess_cfg(model, processing)
    # open_clip's own tokenizer cannot be saved, and needs not: its vocabulary is in the package.
    save_for_hf(model, Mock(), config, str(tmp_path), safe_serialization="both")
    return model.eval(), tmp_path


def frames(batch: int = 3, size: int = 16) -> torch.Tensor:
    """Random clips, (B, V, T, H, W, C) uint8."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (batch, 2, 4, size, size, 3), generator=generator).byte()


def test_folder_that_open_clip_saved_gives_the_same_numbers(saved: tuple[CoCa, Path]) -> None:
    model, folder = saved
    captioner = CocaCaptioner.from_pretrained(str(folder), max_words=6)
    assert captioner.format.mean == (0.5, 0.5, 0.5)
    picture = captioner.format.picture(frames()[:, 0])
    ids = torch.tensor([[49406, 320, 1929]] * 3)
    with torch.inference_mode():
        wanted = model(picture, ids, output_labels=False)["logits"][:, -1]
        got = captioner.next_logits(captioner.model._encode_image(picture)[1], ids)
    torch.testing.assert_close(got, wanted)


def test_configuration_and_checkpoint_load_like_the_folder(saved: tuple[CoCa, Path]) -> None:
    _, folder = saved
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (folder / "coca_tiny.json").write_text(json.dumps(config))
    weights = folder / "open_clip_model.safetensors"
    one = CocaCaptioner.from_pretrained(str(folder / "coca_tiny.json"), str(weights), max_words=4)
    other = CocaCaptioner.from_pretrained(str(folder), max_words=4)
    assert one.model.state_dict().keys() == other.model.state_dict().keys()
    for key, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key]), key


def test_greedy_captions_equal_word_by_word_forward_passes() -> None:
    captioner = small()
    clips = frames(batch=1)
    text, score = captioner.caption(clips)[0]
    ids = [captioner.tokenizer.bos]
    probabilities = []
    with torch.inference_mode():
        pictures = captioner.format.picture(clips.flatten(0, 1))
        for _ in range(captioner.max_words):
            row = torch.tensor([ids, ids])
            logits = captioner.model(pictures, row, output_labels=False)["logits"][:, -1]
            best = logits.softmax(-1).mean(0).max(-1)
            ids.append(int(best.indices))
            probabilities.append(float(best.values))
            if ids[-1] == captioner.tokenizer.eos:
                break
    assert text == captioner.tokenizer.decode(ids[1:])
    assert score == pytest.approx(sum(probabilities) / len(probabilities), abs=1e-5)


def test_a_caption_does_not_depend_on_its_batch() -> None:
    captioner = small()
    together = captioner.caption(frames())
    alone = [captioner.caption(clip[None])[0] for clip in frames()]
    assert [text for text, _ in together] == [text for text, _ in alone]
    np.testing.assert_allclose([s for _, s in together], [s for _, s in alone], atol=1e-5)


def test_unknown_model_is_named() -> None:
    with pytest.raises(NotFoundError, match="no model 'coca_ViT-B-33'"):
        CocaCaptioner.from_pretrained("coca_ViT-B-33", "x")


def test_missing_weights_are_named() -> None:
    with pytest.raises(InputError, match=r"weights 'nowhere\.pt'"):
        CocaCaptioner.from_pretrained("coca_ViT-B-32", "nowhere.pt")


def small() -> CocaCaptioner:
    torch.manual_seed(0)
    tokenizer = WordTokenizer(["ball", "dog", "falls", "red", "runs"])
    recipe = dataclasses.replace(SMALL, width=32)
    captioner = CocaCaptioner.untrained(recipe, tokenizer)
    # Far apart words: an untrained model's nearly equal ones would make the order a matter of luck.
    torch.nn.init.normal_(captioner.model.text_decoder.text_projection, std=1.0)
    return captioner
