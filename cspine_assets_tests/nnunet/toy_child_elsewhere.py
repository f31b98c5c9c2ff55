"""The toy child on a system that is not Linux, as far as the code under test can tell."""

import os
import sys

from cspine_assets.nnunet.children import entry
from cspine_assets_tests.nnunet.toy_child import ToyRequest, work

if __name__ == "__main__":
    sys.platform = "darwin"
    for name in ("sched_getaffinity", "waitid"):
        if hasattr(os, name):
            delattr(os, name)
    entry.run(ToyRequest, work)
