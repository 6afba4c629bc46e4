"""CoCa (arXiv:2205.01917) from open_clip as a captioner of clips: pretrained, or trained here.

    captioner = CocaCaptioner.from_pretrained("coca_ViT-B-32", "mscoco_finetuned_laion2b_s13b_b90k")
    captions = captioner.caption(frames_BVTHWC)     # [("a dog runs", 0.93), ...]

open_clip's own `generate` depends on the transformers version and encodes the picture and the whole
vocabulary again for every word. The loop here encodes each picture once and reads only the last
position.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import open_clip
import torch
from open_clip.coca_model import CoCa
from open_clip.factory import get_model_config
from torch import Tensor
from torch.nn import functional as F

from captioning.pictures import tile, weave
from captioning.recipe import CocaRecipe
from captioning.words import WordTokenizer
from infra.errors import InputError, NotFoundError

PICTURES_AT_ONCE = 96


class Tokenizer(Protocol):
    """What a captioner needs of a tokenizer: three ids, and ids back to text."""

    @property
    def bos(self) -> int: ...
    @property
    def eos(self) -> int: ...
    @property
    def pad(self) -> int: ...
    def decode(self, ids: Sequence[int]) -> str: ...


class ClipTokenizer:
    """open_clip's own byte-pair tokenizer behind the same interface."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.bos, self.eos, self.pad = tokenizer.sot_token_id, tokenizer.eot_token_id, 0

    def decode(self, ids: Sequence[int]) -> str:
        kept = list(ids)[: ids.index(self.eos)] if self.eos in ids else list(ids)
        return " ".join(self._tokenizer.decode(kept).split())


@dataclass(frozen=True, kw_only=True)
class PictureFormat:
    """How frames become the picture that a model was trained on."""

    grid: int
    height: int  # of the whole picture, pixels
    width: int
    patch: int  # pixels of a frame to one token when woven; 0 lays whole frames side by side
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def picture(self, frames_BTHWC: Tensor) -> Tensor:
        """uint8 or float frames in [0, 255] → normalized picture (B, 3, height, width)."""
        values = frames_BTHWC.float() / 255
        values = (values - torch.tensor(self.mean)) / torch.tensor(self.std)
        if self.patch:
            return weave(values, self.grid, self.patch)
        picture = tile(values, self.grid)
        if picture.shape[-2:] == (self.height, self.width):
            return picture
        return F.interpolate(
            picture, (self.height, self.width), mode="bilinear", antialias=True, align_corners=False
        )


