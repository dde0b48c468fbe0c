"""What Beam's worker processes import first: it puts copies of users' modules at the end of their path of imports.

`module_copy` names the folders in the environment. PYTHONPATH would not do: it comes before Python's own libraries, and
files of a user's folder may have their names.
"""

import os
import sys

from tfx_pruning.pipelines.module_copy import COPIES_VARIABLE

sys.path.extend(
    folder for folder in os.environ.get(COPIES_VARIABLE, "").split(os.pathsep) if folder and folder not in sys.path
)
