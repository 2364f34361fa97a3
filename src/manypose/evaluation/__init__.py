"""How good the people found are: keypoint AP as COCO measures it, and PCK; each with an interval over pictures.

Nothing here runs a model: the functions take what was found and a file of truth, and give plain numbers.
"""
