"""The static checker: an abstract interpreter over the syntax trees of templates.

Knows types, scopes and guards, and renders nothing.
"""
