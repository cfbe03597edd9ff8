"""What we serve to browsers is what we say it is."""

import hashlib
import re
from pathlib import Path

STATIC = Path(__file__).resolve().parents[2] / "controlplane" / "static"


def test_vendored_scripts_are_the_files_their_checksums_name() -> None:
    sums = (STATIC / "vendor" / "SHA256SUMS").read_text().split("\n")
    named = {name: digest for digest, name in (line.split() for line in sums if line)}
    scripts = {path.name for path in (STATIC / "vendor").glob("*.js")}
    assert set(named) == scripts
    for name, digest in named.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == digest


def test_every_vendored_script_has_its_licence_beside_it() -> None:
    for script in (STATIC / "vendor").glob("*.js"):
        library = script.name.partition("-")[0]
        assert (STATIC / "vendor" / f"{library}-LICENSE.txt").read_text().strip()


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in channels
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_colours_keep_their_contrast_on_both_backgrounds_light_and_dark() -> None:
    sheet = (STATIC / "stoa.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)[:2]
    for scheme in (light, dark):
        tokens = dict(re.findall(r"--([a-z]+): (#[0-9A-F]{6})", scheme))
        for name in ("ink", "muted", "aegean", "terracotta", "olive", "ochre", "wine"):
            for ground in ("bg", "surface"):
                pair = sorted((_luminance(tokens[name]), _luminance(tokens[ground])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)
