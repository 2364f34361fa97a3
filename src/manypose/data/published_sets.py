"""Where data sets are published: addresses, sizes and checksums of their files, as a table.

COCO publishes no checksums; the MD5 digests here are those of PaddleDetection's `ppdet/utils/download.py` (2017) and of
several agreeing scripts (2014). The others publish neither. The servers were out of reach when this was written.
"""

from __future__ import annotations

from dataclasses import dataclass

_COCO = "https://s3.amazonaws.com/images.cocodataset.org"  # the site's own name has no valid certificate
_MPI = "https://datasets.d2.mpi-inf.mpg.de/andriluka14cvpr"
_MMPOSE = "https://download.openmmlab.com/mmpose/datasets"
_MMPOSE_PARTS = ("train", "val", "test", "trainval")  # files of annotations beside each other in one archive
_LSP = "http://sam.johnson.io/research"
_DRIVE = "https://drive.google.com/file/d"
MB, GB = 10**6, 10**9


@dataclass(frozen=True)
class Piece:
    """A file of a data set.

    name      as it is published
    address   None: cannot be fetched by a program; `by_hand` says where a person finds it
    part      the part of the set that it belongs to; "" belongs to all
    size      bytes, exact; `about` is a rounded figure where none is published
    unpacked  bytes that come out of it, about; 0: no archive, the file itself is what is wanted
    into      folder below the data set's; `flat`: the folders of the archive are left out
    pictures  whether it may stay packed
    """

    name: str
    address: str | None = None
    part: str = ""
    size: int | None = None
    md5: str | None = None
    about: int = 0
    unpacked: int = 0
    into: str = ""
    flat: bool = False
    pictures: bool = False
    by_hand: str = ""

    @property
    def bytes(self) -> int:
        """How large it is, exactly or about."""
        return self.size or self.about


@dataclass(frozen=True)
class PublishedSet:
    """A data set: its files, and the terms that its publishers state.

    usual     the parts that are fetched when none is named
    together  parts that the files hold together: to ask for one gets all
    """

    title: str
    pieces: tuple[Piece, ...]
    terms: str
    usual: tuple[str, ...] = ()
    together: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that can be asked for."""
        return tuple(dict.fromkeys(piece.part for piece in self.pieces if piece.part)) + self.together


def _coco_pictures(part: str, year: int, size: int, md5: str) -> Piece:
    name = f"{part}{year}.zip"
    address = f"{_COCO}/zips/{name}"
    return Piece(name, address, part, size, md5, unpacked=size, pictures=True)


def _coco_labels(year: int, size: int, md5: str, unpacked: int) -> Piece:
    name = f"annotations_trainval{year}.zip"
    return Piece(name, f"{_COCO}/annotations/{name}", size=size, md5=md5, unpacked=unpacked)


_PICTURES_2017 = (
    _coco_pictures("train", 2017, 19336861798, "cced6f7f71b7629ddf16f17bbcfab6b2"),
    _coco_pictures("val", 2017, 815585330, "442b8da7639aecaf257c1dceb8ba8c80"),
)
_COCO_TERMS = "annotations CC BY 4.0; the pictures are Flickr users', under various Creative Commons licences"


def _wholebody(part: str, drive: str, about: int) -> Piece:
    name = f"coco_wholebody_{part}_v1.0.json"
    return Piece(name, part=part, about=about, into="annotations", by_hand=f"{_DRIVE}/{drive}/view")


SETS = {
    "coco2017": PublishedSet(
        "COCO 2017, 17 joints",
        (
            _coco_labels(2017, 252907541, "f4bbac642086de4f52a3fdda2de5fa2c", 830 * MB),
            *_PICTURES_2017,
            _coco_pictures("test", 2017, 6646970404, "77ad2c53ac5d0aea611d422c0938fb35"),
        ),
        _COCO_TERMS,
        usual=("train", "val"),
    ),
    "coco2014": PublishedSet(
        "COCO 2014, 17 joints",
        (
            _coco_labels(2014, 252872794, "0a379cfc70b0e71301e0f377548639bd", 830 * MB),
            _coco_pictures("train", 2014, 13510573713, "0da8c0bd3d6becc4dcb32757491aca88"),
            _coco_pictures("val", 2014, 6645013297, "a3d79f5ed8d289b7a7554ce06a5782b3"),
        ),
        _COCO_TERMS,
    ),
    "wholebody": PublishedSet(
        "COCO-WholeBody 1.0, 133 joints, on the pictures of COCO 2017",
        (
            *_PICTURES_2017,
            _wholebody("train", "1thErEToRbmM9uLNi1JXXfOsaS5VK2FXf", GB),
            _wholebody("val", "1N6VgwKnj8DeyGXCvp1eYgNbRmw6jdfrb", 50 * MB),
        ),
        "labels for research, not for commercial use; pictures as COCO's",
    ),
    "mpii": PublishedSet(
        "MPII Human Pose, 16 joints",
        (
            Piece("mpii_human_pose_v1_u12_2.zip", f"{_MPI}/mpii_human_pose_v1_u12_2.zip", about=12_500_000,
                  unpacked=120 * MB),
            Piece("mpii_annotations.tar", f"{_MMPOSE}/mpii_annotations.tar", about=60 * MB, unpacked=60 * MB,
                  into="annotations", flat=True),
            Piece("mpii_human_pose_v1.tar.gz", f"{_MPI}/mpii_human_pose_v1.tar.gz", about=12_900_000_000,
                  unpacked=13 * GB),
        ),
        "see http://human-pose.mpi-inf.mpg.de (research)",
        together=_MMPOSE_PARTS,
    ),
    "lsp": PublishedSet(
        "Leeds Sports Pose, 14 joints",
        (Piece("lsp_dataset.zip", f"{_LSP}/lsp_dataset.zip", about=40 * MB, unpacked=50 * MB),),
        "no licence stated; cite Johnson and Everingham, BMVC 2010",
        together=("train", "test"),
    ),
    "lspet": PublishedSet(
        "Leeds Sports Pose, extended training set, 14 joints",
        (Piece("lspet_dataset.zip", f"{_LSP}/lspet_dataset.zip", about=300 * MB, unpacked=350 * MB),),
        "no licence stated; cite Johnson and Everingham, CVPR 2011",
    ),
    "crowdpose": PublishedSet(
        "CrowdPose, 14 joints",
        (
            Piece("crowdpose_annotations.tar", f"{_MMPOSE}/crowdpose_annotations.tar", about=100 * MB,
                  unpacked=100 * MB, into="annotations", flat=True),
            Piece("images.zip", about=2_500 * MB, unpacked=2_600 * MB, pictures=True,
                  by_hand=f"{_DRIVE}/1VprytECcLtU4tKP32SYi_7oDRbw7yUTL/view"),
        ),
        "see https://github.com/Jeff-sjtu/CrowdPose",
        together=_MMPOSE_PARTS,
    ),
}  # fmt: skip
