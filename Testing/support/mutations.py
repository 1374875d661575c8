"""Single changes to the package, each of which a test must notice: ``make mutations``, or with words of file names.

Every change is made in a copy of the tree and its tests are run until one fails. Told are changes that no test
notices, and those whose text is not found any more (then adapt it here): exit code 1.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "Screenshots", "*.egg-info", "demo_output")
METHOD, RESULTS = "product/test_method.py", "product/test_results.py"
SAMPLING, MODEL = "unit/test_sampling.py", "unit/test_model.py"
SIMULATION, IMAGE, PRIOR = "unit/test_simulation.py", "unit/test_image_model.py", "unit/test_prior.py"
NOISE_WIDTH, PSF = "unit/test_noise_width.py", "unit/test_psf.py"
LESIONS, CHECKS, RECONSTRUCTION = "unit/test_lesions.py", "unit/test_checks.py", "product/test_reconstruction.py"

CHANGES = [  # file of the package, text, in its place, tests
    # the measurement model
    ("physics/gaussian.py", "weight)\n    return matrix", "weight * (place < size))\n    return matrix", PSF),
    ("physics/model.py", "= resolution.model_fwhm_mm", "= resolution.model_fwhm_mm[0], 0.0", MODEL),
    ("scanner.py", "return self.fwhm_transaxial_mm * self.kernel_scale,", "return self.fwhm_transaxial_mm,", MODEL),
    ("physics/model.py", ", scanner.angular_rebinning\n    return", ", 1\n    return", MODEL),
    ("physics/model.py", "else self.scale * attenuation", "else self.scale", SIMULATION),
    ("physics/attenuation.py", "return np.minimum(soft, bone)", "return soft", SIMULATION),
    # simulated measurements
    ("physics/simulation.py", "width = size * max(cos, sin)", "width = 1.5 * size", SIMULATION),
    ("physics/simulation.py", "(scanner.fwhm_transaxial_mm,", "(0.7 * scanner.fwhm_transaxial_mm,", SIMULATION),
    ("physics/simulation.py", "scanner.dose_fraction * level", "level", SIMULATION),
    ("physics/simulation.py", "SCATTER_FWHM_MM = 120.0", "SCATTER_FWHM_MM = 60.0", SIMULATION),
    ("physics/simulation.py", "CLINICAL_ITERATIONS = 42", "CLINICAL_ITERATIONS = 30", SIMULATION),
    ("physics/simulation.py", "(mu, grid, scanner, False,", "(mu, grid, scanner, True,", SIMULATION),
    # the measurement from an image
    ("physics/image_model.py", "without_box(across, self.image.spacing[0],", "without_box(across, 0.0,", IMAGE),
    ("physics/image_model.py", "math.prod(image.spacing) / (CELL", "1.0 / (CELL", IMAGE),
    ("physics/image_model.py", "** (1 - noise.exponent)", "** 0", IMAGE),
    ("physics/image_model.py", "hot(part) - self.psf(part)", "0 * part", IMAGE),
    ("sampling/standard.py", "counts - model.excess(z)", "counts", IMAGE),
    ("physics/voxels.py", "shares / covered", "shares", IMAGE),
    ("physics/voxels.py", "values, self._rows.T", "0.9 * values, self._rows.T", IMAGE),
    ("physics/noise_width.py", "float(2 * weights @ correlation", "float(weights @ correlation", IMAGE),
    ("physics/noise_width.py", "along > STRUCTURE_MM", "along > 99", NOISE_WIDTH),
    ("physics/noise_width.py", "/ (2 * square) if", "/ square if", NOISE_WIDTH),
    ("resolution.py", "square -= (NOISE_PARTS", "square -= 0 * (NOISE_PARTS", "unit/test_resolution.py"),
    ("resolution.py", "math.hypot(scanner[0], most))", "99)", "unit/test_resolution.py"),
    ("resolution.py", "max(stated, math.hypot(scanner[0], narrowest))", "stated", "unit/test_resolution.py"),
    ("resolution.py", "if width > BOX_FWHM * voxel", "if True", "unit/test_resolution.py"),
    ("physics/image_noise.py", "lag) / np.sqrt(variance))[body]", "lag))[body]", IMAGE),
    ("physics/image_noise.py", "self.by_slice * self.variance_ratio", "self.variance_ratio", IMAGE),
    ("physics/image_noise.py", "logs *= 1 - beyond", "logs *= 1 - 0 * beyond", IMAGE),
    ("physics/image_noise.py", "clip(LEAST_SHARE)", "clip(0)", IMAGE),
    ("physics/image_model.py", "(noise.by_slice.astype", "(noise.by_slice.clip(1, 1).astype", IMAGE),
    ("physics/image_model.py", "self.noise.part(first, last)", "self.noise", IMAGE),
    ("inputs.py", "noise = noise.part(first, ", "noise = noise.part(0, ", IMAGE),
    ("inputs.py", "noise = noise.part(first, ", "noise = noise.part(0, ", "product/test_pet_alone.py"),
    ("physics/image_noise.py", "body.sum() >= LEAST_VOXELS", "body.sum() > 0", IMAGE),
    ("inputs.py", "image.with_array(image.array.clip(0), ", "image.with_array(image.array, ", RESULTS),
    ("inputs.py", "resolution, self.request.noise)", "resolution, None)", RECONSTRUCTION),
    ("problem.py", '"linear", UNKNOWN_HU)', '"linear", 0.0)', METHOD),
    # the prior
    ("prior/transform.py", "kappa: float = 0.5", "kappa: float = 0.7", PRIOR),
    ("prior/schedule.py", "beta_end: float = 2e-2", "beta_end: float = 3e-2", PRIOR),
    ("prior/network.py", "return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)", "return x", PRIOR),
    ("prior/denoiser.py", "torch.minimum(around, 2 * last - around)", "around.clamp(0, last)", METHOD),
    # standard and draft
    ("sampling/standard.py", "    if profile.tissue_beta:\n", "    if False:\n", SAMPLING),
    ("sampling/standard.py", "quadratic_surrogate(penalty, anchor,", "quadratic_surrogate(penalty, z,", METHOD),
    ("sampling/standard.py", "TISSUE_GAMMA = 2.0, 10.0", "TISSUE_GAMMA = 2.0, 0.0", SAMPLING),
    ("sampling/standard.py", "TISSUE_GAMMA = 2.0, 10.0", "TISSUE_GAMMA = 20.0, 10.0", SAMPLING),
    ("sampling/standard.py", "ct = completed_ct(denoiser.ct, z, model)", "ct = denoiser.ct", SAMPLING),
    ("sampling/body.py", "ACTIVE_SHARE = 12.0, 0.3", "ACTIVE_SHARE = 4.0, 0.3", SAMPLING),
    ("sampling/body.py", "OUTSIDE_SHARE = -900.0, 8.0, 0.02", "OUTSIDE_SHARE = -900.0, 8.0, 1.0", METHOD),
    ("sampling/body.py", "OUTSIDE_SHARE = -900.0, 8.0, 0.02", "OUTSIDE_SHARE = -500.0, 8.0, 0.02", METHOD),
    ("sampling/standard.py", "ease = profile.prior_width * ", "ease = ", METHOD),
    ("sampling/standard.py", " ** profile.width_power", " ** 0.0", SAMPLING),
    ("sampling/standard.py", " * transform.slope(anchor)", "", METHOD),
    ("sampling/standard.py", "axial_mean(denoiser.crop(x0))", "denoiser.crop(x0)", METHOD),
    ("sampling/standard.py", "map_em(model, linear, z, anchor,", "map_em(model, linear, anchor, anchor,", METHOD),
    ("sampling/standard.py", "profile.full_psf(step), profile.stop_below", "profile.full_psf(step), 0.0", METHOD),
    ("sampling/consistency.py", "torch.where(loss > last, 1.0, momentum)", "momentum", SAMPLING),
    # paper
    ("sampling/paper.py", "following, profile.eta, fresh)", "following, 0.0, fresh)", METHOD),
    ("sampling/paper.py", "start = (1 - warm) * tweedie + warm * z", "start = tweedie", SAMPLING),
    ("sampling/paper.py", "ahead = (z + profile.momentum * velocity).clamp_min(0.0)", "ahead = z", SAMPLING),
    ("sampling/paper.py", "profile.inner(step), profile.full_psf(step))", "profile.inner(step), True)", METHOD),
    # samples, slabs, counts
    ("reconstruction.py", "samples.append(factor * draw(", "samples.append(draw(", RESULTS),
    ("reconstruction.py", "request.seed + n, part", "request.seed, part", RESULTS),
    ("sampling/slabs.py", "seed + first", "seed", RESULTS),
    ("sampling/slabs.py", "max(math.ceil(axial), prior.neighbours + 1)", "0", RECONSTRUCTION),
    ("problem.py", "return measured / expected if", "return 1.0 if", RESULTS),
    # lesions and checks
    ("lesions/measures.py", "mean[shift][core].max()", "mean[shift].max()", LESIONS),
    ("lesions/measures.py", "core = weights >= min(HALF, float(weights.max()))", "core = weights > 0", LESIONS),
    ("lesions/measures.py", "(edge * suvmax if relative else edge)", "(8 * edge if relative else edge)", LESIONS),
    ("lesions/intervals.py", "factors.get(name, 1.0) * q *", "q *", "unit/test_intervals.py"),
    ("lesions/intervals.py", "lesion.suvmean > CORRECTED[kind] * shown", "False", "unit/test_intervals.py"),
    ("checks.py", "MIN_COVERAGE = 0.5", "MIN_COVERAGE = 0.4", CHECKS),
    ("checks.py", "MIN_INSIDE = 0.85", "MIN_INSIDE = 0.75", CHECKS),
    ("checks.py", "MIN_OUTLINE = 0.7", "MIN_OUTLINE = 0.6", CHECKS),
    ("checks.py", "NOTED_DIFFERENCE = 0.3, 0.1", "NOTED_DIFFERENCE = 0.4, 0.2", CHECKS),
]  # fmt: skip


def verdict(tree: Path, file: str, old: str, new: str, tests: str) -> str:
    """What becomes of one change in a copy of the tree, which is left as it was."""
    path = tree / "PETSuperResLib" / file
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        return f"found {text.count(old)} times"
    path.write_text(text.replace(old, new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"Testing/{tests}"]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True, text=True
    )
    path.write_text(text, encoding="utf-8")
    return {0: "NOT NOTICED", 1: "noticed"}.get(done.returncode, f"pytest failed: {done.stdout[-300:]}")


def main(words: list[str]) -> int:
    """Try all changes, or those to files whose names hold a word."""
    chosen = [change for change in CHANGES if not words or any(word in change[0] for word in words)]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        for file, old, new, tests in chosen:
            said = verdict(tree, file, old, new, tests)
            missed += said != "noticed"
            print(f"{said}: {file}: {old.strip()!r} -> {new.strip()!r}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} changes noticed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
