"""People <-> maps: making targets and decoding side by side."""
