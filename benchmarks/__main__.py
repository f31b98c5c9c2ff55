"""Starts the command. It holds nothing else, because every process that a benchmark spawns imports this module again.

The command itself is ``command``; add nothing here.
"""

if __name__ == "__main__":
    from benchmarks.command import app

    app(prog_name="python -m benchmarks")
