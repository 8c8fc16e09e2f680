"""InstructPix2Pix's sampling, over the parts of a diffusers pipeline (Brooks et al., arXiv 2211.09800, equation 3).

e = e(0, 0) + s_I (e(I, 0) - e(0, 0)) + s_T (e(I, T) - e(I, 0)), three passes of the UNet in one. Gives what
`StableDiffusionInstructPix2PixPipeline` gives for the same generator (tested). What differs: latents of an image and
states of a text come from outside, so that the edits of an image share them; each row has its generator, on the CPU, so
that a row does not depend on its batch mates nor on the kind of device; latents, noise and guidance stay in float32
whatever the weights are; and both guidances hold also where the library turns them off (text guidance 1).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from negscale.core.backend import Image


class InstructPix2PixLoop:
    """The steps of an edit: words to states, picture to latents, noise to latents, latents to picture."""

    def __init__(self, pipeline: Any, device: str, steps: int, text_guidance: float, image_guidance: float) -> None:
        self._pipe, self._device, self._steps = pipeline, device, steps
        self._text_guidance, self._image_guidance = text_guidance, image_guidance
        self._draws = "generator" in inspect.signature(pipeline.scheduler.step).parameters

    def text_states(self, text: str) -> Any:
        """[1, tokens, width] of an instruction; what does not fit the text tower's length is cut off."""
        tokens = self._pipe.tokenizer(
            text,
            padding="max_length",
            max_length=self._pipe.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        tower = self._pipe.text_encoder
        mask = tokens.attention_mask.to(self._device) if getattr(tower.config, "use_attention_mask", False) else None
        return tower(tokens.input_ids.to(self._device), attention_mask=mask)[0]

    def image_latents(self, image: Image) -> Any:
        """[1, channels, h, w] of a picture uint8[H, W, 3], unscaled, as the UNet is shown them."""
        import torch

        vae = self._pipe.vae
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].to(self._device, torch.float32) / 127.5 - 1
        return vae.encode(pixels.to(vae.dtype)).latent_dist.mode()

    def denoise(self, images: Any, texts: Any, no_text: Any, seeds: Sequence[int]) -> Any:
        """float32[N, channels, h, w]: edited latents of image latents [N, ...] and text states [N, ...], one seed a row."""
        import torch
        from diffusers.utils.torch_utils import randn_tensor

        pipe, scheduler, device = self._pipe, self._pipe.scheduler, torch.device(self._device)
        generators: Any = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        guided = (self._text_guidance, self._image_guidance) != (1.0, 1.0)
        shape = (len(seeds), pipe.vae.config.latent_channels, *images.shape[2:])
        if guided:  # in the library's order: image and text, image alone, neither
            images = torch.cat([images, images, torch.zeros_like(images)])
            texts = torch.cat([texts, *[no_text.expand_as(texts)] * 2])
        # the timesteps may have been set for another device or number of steps
        scheduler.set_timesteps(self._steps, device=device)
        latents = randn_tensor(shape, generators, device, torch.float32) * scheduler.init_noise_sigma
        draw = {"generator": generators} if self._draws else {}
        for time in scheduler.timesteps:
            scaled = scheduler.scale_model_input(torch.cat([latents] * 3) if guided else latents, time)
            seen = torch.cat([scaled.to(images.dtype), images], dim=1)
            found = pipe.unet(seen, time, encoder_hidden_states=texts, return_dict=False)[0].float()
            if guided:
                both, image, neither = found.chunk(3)
                found = neither + self._text_guidance * (both - image) + self._image_guidance * (image - neither)
            latents = scheduler.step(found, time, latents, **draw, return_dict=False)[0]
        return latents

    def decode(self, latents: Any) -> tuple[Any, Any]:
        """(uint8[N, H, W, 3], bool[N] whether a row is made of numbers), both still on the device."""
        import torch

        vae = self._pipe.vae
        pixels = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0].float()
        sound = pixels.isfinite().flatten(1).all(1)
        pixels = (pixels / 2 + 0.5).clamp(0, 1).nan_to_num()
        return (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1), sound
