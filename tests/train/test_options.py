"""Settings by name take the type of their field and refuse what does not fit."""

import pytest

from talksplat.errors import InputError
from talksplat.methods.catalogue import METHODS, find_method, find_preset
from talksplat.train.options import with_settings


def test_settings_take_the_fields_type() -> None:
    config = with_settings(METHODS[0].presets["quick"], ("head_steps=7", "ssim=0.5", "start=random"))
    assert (config.head_steps, config.ssim, config.start) == (7, 0.5, "random")


@pytest.mark.parametrize(("setting", "said"), [("heads=7", "unknown"), ("head_steps=many", "expected int")])
def test_what_does_not_fit_is_refused(setting: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        with_settings(METHODS[0].presets["quick"], (setting,))


def test_unknown_methods_and_presets_name_the_known_ones() -> None:
    with pytest.raises(InputError, match="gstalker"):
        find_method("wav2lip")
    with pytest.raises(InputError, match="quick"):
        find_preset(METHODS[0], "slow")
