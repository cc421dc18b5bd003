"""The licences of the families' base models: what the hub calls them, and what they ask of a model made from one."""

from __future__ import annotations

from dataclasses import dataclass

OTHER = "other"


@dataclass(frozen=True)
class Licence:
    """hub: the hub's identifier. name: for `other`, what its own page calls it. link: its text.

    terms: what whoever uses or passes on a model made from it must know, with the notices that it wants word for word.
    """

    hub: str
    link: str
    terms: str
    name: str = ""


_RAIL = (
    "It allows commercial use, and forbids the uses that its Attachment A lists: they are forbidden for this model too. "
    "Whoever passes it on must bind others to them and give a copy of the licence."
)
_STABILITY = (
    "Powered by Stability AI. This Stability AI Model is licensed under the Stability AI Community License, "
    "Copyright © Stability AI Ltd. All Rights Reserved. "
    "Free for research, for non-commercial use and, once registered with Stability AI, for commercial use below "
    "1,000,000 US dollars of revenue a year. Whoever passes this model on must give a copy of the licence and this notice."
)
_FLUX = (
    "For non-commercial use only. "
    "The FLUX.1 [dev] Model is licensed by Black Forest Labs. Inc. under the FLUX.1 [dev] Non-Commercial License. "
    "Copyright Black Forest Labs. Inc. IN NO EVENT SHALL BLACK FOREST LABS, INC. BE LIABLE FOR ANY CLAIM, DAMAGES OR "
    "OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH USE "
    "OF THIS MODEL. Whoever passes this model on must give a copy of the licence and this notice."
)
_APACHE = Licence("apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "It allows any use.")
_HUB = "https://huggingface.co"

LICENCES = {
    "Apache-2.0": _APACHE,
    "Apache-2.0 (pictures: MIT and Apache-2.0)": _APACHE,
    "CreativeML Open RAIL-M": Licence(
        "creativeml-openrail-m", f"{_HUB}/spaces/CompVis/stable-diffusion-license", _RAIL
    ),
    "CreativeML Open RAIL++-M": Licence(
        "openrail++", f"{_HUB}/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md", _RAIL
    ),
    "Stability AI Community License": Licence(
        OTHER,
        f"{_HUB}/stabilityai/stable-diffusion-3.5-large/blob/main/LICENSE.md",
        _STABILITY,
        "stabilityai-ai-community",
    ),
    "FLUX.1 [dev] Non-Commercial License": Licence(
        OTHER, f"{_HUB}/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md", _FLUX, "flux-1-dev-non-commercial-license"
    ),
}
"""By the title that a family's record gives."""
