"""An engine that draws stripes instead of loading a model: the studio's page can be tried in a second."""

from __future__ import annotations

import random
import threading
from collections.abc import Generator
from pathlib import Path

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from fsd.errors import WeightsError
from fsd.families import FAMILIES
from fsd.job import Job
from fsd.webui.engine import Engine, Event, ModelChoice, Picture, Progress, State


class StandIn(Engine):
    """Keeps the jobs that it was given. hold: set, a job waits at its third step until it is cancelled."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.jobs: list[Job] = []
        self.hold = threading.Event()
        self._cancelled = threading.Event()

    def run(self, job: Job, asker: str = "") -> Generator[Event, None, None]:
        self.jobs.append(job)
        self._cancelled.clear()
        if job.model == "broken":
            raise WeightsError("the model broken is <damaged>", "choose another one")
        steps, seed = job.steps or 4, job.seed if job.seed >= 0 else random.randrange(2**32)
        yield Progress(0, steps * job.images, text=f"loading {job.model}")
        folder = self.outputs / "2026-01-02"
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(job.images):
            picture = _drawn(seed + number, job.width_px or 128, job.height_px or 128, job.model)
            preview = self.root / "preview.jpg"
            picture.resize((64, 64)).save(preview)
            for step in range(steps):
                if self.hold.is_set() and step == 2:
                    self._cancelled.wait(30)
                if self._cancelled.is_set():
                    return
                yield Progress(number * steps + step + 1, steps * job.images, preview)
            yield self._saved(job, picture, folder, seed + number, steps)

    def _saved(self, job: Job, picture: Image.Image, folder: Path, seed: int, steps: int) -> Picture:
        negative = f"\nNegative prompt: {job.negative}" if job.negative else ""
        text = (
            f"{job.prompt}{negative}\nSteps: {steps}, Sampler: {job.sampler or 'DDIM'}, CFG scale: {job.guidance}, "
            f"Seed: {seed}, Size: {job.width_px}x{job.height_px}, Model: {job.model}"
        )
        info = PngInfo()
        info.add_text("parameters", text)
        path = folder / f"{len(list(folder.glob('*.png'))):05d}-{seed}.png"
        picture.save(path, pnginfo=info)
        return Picture(path, text, seed)

    def cancel(self, asker: str = "") -> None:
        self._cancelled.set()

    def state(self) -> State:
        return State()

    def models(self) -> list[ModelChoice]:
        families = [ModelChoice(name, family.title, "family", name) for name, family in FAMILIES.items()]
        return [ModelChoice("cup", "cup: trained, 1500 steps", "session", "tiny"), *families]

    def loras(self) -> list[ModelChoice]:
        return [ModelChoice("clay.safetensors", "clay", "file", "tiny")]

    def controlnets(self) -> list[ModelChoice]:
        return [ModelChoice("control_tiny_canny", "canny (tiny)", "file", "tiny")]

    def samplers(self, family: str = "") -> list[str]:
        return ["DDIM", "Euler", "Euler a", "DPM++ 2M Karras"]

    def stop(self) -> None:
        self.cancel()


def _drawn(seed: int, width: int, height: int, model: str) -> Image.Image:
    draw_from = random.Random(f"{seed}{model}")
    picture = Image.new("RGB", (width, height), tuple(draw_from.randrange(120, 255) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(5):
        left, top = draw_from.randrange(width), draw_from.randrange(height)
        size = draw_from.randrange(width // 8, width // 2)
        color = tuple(draw_from.randrange(256) for _ in range(3))
        draw.ellipse((left - size // 2, top - size // 2, left + size // 2, top + size // 2), fill=color)
    return picture
