"""Names that are built in, registered, of installed packages, or in a module that the reference names."""

import pathlib
import sys
from collections.abc import Callable, Iterator

import pytest

from tfx_pruning.registry import Registry

# A module of the user's, and another that defines something else.
MINE = "import of_test\n\nclass Mine:\n    pass\n\nof_test.register_shape({name!r}, Mine())\n"
OTHER = MINE.replace("Mine", "Other")

Write = Callable[..., None]


class OfTest:
    """Stands for a module with a public function, as users import it."""

    def __init__(self) -> None:
        self.registry: Registry[object] = Registry(
            "shape", {"round": "a circle", "square": "four sides"}, "of_test.register_shape", "of_test.shapes"
        )

    def register_shape(self, name: str, shape: object) -> None:
        self.registry.register(name, shape, type(shape))


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    of_test = OfTest()
    monkeypatch.setitem(sys.modules, "of_test", of_test)
    return of_test.registry


@pytest.fixture
def write(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module that can be imported; each time it is new."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(module: str, text: str = MINE, name: str = "mine") -> None:
        (tmp_path / f"{module}.py").write_text(text.format(name=name))
        sys.modules.pop(module, None)
        written.append(module)

    yield write
    for module in written:
        sys.modules.pop(module, None)


def install(folder: pathlib.Path, package: str, **entry_points: str) -> None:
    metadata = folder / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = ["[of_test.shapes]", *(f"{name} = {module}" for name, module in entry_points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


def test_names_that_are_built_in(shapes: Registry[object]) -> None:
    assert shapes.names() == ["round", "square"]
    assert shapes.get("round") == "a circle"
    assert shapes.portable("round") == "round"


def test_a_registered_name_is_known_where_its_module_was_imported(shapes: Registry[object], write: Write) -> None:
    write("my_shapes")
    with pytest.raises(ValueError, match=r"calls of_test.register_shape\('mine', \.\.\.\), or write 'MODULE:mine'"):
        shapes.get("mine")
    __import__("my_shapes")
    assert shapes.get("mine").__module__ == "my_shapes"
    assert shapes.names() == ["round", "square", "mine"]
    assert shapes.portable("mine") == "my_shapes:mine"


def test_a_reference_imports_the_module(shapes: Registry[object], write: Write) -> None:
    write("my_shapes")
    assert shapes.get("my_shapes:mine") is shapes.get("mine")
    assert shapes.portable("my_shapes:mine") == "my_shapes:mine"


def test_what_the_main_module_registers_stays_in_its_process(shapes: Registry[object]) -> None:
    exec(MINE.format(name="mine"), {"__name__": "__main__"})
    assert shapes.portable("mine") == "mine"


def test_an_entry_point_imports_the_module(shapes: Registry[object], write: Write, tmp_path: pathlib.Path) -> None:
    write("my_shapes")
    install(tmp_path, "my-package", mine="my_shapes")
    assert shapes.names() == ["round", "square", "mine"]
    assert "mine" not in shapes.loaded()
    assert shapes.get("mine").__module__ == "my_shapes"
    assert shapes.portable("mine") == "mine"


def test_built_in_names_are_not_replaced_by_entry_points(shapes: Registry[object], tmp_path: pathlib.Path) -> None:
    install(tmp_path, "my-package", square="my_shapes")
    assert shapes.names() == ["round", "square"]
    assert shapes.get("square") == "four sides"


def test_the_same_class_may_be_registered_again(shapes: Registry[object], write: Write) -> None:
    write("my_shapes")
    first = shapes.get("my_shapes:mine")
    write("my_shapes", MINE + "\n\ndef run_fn():\n    pass\n")
    assert shapes.get("my_shapes:mine") is not first
    write("a_copy", "# edited elsewhere\n" + MINE)
    assert shapes.get("a_copy:mine").__module__ == "a_copy"


def test_another_class_is_refused(shapes: Registry[object], write: Write, tmp_path: pathlib.Path) -> None:
    write("my_shapes")
    shapes.get("my_shapes:mine")
    write("other_shapes", OTHER)
    with pytest.raises(ValueError, match=r"'mine', registered by other_shapes, is that of my_shapes\.Mine already"):
        shapes.get("other_shapes:mine")
    write("square_shapes", name="square")
    with pytest.raises(ValueError, match="'square', registered by square_shapes, is built in already"):
        shapes.get("square_shapes:square")
    install(tmp_path, "my-package", offered="nowhere")
    write("third_shapes", name="offered")
    with pytest.raises(ValueError, match="by third_shapes, is an entry point of the package my-package already"):
        shapes.get("third_shapes:offered")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("sqare", "Unknown shape 'sqare'. Did you mean 'square'?"),
        ("sphere", "Unknown shape 'sphere'. There are round, square. For one of your own"),
        ("/my/shapes.py:mine", "Unknown shape '/my/shapes.py:mine'. .* or write 'MODULE:mine'"),
        (":mine", "Unknown shape ':mine'"),
        ("", "Unknown shape ''"),
        ("nowhere.shapes:mine", "shape is 'nowhere.shapes:mine', and .* cannot be imported: .* on PYTHONPATH"),
        ("failing:mine", "'failing' cannot be imported: No module named 'nothing_there'"),
        ("empty:mine", r"'empty' does not register 'mine'. Call of_test.register_shape\('mine', ...\) there"),
    ],
)
def test_names_that_are_not_there(shapes: Registry[object], write: Write, reference: str, message: str) -> None:
    write("failing", "import nothing_there")
    write("empty", "")
    with pytest.raises(ValueError, match=message):
        shapes.get(reference)


def test_entry_points_that_clash_or_lead_nowhere(
    shapes: Registry[object], write: Write, tmp_path: pathlib.Path
) -> None:
    write("my_shapes")
    write("empty", "")
    install(tmp_path, "my-package", mine="my_shapes", other="empty")
    install(tmp_path, "other-package", mine="my_shapes")
    with pytest.raises(ValueError, match=r"is offered by the package \S+ and the package \S+ Uninstall all but one"):
        shapes.get("mine")
    with pytest.raises(
        ValueError, match=r"'other' of the package my-package, and .* 'empty' does not register 'other'"
    ):
        shapes.get("other")


@pytest.mark.parametrize("name", ["", "Mine", "mi-ne", "my:mine", "1mine", "a,b"])
def test_names_of_another_form_are_refused(shapes: Registry[object], name: str) -> None:
    with pytest.raises(ValueError, match="needs a name of lower-case letters, digits and underscores"):
        shapes.register(name, None, OfTest)


def test_a_name_is_a_string(shapes: Registry[object]) -> None:
    with pytest.raises(TypeError, match=r"of_test\.register_shape needs a string as the name, got 3 of type int"):
        shapes.register(3, None, OfTest)


def test_users_register_nothing_where_there_is_no_function() -> None:
    with pytest.raises(ValueError, match=r"^Unknown shape 'os:round'\. Did you mean 'round'\?$"):
        Registry("shape", {"round": 0}).get("os:round")
