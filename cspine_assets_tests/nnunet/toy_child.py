"""A child without nnU-Net, which does whatever a test asks for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.children import entry
from cspine_assets.nnunet.messages import Frozen, Note


class ToyRequest(Frozen):
    deed: str
    pid_file: Path | None = None


class ToyResult(Frozen):
    answer: int
    omp_num_threads: str | None


def work(request: ToyRequest, emit: entry.Emit) -> ToyResult:
    start_method = request.deed.removesuffix(" a worker")
    if start_method in multiprocessing.get_all_start_methods():
        process = multiprocessing.get_context(start_method).Process(target=time.sleep, args=(600,))
        process.start()
        request.pid_file.write_text(f"{os.getpid()} {process.pid}")
        process.join()
    elif request.pid_file is not None:
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        request.pid_file.write_text(f"{os.getpid()} {worker.pid}")
    if request.deed == "ignore interrupts":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.write("this is the toy child's own output\n")
    sys.stdout.flush()
    emit(Note(text="at work"))
    match request.deed:
        case "fail":
            msg = "the volume has four dimensions"
            raise ValueError(msg)
        case "refuse":
            raise ModelError("fold 2: expected a whole checkpoint. Train it again.")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleep" | "ignore interrupts":
            time.sleep(600)
        case "terminate a worker":
            context = multiprocessing.get_context("fork")
            there = context.Event()
            worker = context.Process(target=_stay, args=(there,))
            worker.start()
            there.wait()
            worker.terminate()
            worker.join()
            return ToyResult(answer=worker.exitcode, omp_num_threads=None)
        case "quit":
            os._exit(3)
    return ToyResult(answer=42, omp_num_threads=os.environ.get("OMP_NUM_THREADS"))


def _stay(there: Event) -> None:
    there.set()
    time.sleep(600)


if __name__ == "__main__":
    entry.run(ToyRequest, work)
