"""Fréchet distance between two sets of features (Dowson and Landau, 1982; as in FID and FVD)."""

import torch
from torch import Tensor

MIN_VIDEOS = 8


def frechet_distance(a_ND: Tensor, b_MD: Tensor) -> float:
    """Squared distance between the normal distributions fitted to the features.

    It is biased upwards for few videos, so a value means something only beside another one from as
    many, such as that of real videos against real ones.
    """
    a, b = a_ND.double(), b_MD.double()
    root = _root(a.T.cov())
    # The trace of (A B)^(1/2) by the eigenvalues of a symmetric matrix that has the same ones.
    both = torch.linalg.eigvalsh(root @ b.T.cov() @ root).clamp(min=0).sqrt().sum()
    spread = a.var(0).sum() + b.var(0).sum() - 2 * both
    return max(0.0, float((a.mean(0) - b.mean(0)).square().sum() + spread))


def _root(matrix_DD: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(matrix_DD)
    root: Tensor = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return root
