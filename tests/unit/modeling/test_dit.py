import dataclasses

import torch

from modeling.dit import DiT
from modeling.documents import (
    Document,
    Memory,
    coarser,
    frame_seconds,
    grid_positions,
    pack,
    patchify,
    split,
    unpatchify,
)
from modeling.packing import Layout, attend
from tests.unit.modeling.small import CHANNELS, document, shaken, small_recipe

CONFIG = small_recipe().dit.config


def dit() -> DiT:
    model = shaken(DiT(CONFIG))
    assert isinstance(model, DiT)
    return model


def run(model: DiT, documents: list[Document]) -> list[torch.Tensor]:
    return split(model(pack(documents, CONFIG)), documents, CONFIG)


def test_packed_equals_one_by_one() -> None:
    """Clips of different length, size and text, and an image, do not see each other."""
    documents = [
        document(3, 6, 6, 5, seed=1),
        document(1, 6, 8, 7, seed=2),
        document(3, 6, 6, 5, seed=3, given=1),
        document(4, 8, 6, 1, seed=4),
    ]
    model = dit()
    for alone, packed in zip(documents, run(model, documents), strict=True):
        torch.testing.assert_close(run(model, [alone])[0], packed, rtol=0, atol=1e-5)


def test_grouped_attention_equals_a_loop_over_documents() -> None:
    """Patches see the patches and the text of their own document, text sees nothing."""
    layout = Layout((4, 7, 4, 4, 2), (3, 2, 2, 2, 1))
    q, k, v = torch.randn(3, sum(layout.lengths), 2, 8)
    text_k, text_v = torch.randn(2, sum(layout.words), 2, 8)
    expected, at, text_at = [], 0, 0
    for length, words in zip(layout.lengths, layout.words, strict=True):
        rows, text = slice(at, at + length), slice(text_at, text_at + words)
        at, text_at = rows.stop, text.stop
        keys, values = torch.cat((k[rows], text_k[text])), torch.cat((v[rows], text_v[text]))
        scores = torch.einsum("qhd,khd->hqk", q[rows], keys) / 8**0.5
        expected.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), values))
    found = attend(q, k, v, text_k, text_v, layout)
    torch.testing.assert_close(found, torch.cat(expected))


def test_a_fresh_model_predicts_nothing() -> None:
    """Zero-initialised gates and output: training starts from the identity."""
    (velocity,) = run(DiT(CONFIG), [document(3, 6, 6, 5, seed=1)])
    assert not velocity.any()


def test_patches_go_back_to_where_they_came_from() -> None:
    latents = torch.randn(3, 6, 4, 8)
    rows = patchify(latents, 2)
    assert rows.shape == (3 * 2 * 4, 6 * 4)
    assert torch.equal(unpatchify(rows, latents.shape, 2), latents)


def test_text_timesteps_and_given_flags_all_reach_the_output() -> None:
    model, base = dit(), document(3, 6, 6, 5, seed=1)
    reference = run(model, [base])[0]
    for changed in (
        Document(base.latents_GChw, base.text_LD + 1, base.timesteps_Gyx, base.given_Gyx, base.fps),
        Document(
            base.latents_GChw, base.text_LD, base.timesteps_Gyx * 0.5, base.given_Gyx, base.fps
        ),
        Document(base.latents_GChw, base.text_LD, base.timesteps_Gyx, ~base.given_Gyx, base.fps),
        Document(base.latents_GChw, base.text_LD.flip(0), base.timesteps_Gyx, base.given_Gyx, 8.0),
        Document(base.latents_GChw, base.text_LD, base.timesteps_Gyx, base.given_Gyx, base.fps * 2),
    ):
        assert (run(model, [changed])[0] - reference).abs().max() > 1e-4


def test_a_latent_frame_stands_at_the_middle_of_its_frames() -> None:
    # Frame 0; frames 1 to 4; frames 5 to 8, at 8 frames a second.
    assert frame_seconds(3, 8.0).tolist() == [0.0, 2.5 / 8, 6.5 / 8]


def test_memory_is_seen_but_not_answered() -> None:
    """Packed with others, a document with coarse memory comes to what it comes to alone."""
    model, base = dit(), document(3, 6, 6, 5, seed=1)
    past = torch.randn(2, CHANNELS, 6, 6, generator=torch.Generator().manual_seed(5))
    small = coarser(past, 2, CONFIG.patch)
    assert small.shape == (2, CHANNELS, 4, 4)
    memory = (Memory(small, torch.tensor([-1.0, -0.5])), Memory(past[:1], torch.tensor([-4.0])))
    remembering = dataclasses.replace(base, memory=memory, opens=False)
    alone, plain = run(model, [remembering])[0], run(model, [base])[0]
    assert alone.shape == plain.shape and (alone - plain).abs().max() > 1e-3
    packed = run(model, [document(4, 8, 6, 1, seed=4), remembering, base])[1]
    torch.testing.assert_close(alone, packed, rtol=0, atol=1e-5)


def test_coarse_patches_lie_over_the_frame_that_they_were() -> None:
    seconds = torch.zeros(1)
    fine = grid_positions(seconds, (4, 6), (4, 6), CONFIG).unflatten(0, (4, 6))
    coarse = grid_positions(seconds, (2, 3), (4, 6), CONFIG).unflatten(0, (2, 3))
    # Each is the middle of the four that it stands for.
    middles = fine.unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2))
    torch.testing.assert_close(coarse, middles)


def test_a_group_in_mid_stream_ends_where_an_opening_frame_would_be() -> None:
    assert frame_seconds(3, 8.0, opens=False).tolist() == [-1.5 / 8, 2.5 / 8, 6.5 / 8]
