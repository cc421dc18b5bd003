"""Noise, timesteps and weights beyond the plain ones: flows, min-SNR, zero-terminal SNR, noise of larger scale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fsd.families.configs import family_config
from fsd.train.noise import Diffusion, Flow, draw_noise, load_schedule
from fsd.train.randomness import generator


def schedule_of(family: str, folder: Path, **options: object) -> object:
    (folder / "scheduler_config.json").write_text(json.dumps(family_config(family, "scheduler")))
    return load_schedule(folder, **options)


def test_a_flow_goes_straight_from_latents_to_noise() -> None:
    flow = Flow(3.0)
    x0, eps, t = torch.randn(3, 16, 4, 4), torch.randn(3, 16, 4, 4), torch.tensor([0.0, 250.0, 1000.0])
    noisy, target = flow.add_noise(x0, eps, t), flow.target(x0, eps, t)
    assert torch.equal(noisy[0], x0[0])
    assert torch.equal(noisy[2], eps[2])
    torch.testing.assert_close(noisy - (t / 1000).view(-1, 1, 1, 1) * target, x0)


@pytest.mark.parametrize(("shift", "middle"), [(1.0, 500.0), (3.0, 750.0)])
def test_a_flows_steps_are_around_its_shifted_middle(shift: float, middle: float) -> None:
    drawn = torch.stack([Flow(shift).draw(generator("flow", index)) for index in range(400)])
    assert drawn.median().item() == pytest.approx(middle, abs=40)
    assert 0 < drawn.min() < drawn.max() < 1000


def test_the_shift_is_the_models_own_and_grows_with_flux_pictures(tmp_path: Path) -> None:
    assert schedule_of("sd35-large", tmp_path).shift == 3.0
    assert schedule_of("sd35-large", tmp_path, shift=1.5).shift == 1.5
    small, large = (schedule_of("flux-dev", tmp_path, tokens=tokens).shift for tokens in (256, 4096))
    assert (small, large) == (pytest.approx(1.6487, abs=1e-3), pytest.approx(3.1582, abs=1e-3))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weighs_easy_steps_less(prediction: str) -> None:
    schedule = Diffusion(torch.linspace(0.9999, 0.005, 1000), prediction)
    t = torch.tensor([0, 300, 999])
    weight, snr = schedule.weight(t, 5.0), schedule.snr(t)
    expected = snr.clamp(max=5.0) / (snr if prediction == "epsilon" else snr + 1)
    torch.testing.assert_close(weight, expected)
    assert weight[0] < 0.01
    assert weight[2] == pytest.approx(1.0 if prediction == "epsilon" else float(snr[2] / (snr[2] + 1)))


def test_zero_terminal_snr_ends_in_noise_alone(tmp_path: Path) -> None:
    plain, zero = schedule_of("sd21", tmp_path), schedule_of("sd21", tmp_path, zero_snr=True)
    assert float(plain.alphas_cumprod[-1]) > 1e-3
    assert float(zero.alphas_cumprod[-1]) < 1e-6
    assert float(zero.alphas_cumprod[0]) == pytest.approx(float(plain.alphas_cumprod[0]))


def test_noise_of_larger_scale_is_smoother_and_as_strong() -> None:
    def neighbours(multires: float) -> float:
        noise = torch.stack([draw_noise((4, 32, 32), 0.0, generator(index), multires) for index in range(20)])
        assert noise.std().item() == pytest.approx(1, abs=0.05)
        return float((noise[..., 1:] * noise[..., :-1]).mean())

    assert abs(neighbours(0.0)) < 0.05
    assert neighbours(0.6) > 0.1
