"""Where the project runs: Ray and SLURM templates, container images, and real small clusters on one machine."""
