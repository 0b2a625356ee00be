"""Say what is missing on this machine, all at once, each with its mend."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

NEEDED_MEMORY = 2 * 2**30
NEEDED_DISK = 2**30
PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "web3", "eth-tester", "py-evm")
# What a module is for, by the extra that brings it.
EXTRAS = (
    ("s3fs", "s3", "a blob store at s3://"),
    ("libtorrent", "torrent", "a blob store at torrent://"),
    ("ray", "ray", "openflock arena --ray"),
    ("prometheus_client", "metrics", "openflock node run --metrics-port"),
)

Finding = tuple[str, bool, str]  # what was looked at, whether it is well, what was found or how to mend it


def run_doctor(console: Console) -> bool:
    """Print every finding; answer whether all is well."""
    findings = [finding for examine in EXAMINATIONS for finding in examine()]
    table = Table(title="This machine", title_justify="left", title_style="bold")
    for heading in ("", "what", "found"):
        table.add_column(heading)
    for what, well, found in findings:
        table.add_row("ok" if well else "!!", what, found, style=None if well else "red")
    console.print(table)
    ailing = [what for what, well, _ in findings if not well]
    console.print("all is well" if not ailing else f"to mend: {', '.join(ailing)}")
    return not ailing


def examine_python() -> Iterator[Finding]:
    """Look at the interpreter."""
    found = sys.version.split()[0]
    well = sys.version_info >= (3, 11)
    yield "python", well, found if well else f"{found}; install Python 3.11 or later"


def examine_packages() -> Iterator[Finding]:
    """Look for what the package depends on."""
    for name in PACKAGES:
        try:
            yield name, True, version(name)
        except PackageNotFoundError:
            yield name, False, f"missing; run: pip install -c constraints.txt {name}"


def examine_accelerator() -> Iterator[Finding]:
    """Look for a GPU; none is needed for small models."""
    try:
        import torch
    except ImportError:
        return
    if torch.cuda.is_available():
        yield "accelerator", True, torch.cuda.get_device_name()
    else:
        yield "accelerator", True, "none; the CPU does for small models"


def examine_machine() -> Iterator[Finding]:
    """Look at memory, cores and disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "cores", True, str(cores)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = memory >= NEEDED_MEMORY
    yield "memory", enough, f"{memory / 2**30:.1f} GiB" + ("" if enough else "; the demo needs 2 GiB")
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= NEEDED_DISK
    yield "disk here", enough, f"{free / 2**30:.1f} GiB free" + ("" if enough else "; free at least 1 GiB")


def examine_contracts() -> Iterator[Finding]:
    """Look for the compiled contracts and the base that the package carries."""
    from openflock.edge.compiled import load_compiled

    try:
        yield "contracts", True, f"Task of {load_compiled('Task')['size']:,} bytes"
    except (OSError, ValueError):
        yield "contracts", False, "not in the package; install it again"
    from openflock.app.bases import locate_base
    from openflock.app.settings import BUILT_IN

    base = locate_base(BUILT_IN)
    well = (base / "model.safetensors").is_file()
    yield "built-in base", well, str(base) if well else "not in the package; install it again"


def examine_extras() -> Iterator[Finding]:
    """Look for what only some commands need; nothing of it must be there."""
    from importlib.util import find_spec

    from openflock.edge.anvil import find_anvil

    anvil = find_anvil()
    yield "anvil", True, str(anvil) if anvil else "none; devnet needs it: make .anvil/installed (it takes npm)"
    npm = shutil.which("npm")
    yield (
        "npm",
        True,
        npm or "none; it installs anvil (Debian: apt-get install npm), or set OPENFLOCK_ANVIL to anvil's path",
    )
    for module, extra, use in EXTRAS:
        found = find_spec(module) is not None
        yield (
            extra,
            True,
            f"{module} is there" if found else f"none; {use} needs it: pip install '/path/to/checkout[{extra}]'",
        )


EXAMINATIONS: tuple[Callable[[], Iterator[Finding]], ...] = (
    examine_python,
    examine_packages,
    examine_accelerator,
    examine_machine,
    examine_contracts,
    examine_extras,
)
