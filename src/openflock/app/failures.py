"""Which failures are a user's to mend, and how each reads in one line."""

import errno
import sys

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# By name, so that a command that fails early need not import what it never used.
MENDABLE = {
    "openflock.arena.cluster": ("ClusterError",),
    "openflock.arena.grid": ("BadRuns",),
    "openflock.app.devnet.network": ("DevnetError",),
    "openflock.app.settings": ("SettingsError",),
    "openflock.edge.anvil": ("AnvilError",),
    "openflock.edge.blobs": ("StoreError",),
    "openflock.edge.evm_ledger": ("NotATask", "BadLog", "Reorganised"),
    "openflock.edge.journal": ("JournalLocked", "NotAJournal"),
    "openflock.edge.record": ("BadRecord",),
    "openflock.edge.rpc": ("BadEndpoint", "WrongChain"),
    "openflock.edge.wallet": ("WalletError",),
    "openflock.learn.base": ("BaseError",),
    "openflock.learn.data": ("DataError",),
    "openflock.learn.train": ("TrainError",),
    "openflock.local": ("WorkerLost",),
    "openflock.protocol.job": ("BadJob",),
    "openflock.protocol.ports": ("BlobMissing", "BlobCorrupt"),
    "openflock.protocol.recipe": ("BadRecipe",),
    "openflock.protocol.replay": ("Divergence",),
    "openflock.protocol.rules": ("BadRules",),
    "openflock.protocol.types": ("Revert",),
    "openflock.update.container": ("Malformed",),
    "openflock.audit": ("AuditFailure",),
}


def explain(error: Exception) -> str | None:
    """Write a mendable failure on one line; None for a fault of the program, whose traceback is wanted."""
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        mend = "; nothing was lost, free some space and run the same again" if error.errno in FULL else ""
        return f"{(error.strerror or str(error)).lower()}{where}{mend}"
    if hasattr(error, "format_message"):  # a usage error of the command line's own
        return f"{error.format_message().rstrip('.').lower()}; see openflock --help"
    for module, names in MENDABLE.items():
        kinds = tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()
        if isinstance(error, kinds):
            return " ".join(str(error).split())
    return None
