"""Trainers that import `codecarbon` themselves, unmodified, with the alias in its place."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stub import Stub

NOBODY = 65534


def need(*packages: str) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"too large to be installed for tests alone, and not here: pip install {' '.join(missing)}")


def usable_by_nobody() -> bool:
    """Whether somebody without any right can run this Python: its folder may be closed to others."""
    try:
        return (
            subprocess.run([sys.executable, "-c", ""], user=NOBODY, group=NOBODY, capture_output=True, check=False).returncode
            == 0
        )
    except (PermissionError, ValueError):
        return False


def run(text: str, **environment: str) -> str:
    """As a program of its own, without root where that can be."""
    folder = Path.cwd()
    (folder / "train.py").write_text(text)
    nobody = os.geteuid() == 0 and usable_by_nobody()
    if nobody:
        for path in (folder, *folder.parents[:3]):
            path.chmod(path.stat().st_mode | 0o711)
        folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "train.py"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        user=NOBODY if nobody else None,
        group=NOBODY if nobody else None,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def row(path: str) -> dict[str, str]:
    with Path(path).open(newline="") as file:
        [found] = csv.DictReader(file)
    return found


DATA = """
import torch
class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 64
    def __getitem__(self, index): return {"x": torch.full((4,), float(index)), "labels": torch.tensor(float(index))}
"""

TRANSFORMERS = (
    "import carbon_tracker.as_codecarbon\n"
    + DATA
    + """
from transformers import Trainer, TrainingArguments
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels):
        out = self.layer(x).squeeze(-1)
        return {"loss": ((out - labels) ** 2).mean(), "logits": out}
if __name__ == "__main__":
    arguments = TrainingArguments(output_dir="out", report_to=WHERE, max_steps=8, per_device_train_batch_size=4, use_cpu=True,
                                  dataloader_num_workers=2, save_strategy="no", disable_tqdm=True)
    trainer = Trainer(model=Model(), args=arguments, train_dataset=Numbers())
    print([type(callback).__name__ for callback in trainer.callback_handler.callbacks])
    trainer.train()
"""
)


# As it is asked for, and as it comes where nobody asked: transformers looks for the package.
@pytest.mark.parametrize("where", ['["codecarbon"]', '"all"'])
def test_the_callback_of_transformers(where: str) -> None:
    need("transformers", "torch", "accelerate")
    said = run(TRANSFORMERS.replace("WHERE", where), CODECARBON_PROJECT_NAME="by transformers")
    assert "CodeCarbonCallback" in said
    assert "by transformers: " in said
    found = row("out/emissions.csv")
    assert found["project_name"] == "by transformers"
    assert found["codecarbon_version"].startswith("carbon_tracker ")
    assert float(found["cpu_energy"]) > 0 and float(found["duration"]) > 0


def test_the_callback_of_transformers_with_an_agent(agent: Stub) -> None:
    need("transformers", "torch", "accelerate")
    agent.path.chmod(0o777)
    run(TRANSFORMERS.replace("WHERE", '["codecarbon"]'))
    [tracked] = agent.runs.values()
    assert tracked.status == "done"
    assert float(row("out/emissions.csv")["energy_consumed"]) > 0


LIGHTNING = (
    "import carbon_tracker.as_codecarbon\n"
    + DATA
    + """
import copy
import lightning
from lightning.pytorch.callbacks import Callback
from codecarbon.emissions_tracker import EmissionsData, EmissionsTracker

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        return ((self.layer(batch["x"]).squeeze(-1) - batch["labels"]) ** 2).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)

class Tracking(Callback):
    def __init__(self):
        self.tracker = EmissionsTracker(project_name="by lightning", log_level="error", allow_multiple_runs=True)
        self.epochs = []
    def on_fit_start(self, trainer, module):
        self.tracker.start()
    def on_train_epoch_start(self, trainer, module):
        self.tracker.start_task(f"epoch {trainer.current_epoch}")
    def on_train_epoch_end(self, trainer, module):
        self.epochs.append(self.tracker.stop_task())
        assert self.tracker.flush() > 0
        assert self.tracker._prepare_emissions_data().emissions > 0
    def on_fit_end(self, trainer, module):
        kg = self.tracker.stop()
        data = self.tracker._prepare_emissions_data()
        assert isinstance(data, EmissionsData) and data is self.tracker.final_emissions_data
        assert kg == self.tracker.final_emissions == data.emissions

if __name__ == "__main__":
    tracking = copy.deepcopy(Tracking())
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                                enable_progress_bar=False, enable_model_summary=False, callbacks=[tracking])
    loader = torch.utils.data.DataLoader(Numbers(), batch_size=8, num_workers=2, persistent_workers=True)
    trainer.fit(Model(), loader)
    print("epochs", [epoch.energy_consumed > 0 for epoch in tracking.epochs])
"""
)


def test_a_callback_of_lightning() -> None:
    need("lightning", "torch")
    assert "epochs [True, True]" in run(LIGHTNING)
    with Path("emissions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # One at each flush, and one at the end.
    assert [row["project_name"] for row in rows] == ["by lightning"] * 3
    assert len({row["run_id"] for row in rows}) == 1


WORKERS = """
import resource, sys, time, torch
from carbon_tracker import EmissionsTracker
class Busy(torch.utils.data.Dataset):
    def __len__(self): return 20
    def __getitem__(self, index):
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        return index
if __name__ == "__main__":
    tracker = EmissionsTracker(log_level="error", output_methods=[])
    tracker.start()
    begun = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in torch.utils.data.DataLoader(Busy(), num_workers=4, multiprocessing_context="HOW"):
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = time.process_time() - begun[0] + after.ru_utime + after.ru_stime - begun[1].ru_utime - begun[1].ru_stime
    tracker.stop()
    print("used", used, "tracked", tracker._last.cpu_ns / 1e9)
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_workers_of_a_loader_are_counted(program: Path, how: str) -> None:
    need("torch")
    words = run(WORKERS.replace("HOW", how)).split()
    used, tracked = float(words[words.index("used") + 1]), float(words[words.index("tracked") + 1])
    assert used > 2
    assert used * 0.97 < tracked < used * 1.05 + 0.5
