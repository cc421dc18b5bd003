"""The studio: a page to draw with any model, on any machine: `python -m fsd.webui.studio`."""
