"""The README of each role, made from its ``meta/argument_specs.yml`` and ``meta/main.yml``.

``python -m gpuhost.role_docs`` writes them all anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gpuhost.ansible_env import playbooks_dir

README = "README.md"
_MARK = "<!-- Made from meta/ by `python -m gpuhost.role_docs`; changes made here are lost. -->"


def documented_roles(roles: Path) -> list[Path]:
    """The folders of the roles in the folder ``roles`` that declare their variables."""
    return sorted(path.parent.parent for path in roles.glob("*/meta/argument_specs.yml"))


def render(role: Path) -> str:
    """The README of one role, as Markdown."""
    document = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
    spec = document["argument_specs"]["main"]
    galaxy = yaml.safe_load((role / "meta" / "main.yml").read_text())["galaxy_info"]
    parts = [
        f"# {role.name}",
        _MARK,
        f"{spec['short_description']}.",
        *_paragraphs(spec.get("description", [])),
        "## Variables",
        _variables(spec.get("options") or {}),
        "## Operating systems",
        _platforms(galaxy["platforms"]),
        "## Example",
        _example(role.name),
    ]
    return "\n\n".join(parts) + "\n"


def write_all(roles: Path) -> None:
    """Write the README of every role in the folder ``roles``."""
    for role in documented_roles(roles):
        (role / README).write_text(render(role))


def _paragraphs(description: str | list[str]) -> list[str]:
    return [description] if isinstance(description, str) else description


def _variables(options: Mapping[str, Mapping[str, Any]]) -> str:
    if not options:
        return "None."
    return "\n\n".join("\n".join(_variable(name, option)) for name, option in options.items())


def _variable(name: str, option: Mapping[str, Any]) -> Iterator[str]:
    kind = option.get("type", "str")
    elements = f" of {option['elements']}" if "elements" in option else ""
    default = yaml.safe_dump(
        option.get("default"), default_flow_style=True, default_style=_quotes(option), width=1000
    ).removesuffix("...\n")
    origin = "required" if option.get("required") else f"default `{default.strip()}`"
    choices = f", one of {', '.join(option['choices'])}" if "choices" in option else ""
    yield f"### `{name}`"
    yield ""
    yield f"{kind}{elements}, {origin}{choices}"
    for paragraph in _paragraphs(option["description"]):
        yield ""
        yield paragraph


def _quotes(option: Mapping[str, Any]) -> str | None:
    # A version that looks like a number has to be shown as the text that it is.
    return '"' if isinstance(option.get("default"), str) else None


def _platforms(platforms: list[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"- {platform['name']}: {', '.join(platform['versions'])}" for platform in platforms
    )


def _example(role: str) -> str:
    return f"""\
```yaml
- hosts: gpu_hosts
  become: true
  roles:
    - {role}
```"""


if __name__ == "__main__":
    write_all(playbooks_dir() / "roles")
