"""Steps that flows share: placing, routing, holding, carrying data."""
