"""The models: who answers when a node asks."""
