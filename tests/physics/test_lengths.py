import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics import lengths


def drawn(law, size=200_000):
    prompt, output = law.draw(np.random.default_rng(3), size // 50, 50)
    return prompt.reshape(-1), output.reshape(-1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("geometric", {}),
        ("geometric", {"mean_output": 1.0}),
        ("geometric", {"mean_output": 1.5, "mean_prompt": 40.0}),
        ("log-normal", {}),
        ("log-normal", {"median_output": 0.8, "sigma_output": 1.0}),
        ("log-normal", {"median_output": 6.4, "sigma_output": 0.0, "median_prompt": 0.0}),
        ("trace", {}),
        ("trace", {"trace": "azure-code"}),
    ],
)
def test_means_are_those_of_the_draws(name, options):
    law = ms.make_lengths(name, **options)
    prompt, output = drawn(law)
    assert output.min() >= 1
    assert prompt.min() >= 0
    assert output.mean() == pytest.approx(law.mean_output, abs=5.0 * output.std() / np.sqrt(output.size) + 1e-12)


def test_geometric_tails():
    prompt, output = drawn(ms.make_lengths("geometric", mean_output=20.0, mean_prompt=50.0))
    for tokens, mean in ((output, 20.0), (prompt, 50.0)):
        for longest in (1, 5, 40):
            chance = 1.0 - (1.0 - 1.0 / mean) ** longest
            assert (tokens <= longest).mean() == pytest.approx(chance, abs=5.0 * (chance / tokens.size) ** 0.5)
    assert abs(np.corrcoef(prompt, output)[0, 1]) < 5.0 / np.sqrt(output.size)


def test_logarithms_are_normal():
    law = ms.make_lengths("log-normal", median_output=500.0, sigma_output=0.5, median_prompt=9000.0, sigma_prompt=1.2)
    for tokens, median, sigma in zip(drawn(law), (9000.0, 500.0), (1.2, 0.5), strict=True):
        assert np.log(tokens).mean() == pytest.approx(np.log(median), abs=5.0 * sigma / np.sqrt(tokens.size))
        assert np.log(tokens).std() == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize(("median", "sigma"), [(0.5, 3.0), (129.0, 0.86), (30_000.0, 0.5), (1e6, 3.0)])
def test_the_mean_does_not_depend_on_where_the_sum_ends(median, sigma, monkeypatch):
    law = ms.make_lengths("log-normal", median_output=median, sigma_output=sigma)
    mean = law.mean_output
    assert mean >= 0.99 * median * np.exp(sigma**2 / 2.0)
    monkeypatch.setattr(lengths, "SUMMED", 300_000)
    assert law.mean_output == pytest.approx(mean, rel=1e-9)


def test_recorded_pairs_stay_together():
    trace = ms.load_trace("azure-code")
    pairs = set(zip(trace.prompt.tolist(), trace.output.tolist(), strict=True))
    prompt, output = drawn(ms.make_lengths("trace", trace=trace), 20_000)
    assert set(zip(prompt.tolist(), output.tolist(), strict=True)) <= pairs
    assert len(set(zip(output.tolist(), prompt.tolist(), strict=True)) & pairs) < 1000
    levels = [0.05, 0.5, 0.95]
    assert np.quantile(prompt, levels) == pytest.approx(np.quantile(trace.prompt, levels), rel=0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("geometric", {"mean_output": 0.5}, r"mean_output: expected a finite number in \[1, 1e\+06\], got 0\.5"),
        ("geometric", {"mean_prompt": 0.5}, r"mean_prompt: expected a finite number in \[1, 1e\+06\], got 0\.5"),
        ("log-normal", {"median_output": 0.0}, r"median_output: expected a finite number in \(0, 1e\+06\], got 0\.0"),
        ("log-normal", {"median_prompt": -1.0}, r"median_prompt: expected a finite number in \[0, 1e\+06\], got -1\.0"),
        ("log-normal", {"sigma_output": 4.0}, r"sigma_output: expected a finite number in \[0, 3\], got 4\.0"),
        ("log-normal", {"sigma_prompt": -0.1}, r"sigma_prompt: expected a finite number in \[0, 3\], got -0\.1"),
        ("trace", {"trace": "azure"}, r"trace, by its name or as a \.csv or \.npz file: expected .*, got 'azure'"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ms.make_lengths(name, **options)
