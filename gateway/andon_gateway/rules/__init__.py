"""Alarm rules at the edge: pulled from the cloud, kept on disk, evaluated on sample time, also while the cloud is away."""
