"""The caption editor as people see it, in a notebook's cell and in the studio: `fsd.data.caption_editor` does the work."""
