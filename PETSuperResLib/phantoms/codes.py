"""The one table of what generated bodies and painted CTs are made of."""

from __future__ import annotations

#: a voxel's code in ``Phantom.organs`` is its tissue's place here; "air" is all that lies outside the body, too
TISSUES = (
    *("air", "fat", "muscle", "lung", "node_bed", "liver", "spleen", "kidney"),
    *("bone", "blood", "heart", "bowel", "bladder", "brain", "other", "skin", "marrow"),
    *("stomach", "disc", "brown_fat", "gas"),
)
CODE = {name: number for number, name in enumerate(TISSUES)}
