"""How the projector's matrix is multiplied."""
