"""Pretrained text encoders, saved by the libraries themselves with random weights."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infra.errors import InputError, NotFoundError
from modeling.bundle import load_bundle, save_bundle
from modeling.caption_encoders import make_text
from modeling.dit import DiT
from modeling.generate import Generator, Request
from modeling.pretrained_text import HuggingFaceText, open_text
from modeling.recipes import ModelRecipe
from modeling.text import NULL, FeatureMemory, FrozenTextEncoder, TextRecipe, token_tensor
from modeling.train_dit import dit_loss
from modeling.vae import VideoVAE
from tests.unit.modeling.small import CHANNELS, noisy_sample, shaken, small_recipe

ENCODER_WIDTH = 32
WORDS = ("<pad>", "</s>", "<unk>", "a", "red", "ball", "rolls", "left")


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", words["</s>"])]
    )
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    whole.save_pretrained(folder)


def save_encoder(kind: str, folder: Path) -> None:
    import transformers

    sizes: dict[str, Any] = {"vocab_size": len(WORDS)}
    clip_text = {
        **sizes, "hidden_size": ENCODER_WIDTH, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 2, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0,
    }  # fmt: skip
    t5 = {**sizes, "d_model": ENCODER_WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 2}
    torch.manual_seed(1)
    if kind == "t5":  # a whole one, decoder and all, as they are published
        transformers.T5ForConditionalGeneration(transformers.T5Config(**t5)).save_pretrained(folder)
    elif kind == "umt5":
        transformers.UMT5EncoderModel(transformers.UMT5Config(**t5)).save_pretrained(folder)
    elif kind == "bert":
        bert = {key: value for key, value in clip_text.items() if "token_id" not in key}
        transformers.BertModel(transformers.BertConfig(**bert)).save_pretrained(folder)
    else:  # pictures and text
        vision = {
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 16, "patch_size": 16,
        }  # fmt: skip
        config = transformers.CLIPConfig(text_config=clip_text, vision_config=vision)
        transformers.CLIPModel(config).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("encoders")
    found = {kind: home / kind for kind in ("t5", "umt5", "bert", "clip")}
    for kind, folder in found.items():
        save_encoder(kind, folder)
        save_tokenizer(folder)
    return found


def recipe_of(folder: Path, **values: Any) -> TextRecipe:
    return TextRecipe(encoder="hugging_face", source=str(folder), **values)


def model_recipe(text: TextRecipe) -> ModelRecipe:
    base = small_recipe()
    config = dataclasses.replace(base.dit.config, text_width=ENCODER_WIDTH)
    return dataclasses.replace(base, dit=dataclasses.replace(base.dit, config=config, text=text))


@pytest.mark.parametrize("kind", ["t5", "umt5", "bert", "clip"])
def test_a_folder_that_the_library_saved_gives_a_row_for_each_token(
    folders: dict[str, Path], kind: str
) -> None:
    text = open_text(recipe_of(folders[kind]))
    tokens = text.encode("a red ball")
    assert len(tokens) == 4 and min(tokens) > NULL
    rows = text.features(tokens, torch.device("cpu"))
    assert rows.shape == (4, ENCODER_WIDTH) and rows.dtype == torch.float32
    assert not any(p.requires_grad for p in text.model.parameters())


def test_features_are_the_model_s_own(folders: dict[str, Path]) -> None:
    from transformers import T5EncoderModel

    model = T5EncoderModel.from_pretrained(folders["t5"]).eval()
    expected = model(torch.tensor([[4, 5, 1]])).last_hidden_state[0]
    text = open_text(recipe_of(folders["t5"]))
    rows = text.features(text.encode("red ball"), torch.device("cpu"))
    torch.testing.assert_close(rows, expected.detach())


def test_captions_are_cut_and_no_words_are_null(folders: dict[str, Path]) -> None:
    text = open_text(recipe_of(folders["t5"], max_tokens=3))
    assert len(text.encode("a red ball rolls left")) == 3
    assert text.encode("  ") == [NULL]


def test_captions_beside_each_other_do_not_change_each_other(folders: dict[str, Path]) -> None:
    encoder = FrozenTextEncoder(open_text(recipe_of(folders["bert"])))
    alone, other = [5, 6, 2], [NULL]
    together = encoder(token_tensor([*alone, *other, *alone[:2]]), [3, 1, 2])
    fresh = FrozenTextEncoder(open_text(recipe_of(folders["bert"])))
    assert torch.equal(together[:3], fresh(token_tensor(alone)))
    assert torch.equal(together[3:4], encoder.null)
    assert not torch.equal(together[4:], together[:2])


class Counting:
    width = 4

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def features(self, tokens: tuple[int, ...], _device: torch.device) -> torch.Tensor:
        self.asked.append(tokens)
        return torch.full((len(tokens), 4), float(sum(tokens)))


def test_captions_that_come_again_are_read_once_while_memory_lasts() -> None:
    model, like = Counting(), torch.zeros(1)
    memory = FeatureMemory(model, limit_bytes=2 * 2 * 4 * 4)
    first, second, third = (1, 2), (3, 4), (5, 6)
    for caption in (first, second, first, third, first, second):
        memory(caption, like)
    assert model.asked == [first, second, third, second]


def test_it_trains_and_generates_with_a_frozen_encoder(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    recipe = model_recipe(recipe_of(folders["t5"]))
    tokenizer, text = make_text(recipe.dit.text, ENCODER_WIDTH, [])
    assert isinstance(text, FrozenTextEncoder)
    torch.manual_seed(0)
    dit, vae = DiT(recipe.dit.config), VideoVAE(recipe.vae.config)
    for parameter in dit.patch_out.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # at zero, nothing before it has a gradient
    latents = torch.randn(2, 3, CHANNELS, 6, 6, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW([*dit.parameters(), *text.parameters()], 1e-3)
    for step in range(2):
        captions = [tokenizer.encode(words) for words in ("a red", "")]
        samples = [noisy_sample(z, c, step) for z, c in zip(latents, captions, strict=True)]
        dit_loss(dit, text, samples).backward()
        optimizer.step()
    assert text.null.detach().any()  # the row of "no caption" was learned
    assert [name for name, _ in text.named_parameters()] == ["null"]
    folder = save_bundle(tmp_path / "bundle", recipe, shaken(vae), dit, text, tokenizer, {})
    bundle = load_bundle(folder)
    request = Request(prompt="a red ball", num_frames=5, height=48, width=48, seed=1)
    video, other = (
        Generator(bundle).generate(dataclasses.replace(request, prompt=prompt))
        for prompt in ("a red ball", "left")
    )
    assert video.shape == (5, 48, 48, 3) and not np.array_equal(video, other)
    (folder / "text_encoder" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"text_encoder/tokenizer\.json has hash"):
        load_bundle(folder)


def test_a_large_encoder_stays_outside_the_bundle_and_may_not_change(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "encoder"
    save_encoder("umt5", source)
    save_tokenizer(source)
    recipe = model_recipe(recipe_of(source, bundled_gib=0.0))
    tokenizer, text = make_text(recipe.dit.text, ENCODER_WIDTH, [])
    parts = (shaken(VideoVAE(recipe.vae.config)), shaken(DiT(recipe.dit.config)))
    folder = save_bundle(tmp_path / "bundle", recipe, *parts, text, tokenizer, {})
    assert not (folder / "text_encoder").exists()
    assert load_bundle(folder).tokenizer.encode("red") == tokenizer.encode("red")
    tokenizer_file = source / "tokenizer.json"
    changed = tokenizer_file.read_text().replace('"red"', '"RED"')
    tokenizer_file.write_text(changed)
    with pytest.raises(InputError, match=r"has hash .* was trained with .*; put that one back"):
        load_bundle(folder)
    source.rename(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError, match=r"encoder' is no Hugging Face folder"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "cannot be loaded: .*safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"not it"), "cannot be loaded: "),
        (lambda f: (f / "config.json").write_text("{}"), "cannot be loaded: "),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be loaded: "),
        (lambda f: resized(f, vocab_size=5), "8 tokens and the model 5|cannot be loaded"),
        (lambda f: resized(f, num_layers=2), r"lacks \d+ of the weights"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, break_it: Any, message: str
) -> None:
    save_encoder("t5", tmp_path)
    save_tokenizer(tmp_path)
    break_it(tmp_path)
    with pytest.raises(InputError, match=message):
        HuggingFaceText(tmp_path, recipe_of(tmp_path))


def resized(folder: Path, **values: int) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_encoder_of_another_width_is_refused_with_the_fix(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"features 32 wide.* takes 64; set text_width .* to 32"):
        make_text(recipe_of(folders["t5"]), 64, [])


@pytest.fixture(scope="module")
def clip_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The configuration and the checkpoint of a tiny open_clip model."""
    import open_clip

    folder = tmp_path_factory.mktemp("open_clip")
    config = folder / "reel-test-clip.json"
    text = {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 16, "patch_size": 16, "layers": 1, "width": 16, "head_width": 8}
    config.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(config)
    torch.manual_seed(3)
    model = open_clip.create_model("reel-test-clip")
    checkpoint = folder / "weights.pt"
    torch.save(model.state_dict(), checkpoint)
    return config, checkpoint


