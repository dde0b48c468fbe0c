"""Options of a pipeline's configuration, and ChosenConfig: the configuration that they choose."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

import click

from tfx_pruning.budget import FORMATS
from tfx_pruning.cli.interruption import Interruption
from tfx_pruning.pipelines.beam_args import beam_pipeline_args
from tfx_pruning.pipelines.beam_engine import beam_engine_args, check_answers
from tfx_pruning.pipelines.cli.captured_output import output_in
from tfx_pruning.pipelines.cli.temporary_folder import temporary_folder
from tfx_pruning.pipelines.config import DATA_FORMATS, DIRECTIONS, TAXI_MODULE_PATH, PipelineConfig
from tfx_pruning.pipelines.run.folder import FolderInUseError, RunFolder
from tfx_pruning.pipelines.taxi_example import shipped_data
from tfx_pruning.quick_import import quick_import

_Function = Callable[..., None]
_WORKER_POOL = "localhost:50000"


def _option_of_field(name: str, help: str, **attributes: Any) -> Callable[[_Function], _Function]:
    """The option of a field of PipelineConfig, whose default ends the help."""
    default = getattr(PipelineConfig, name)
    return click.option(f"--{name.replace('_', '-')}", help=f"{help}  [default: {default}]", **attributes)


_OPTIONS = (
    click.option("--root", required=True, metavar="DIR", help="Folder of artifacts, metadata, pushed models and log."),
    click.option("--config", metavar="FILE", help="YAML or JSON with fields of PipelineConfig; flags override it."),
    click.option("--data-root", metavar="DIR", help="Folder of the data."),
    _option_of_field("data_format", "What is in it.", type=click.Choice(DATA_FORMATS)),
    click.option("--module-file", metavar="FILE", help="Python file with preprocessing_fn and run_fn."),
    click.option("--module-path", metavar="MODULE", help="An installed module with them, as 'package.houses'."),
    click.option("--label-key", metavar="NAME", help="Label, as the evaluator sees it."),
    _option_of_field(
        "preprocessing_signature", "Signature that puts the label out; '' if it is in the data.", metavar="NAME"
    ),
    _option_of_field("metric", "Metric that decides, of TFMA or Keras.", metavar="CLASS"),
    _option_of_field("metric_direction", "Which is better.", type=click.Choice(DIRECTIONS)),
    click.option("--min-metric", type=float, help="Least value to be pushed with."),
    click.option("--max-metric", type=float, help="Largest value to be pushed with, if lower is better."),
    _option_of_field("max_metric_drop", "Most that it may be worse than dense.", type=float),
    _option_of_field("train_steps", "Steps of the dense training.", type=int),
    _option_of_field("pruning_steps", "Steps of the training that prunes.", type=int),
    click.option(
        "--hparams", metavar="FIELDS", help="Fields of PruningHParams, such as target_sparsity=0.9,allocation=uniform."
    ),
    click.option("--max-bytes", metavar="SIZE", help="Most that the pushed model may take: 1MB, 500kB, 64KiB."),
    click.option("--max-latency", metavar="TIME", help="Longest that a call of it may take: 2ms, 500us."),
    _option_of_field("format", "What the budget is for.", type=click.Choice(FORMATS)),
    _option_of_field("batch_size", "Examples of a call that is timed.", type=int),
    _option_of_field("threads", "Threads of such a call.", type=int),
    click.option(
        "--beam-workers",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Processes of each Beam step.",
    ),
    click.option("--beam-job-server", metavar="HOST:PORT", help="Beam job server of an engine that runs these steps."),
    click.option(
        "--beam-worker-pool",
        metavar="HOST:PORT",
        help=f"Pool of workers, as the engine sees it.  [default: {_WORKER_POOL}]",
    ),
    click.option(
        "--try-module/--no-try-module", default=None, help="Try the module on a few examples first.  [default: try]"
    ),
    click.option("--no-cache", is_flag=True, help="Run components whose inputs have not changed, too."),
)
_NAMES = {field.name for field in dataclasses.fields(PipelineConfig)}


class WrongCallError(click.ClickException):
    """A command cannot begin what it was told to do; nothing was written."""

    exit_code = 2


def config_options(function: _Function) -> _Function:
    """Adds the options to a command's function; the arguments of options that are not given are None."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@dataclasses.dataclass(frozen=True)
