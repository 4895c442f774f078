"""The conversation with the cloud besides readings: its event stream in, reports out."""
