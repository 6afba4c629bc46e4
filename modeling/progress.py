"""Progress of a generation as files, so that work that was killed goes on and ends bit for bit as
it would have.

    progress = Progress(folder, generator.identity)
    for frames in progress.resume(generation): …    # those of the windows that were done
    while not generation.is_over:
        generator.advance([generation])
        progress.save(generation)                   # at the end of a window, and every few steps
        for frames in generation.frames(): …

A window that is done is kept as its latents, a 200th of its pixels; they are taken again, in the
same order, by a generation that goes on, so what it remembers and decodes is the same. Of the
window under way all that the sampler knows is kept. Randomness needs no state: noise comes from the
seed and the window's number.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modeling.generation import Generation
from modeling.tasks import Frames

log = logging.getLogger(__name__)


class Progress:
    """The files of one generation: `window-N` of those that are done, `step-N-K` within window N.

    identity: of the model; files of another one are as good as none.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self._identity = folder, identity

    def save(self, generation: Generation) -> None:
        """Keep where the generation is, before the frames of a window that is done are taken.

        Raises:
            OSError: the folder cannot be written, or its parent is gone.
        """
        sampling, stage = generation.sampling(), generation.stage
        self.folder.mkdir(exist_ok=True)
        if sampling.done:
            self._write(f"window-{stage}", {"latents": sampling.state_GChw.contiguous()})
        else:
            self._write(f"step-{stage}-{sampling.step}", sampling.tensors())
        for path in self.folder.glob("step-*.safetensors"):
            if sampling.done or path.name != f"step-{stage}-{sampling.step}.safetensors":
                path.unlink(missing_ok=True)

    def resume(self, generation: Generation) -> Iterator[Frames]:
        """Bring a generation that has just begun to where it was; frames of the windows done.

        What cannot be read, or is another model's, is made again.
        """
        while not generation.is_over:
            window = self._read(f"window-{generation.stage}")
            if window is None:
                break
            yield from generation.take(window["latents"])
        if generation.is_over:
            return
        steps = [
            int(path.stem.rpartition("-")[2])
            for path in self.folder.glob(f"step-{generation.stage}-*.safetensors")
        ]
        for step in sorted(steps, reverse=True):
            tensors = self._read(f"step-{generation.stage}-{step}")
            if tensors is not None:
                try:
                    generation.sampling().restore(tensors)
                except (ValueError, KeyError) as error:
                    log.warning("%s: step %d is not gone on with: %s", self.folder, step, error)
                    continue
                return

    def adopt(self, other: "Progress") -> None:
        """Take over the files of another one; they cost no room, being links.

        Raises:
            OSError: the folder cannot be written, or its parent is gone.
        """
        self.folder.mkdir(exist_ok=True)
        for path in other.folder.glob("*.safetensors"):
            target = self.folder / path.name
            if not target.exists():
                try:
                    target.hardlink_to(path)
                except FileNotFoundError:  # its owner still lives, and went a step further
                    continue

    def _write(self, name: str, tensors: dict[str, Tensor]) -> None:
        temporary = self.folder / f".{name}.part"
        # Contiguous and on the host, as a file wants them.
        host = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        save_file(host, temporary, metadata={"identity": self._identity})
        temporary.replace(self.folder / f"{name}.safetensors")

    def _read(self, name: str) -> dict[str, Tensor] | None:
        path = self.folder / f"{name}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("identity") != self._identity:
                    return None
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as error:
            log.warning("%s is not gone on with: %s", path, error)
            return None
