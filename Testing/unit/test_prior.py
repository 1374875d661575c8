"""The prior: schedule and transform that invert exactly, a network for any size, checkpoints that cannot mislead."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import CONFIG, GaussianConfig, GaussianNetwork, relative, tiny_network, tiny_prior
from torch import nn

from PETSuperResLib.errors import CheckpointError
from PETSuperResLib.prior import (
    STRIDE,
    AsinhTransform,
    Denoiser,
    NetworkConfig,
    NoiseNetwork,
    NoiseSchedule,
    Prior,
    checkpoint,
)
from PETSuperResLib.prior.card import card
from PETSuperResLib.prior.denoiser import with_neighbours
from PETSuperResLib.prior.memory import TokenMemory, size_of
from PETSuperResLib.prior.network import WindowCrossAttention, rotary
from PETSuperResLib.prior.transform import normalise_ct


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return tiny_prior(tmp_path_factory.mktemp("prior"))


def ct(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 1200 - 1000


# -- schedule and transform -----------------------------------------------------------------------


def test_the_schedule_keeps_the_variance_and_ends_in_noise():
    schedule = NoiseSchedule()
    signal, noise = schedule.signal_noise(torch.arange(schedule.steps))
    assert torch.allclose(signal**2 + noise**2, torch.ones_like(signal))
    assert float(signal[0]) > 0.9999 and float(signal[-1]) < 0.01
    assert (schedule.alpha_bar.diff() < 0).all()


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 5.0])
def test_a_noise_level_is_found_in_the_schedule(sigma):
    schedule = NoiseSchedule()
    assert float(schedule.noise_ratio()[schedule.step_at(sigma)]) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize(("s", "kappa"), [(1.0, 0.5), (0.3, 1.0)])
def test_activity_comes_back_from_model_space(s, kappa):
    transform = AsinhTransform(s, kappa)
    z = torch.tensor([0.0, 1e-3, 0.1, 1.0, 10.0, 100.0])
    assert torch.allclose(transform.to_activity(transform.to_model(z)), z, rtol=1e-5, atol=1e-7)


def test_the_prior_s_space_is_the_documented_one():
    """asinh(z / 1 SUV) / 0.5, and DDPM's 1000 steps with beta from 1e-4 to 0.02: the bundled prior depends on them."""
    assert float(AsinhTransform().to_model(torch.tensor(2.0))) == pytest.approx(math.asinh(2.0) / 0.5, rel=1e-6)
    bars = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(NoiseSchedule().alpha_bar, bars, rtol=1e-9)


def test_its_slope_is_its_derivative():
    transform = AsinhTransform(0.7, 0.4)
    x = torch.linspace(0, 8, 50, dtype=torch.float64)
    slope = (transform.to_activity(x + 1e-5) - transform.to_activity(x - 1e-5)) / 2e-5
    assert torch.allclose(transform.slope(transform.to_activity(x)), slope, rtol=1e-6)


def test_neighbours_are_mirrored_at_the_ends_of_a_stack():
    stack = torch.arange(4.0).view(4, 1, 1, 1)
    assert with_neighbours(stack, 2)[:, :, 0, 0].tolist() == [
        [2.0, 1.0, 0.0, 1.0, 2.0],
        [1.0, 0.0, 1.0, 2.0, 3.0],
        [0.0, 1.0, 2.0, 3.0, 2.0],
        [1.0, 2.0, 3.0, 2.0, 1.0],
    ]
    assert with_neighbours(stack[:1], 1)[:, :, 0, 0].tolist() == [[0.0, 0.0, 0.0]]
    assert with_neighbours(stack, 0) is stack


