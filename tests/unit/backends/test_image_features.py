"""Features and LPIPS against the libraries that they stand in for, with random weights; nothing is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.image_features import (
    HfImageFeaturesConfig,
    InceptionFeaturesConfig,
    PixelFeaturesConfig,
    centre_crop,
)
from negscale.backends.perceptual import LpipsConfig
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault
from tests.unit.backends.made_vision import pictures

torch: Any = pytest.importorskip("torch")


def loaded(config: Any) -> Any:
    built = config.build()
    built.load()
    return built


def noise(seed: int, *shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]


# -- pixels ---------------------------------------------------------------------------------------------------------------


def test_mean_colours_by_hand() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, :3] = (255, 0, 51)
    image[2:, 3:] = 102
    cells = loaded(PixelFeaturesConfig(grid=2)).encode_images([image])[0].reshape(2, 2, 3)
    assert cells[0, 0] == pytest.approx([1, 0, 0.2])
    assert cells[1, 1] == pytest.approx([0.4, 0.4, 0.4])
    assert not cells[0, 1].any()
    assert not cells[1, 0].any()


def test_pictures_of_every_size_have_features_of_one_width() -> None:
    features = loaded(PixelFeaturesConfig(grid=4)).encode_images(noise(0, (2, 3), (100, 7), (96, 96)))
    assert features.shape == (3, 48)
    assert np.isfinite(features).all()
    with pytest.raises(ValueError, match="image 0"):
        loaded(PixelFeaturesConfig()).encode_images([np.zeros((3, 3), np.uint8)])


# -- DINO -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tf = pytest.importorskip("transformers")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vit")
    config = tf.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    tf.ViTModel(config).save_pretrained(folder)
    return folder


def test_class_tokens_are_those_of_transformers_and_torchvision(vit: Path) -> None:
    """The released transform: Resize(36, bicubic), CenterCrop(32), ImageNet's normalisation."""
    import transformers as tf
    from PIL import Image
    from torchvision import transforms as tv

    transform = tv.Compose([
        tv.Resize(36, interpolation=tv.InterpolationMode.BICUBIC), tv.CenterCrop(32), tv.ToTensor(),
        tv.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip
    images = noise(1, (60, 41), (33, 90), (36, 36))
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images])
        wanted = tf.ViTModel.from_pretrained(vit).eval()(pixel_values=pixels).last_hidden_state[:, 0].numpy()
    config = HfImageFeaturesConfig(model="made/vit", path=str(vit), resize_px=36, crop_px=32)
    extractor = loaded(config)
    assert extractor.encode_images(images) == pytest.approx(wanted, abs=1e-5)
    assert extractor.id.startswith("hf/made/vit@files-")
    extractor.close()
    with pytest.raises(FatalError, match="not loaded"):
        extractor.encode_images(images)


def test_a_crop_beyond_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="crop_px=224 is more than resize_px=200"):
        HfImageFeaturesConfig(resize_px=200)
    assert centre_crop(noise(0, (7, 300))[0], 32, 32).shape == (32, 32, 3)


# -- LPIPS ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AlexNet with random weights, its state dict as torchvision saves it."""
    vision = pytest.importorskip("torchvision")
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save({k: v for k, v in vision.models.alexnet().state_dict().items() if k.startswith("features")}, path)
    return path


def test_lpips_equals_torchmetrics_with_the_same_backbone(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lpips: Any = pytest.importorskip("torchmetrics.functional.image.lpips")
    import torchvision

    def local(net: str, pretrained: bool = False) -> Any:
        network = getattr(torchvision.models, net)()
        network.load_state_dict(torch.load(backbone, weights_only=True), strict=False)
        return network.features

    a, b = noise(2, (64, 64), (80, 70), (64, 64)), noise(3, (64, 64), (80, 70), (64, 64))
    found = loaded(LpipsConfig(path=str(backbone))).distances(a, b)
    monkeypatch.setattr(lpips, "_get_tv_model_features", local)
    for value, first, second in zip(found, a, b, strict=True):
        pair = [torch.from_numpy(x.transpose(2, 0, 1).copy())[None].float() / 255 for x in (first, second)]
        theirs = lpips.learned_perceptual_image_patch_similarity(*pair, net_type="alex", normalize=True)
        assert value == pytest.approx(float(theirs), abs=1e-4)
        assert value > 1e-3


def test_lpips_of_equal_pictures_and_of_what_it_cannot_take(backbone: Path) -> None:
    pytest.importorskip("torchmetrics")
    distance = loaded(LpipsConfig(path=str(backbone)))
    big, small, other = *noise(4, (64, 64), (40, 90)), noise(5, (70, 64))[0]
    same, tiny, unequal = distance.distances([big, small, big], [big, small, other])
    assert same == pytest.approx(0, abs=1e-7)
    assert isinstance(tiny, Fault)
    assert tiny.kind == "small_image"
    assert isinstance(unequal, Fault)
    assert unequal.kind == "bad_pixels"
    assert distance.distances([], []) == []


def test_weights_that_are_none_are_refused(tmp_path: Path, backbone: Path) -> None:
    pytest.importorskip("torchmetrics")
    with pytest.raises(ConfigError, match="no file"):
        loaded(LpipsConfig(path=str(tmp_path / "absent.pth")))
    torch.save({"classifier.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match=r"features\.0\.bias is missing"):
        loaded(LpipsConfig(path=str(tmp_path / "other.pth")))
    torch.save({"features.0.weight": Path}, tmp_path / "class.pth")  # a pickle of a class, not tensors
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        loaded(LpipsConfig(path=str(tmp_path / "class.pth")))
    first = LpipsConfig(path=str(backbone)).identity()["file"]
    (tmp_path / "copy.pth").write_bytes(backbone.read_bytes())
    assert LpipsConfig(path=str(tmp_path / "copy.pth")).identity()["file"] == first


# -- Inception ------------------------------------------------------------------------------------------------------------


def test_inception_features_are_those_of_torchmetrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from torchmetrics.image.fid import NoTrainInceptionV3

    torch.manual_seed(2)
    with monkeypatch.context() as patch:  # the class fetches its weights before it can be saved
        patch.setattr(network, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(network.FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
        made = network.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(made.state_dict(), tmp_path / "inception.pth")
    config = InceptionFeaturesConfig(path=str(tmp_path / "inception.pth"))
    images = [*pictures()[:2], *noise(6, (50, 70))]
    found = loaded(config).encode_images(images)
    theirs = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(tmp_path / "inception.pth"))
    wanted = [theirs(torch.from_numpy(i.transpose(2, 0, 1).copy())[None]).numpy()[0] for i in images]
    assert found.shape == (3, 2048)
    assert found == pytest.approx(np.stack(wanted), abs=1e-4)


def test_inception_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("negscale.backends.image_features.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install torch"):
        InceptionFeaturesConfig().check_access()
