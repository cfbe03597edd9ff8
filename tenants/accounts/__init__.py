"""Members, operators and API tokens: who may act."""
