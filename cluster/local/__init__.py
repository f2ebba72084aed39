"""Real servers on one machine, for tests and the demo: S3, SLURM, Ray, MLflow. Each is ended by its own process ids."""
