"""The parts of training: noise, loss, randomness, optimizer, schedule, batches."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from fsd.recipe import Recipe
from fsd.train import bnb
from fsd.train.latents import Latents
from fsd.train.loss import dreambooth_loss
from fsd.train.noise import Diffusion, draw_noise, load_schedule
from fsd.train.optimizer import Optimizer, learning_rate_at
from fsd.train.randomness import generator, pick

ALPHAS = torch.linspace(0.999, 0.005, 1000)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_target_and_noisy_latents_give_back_the_clean_ones(prediction: str) -> None:
    schedule = Diffusion(ALPHAS, prediction)
    x0, eps, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 999])
    noisy, target = schedule.add_noise(x0, eps, t), schedule.target(x0, eps, t)
    a = ALPHAS[t].view(-1, 1, 1, 1)
    back = {
        "epsilon": (noisy - (1 - a).sqrt() * target) / a.sqrt(),
        "v_prediction": a.sqrt() * noisy - (1 - a).sqrt() * target,
    }[prediction]
    torch.testing.assert_close(back, x0, atol=1e-3, rtol=1e-3)


def test_schedule_is_diffusers_own(micro_model) -> None:
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    ours = load_schedule(micro_model / "scheduler")
    x0, eps, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([10, 900])
    torch.testing.assert_close(ours.add_noise(x0, eps, t), theirs.add_noise(x0, eps, t))
    assert ours.prediction == "epsilon"


def test_offset_noise_moves_the_mean_of_a_channel() -> None:
    means = torch.stack([draw_noise((4, 16, 16), 0.5, generator("offset", index)).mean((1, 2)) for index in range(200)])
    assert 0.4 < means.std() < 0.6
    plain = torch.stack([draw_noise((4, 16, 16), 0.0, generator("plain", index)).mean((1, 2)) for index in range(200)])
    assert plain.std() < 0.1


def test_loss_weighs_class_images_beside_photos() -> None:
    predicted, target = (
        torch.zeros(4, 1, 2, 2),
        torch.tensor([1.0, 3.0, 2.0, 4.0]).sqrt().view(4, 1, 1, 1).expand(4, 1, 2, 2),
    )
    weights = torch.tensor([0.5, 0.5, 0.25, 0.25])
    assert dreambooth_loss(predicted, target, weights).item() == pytest.approx((1 + 3) / 2 + 0.5 * (2 + 4) / 2)


def test_order_shows_each_photo_once_an_epoch_and_depends_on_the_key_alone() -> None:
    epochs = [[pick(7, epoch * 7 + offset, 3, "unet") for offset in range(7)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert pick(7, 12, 3, "unet") == epochs[1][5]
    assert [pick(7, position, 4, "unet") for position in range(7)] != epochs[0]


@pytest.mark.parametrize(
    ("schedule", "middle", "last"), [("constant", 1.0, 1.0), ("linear", 0.5, 0.01), ("cosine", 0.5, 0.0)]
)
def test_learning_rate_schedules(schedule: str, middle: float, last: float) -> None:
    rates = [learning_rate_at(step, 110, 1.0, schedule, 10) for step in range(110)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(middle)
    assert rates[-1] == pytest.approx(last, abs=1e-3)
    assert all(before >= after for before, after in pairwise(rates[10:]))


def make_network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 64))


def run_steps(network: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.set_learning_rates(dict.fromkeys("02", 1e-3 / (step + 1)))
        inputs = torch.randn(5, 64, generator=generator("inputs", step))
        network(inputs).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit"])
@pytest.mark.parametrize("during_backward", [True, False])
def test_saved_optimizer_state_goes_on_bit_for_bit(kind: str, during_backward: bool) -> None:
    whole = make_network()
    run_steps(whole, Optimizer(dict(whole.named_parameters()), kind, 0.01, during_backward), range(6))
    half = make_network()
    first = Optimizer(dict(half.named_parameters()), kind, 0.01, during_backward)
    run_steps(half, first, range(3))
    again = make_network()
    again.load_state_dict(half.state_dict())
    second = Optimizer(dict(again.named_parameters()), kind, 0.01, during_backward)
    second.load_state(first.state())
    run_steps(again, second, range(3, 6))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


@pytest.mark.parametrize("name", ["AdamW8bit", "Lion8bit"])
def test_large_8_bit_weights_step_slice_by_slice_with_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bnb, "SLICE", 4096)
    kind = getattr(pytest.importorskip("bitsandbytes").optim, name)
    start = torch.randn(3, 5000, generator=generator("weight"))
    ended = []
    for made in (kind, bnb.adapted(kind)):
        weight = nn.Parameter(start.clone())
        optimizer = made([weight], lr=1e-2, weight_decay=0.1)
        for step in range(4):
            weight.grad = torch.randn(start.shape, generator=generator("gradient", step))
            optimizer.step()
        assert len(optimizer.state) == 1
        ended.append(
            [weight.data, *(value for value in optimizer.state[weight].values() if isinstance(value, torch.Tensor))]
        )
        assert optimizer.state[weight]["step"] == 4
    assert not torch.equal(ended[0][0], start)
    assert all(torch.equal(*pair) for pair in zip(*ended, strict=True))


def test_a_gpu_is_not_waited_for_after_each_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = pytest.importorskip("bitsandbytes.optim.optimizer")
    waited: list[torch.Tensor] = []
    monkeypatch.setattr(optimizer, "sync_gpu", waited.append)
    network = make_network()
    for during_backward in (True, False):
        run_steps(network, Optimizer(dict(network.named_parameters()), "adamw8bit", 0.01, during_backward), range(1))
    assert not waited
    weight = nn.Parameter(torch.ones(8))
    weight.grad = torch.ones(8)
    pytest.importorskip("bitsandbytes.optim").AdamW8bit([weight]).step()
    assert len(waited) == 1  # by bitsandbytes' own, for others


def test_stepping_during_the_backward_pass_is_plain_adamw_and_leaves_no_gradients() -> None:
    ours, theirs = make_network(), make_network()
    run_steps(ours, Optimizer(dict(ours.named_parameters()), "adamw", 0.01, True), range(5))
    plain = torch.optim.AdamW(theirs.parameters(), weight_decay=0.01)
    for step in range(5):
        plain.param_groups[0]["lr"] = 1e-3 / (step + 1)
        theirs(torch.randn(5, 64, generator=generator("inputs", step))).square().mean().backward()
        plain.step()
        plain.zero_grad()
    for ours_weight, their_weight in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_weight, their_weight, atol=1e-6, rtol=1e-5)
        assert ours_weight.grad is None


def test_buckets_keep_labels_and_sizes_apart_and_step_what_has_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsd.train.gradient_buckets.BUCKET_BYTES", 64 * 96 * 4)
    network, unused = make_network(), nn.Parameter(torch.ones(3))
    weights = {"0.unused": unused, **dict(network.named_parameters())}
    optimizer = Optimizer(weights, "adamw", 0.0, True)
    expected = [["0.unused"], ["0.weight"], ["0.bias"], ["2.weight"], ["2.bias"]]
    assert [list(bucket.weights) for bucket in optimizer._buckets] == expected
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer.set_learning_rates({"0": 1e-3, "2": 0.0})
    network(torch.ones(5, 64)).square().mean().backward()
    optimizer.step()
    changed = [name for name, weight in weights.items() if not torch.equal(weight, before[name])]
    assert changed == ["0.weight", "0.bias"]


def test_a_bucket_steps_once_all_its_gradients_are_there_and_at_the_last_of_several_passes() -> None:
    network, unused = make_network(), nn.Parameter(torch.ones(3))
    optimizer = Optimizer({**dict(network.named_parameters()), "2.unused": unused}, "adamw", 0.0, True)
    optimizer.set_learning_rates({"0": 1e-3, "2": 1e-3})

    def pass_back(last: bool) -> list[bool]:
        optimizer.next_is_last(last)
        network(torch.ones(5, 64)).square().mean().backward()
        return [weight.grad is None for weight in network.parameters()]

    assert pass_back(last=False) == [False] * 4
    assert pass_back(last=True) == [True, True, False, False]  # the other bucket waits for what has no gradient
    optimizer.step()
    assert all(weight.grad is None for weight in network.parameters())
    assert pass_back(last=True) == [True, True, False, False]


def test_batches_are_a_function_of_the_step() -> None:
    from fsd.train.batch import Batches, Example

    recipe = Recipe(family="tiny", class_word="cup", batch_size=3, offset_noise=0.1).changed(prior__weight=0.5)
    latents = Latents(torch.randn(9, 4, 8, 8), torch.full((9, 4, 8, 8), 0.1))
    examples = [Example((place,), (place,)) for place in range(9)]
    batches = Batches("unet", recipe, examples[:5], examples[5:], latents, Diffusion(ALPHAS, "epsilon"))
    device = torch.device("cpu")
    [late], [early], [late_again] = batches.at(17, device), batches.at(2, device), batches.at(17, device)
    assert torch.equal(late.noisy, late_again.noisy)
    assert torch.equal(late.timesteps, late_again.timesteps)
    assert not torch.equal(late.noisy, early.noisy)
    assert len(late.prompts) == 6
    assert all(row < 5 for row in late.prompts[:3])
    assert all(row >= 5 for row in late.prompts[3:])
    assert late.weights.tolist() == pytest.approx([1 / 3] * 3 + [0.5 / 3] * 3)
    seen = {row for step in range(10) for row in batches.at(step, device)[0].prompts}
    assert seen == set(range(9))
