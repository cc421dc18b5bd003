"""A web UI at a link, behind a lock: installed, given a model, started, watched."""
