"""Pretrained text encoders: a Hugging Face folder, or the text tower of an open_clip model.

    text = open_text(recipe)                        # reads nothing but JSON and safetensors, or
    encoder = FrozenTextEncoder(text)               # checkpoints that hold tensors alone
    tokens = text.encode("a red ball")

Token ids are the library's own plus one: 0 is ours, and means that there is no caption.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from infra.errors import InputError, NotFoundError
from modeling.text import NULL, TextRecipe

OPEN_CLIP_FILE = "open_clip_text.json"


class PretrainedEncoder:
    """A frozen model with its tokenizer.

    name: of the model, for messages and manifests. width: of its features.
    """

    name: str
    width: int
    recipe: TextRecipe
    model: nn.Module

    def encode(self, text: str) -> list[int]:
        """Token ids, at most the recipe's `max_tokens`; the empty text is [NULL]."""
        return [1 + token for token in self._tokens(text)] if text.strip() else [NULL]

    @torch.no_grad()
    def features(self, tokens: Sequence[int], device: torch.device) -> Tensor:
        """Features of one caption's tokens, (L, width), float32 on the CPU."""
        self.model.to(device)
        ids = torch.tensor([[token - 1 for token in tokens]], device=device)
        return self._rows(ids)[0].float().cpu()

    @property
    def size_bytes(self) -> int:
        """Of the weights."""
        return sum(t.nbytes for t in self.model.state_dict().values())

    def hash(self) -> str:
        """16 hex digits that name tokenizer and weights, wherever they were read from."""
        digest = hashlib.sha256(f"{self.name} {self._vocabulary()}".encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write what `open_text` reads back."""
        raise NotImplementedError

    def _tokens(self, text: str) -> list[int]:
        raise NotImplementedError

    def _vocabulary(self) -> str:
        raise NotImplementedError

    def _rows(self, ids_1L: Tensor) -> Tensor:
        raise NotImplementedError

    def _freeze(self) -> None:
        self.model.to(getattr(torch, self.recipe.dtype)).eval().requires_grad_(False)


def open_text(recipe: TextRecipe) -> PretrainedEncoder:
    """The encoder that the recipe names.

    Raises:
        NotFoundError: there is no such folder or model.
        InputError: it is none that can be used; the message says why.
    """
    folder = Path(recipe.source).expanduser()
    if recipe.encoder == "hugging_face":
        return HuggingFaceText(folder, recipe)
    from modeling.open_clip_text import OpenClipText  # it brings torchvision along

    if (folder / OPEN_CLIP_FILE).is_file():
        return OpenClipText.saved(folder, recipe)
    return OpenClipText.loaded(recipe)


class HuggingFaceText(PretrainedEncoder):
    """The encoder of any text model that transformers knows: T5, umT5, CLIP, BERT and their kin."""

    def __init__(self, folder: Path, recipe: TextRecipe) -> None:
        if not (folder / "config.json").is_file():
            raise NotFoundError(
                f"text encoder {str(folder)!r} is no Hugging Face folder: it has no config.json; "
                "give the folder that holds a model and its tokenizer"
            )
        self.recipe = recipe
        try:
            with quiet():
                self.model, missing = _load_hugging_face(folder, recipe.dtype)
                self._tokenizer = _load_tokenizer(folder)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"text encoder {folder} cannot be loaded: {first_line(error)}; it needs "
                "config.json, weights as safetensors, and the tokenizer's files"
            ) from error
        config: Any = self.model.config
        self.name, self.width = str(config.model_type), int(config.hidden_size)
        if missing:
            raise InputError(
                f"text encoder {folder} lacks {len(missing)} of the weights that a "
                f"{self.name} has (first: {sorted(missing)[0]}); give a whole model"
            )
        if len(self._tokenizer) > config.vocab_size:
            raise InputError(
                f"the tokenizer in {folder} has {len(self._tokenizer)} tokens and the model "
                f"{config.vocab_size}; they do not belong together"
            )
        positions = getattr(config, "max_position_embeddings", None) or recipe.max_tokens
        self._max_tokens = min(recipe.max_tokens, positions)
        self._freeze()

    def save(self, folder: Path) -> None:
        """Write model and tokenizer as transformers does."""
        with quiet():
            self.model.save_pretrained(folder)  # type: ignore[operator]
            self._tokenizer.save_pretrained(folder)

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, truncation=True, max_length=self._max_tokens)[
            "input_ids"
        ]
        return found

    def _vocabulary(self) -> str:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        return backend.to_str() if backend else json.dumps(self._tokenizer.get_vocab())

    def _rows(self, ids_1L: Tensor) -> Tensor:
        rows: Tensor = self.model(input_ids=ids_1L).last_hidden_state
        return rows


def _load_hugging_face(folder: Path, dtype: str) -> tuple[nn.Module, set[str]]:
    """The model without what does not read text, and which of its weights the folder lacks."""
    from transformers import AutoConfig, AutoModelForTextEncoding

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if hasattr(config, "text_config"):  # a model of pictures and text, as CLIP: its text half
        config = config.text_config
    model, report = AutoModelForTextEncoding.from_pretrained(
        folder,
        config=config,
        dtype=getattr(torch, dtype),
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    return model, {str(key) for key in report["missing_keys"]}


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def first_line(error: Exception) -> str:
    """What a library's error says, without its pages of advice."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and reports that transformers writes when it loads and saves."""
    from transformers.utils import logging as library

    logging: Any = library  # its functions have no types
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
