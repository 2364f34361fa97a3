"""published: the table of weights, and how one of them becomes a model of the user's; no test leaves this machine."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from weights_server import Server, Turn, serving

from manypose import download, published
from manypose.errors import DownloadError, ModelError
from manypose.model import shipped_models
from manypose.published import (
    PUBLISHED,
    Published,
    cached_model,
    cached_models,
    cached_weights,
    find_published,
    get_published,
    hint,
)

CONTENT = b"weights" * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no pauses."""
    monkeypatch.setenv("MANYPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(download, "LOCK_WAIT", 0.005)
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that stands in for all publishers, with one file that is right for every name."""
    with serving(CONTENT) as server:
        for name, entry in PUBLISHED.items():
            if entry.address is not None:
                here = replace(entry, address=server.url(entry.file_name), size=None, md5=MD5, sha256_prefixes=())
                monkeypatch.setitem(PUBLISHED, name, here)
        yield server


def copy(weights: Path, out: Path, entry: Published) -> None:
    """Stands in for the conversion."""
    out.write_bytes(entry.name.encode() + weights.read_bytes())


def fail(weights: Path, out: Path, entry: Published) -> None:
    out.write_bytes(b"half")
    raise ModelError("the converter says no")


# The table


def test_the_table_has_the_classics() -> None:
    people = ["cmu-body25", "cmu-coco", "cmu-mpi", "cmu-mpi-4", "cmu-face", "cmu-hand"]
    torchvision = ["vgg19", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    assert list(PUBLISHED) == [*people, *torchvision, "hrnet-w32", "hrnet-w48"]
    assert not set(PUBLISHED) & {"default", *shipped_models()}


@pytest.mark.parametrize("entry", PUBLISHED.values(), ids=lambda entry: entry.name)
def test_every_entry_can_be_found_checked_and_judged(entry: Published) -> None:
    assert find_published(entry.name) == entry
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.name)
    assert entry.address or entry.page
    assert entry.address is None or entry.address.endswith(f"/{entry.file_name}")
    assert re.fullmatch("[0-9a-f]{32}", entry.md5 or "") or entry.sha256_prefixes
    assert all(re.fullmatch("[0-9a-f]{8}", prefix) for prefix in entry.sha256_prefixes)
    # Where a hash stands in the name of the file, it is that of the address.
    assert not entry.sha256_prefixes or f"-{entry.sha256_prefixes[0]}.pth" in entry.file_name
    assert entry.size is None or entry.megabytes == round(entry.size / 1e6)
    assert entry.licence.name
    assert entry.licence.terms
    assert entry.licence.address.startswith("https://")


def test_one_address_and_hash_of_each_publisher() -> None:
    body = PUBLISHED["cmu-body25"]
    assert (
        body.address == "http://posefs1.perception.cs.cmu.edu/OpenPose/models/pose/body_25/pose_iter_584000.caffemodel"
    )
    assert (body.md5, body.size) == ("78287b57cf85fa89c03f1393d368e5b7", 104_715_850)
    assert PUBLISHED["vgg19"].address == "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
    assert PUBLISHED["resnet50"].sha256_prefixes == ("0676ba61", "19c8e357")
    assert PUBLISHED["hrnet-w32"].file_name == "hrnet_w32-36af842e.pth"


def test_the_four_stages_come_from_the_file_of_the_six() -> None:
    six, four = PUBLISHED["cmu-mpi"], PUBLISHED["cmu-mpi-4"]
    assert (four.address, four.md5, four.options) == (six.address, six.md5, {"stages": 4})


@pytest.mark.train
def test_the_networks_are_ours_and_the_sizes_those_of_their_parameters() -> None:
    networks = pytest.importorskip("manypose.networks", reason="needs the extra [train]")
    for entry in PUBLISHED.values():
        assert entry.network in networks.ENTRIES, entry.name
        parameters = networks.ENTRIES[entry.network].parameters
        if entry.kind != "backbone" and parameters and "mpi" not in entry.name:
            assert entry.megabytes == round(parameters * 4 / 1e6), entry.name


def test_an_unknown_name_gets_the_list() -> None:
    with pytest.raises(ModelError, match=r"no published weights are called 'venus'; there are cmu-body25, .*hrnet-w48"):
        get_published("venus", convert=copy)


# Getting


def test_what_was_got_is_known_by_name(server: Server, cache: Path) -> None:
    assert (cached_models(), cached_model("cmu-coco")) == ({}, None)
    seen: list[int] = []
    file = get_published("cmu-coco", convert=copy, progress=lambda done, total: seen.append(done))
    assert file == cache / "cmu-coco.onnx"
    assert file.read_bytes() == b"cmu-coco" + CONTENT
    assert cached_models() == {"cmu-coco": file}
    assert cached_model("cmu-coco") == file
    assert seen[-1] == len(CONTENT)
    assert sorted(path.name for path in cache.rglob("*")) == ["cmu-coco.onnx", "downloads"]


def test_a_backbone_becomes_a_checkpoint_that_cannot_be_run(server: Server, cache: Path) -> None:
    file = get_published("resnet50", convert=copy)
    assert file == cache / "resnet50.safetensors"
    assert cached_weights() == {"resnet50": file}
    assert (cached_models(), cached_model("resnet50")) == ({}, None)
    assert hint("resnet50") == "; resnet50 is a backbone, which only training starts from"


def test_the_hint_for_a_name_that_was_not_got() -> None:
    assert hint("cmu-coco") == "; `manypose models get cmu-coco` fetches it"
    assert hint("venus") == ""
    assert cached_model("venus") is None


def test_what_is_there_is_not_fetched_again_unless_asked_for(server: Server) -> None:
    get_published("cmu-coco", convert=copy)
    get_published("cmu-coco", convert=fail)
    assert len(server.requests) == 1
    get_published("cmu-coco", convert=copy, overwrite=True)
    assert len(server.requests) == 2


def test_a_kept_download_serves_the_other_network_of_the_same_file(server: Server, cache: Path) -> None:
    get_published("cmu-mpi", convert=copy, keep=True)
    assert (cache / "downloads" / "pose_iter_160000.caffemodel").read_bytes() == CONTENT
    get_published("cmu-mpi-4", convert=copy)
    assert len(server.requests) == 1
    assert set(cached_models()) == {"cmu-mpi", "cmu-mpi-4"}
    assert not (cache / "downloads" / "pose_iter_160000.caffemodel").exists()


def test_a_kept_download_that_was_spoilt_is_fetched_again(server: Server, cache: Path) -> None:
    get_published("cmu-coco", convert=copy, keep=True)
    (cache / "downloads" / "pose_iter_440000.caffemodel").write_bytes(b"spoilt")
    file = get_published("cmu-coco", convert=copy, overwrite=True)
    assert file.read_bytes() == b"cmu-coco" + CONTENT
    assert len(server.requests) == 2


def test_a_failed_conversion_leaves_no_model_and_keeps_the_download(server: Server, cache: Path) -> None:
    with pytest.raises(ModelError, match="the converter says no"):
        get_published("cmu-coco", convert=fail)
    assert cached_models() == {}
    names = sorted(path.name for path in cache.rglob("*"))
    assert names == ["downloads", "pose_iter_440000.caffemodel"]
    get_published("cmu-coco", convert=copy)
    assert len(server.requests) == 1


def test_a_failed_conversion_leaves_the_model_that_was_there(server: Server) -> None:
    file = get_published("cmu-coco", convert=copy)
    with pytest.raises(ModelError, match="the converter says no"):
        get_published("cmu-coco", convert=fail, overwrite=True)
    assert file.read_bytes() == b"cmu-coco" + CONTENT


@pytest.mark.parametrize("turn", [Turn(body=b"no weights"), Turn(body=CONTENT[:-1]), Turn(body=b"")])
def test_a_wrong_file_of_the_publisher_is_never_converted(server: Server, turn: Turn) -> None:
    server.turns = [turn]
    with pytest.raises(DownloadError, match="not the expected file and was removed: its MD5 is"):
        get_published("cmu-coco", convert=fail)
    assert cached_models() == {}


def test_a_dead_address_says_what_else_to_do(server: Server) -> None:
    server.turns = [Turn(status=404)]
    with pytest.raises(DownloadError, match=r"says 404 .*a copy of pose_iter_440000\.caffemodel .*--from FILE\|URL"):
        get_published("cmu-coco", convert=copy)


def test_what_no_program_can_fetch_says_where_it_is(server: Server) -> None:
    with pytest.raises(
        DownloadError, match=r"https://drive\.google\.com/.* get hrnet-w32 --from hrnet_w32-36af842e\.pth"
    ):
        get_published("hrnet-w32", convert=copy)
    assert server.requests == []


def test_another_address_of_the_same_file(server: Server) -> None:
    file = get_published("cmu-coco", convert=copy, source=server.url("mirror/renamed"))
    assert file.read_bytes() == b"cmu-coco" + CONTENT
    server.turns = [Turn(body=b"other")]
    with pytest.raises(DownloadError, match="not the expected file"):
        get_published("cmu-body25", convert=copy, source=server.url("mirror/wrong"))
    with pytest.raises(DownloadError, match="not an address"):
        get_published("cmu-body25", convert=copy, source="ftp://127.0.0.1/x")


def test_a_copy_on_this_machine_is_checked_and_stays(server: Server, tmp_path: Path) -> None:
    mine = tmp_path / "mine.caffemodel"
    mine.write_bytes(CONTENT)
    assert get_published("cmu-coco", convert=copy, source=mine).read_bytes() == b"cmu-coco" + CONTENT
    assert mine.read_bytes() == CONTENT
    mine.write_bytes(b"my own weights")
    with pytest.raises(DownloadError, match=r"mine\.caffemodel: not the expected file: .*`manypose convert`"):
        get_published("cmu-body25", convert=copy, source=str(mine))
    assert mine.exists()
    with pytest.raises(DownloadError, match=r"absent: no such file"):
        get_published("cmu-body25", convert=copy, source="absent")
    assert server.requests == []


def test_the_older_file_of_the_same_weights_is_taken_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = tmp_path / "older.pth"
    older.write_bytes(CONTENT)
    prefix = hashlib.sha256(CONTENT).hexdigest()[:8]
    monkeypatch.setitem(PUBLISHED, "vgg19", replace(PUBLISHED["vgg19"], sha256_prefixes=("dcbb9e9d", prefix)))
    assert get_published("vgg19", convert=copy, source=older).read_bytes() == b"vgg19" + CONTENT


def test_two_who_get_one_name_get_one_whole_model(server: Server) -> None:
    server.turns = [Turn(pause=0.02)]
    got: list[bytes] = []
    conversions: list[Path] = []

    def convert(weights: Path, out: Path, entry: Published) -> None:
        conversions.append(out)
        copy(weights, out, entry)

    threads = [
        threading.Thread(target=lambda: got.append(get_published("cmu-coco", convert=convert).read_bytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [b"cmu-coco" + CONTENT] * 4
    assert (len(conversions), len(server.requests)) == (1, 1)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_bytes(b"")
    monkeypatch.setenv("MANYPOSE_CACHE", str(tmp_path / "taken"))
    with pytest.raises(DownloadError, match="taken: cannot be written"):
        get_published("cmu-coco", convert=copy, source=tmp_path / "taken")
    assert published.cached_models() == {}