def test_a_prior_with_neighbours_uses_them_and_their_distance(tmp_path):
    prior = tiny_prior(tmp_path, neighbours=1)
    assert prior.neighbours == 1
    x = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    near, far = (Denoiser(prior, ct(0, 3, 32, 32), slice_mm) for slice_mm in (3.0, 6.0))
    eps, other = near.epsilon(x, 300), x.clone()
    other[0] = 0
    change = (near.epsilon(other, 300) - eps).abs().amax((1, 2, 3))
    assert change[1] > 1e-2 and change[2] == 0  # one slice to either side
    assert relative(far.epsilon(x, 300), eps) > 1e-4


def test_a_ct_is_seen_whole_and_in_a_soft_tissue_window():
    seen = normalise_ct(torch.tensor([[[-1000.0, 40.0, 3000.0, -160.0]]]))
    assert seen[0, 0, 0].tolist() == pytest.approx([-1.0, 0.04, 1.0, -0.16])
    assert seen[0, 1, 0].tolist() == pytest.approx([-1.0, 0.0, 1.0, -1.0])


# -- network --------------------------------------------------------------------------------------
@pytest.mark.parametrize("conditioning", ["cross-attention", "concat", "none"])
@pytest.mark.parametrize("size", [(16, 16), (16, 48), (80, 32), (64, 112)])
def test_any_size_that_is_a_multiple_of_the_stride_works(conditioning, size):
    network = tiny_network(conditioning)
    guide = normalise_ct(ct(0, 2, *size))
    out = network(torch.randn(2, 1, *size), torch.zeros(2), network.tokens(guide))
    assert out.shape == (2, 1, *size) and torch.isfinite(out).all()


@pytest.mark.parametrize(("conditioning", "depends"), [("cross-attention", True), ("concat", True), ("none", False)])
def test_the_answer_depends_on_the_ct_only_where_it_should(tmp_path, conditioning, depends):
    prior = tiny_prior(tmp_path, conditioning)
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    one, other = (Denoiser(prior, ct(seed, 1, 32, 32)).epsilon(x, 300) for seed in (1, 2))
    assert (relative(one, other) > 1e-4) == depends


def test_the_answer_depends_on_the_noise_level():
    network, guide = tiny_network(), normalise_ct(ct(0, 1, 32, 32))
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    low, high = (network(x, torch.tensor([level]), network.tokens(guide)) for level in (-1.0, 1.0))
    assert relative(low, high) > 0.01


def test_attention_finds_the_place_in_the_ct(prior):
    """A change in a corner of the CT changes the answer most there, whatever the image's size."""
    x = torch.zeros(1, 1, 96, 96)
    before, after = ct(1, 1, 96, 96), ct(1, 1, 96, 96)
    after[:, :24, :24] += 400
    change = (Denoiser(prior, before).epsilon(x, 300) - Denoiser(prior, after).epsilon(x, 300)).abs()[0, 0]
    assert float(change[:24, :24].mean()) > 2 * float(change[48:, 48:].mean())


def test_rotary_positions_make_attention_depend_on_where_query_and_key_lie_to_one_another():
    query, key = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    q, k = (rotary(v.expand(1, 1, 36, 16), 6, 6)[0, 0].view(6, 6, 16) for v in (query, key))
    here, moved, elsewhere = (float(q[a] @ k[b]) for a, b in [((1, 1), (2, 3)), ((3, 2), (4, 4)), ((1, 1), (3, 2))])
    assert moved == pytest.approx(here, rel=1e-4) and abs(elsewhere - here) > 0.01 * abs(here)


def test_slices_of_a_batch_do_not_influence_one_another(prior):
    x, guide = torch.randn(3, 1, 32, 32), ct(0, 3, 32, 32)
    together = Denoiser(prior, guide).epsilon(x, 200)
    alone = Denoiser(prior, guide[1:2]).epsilon(x[1:2], 200)
    assert relative(alone[0], together[1]) < 0.01  # bfloat16 sums may differ


