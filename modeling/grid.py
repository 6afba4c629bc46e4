"""How pixels and latent positions relate; apart from the networks, for those who only count."""

GROUP = 4  # frames in one latent frame, unless a recipe says otherwise
SPATIAL = 8  # pixels along one latent position, likewise
