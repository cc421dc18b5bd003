"""Draw the README's pictures: docs/tiny_base.png from the tiny base model, docs/demo.png from the demo's session.

fsd demo && python docs/make_pictures.py        (docs/studio.png: python tests/browser.py docs/studio.png)
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from fsd import demo, pictures, pipeline
from fsd.data.session import open_session

HERE = Path(__file__).parent
PROMPTS = (
    "a photo of a dog on a blue background",
    "a photo of a strawberry on a white background",
    "a photo of a panda on a red background",
    "a 3d render of a penguin on an orange background",
    "a flat illustration of a castle on a purple background",
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        session = pipeline.open_session("pictures", folder)
        pipeline.choose_base_model(session, "tiny")
        made = pictures.generate(session, *PROMPTS, model="base", images=6)
        shutil.copy(made["grid"], HERE / "tiny_base.png")
    shutil.copy(open_session(Path.cwd(), demo.NAME).samples / "score.png", HERE / "demo.png")


if __name__ == "__main__":
    main()
