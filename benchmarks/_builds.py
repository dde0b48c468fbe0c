"""Another build of this package, imported beside the installed one."""

import importlib.util
import pathlib
import sys
from types import ModuleType


def load_build(root: pathlib.Path, name: str) -> ModuleType:
    """Imports the package in a working tree under a name of its own, so that two builds can take turns in one process.

    Args:
        root: The tree, such as a `git worktree` of another commit.
        name: What its modules are called: `name.engine` is there what is `tfx_pruning.engine` here.

    Raises:
        FileNotFoundError: There is no such package.
    """
    folder = root / "components"
    if not (folder / "engine").is_dir():
        raise FileNotFoundError(
            f"{root} is no working tree of tfx-pruning: it has no components/engine. Make one: git worktree add "
            "--detach PATH COMMIT."
        )
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
