"""The command line: ``python -m convc demo | info | train | predict``, also installed as ``convc``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from convc import __version__, _commands

_LARGEST = 2**31 - 1
_EXAMPLES = """examples:
  convc demo
  convc train --data mnist --path ~/mnist --save mnist.safetensors
  convc predict mnist.safetensors --data mnist --path ~/mnist
  convc predict mnist.safetensors --input my-digits.npy
"""


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C."""
    arguments = _parser().parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except _commands.UserError as error:
        print(f"convc: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("convc: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone. Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convc",
        description="Convolutional networks in C for NumPy: a demo, and small networks to train and use.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"convc {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(commands)
    _add_info(commands)
    _add_train(commands)
    _add_predict(commands)
    return parser


def _add_demo(commands: _Commands) -> None:
    command = _command(
        commands,
        "demo",
        _commands.demo,
        "learn handwritten digits and draw what was learned",
        "Train INPUT -> [CONV -> RELU -> POOL] x 2 -> FC on the 1,438 training digits that ship with convc; "
        "report the accuracy on the 359 held-out ones, and draw the loss, the learned filters and what they see.",
    )
    command.add_argument("--epochs", type=_whole(1), metavar="N", default=10, help="passes over the data (default: 10)")
    command.add_argument(
        "--output",
        type=_file,
        metavar="FILE",
        default="convc-demo.png",
        help="where the picture goes (default: convc-demo.png)",
    )
    _add_run_options(command)


def _add_info(commands: _Commands) -> None:
    _command(
        commands,
        "info",
        _commands.info,
        "show the CPU, the instruction set chosen, threads and versions",
        "Show what convc found and chose on this machine. Add this to a bug report. CONVC_ISA and CONVC_NUM_THREADS "
        "in the environment change the choices.",
    )


def _add_train(commands: _Commands) -> None:
    command = _command(
        commands,
        "train",
        _commands.train_command,
        "train a small network and save it",
        "Train INPUT -> [CONV -> RELU -> POOL] x 2 -> FC by stochastic gradient descent with momentum, the learning "
        "rate falling to zero along a cosine. Nothing is downloaded: --path names files that are already there.",
    )
    _add_data(command, required=True)
    _add_path(command)
    command.add_argument(
        "--epochs", type=_whole(1), metavar="N", help="passes over the data (default: 10; 4 for mnist)"
    )
    command.add_argument("--batch-size", type=_whole(1), metavar="N", default=64, help="images in a step (default: 64)")
    command.add_argument(
        "--lr", type=_positive, metavar="RATE", help="first learning rate (default: 0.1; 0.05 for mnist and cifar10)"
    )
    command.add_argument("--save", type=_file, metavar="FILE", help="write the weights here, in safetensors format")
    command.add_argument(
        "--plot",
        type=_file,
        metavar="FILE",
        help="draw loss and accuracy over the epochs into this file (png, pdf, svg)",
    )
    _add_run_options(command)


def _add_predict(commands: _Commands) -> None:
    command = _command(
        commands,
        "predict",
        _commands.predict,
        "use a saved network",
        "Use a network that convc saved (or PyTorch, if its layers are those of 'convc train'): on the test part of a "
        "data set, which gives the accuracy and the classes it confuses, or on images of your own.",
    )
    command.add_argument("model", metavar="MODEL", help="weights in safetensors format")
    source = command.add_mutually_exclusive_group(required=True)
    _add_data(source, required=False)
    source.add_argument(
        "--input",
        metavar="FILE",
        help="images in a .npy or IDX file: (height, width), (n, height, width) or (n, channels, height, width), "
        "whole numbers from 0 to 255, or fractions from 0 to 1",
    )
    _add_path(command)
    command.add_argument(
        "--threads", type=_whole(1), metavar="N", help="threads to use (default: as many as there are CPUs)"
    )


def _command(
    commands: _Commands, name: str, run: _commands.Command, summary: str, description: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=description)
    parser.set_defaults(run=run)
    return parser


def _add_data(group: argparse._ActionsContainer, required: bool) -> None:
    group.add_argument(
        "--data", choices=_commands.DATASETS, required=required, help="which data set (digits ships with convc)"
    )


def _add_path(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--path",
        help="where the data are: the directory of the MNIST files, or the directory or binary .tar.gz of CIFAR-10",
    )


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seed", type=_whole(0), metavar="N", default=0, help="the same seed gives the same network (default: 0)"
    )
    command.add_argument(
        "--threads", type=_whole(1), metavar="N", help="threads to use (default: as many as there are CPUs)"
    )
    command.add_argument("--no-progress", action="store_true", help="say nothing while it trains")


def _file(text: str) -> str:
    """The name of a file to write: what "$UNSET" leaves of it is refused before the training, not missed after it."""
    if not text:
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return text


def _whole(lowest: int) -> Callable[[str], int]:
    """A parser of whole numbers of at least `lowest`."""

    def parse(text: str) -> int:
        with contextlib.suppress(ValueError):
            if lowest <= int(text) <= _LARGEST:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {_LARGEST}")

    return parse


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


if __name__ == "__main__":
    sys.exit(main())
