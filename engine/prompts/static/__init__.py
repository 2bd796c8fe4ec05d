"""Static analysis of templates: an abstract interpreter over Jinja's syntax trees.

This room knows syntax trees, scopes, types and the facts that tests establish. It renders nothing,
reads no files, and does not know where the types of the variables come from.
"""
