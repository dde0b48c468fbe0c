"""Arguments with which Beam runs the steps of a pipeline on this machine."""

import importlib.metadata

from tfx_pruning.typed_value import checked_value

# Worker processes import TFX's libraries one by one. TFDV before 1.21 loads only after tfx, which provides the part of
# tfx_bsl that it misses. Beam's workers import plugins first, so tfx is given as one. The other lets them import copies
# of users' modules.
WORKER_IMPORTS = ("--beam_plugin=tfx", "--beam_plugin=tfx_pruning.pipelines.worker_path")
# TFX packs its source for the workers of each Beam step, unless the arguments say where else they have it from. Workers
# of this machine have it installed; the local runner starts no image, whatever its name.
NOT_PACKED = "--sdk_container_image=none"
# Beam's local runner tries Prism first, which it would fetch from the internet, and which heeds no number of workers.
# It does not where it is to be compatible with some version of Beam. With Beam's own version nothing else changes.
NOT_ON_PRISM = f"--update_compatibility_version={importlib.metadata.version('apache-beam')}"


def beam_pipeline_args(workers: int) -> list[str]:
    """Arguments for `beam_pipeline_args` of a pipeline or component.

    Args:
        workers: Number of processes of each Beam step; with 1 the step runs in the pipeline's own process.

    Raises:
        ValueError: `workers` is below 1.
        TypeError: It is not a whole number.
    """
    if checked_value("workers", int, workers) < 1:
        raise ValueError(f"workers must be at least 1, got {workers}: 1 runs the Beam steps in this process.")
    mode = "in_memory" if workers == 1 else "multi_processing"
    arguments = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}", NOT_PACKED, NOT_ON_PRISM]
    return arguments if workers == 1 else [*arguments, *WORKER_IMPORTS]


IN_PROCESS = tuple(beam_pipeline_args(1))