def test_the_text_tower_of_an_open_clip_model_is_read_and_bundled_alone(
    clip_checkpoint: tuple[Path, Path], tmp_path: Path
) -> None:
    import open_clip

    config, checkpoint = clip_checkpoint
    recipe = TextRecipe(
        encoder="open_clip", source=str(config), pretrained=str(checkpoint), max_tokens=5
    )
    text = open_text(recipe)
    tokens = text.encode("a red ball rolls left and right")
    assert len(tokens) == 5 and tokens[-1] == 1 + open_clip.SimpleTokenizer().eot_token_id
    model = open_clip.create_model("reel-test-clip", str(checkpoint)).eval()
    ids = torch.tensor([[*(token - 1 for token in tokens), *[0] * 7]])
    with torch.no_grad():
        intermediate = model.forward_intermediates(
            text=ids, text_indices=1, normalize_intermediates=True
        )
    rows = text.features(tokens, torch.device("cpu"))
    torch.testing.assert_close(rows, intermediate["text_intermediates"][0][0, :5])
    text.save(tmp_path / "saved")
    again = open_text(dataclasses.replace(recipe, source=str(tmp_path / "saved")))
    broken = dataclasses.replace(recipe, pretrained=str(tmp_path / "none.pt"))
    with pytest.raises(InputError, match=r"open_clip cannot load .* with weights .*none\.pt"):
        open_text(broken)
    assert again.hash() == text.hash() and again.encode("red") == text.encode("red")
    assert torch.equal(again.features(tokens, torch.device("cpu")), rows)


@pytest.mark.parametrize(
    ("source", "pretrained", "message"),
    [
        ("no-such-model", "", "open_clip knows no model 'no-such-model'"),
        ("ViT-B-16-SigLIP", "", "reads text with a Hugging Face model"),
    ],
)
def test_an_open_clip_model_that_cannot_be_used_is_refused(
    source: str, pretrained: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_text(TextRecipe(encoder="open_clip", source=source, pretrained=pretrained))
