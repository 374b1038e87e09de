"""Training: Ray Train's TorchTrainer around one loop."""
