"""The code that runs inside child processes: the only place where torch and nnunetv2 are loaded."""
