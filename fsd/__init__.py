"""fsd: ten photos become your own Stable Diffusion model. Importing it loads nothing heavy."""

__version__ = "0.1.0"