class ChosenConfig:
    """The configuration that options choose.

    Attributes:
        config: The configuration.
        folder: Where the run writes.
        is_example: Whether this is the taxi example with the data that tfx ships.
        beam_pipeline_args: Arguments of the components that run on Beam.
        job_server: HOST:PORT of the Beam job server that runs them; '' for none.
    """

    config: PipelineConfig
    folder: RunFolder
    is_example: bool
    beam_pipeline_args: tuple[str, ...]
    job_server: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "ChosenConfig":
        """Reads the file and the options.

        Args:
            options: Values of `config_options`.

        Raises:
            WrongCallError: A value is refused.
        """
        folder = RunFolder(pathlib.Path(options["root"]).absolute())
        try:
            values = PipelineConfig.file_values(options["config"]) if options["config"] else {}
            values |= {name: value for name, value in options.items() if name in _NAMES and value is not None}
            for name in ("data_root", "module_file"):
                if options[name] is not None:
                    values[name] = _absolute(options[name])
            if options["module_file"] is not None:
                if options["module_path"] is not None:
                    raise ValueError("--module-file and --module-path both name the module: leave one out.")
                values.pop("module_path", None)
            if options["hparams"] is not None:
                values = PipelineConfig.with_hparams(values, options["hparams"])
            if options["no_cache"]:
                values["enable_cache"] = False
            is_example = not {"data_root", "module_file", "module_path"} & set(values)
            if is_example:
                values["data_root"] = shipped_data()
            elif "data_root" not in values:
                raise ValueError("data_root is missing: name the folder of the data that the module is for.")
            places = {"pipeline_root": str(folder.artifacts), "serving_dir": str(folder.serving)}
            beam_args = tuple(_beam_args(options))
            job_server = options["beam_job_server"] or ""
            if job_server and is_example:
                values["module_path"] = TAXI_MODULE_PATH
            config = PipelineConfig.from_values(places | values)
            if job_server and not config.module_path:
                raise ValueError(
                    f"--beam-job-server needs --module-path, got the file {config.module_file}: an engine's workers "
                    "import the module by its name. Install it where they run."
                )
            return cls(config, folder, is_example, beam_args, job_server)
        except (OSError, TypeError, ValueError) as error:
            raise WrongCallError(str(error)) from error

    def check_cache(self) -> None:
        """Raises a WrongCallError if a budget, for which a run may train several times, finds nothing in the cache."""
        if self.config.budget is not None and not self.config.enable_cache:
            raise WrongCallError(
                "enable_cache must be True with a budget: if the first training misses it, the next one finds the "
                "dense model in the cache. Leave out --no-cache (enable_cache: false)."
            )

    @contextlib.contextmanager
    def at_work(self, command: str) -> Iterator[tuple[TextIO, TextIO]]:
        """Keeps other runs out of the folder, and prints to its log; yields the real stdout and stderr.

        Temporary files are removed at the end.

        Args:
            command: Name of the command.

        Raises:
            Interruption: Ctrl-C.
            WrongCallError: Another run is at work there.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self.folder.reserved(command))
            except FolderInUseError as error:
                raise WrongCallError(str(error)) from error
            stack.enter_context(_interruption_explained(self.folder))
            stack.enter_context(temporary_folder(self.folder.root, self.folder.is_locked))
            yield stack.enter_context(output_in(self.folder.log))

    def prepare(self, in_containers: bool = False) -> str:
        """Checks data, module and metrics before anything runs, tries the module, and makes the folder.

        Args:
            in_containers: Whether the tasks run in containers. The module may be in their image alone then, and what
                it imports; it is not tried.

        Returns:
            Why the module could not be tried, though nothing is wrong with it; '' if it was, or was not to be.

        Raises:
            WrongCallError: Data, module or a metric are refused, or a folder of this machine cannot be written.
        """
        from tfx_pruning.pipelines.input_checks import check_data, check_module
        from tfx_pruning.pipelines.label_values import label_values
        from tfx_pruning.pipelines.metric_fit import label_kind
        from tfx_pruning.pipelines.trial.module_check import ModuleCheck
        from tfx_pruning.staging import check_writable

        # To read records, TensorFlow takes hold of GPUs, by default of all their memory, which the trial and tasks in
        # processes of their own need too.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        try:
            if self.job_server:
                check_answers(self.job_server)
            if not in_containers or not self.config.module_path:
                check_module(self.config)
            check_data(self.config)
            for place in (self.config.pipeline_root, self.config.serving_dir):
                if "://" not in place and not pathlib.Path(place).is_relative_to(self.folder.root):
                    check_writable(os.path.join(place, "new"))
            untried = ""
            # The example is known to work.
            is_tried = self.config.try_module and not in_containers and not self.is_example
            with ModuleCheck.begun(self.config) if is_tried else contextlib.nullcontext() as trial:
                # Importing this takes longer than the checks before; the trial goes on meanwhile.
                with quick_import():
                    from tfx_pruning.pipelines.evaluation import check_metrics

                check_metrics(self.config, label_kind(label_values(self.config)))
                if trial is not None:
                    untried = trial.outcome()
            self.folder.make()
        except (OSError, ValueError) as error:
            raise WrongCallError(str(error)) from error
        return untried


@contextlib.contextmanager
def _interruption_explained(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interruption(
            f"what is finished is in {folder.root}; details in {folder.log}. Called again with the same root, the "
            "command goes on where it stood."
        ) from error


def _beam_args(options: Mapping[str, Any]) -> list[str]:
    """Arguments of the components that run on Beam.

    Raises:
        ValueError: Two options contradict each other, or a value is refused.
    """
    job_server, worker_pool, workers = (options[f"beam_{name}"] for name in ("job_server", "worker_pool", "workers"))
    if job_server is None:
        if worker_pool is not None:
            raise ValueError(f"--beam-worker-pool {worker_pool} needs --beam-job-server, of the engine that calls it.")
        return beam_pipeline_args(workers)
    if workers != 1:
        raise ValueError(
            f"--beam-workers {workers} is for this machine, and --beam-job-server {job_server} for an engine, which "
            "starts workers by settings of its own: leave one out."
        )
    return beam_engine_args(job_server, worker_pool or _WORKER_POOL)


def _absolute(path: str) -> str:
    return path if "://" in path else str(pathlib.Path(path).absolute())
