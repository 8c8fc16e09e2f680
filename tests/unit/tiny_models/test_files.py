from __future__ import annotations

from pathlib import Path

import pytest

from negscale.core.errors import ConfigError
from negscale.tiny_models.files import NAMES, check_hashes, folder_of, read_figures, write_figures, write_hashes

LARGEST_MB = {"editor": 3.5}


def test_a_changed_a_missing_and_a_new_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    for name in ("a", "b", "part/d"):
        (tmp_path / name).write_text(name)
    write_hashes(tmp_path)
    write_figures(tmp_path, {"accuracy": 0.5})
    check_hashes(tmp_path)
    assert read_figures(tmp_path) == {"accuracy": 0.5}
    (tmp_path / "a").write_text("other")
    (tmp_path / "b").unlink()
    (tmp_path / "c").write_text("c")
    (tmp_path / "part" / "d").write_text("other")
    with pytest.raises(ConfigError, match=r": a, b, c, part/d;"):
        check_hashes(tmp_path)


def test_a_folder_without_hashes_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"make tiny-models"):
        check_hashes(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_models_are_those_that_were_trained(name: str) -> None:
    folder = folder_of(name)  # type: ignore[arg-type]
    check_hashes(folder)
    weights = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    assert 0 < weights < LARGEST_MB.get(name, 2.5) * 1e6
    assert not list(folder.rglob("*.bin")), "safetensors only"
