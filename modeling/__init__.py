"""What learns: video VAE, diffusion transformer, objective, sampler, bundle."""
