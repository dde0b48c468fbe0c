"""The page in a real browser: what it shows there, in light and dark, and on a phone."""

import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.image import imread

from helpers.page_text import PageText
from tfx_pruning.engine.model_variables import model_variables
from tfx_pruning.report.files import HTML_NAME, write_report
from tfx_pruning.saved_model.variables import SavedVariables

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
LIGHT, DARK = (0xFB, 0xFB, 0xFA), (0x16, 0x16, 0x17)
SCHEMES = {"light": LIGHT, "dark": DARK}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; on Debian: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browse(trained, tmp_path_factory):
    """Opens the report in Chromium with further flags; returns what that prints."""
    folder = tmp_path_factory.mktemp("report")
    write_report(trained.document, folder)

    def run(*flags):
        profile = tmp_path_factory.mktemp("profile")
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, (folder / HTML_NAME).as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout

    return run


@pytest.fixture(scope="module")
def screenshot(browse, tmp_path_factory):
    """Pixels of the report, float, [height, width, 3], in 0 to 255."""

    def take(scheme, width, height):
        path = tmp_path_factory.mktemp("screenshot") / f"{scheme}.png"
        setting = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
        browse(setting, f"--window-size={width},{height}", f"--screenshot={path}")
        return np.round(imread(path)[:, :, :3] * 255)

    return take


def test_the_figures_in_the_browser_are_those_of_the_saved_model(trained, browse):
    shown = PageText(browse("--dump-dom"))
    saved = SavedVariables(trained.saved)
    kernels = {v.name: saved.value(v) for v in model_variables(saved) if v.name.endswith("kernel")}
    assert {row[0]: (row[2], row[3]) for row in shown.tables["layers"][1:]} == {
        path: (str(kernel.size), str(np.count_nonzero(kernel))) for path, kernel in kernels.items()
    }
    left = sum(np.count_nonzero(kernel) for kernel in kernels.values())
    total = sum(kernel.size for kernel in kernels.values())
    assert shown.tiles["Weights not zero"].split() == [str(left), "of", str(total), "pruned"]
    assert shown.tiles["Sparsity"].split()[0] == f"{100 * (1 - left / total):.2f}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_and_plots_take_the_readers_colours(screenshot, scheme):
    pixels = screenshot(scheme, 1000, 2400)
    background = np.array(SCHEMES[scheme])
    assert pixels.shape == (2400, 1000, 3)
    assert np.all(pixels[:, 0] == background)
    # Text and plots stand out: the reader sees many pixels far from the background, bars in the accent's blue among
    # them, and none of the placeholders.
    assert np.mean(np.abs(pixels - background).max(axis=2) > 90) > 0.01
    accent = {"light": (0x1F, 0x6F, 0xC4), "dark": (0x62, 0xA8, 0xF0)}[scheme]
    assert np.count_nonzero(np.all(pixels == accent, axis=2)) > 2000
    assert not np.any(np.all(pixels <= 5, axis=2))


def test_on_a_phone_nothing_sticks_out_to_the_side(screenshot):
    pixels = screenshot("light", 360, 6000)
    assert pixels.shape == (6000, 360, 3)
    assert np.all(pixels[:, :8] == LIGHT)
    assert np.all(pixels[:, -8:] == LIGHT)
    # Cards reach from margin to margin.
    assert np.any(pixels[:, -16:-10] != LIGHT)