@pytest.mark.parametrize("slack", [0, 7])
def test_slices_of_any_size_are_padded_to_the_networks_and_come_back(prior, slack):
    denoiser = Denoiser(prior, ct(0, 2, 22, 40), slack=slack)
    image = torch.rand(2, 22, 40)
    x = denoiser.pad(image)
    assert all(n % STRIDE == 0 and n >= own + slack for n, own in zip(x.shape[2:], image.shape[1:], strict=True))
    assert torch.equal(denoiser.crop(x), image) and x.sum() == pytest.approx(float(image.sum()), rel=1e-5)
    assert denoiser.estimate(denoiser.noise(torch.Generator()), 300).shape == x.shape
    assert float(denoiser.padded_ct[:, 0].max()) == -1000.0  # air around the CT


def test_an_estimate_and_the_noise_belong_to_each_other(prior):
    """(7), and its inverse."""
    denoiser, schedule = Denoiser(prior, ct(0, 2, 32, 32)), prior.schedule
    x = denoiser.noise(torch.Generator().manual_seed(0))
    x0, eps = denoiser.estimate(x, 300), denoiser.epsilon(x, 300)
    assert relative(schedule.tweedie(x, eps, 300), x0) < 1e-4
    assert relative(schedule.epsilon(x, x0, 300), eps) < 1e-4
    assert relative(schedule.noisy(x0, eps, 300), x) < 1e-4


def test_the_steps_of_ddim_lead_from_exact_noise_to_the_image():
    schedule, random = NoiseSchedule(), torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(1, 1, 8, 8, generator=random) for _ in range(2))
    steps = list(schedule.falling(10, 600))
    assert steps[0][0] == 600 and steps[-1] == (0, None)
    x = schedule.noisy(x0, noise, 600)
    for t, following in steps:
        assert torch.allclose(x, schedule.noisy(x0, noise, t), atol=1e-4)
        x = schedule.ddim(x0, schedule.epsilon(x, x0, t), t, following)
    assert torch.equal(x, x0)


def test_the_bundled_architecture_fits_in_16_mb():
    parameters = sum(p.numel() for p in NoiseNetwork().parameters())
    assert parameters < 8e6 and 2 * parameters < 16e6


def test_an_unknown_conditioning_is_refused():
    with pytest.raises(ValueError, match="conditioning"):
        NetworkConfig(conditioning="telepathy")


# -- checkpoints ----------------------------------------------------------------------------------
def metadata_of(path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def first_zeroed(path) -> dict[str, torch.Tensor]:
    name, weight = next((n, w) for n, w in load_file(path).items() if w.any())
    return {name: 0 * weight}


def rewrite(path, **changes) -> None:
    metadata = metadata_of(path)
    metadata.update(changes)
    save_file(load_file(path), path, {k: v for k, v in metadata.items() if v is not None})


def test_a_checkpoint_comes_back_with_weights_and_provenance(tmp_path):
    network = tiny_network()
    made = Prior(network, AsinhTransform(0.5, 0.25), NoiseSchedule(500), {"pixel_mm": 3.0})
    read = Prior.load(made.save(tmp_path / "p.safetensors", steps=7))
    assert (read.transform, read.schedule, read.network.config) == (made.transform, made.schedule, CONFIG)
    assert read.info == {"pixel_mm": 3.0, "steps": 7} and read.pixel_mm == 3.0
    assert read.sha256 == hashlib.sha256((tmp_path / "p.safetensors").read_bytes()).hexdigest()
    for name, weight in network.state_dict().items():
        assert torch.equal(read.network.state_dict()[name], weight.bfloat16().float()), name


DAMAGES = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:-1000]),
    "cut in its header": lambda p: p.write_bytes(p.read_bytes()[:100]),
    "empty": lambda p: p.write_bytes(b""),
    "noise": lambda p: p.write_bytes(bytes(range(256)) * 40),
    "a pickle": lambda p: p.write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94."),
    "foreign": lambda p: save_file({"weight": torch.zeros(3)}, p),
    "of another format": lambda p: rewrite(p, format="PETSuperRes prior 99"),
    "without a schedule": lambda p: rewrite(p, schedule=None),
    "with broken metadata": lambda p: rewrite(p, network="{"),
    "with metadata that is a list": lambda p: rewrite(p, transform="[1]"),
    "of another architecture": lambda p: rewrite(p, network=json.dumps({"widths": [24, 24, 24], "heads": 2})),
    "of an unknown architecture": lambda p: rewrite(p, network=json.dumps({"depth": 3})),
    "with a flipped bit": lambda p: p.write_bytes((b := bytearray(p.read_bytes())).__setitem__(-999, b[-999] ^ 1) or b),
    "with other weights": lambda p: save_file(dict(load_file(p), **first_zeroed(p)), p, metadata_of(p)),
    "missing": lambda p: p.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_whole_prior_is_refused_in_one_sentence(tmp_path, damage):
    path = Prior(tiny_network()).save(tmp_path / "p.safetensors")
    DAMAGES[damage](path)
    with pytest.raises(CheckpointError) as error:
        Prior.load(path)
    message = str(error.value)
    assert "\n" not in message and "p.safetensors" in message and message.endswith(".") and ":" in message
    changed = damage in ("with a flipped bit", "with other weights")
    assert ("SHA-256 of its weights differs" in message) == changed


