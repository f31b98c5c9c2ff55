"""The `cspine` command, a thin file per command."""
