"""People to files and back: one module for each format, each with what it reads and writes and its conventions.

plain        manypose's own JSON: everything that `People` holds, one or many pictures, with a published JSON Schema
coco         COCO results files, which pycocotools scores
openpose     OpenPose's JSON files, one for each picture
table        pandas: one row for each person and joint
supervision  `supervision.KeyPoints`

Parsing (is this file what it says it is?) is pydantic's; meaning (which joint is that?) is each module's own. What
cannot be read raises `FormatError` with the name of the file and the path inside of it. The same people always give
the same bytes: the order of the keys is fixed and numbers are rounded as each module says.
"""
