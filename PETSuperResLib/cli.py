"""The command line ``petsuperres``: exits 0 on success, 2 with one clear line on bad input, 130 when interrupted."""

from __future__ import annotations

import os
import sys
import time
import warnings
from types import FrameType

import click

from .commands import data, development, dicom, followup, imaging, measuring, studies
from .commands.common import check_values, flag, with_option
from .errors import Cancelled, in_words
from .interrupt import INTERRUPTED, leave, loading, on_interrupt
from .interrupt import interrupted as _interrupted
from .version import __version__

STATED = ("weight_kg", "dose_bq", "injection_time", "half_life_s")  # of an SUV, by the command suv
LOADING_S = 10.0  # a command's beginning, in which it loads its libraries and has written nothing
_BEGAN = time.monotonic()
LASTING = {"train", "batch", "evaluate", "benchmark", "study"}  # these keep what they have done


@click.group("petsuperres", invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="petsuperres")
@click.pass_context
def cli(context: click.Context) -> None:
    """PET super-resolution by posterior sampling under the scanner's physics, guided by CT.

    For research: not a medical device.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    *(development.demo, imaging.reconstruct, imaging.simulate, imaging.presets),
    *(measuring.suv, measuring.lesions, followup.compare, dicom.dicom, dicom.report),
    *(data.manifest, data.batch, development.train, development.evaluate, development.benchmark),
    *(studies.study, development.worker),
):
    cli.add_command(command)


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; errors a user can cure become one line on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _interrupted.clear()
    try:
        check_values(cli, words)
        # not cli.main(), which would print an empty line of its own when interrupted
        with cli.make_context("petsuperres", words) as context:
            cli.invoke(context)
        return 0
    except click.exceptions.Exit as answer:
        return answer.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _cancelled(words)
    except Cancelled as error:
        return _fail(str(error), INTERRUPTED)
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        path = where.command_path if where else "petsuperres"
        return _fail(f"{error.format_message()} See '{path} --help'.")
    except BrokenPipeError:  # the reader of the output has gone, as in 'petsuperres presets | head'
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if _interrupted:  # a library that was interrupted while it was loaded raises errors of its own
            return _cancelled(words)
        known = in_words(error)
        if known is None:
            raise
        return _fail(_with_option(str(known), known.option, words))


def main() -> None:
    """Entry point of the console script."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    on_interrupt(_stop)
    code = run()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # threads of torch.distributed now and then abort a process at its exit
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    """An interrupt raises; while libraries are loaded at the beginning, it ends the process at once."""
    _interrupted.append(number)
    if time.monotonic() - _BEGAN < LOADING_S and loading(frame):
        leave(number, frame)
    raise KeyboardInterrupt


def _cancelled(words: list[str]) -> int:
    kept = "what was finished is kept" if LASTING & set(words[:1]) else "nothing was written"
    return _fail(f"Cancelled; {kept}.", INTERRUPTED)


def _with_option(message: str, option: str, words: list[str]) -> str:
    """A message of the library, with how the option that it is about is given in a shell; ``words`` are the command."""
    command: click.Command = cli
    for word in words:
        command = command.commands.get(word, command) if isinstance(command, click.Group) else command
    helper = ""
    if option in STATED and not flag(command, option):
        helper = f"'petsuperres suv {flag(measuring.suv, option)}' makes an SUV file with it, to be given as the PET"
    return with_option(message, option, command, helper)


def _fail(message: str, code: int = 2) -> int:
    print(f"petsuperres: {' '.join(message.split())}", file=sys.stderr)
    return code
