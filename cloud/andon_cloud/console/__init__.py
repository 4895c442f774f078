"""The console: a live page of the factory for its staff, mounted on the cloud's FastAPI app."""
