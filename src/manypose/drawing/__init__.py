"""People on pictures, a network's maps as pictures, contact sheets. Every colour of a joint comes from its skeleton."""

from manypose.drawing.maps import draw_maps
from manypose.drawing.people import draw_people
from manypose.drawing.sheet import contact_sheet

__all__ = ["contact_sheet", "draw_maps", "draw_people"]
