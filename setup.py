"""Maps the folders to packages: `components/` to `tfx_pruning`, the others to packages in it."""

import setuptools

# The folders keep the names that TFX projects use; the import name must not be `components`, which nearly every TFX
# project has a folder of and which would then hide this package.
PACKAGE_DIR = {"tfx_pruning": "components", "tfx_pruning.pipelines": "pipelines", "tfx_pruning.templates": "examples"}


def _packages() -> list[str]:
    found = []
    for name, folder in PACKAGE_DIR.items():
        found.append(name)
        # Folders of data, too: Python could import them, so setuptools wants to be told of them.
        children = setuptools.find_namespace_packages(folder, exclude=("*__pycache__*",))
        found.extend(f"{name}.{child}" for child in children)
    return found


setuptools.setup(
    package_dir=PACKAGE_DIR,
    packages=_packages(),
    package_data={
        "tfx_pruning": ["py.typed"],
        "tfx_pruning.report": ["templates/*"],
        "tfx_pruning.templates": ["*/*.py", "*/*.yaml", "*/*.md", "*/data/*"],
    },
)