class CocaCaptioner:
    """A CoCa model, its tokenizer, and the picture format it expects."""

    def __init__(
        self, model: CoCa, tokenizer: Tokenizer, picture_format: PictureFormat, max_words: int
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.format = picture_format
        self.max_words = min(max_words, model.context_length - 1)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str, pretrained: str = "", *, grid: int = 2, max_words: int = 40
    ) -> "CocaCaptioner":
        """Any CoCa that open_clip can load.

        `name_or_path`: a model name with a tag or checkpoint path in `pretrained`; a model
        configuration (.json) with a checkpoint; or a folder that open_clip saved
        (`open_clip_config.json` and weights).

        Raises:
            NotFoundError: no such model, folder, tag or checkpoint.
            InputError: the model is no CoCa, or the weights do not fit it.
        """
        path = Path(name_or_path).expanduser()
        name = name_or_path
        if path.is_dir():
            name = f"local-dir:{path}"
        elif path.suffix == ".json" and path.is_file():
            open_clip.add_model_config(path)
            name = path.stem
        model = _load(name, pretrained)
        processing = model.visual.preprocess_cfg
        height, width = _pair(processing["size"])
        picture_format = PictureFormat(
            grid=grid,
            height=height,
            width=width,
            patch=0,
            mean=tuple(processing["mean"]),
            std=tuple(processing["std"]),
        )
        tokenizer = ClipTokenizer(open_clip.get_tokenizer(name))
        return cls(model, tokenizer, picture_format, max_words)

    @classmethod
    def untrained(cls, recipe: CocaRecipe, tokenizer: WordTokenizer) -> "CocaCaptioner":
        """A new small CoCa for that vocabulary, its weights drawn from torch's global generator."""
        model = CoCa(**model_config(recipe, tokenizer.vocab_size))
        # open_clip leaves this one as uninitialized memory.
        torch.nn.init.normal_(model.text_decoder.text_projection, std=recipe.width**-0.5)
        picture_format = PictureFormat(
            grid=recipe.grid,
            height=recipe.grid * recipe.cell,
            width=recipe.grid * recipe.cell,
            patch=recipe.patch,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )
        return cls(model, tokenizer, picture_format, recipe.max_words)

    def use(self, device: str, threads: int) -> None:
        """Run on "cpu" or "cuda", on so many cores."""
        torch.set_num_threads(threads)
        self.model.to(device)

    @torch.inference_mode()
    def caption(self, frames_BVTHWC: Tensor) -> list[tuple[str, float]]:
        """Captions and scores of clips, each seen in V windows of grid² frames.

        A score is the mean probability of the caption's words, the end included.
        """
        self.model.eval()
        at_once = max(1, PICTURES_AT_ONCE // frames_BVTHWC.shape[1])
        results: list[tuple[str, float]] = []
        for start in range(0, len(frames_BVTHWC), at_once):
            results += self._caption_batch(frames_BVTHWC[start : start + at_once])
        return results

    def _caption_batch(self, frames_BVTHWC: Tensor) -> list[tuple[str, float]]:
        batch, views = frames_BVTHWC.shape[:2]
        device = self.model.logit_scale.device
        pictures = self.format.picture(frames_BVTHWC.flatten(0, 1)).to(device)
        image_embs = self.model._encode_image(pictures)[1]
        ids = torch.full((batch, 1), self.tokenizer.bos, device=device)
        probabilities = torch.zeros(batch, device=device)
        lengths = torch.zeros(batch, device=device)
        done = torch.zeros(batch, dtype=torch.bool, device=device)
        for _ in range(self.max_words):
            logits = self.next_logits(image_embs, ids.repeat_interleave(views, 0))
            words = logits.softmax(-1).view(batch, views, -1).mean(1)
            probability, word = words.max(-1)
            probabilities += torch.where(done, 0, probability)
            lengths += ~done
            ids = torch.cat([ids, torch.where(done, self.tokenizer.pad, word)[:, None]], 1)
            done |= word == self.tokenizer.eos
            if bool(done.all()):
                break
        scores = (probabilities / lengths).tolist()
        texts = [self.tokenizer.decode(row) for row in ids[:, 1:].tolist()]
        return list(zip(texts, scores, strict=True))

    def next_logits(self, image_embs: Tensor, ids_BL: Tensor) -> Tensor:
        """Logits (B, vocabulary) of the word after `ids_BL`, given encoded pictures."""
        decoder = self.model.text_decoder
        words = self.model._encode_text(ids_BL)[1]
        mask = decoder.attn_mask[: words.shape[1], : words.shape[1]]
        for block, cross in zip(decoder.resblocks, decoder.cross_attn, strict=True):
            words = cross(block(words, attn_mask=mask), k_x=image_embs, v_x=image_embs)
        logits: Tensor = decoder.ln_final(words[:, -1]) @ decoder.text_projection
        return logits


def model_config(recipe: CocaRecipe, vocab_size: int) -> dict[str, Any]:
    """open_clip's configuration of the CoCa that `recipe` describes."""
    text = {
        "context_length": recipe.max_words + 2,
        "vocab_size": vocab_size,
        "width": recipe.width,
        "heads": recipe.width // recipe.head_width,
    }
    return {
        "embed_dim": recipe.width,
        "vision_cfg": {
            "image_size": recipe.grid * recipe.cell,
            "patch_size": recipe.grid * recipe.patch,
            "layers": recipe.vision_layers,
            "width": recipe.width,
            "head_width": recipe.head_width,
            "output_tokens": True,
        },
        "text_cfg": {
            **text,
            "layers": recipe.text_layers,
            "embed_cls": True,
            "output_tokens": True,
        },
        "multimodal_cfg": {**text, "layers": recipe.decoder_layers},
    }


def _load(name: str, pretrained: str) -> CoCa:
    """The CoCa that open_clip loads under that name; its errors become ours."""
    if not name.startswith("local-dir:") and get_model_config(name) is None:
        raise NotFoundError(
            f"open_clip knows no model {name!r}; give one of its CoCa names (coca_ViT-B-32, "
            "coca_ViT-L-14), a configuration file or a folder that open_clip saved"
        )
    try:
        model = open_clip.create_model(name, pretrained or None, require_pretrained=True)
    except (RuntimeError, ValueError, FileNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"open_clip cannot load {name!r} with weights {pretrained!r}: {reason}"
        ) from error
    if not isinstance(model, CoCa):
        raise InputError(f"{name!r} is a {type(model).__name__}, which cannot write; give a CoCa")
    return model.eval()


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size that may be one number."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
