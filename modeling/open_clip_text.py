"""The text tower of an open_clip model, pretrained: per-token features from its last layer."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch.nn.functional as F
from open_clip.factory import get_model_config
from open_clip.model import _build_text_tower, convert_to_custom_text_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.errors import InputError, NotFoundError
from infra.job_files import write_json
from modeling.pretrained_text import OPEN_CLIP_FILE, PretrainedEncoder, first_line
from modeling.text import TextRecipe

WEIGHTS = "model.safetensors"


class OpenClipText(PretrainedEncoder):
    """The text tower of an open_clip model whose tokenizer is open_clip's own."""

    def __init__(self, name: str, config: dict[str, Any], recipe: TextRecipe) -> None:
        """A tower of this configuration ({"embed_dim", "text_cfg", "quick_gelu"}) without weights.

        Raises:
            InputError: its tokenizer comes from elsewhere.
        """
        text = config["text_cfg"]
        if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
            raise InputError(
                f"open_clip's {name!r} reads text with a Hugging Face model; name that model's "
                'folder instead, with encoder "hugging_face"'
            )
        self.name, self.recipe, self._config = name, recipe, config
        self.model = _build_text_tower(
            config["embed_dim"], {**text, "output_tokens": True}, config.get("quick_gelu", False)
        )
        self.width = text["width"]
        self._length = min(recipe.max_tokens, text["context_length"])
        self._tokenizer = open_clip.SimpleTokenizer(context_length=text["context_length"])

    @classmethod
    def loaded(cls, recipe: TextRecipe) -> "OpenClipText":
        """A model by name, configuration or folder; see `TextRecipe.source`."""
        path, name = Path(recipe.source).expanduser(), recipe.source
        if path.suffix == ".json" and path.is_file():
            open_clip.add_model_config(path)
            name = path.stem
        if path.is_dir():
            name = f"local-dir:{path}"
        config = _open_clip_config(name, path)
        text = cls(name.removeprefix("local-dir:"), config, recipe)
        try:
            whole = open_clip.create_model(name, recipe.pretrained or None, require_pretrained=True)
        except (RuntimeError, ValueError, OSError) as error:
            raise InputError(
                f"open_clip cannot load {recipe.source!r} with weights {recipe.pretrained!r}: "
                f"{first_line(error)}"
            ) from error
        state = convert_to_custom_text_state_dict(whole.state_dict())
        own = {key.removeprefix("text."): t for key, t in state.items() if key.startswith("text.")}
        text.model.load_state_dict(own)
        text._freeze()
        return text

    @classmethod
    def saved(cls, folder: Path, recipe: TextRecipe) -> "OpenClipText":
        """What `save` wrote."""
        config = json.loads((folder / OPEN_CLIP_FILE).read_text(encoding="utf-8"))
        text = cls(config["name"], config, recipe)
        text.model.load_state_dict(load_file(folder / WEIGHTS))
        text._freeze()
        return text

    def save(self, folder: Path) -> None:
        """Write the tower alone."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: t.contiguous() for name, t in self.model.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        write_json(folder / OPEN_CLIP_FILE, {"name": self.name, **self._config})

    def _tokens(self, text: str) -> list[int]:
        padded = self._tokenizer(text)[0].tolist()
        ids = padded[: padded.index(self._tokenizer.eot_token_id) + 1]
        # A caption that is cut still ends as the tower was taught that captions end.
        return ids if len(ids) <= self._length else [*ids[: self._length - 1], ids[-1]]

    def _vocabulary(self) -> str:
        return "open_clip's own"  # it comes with the library

    def _rows(self, ids_1L: Tensor) -> Tensor:
        # The tower reads its whole context only; what is behind a caption's end does not change it.
        length, text = ids_1L.shape[1], self._config["text_cfg"]
        padding = (0, text["context_length"] - length)
        rows: Tensor = self.model(F.pad(ids_1L, padding, value=text.get("pad_id", 0)))[1]
        return rows[:, :length]


def _open_clip_config(name: str, path: Path) -> dict[str, Any]:
    """{"embed_dim", "text_cfg", "quick_gelu"} of a model that open_clip knows, or saved here.

    Raises:
        NotFoundError: it knows none of this name.
    """
    if path.is_dir():
        file = path / "open_clip_config.json"
        found = (
            json.loads(file.read_text(encoding="utf-8"))["model_cfg"] if file.is_file() else None
        )
    else:
        found = get_model_config(name)
    if found is None or "text_cfg" not in found:
        raise NotFoundError(
            f"open_clip knows no model {name.removeprefix('local-dir:')!r}; give one of its names "
            "(ViT-B-32, ViT-L-14), a configuration file or a folder that open_clip saved"
        )
    keys = ("embed_dim", "text_cfg", "quick_gelu")
    return {key: found[key] for key in keys if key in found}
