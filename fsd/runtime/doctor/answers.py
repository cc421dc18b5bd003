"""What the download sources answered, as a section of the page: few lines, however much is wrong."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from fsd.runtime import proxies, secrets
from fsd.runtime.doctor.asking import MEANING, NO_TOKEN, NOT_ALLOWED, REFUSED, THERE, UNREACHABLE, Checked
from fsd.runtime.doctor.finding import TRAINING, WEB_UI, Findings

_NAMED = 6
BASE_MODELS = "base models"


def look_at_answers(found: Findings, checked: list[Checked], dead: dict[str, str], needed: tuple[str, ...]) -> None:
    """Add what can be had, each faulty mirror or host, and what to do. needed: the jobs that wait for a download."""
    found.figures["places"] = [
        {"kind": one.place.kind, "name": one.place.name, "usable": one.usable, "mirrors": dict(one.answers)}
        for one in checked
    ]
    states = [state for one in checked for _, state in one.answers]
    if states and all(state == UNREACHABLE for state in states):
        why = Counter(dead.values()).most_common(1)
        said = f"none of {len(states)} addresses can be reached{f': {why[0][0]}' if why else ''}"
        found.say("", said)
        step = (
            proxies.remedy() or "connect this machine to the internet; where it needs a proxy, name it in HTTPS_PROXY"
        )
        found.problem(f"of the download sources, {said}", step, *needed)
    else:
        _say_answers(found, checked, dead)
        _add_problems(found, checked, dead)
    if states and not any(one.usable for one in checked if one.place.kind == BASE_MODELS):
        found.limit(TRAINING, "only with a base model that is here already, such as tiny: none can be downloaded")
        found.limit(WEB_UI, "only with models that are here already: none can be downloaded")


def _say_answers(found: Findings, checked: list[Checked], dead: dict[str, str]) -> None:
    """Add a line a kind, and one for each faulty address, or for all of a host where many share a fault."""
    for kind in dict.fromkeys(one.place.kind for one in checked):
        several = [one for one in checked if one.place.kind == kind]
        found.say("", f"{kind}: {sum(one.usable for one in several)} of {len(several)} can be had")
    faults: dict[tuple[str, str], list[str]] = {}
    for one in checked:
        for url, state in one.answers:
            if state != THERE:
                address = url.partition("://")[2].partition("/resolve/")[0]
                faults.setdefault((_host(url), state), []).append(f"{one.place.name}: {address}")
    for (host, state), lines in faults.items():
        why = f" ({dead[host]})" if state == UNREACHABLE and host in dead else ""
        shown = lines if len(lines) <= _NAMED else [f"{host}: {len(lines)} addresses"]
        for line in shown:
            found.say("", f"  {line}: {MEANING[state]}{why}")


def _add_problems(found: Findings, checked: list[Checked], dead: dict[str, str]) -> None:
    """Add what stands in the way of each place that no mirror has; a place waits for the first of its reasons."""
    waiting: dict[tuple[str, str], list[str]] = {}
    for one in checked:
        if not one.usable:
            url, state = min(
                one.answers, key=lambda answer: _ORDER.index(answer[1]) if answer[1] in _ORDER else len(_ORDER)
            )
            host = _host(url) if state in (REFUSED, UNREACHABLE) else ""
            waiting.setdefault((state, host), []).append(one.place.name)
    for (state, host), names in waiting.items():
        what, step = _problem(state, host, dead)
        found.problem(f"{what} {_few(names)}", step)


_ORDER = (REFUSED, NO_TOKEN, NOT_ALLOWED, UNREACHABLE)


def _problem(state: str, host: str, dead: dict[str, str]) -> tuple[str, str]:
    """What is wrong, to be followed by the names, and what to do."""
    accept = "accept the licence on the model's page"
    if state == REFUSED:
        site = secrets.site_of(f"https://{host}")
        name = site.token if site else ""
        new = f"{secrets.how_to_sign_in(f'https://{host}')}; or remove {name}: what is public needs none"
        return f"{host} does not accept {name}, without which it would give", new
    if state == NO_TOKEN:
        return "a token is wanted for", f"{accept}, then {secrets.how_to_give('HF_TOKEN')}"
    if state == NOT_ALLOWED:
        return "the account of HF_TOKEN may not have", f"{accept} with the account that HF_TOKEN belongs to"
    if state == UNREACHABLE:
        step = f"see that this network lets you reach {host}; where it needs a proxy, name it in HTTPS_PROXY"
        step = proxies.remedy(f"https://{host}") or step
        return f"{host} cannot be reached ({dead.get(host, 'no answer in time')}): this keeps from you", step
    step = "if you need one of them: run this again later; if it stays so, give fsd a copy of your own, and report it"
    return "no mirror has", step


def _few(names: list[str]) -> str:
    more = len(names) - _NAMED
    return f"{', '.join(names[:_NAMED])}{f' and {more} more' if more > 0 else ''}"


def _host(url: str) -> str:
    return urlsplit(url).netloc
