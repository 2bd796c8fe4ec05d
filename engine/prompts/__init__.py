"""Prompts as Jinja files: roles by tags, checked at load, hashed, rendered in a sandbox."""
