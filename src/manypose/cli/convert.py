"""`manypose convert`: a weight file of any product in; a checkpoint, a model file or bare arrays out."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from manypose.cli.arguments import add_command, picture_size, whole_number
from manypose.cli.terminal import console, literal, say, table
from manypose.errors import require

if TYPE_CHECKING:
    from manypose.cli.arguments import Subparsers
    from manypose.convert.program import Conversion
    from manypose.convert.weights import Format


DECODINGS = ("argmax", "quarter", "dark", "udp-dark", "soft-argmax", "soft-argmax+quarter")
FORMATS = ("caffe", "keras", "mxnet", "chainer", "pytorch", "safetensors", "onnx")


def add_parser(subparsers: Subparsers) -> ArgumentParser:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "convert",
        summary="Turn weights of other products into ours.",
        usage="SOURCE -o FILE [options]",
        details=(
            "Reads .caffemodel, Keras .h5, MXNet .params, Chainer .npz, PyTorch .pth .pt .ckpt, .safetensors and "
            ".onnx. The network is recognised from the tensors. Needs the extra: pip install 'manypose[train]'."
        ),
        examples=(
            "manypose convert pose_iter_440000.caffemodel -o cmu-coco.onnx",
            "manypose convert pose_hrnet_w32_384x288.pth -o hrnet.safetensors --size 288x384",
        ),
        run=run,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="SOURCE", help="the weight file")
    add(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="its suffix decides: .safetensors a checkpoint, .onnx a model file, .npz the bare arrays",
    )
    add("--list", action="store_true", help="only print the tensors of SOURCE, as they are stored")
    add("--network", metavar="NAME", help="the network, where it is not to be guessed (see manypose models --networks)")
    add("--stages", type=whole_number(1, 99), metavar="N", help="only the first stages of the network")
    add("--format", choices=FORMATS, help="what SOURCE is, where its content does not tell")
    add("--name", help="the model's name (default: that of FILE without its suffix)")
    add("--skeleton", metavar="NAME|YAML", help="the joints, where their number does not tell them")
    add("--size", type=picture_size, metavar="WxH", help="input of a top-down network (default: 192x256)")
    add("--colours", choices=("rgb", "bgr"), help="order in which the network was trained, where yours differs")
    add("--decoding", choices=DECODINGS, help="of the heatmaps of one person, where yours differs from the product's")
    add("--licence", default="", help="of the weights")
    add("--half", action="store_true", help="a model file in 16 bit")
    add("--overwrite", action="store_true", help="replace FILE when it is there already")
    return parser


def run(arguments: Namespace) -> int:
    """Run the command."""
    if arguments.list == bool(arguments.out):
        arguments.parser.error("give either -o FILE or --list")
    require("torch", extra="train")
    if arguments.list:
        _list(arguments.source, arguments.format)
        return 0
    from manypose.convert.program import Wishes, convert

    wishes = Wishes(
        arguments.name,
        arguments.skeleton,
        arguments.size,
        arguments.colours,
        arguments.licence,
        arguments.decoding,
    )
    done = convert(
        arguments.source,
        arguments.out,
        network=arguments.network,
        stages=arguments.stages,
        file_format=arguments.format,
        wishes=wishes,
        half=arguments.half,
        overwrite=arguments.overwrite,
    )
    _report(done)
    return 0


def _report(done: Conversion) -> None:
    megabytes = done.file.stat().st_size / 1e6
    if not done.layout:
        say(f"{done.file}: {done.tensors} arrays of a {done.format} file, {megabytes:.1f} MB")
        return
    options = ", ".join(f"{key} {value}" for key, value in (done.options or {}).items())
    said = f"{done.network} ({options}), {done.tensors} tensors, {megabytes:.1f} MB"
    say(f"{done.file}: {said}; named as by {done.layout}")
    if done.missing:
        say(f"a backbone: {len(done.missing)} tensors of the network stay to be trained; start with init={done.file}")
    if done.notes:
        say(done.notes)


def _list(source: Path, file_format: Format | None) -> None:
    from manypose.convert.weights import read_weight_file

    weights = read_weight_file(source, format=file_format)
    shown = table("tensor", "shape", "type")
    for name, tensor in weights.stored.items():
        shape = " x ".join(map(str, tensor.shape)) or "one number"
        shown.add_row(literal(name), literal(shape), literal(str(tensor.dtype)))
    console().print(shown)
    say(f"{source}: {len(weights.stored)} tensors, {weights.format}, sha256 {weights.sha256}")