def test_a_prior_that_names_no_architecture_and_no_hash_of_its_weights_is_read(tmp_path):
    """As the bundled one, which is checked by its file's SHA-256; its architecture is the first one."""
    path = Prior(tiny_network()).save(tmp_path / "p.safetensors")
    assert metadata_of(path)["architecture"] == "unet-ct-attention"
    assert "architecture" not in metadata_of(checkpoint.BUNDLED)
    rewrite(path, architecture=None, tensors_sha256=None)
    assert Prior.load(path).network.config == CONFIG


def test_a_bundled_prior_that_is_not_the_released_one_is_refused(tmp_path, monkeypatch):
    path = Prior(tiny_network()).save(tmp_path / "prior.safetensors")
    digest = path.with_suffix(".sha256")
    monkeypatch.setattr(checkpoint, "BUNDLED", path)
    monkeypatch.setattr(checkpoint, "BUNDLED_SHA256", digest)
    digest.write_text(Prior.load(path).sha256 + "  prior.safetensors\n")
    assert Prior.load().network.config == CONFIG
    digest.write_text("0" * 64 + "\n")
    with pytest.raises(CheckpointError, match="SHA-256"):
        Prior.load()


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = Prior(tiny_network()).save(tmp_path / "p.safetensors")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(Exception, match="No space left"):
        Prior(tiny_network(seed=1)).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_another_architecture_is_read_by_its_name(tmp_path, monkeypatch):
    made = Prior(GaussianNetwork(GaussianConfig(1.5)), info={"pixel_mm": 2.0})
    path = made.save(tmp_path / "p.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        Prior.load(path)
    monkeypatch.setitem(checkpoint.ARCHITECTURES, "gaussian", GaussianNetwork)
    read = Prior.load(path)
    assert isinstance(read.network, GaussianNetwork) and read.network.config == made.network.config


def test_the_card_is_read_without_torch(tmp_path):
    path = Prior(tiny_network(), info={"trained_on": "nothing", "licence": "none"}).save(tmp_path / "p.safetensors")
    program = (
        "import sys; sys.modules['torch'] = None; from PETSuperResLib.prior.card import card; print(card(sys.argv[1]))"
    )
    told = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True).stdout
    assert told.strip() == card(path) == "trained on nothing; licence none"
    assert "trained on" in card() and "2 mm pixels" in card()


