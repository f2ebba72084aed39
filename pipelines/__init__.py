"""The applications: what a person or a job runs. They compose rooms of deemo_dist and hold no logic of their own."""