@pytest.mark.parametrize("content", [b"", b"\x10", b"not a prior at all", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_missing_or_no_prior_has_no_card(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    with pytest.raises(CheckpointError, match="No prior at"):
        card(path)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a PETSuperRes prior"):
        card(path)


def test_a_ct_is_encoded_again_only_when_it_or_the_weights_have_changed(monkeypatch):
    prior, encoded = Prior(tiny_network()), []
    encode = prior.network.tokens
    monkeypatch.setattr(prior.network, "tokens", lambda ct: encoded.append(1) or encode(ct))
    x, one, other = torch.zeros(2, 1, 32, 32), ct(1, 2, 32, 32), ct(2, 2, 32, 32)

    def epsilon(ct):
        return Denoiser(prior, ct).epsilon(x, 300)

    first = epsilon(one)
    assert torch.equal(epsilon(one.clone()), first) and len(encoded) == 1
    assert not torch.equal(epsilon(other), first) and len(encoded) == 2
    with torch.no_grad():
        next(prior.network.ct_encoder.parameters()).mul_(1.5)  # as an optimiser does
    assert not torch.equal(epsilon(one), first) and len(encoded) == 3


def test_no_more_tokens_are_remembered_than_fit():
    network, ct = nn.Identity(), [torch.full((1, 4), float(n)) for n in range(4)]
    tokens = (torch.zeros(10),)
    memory, made = TokenMemory(3 * size_of(tokens)), []

    def remembered(n: int) -> bool:
        memory.tokens(ct[n], network, lambda: made.append(n) or tokens)
        return n not in made

    for n in range(4):
        remembered(n)
    made.clear()
    assert [remembered(n) for n in (1, 2, 3, 0)] == [True, True, True, False]
    memory = TokenMemory(size_of(tokens) - 1)
    memory.tokens(ct[0], network, lambda: tokens)
    assert not memory.known


def explicit_window_attention(module, x, tokens):
    """Every 4 x 4 window of ``x`` and the 8 x 8 tokens about it, one window after another."""
    query, key_value = module.query(module.norm(x)), F.pad(module.key_value(tokens), (2, 2, 2, 2))
    key, value = key_value.chunk(2, dim=1)
    heads, depth = module.heads, x.shape[1] // module.heads
    answer = torch.zeros_like(x)
    for j in range(0, x.shape[2], 4):
        for i in range(0, x.shape[3], 4):
            q = query[:, :, j : j + 4, i : i + 4].reshape(-1, heads, depth, 16)
            k, v = (t[:, :, j : j + 8, i : i + 8].reshape(-1, heads, depth, 64) for t in (key, value))
            scores = torch.einsum("bhdq,bhdk->bhqk", q, k) / depth**0.5
            for a, b in itertools.product(range(16), range(64)):
                scores[:, :, a, b] += module.bias[:, b // 8 - a // 4 + 3, b % 8 - a % 4 + 3]
            out = torch.einsum("bhqk,bhdk->bhdq", scores.softmax(-1), v)
            answer[:, :, j : j + 4, i : i + 4] = out.reshape(-1, heads * depth, 4, 4)
    return x + module.out(answer)


def test_attention_in_windows_is_the_explicit_one_with_its_gradients():
    torch.manual_seed(0)
    module = WindowCrossAttention(16, 2)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    x, tokens = (torch.randn(2, 16, 8, 12).contiguous(memory_format=torch.channels_last) for _ in range(2))
    found, gradients = [], []
    for work in (module, partial(explicit_window_attention, module)):
        module.zero_grad()
        inputs = x.clone().requires_grad_(), tokens.clone().requires_grad_()
        out = work(*inputs)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        found.append(out.detach())
        gradients.append([t.grad.clone() for t in (*inputs, *module.parameters())])
    assert torch.allclose(*found, atol=1e-5) and found[0].is_contiguous(memory_format=torch.channels_last)
    for ours, explicit in zip(*gradients, strict=True):
        assert explicit.abs().max() > 0 and torch.allclose(ours, explicit, rtol=1e-3, atol=1e-4)
    with torch.inference_mode():
        assert torch.allclose(module(x, tokens), found[1], atol=1e-5)
