"""nvidia-ctk: configures Docker and the toolkit, and makes CDI specifications."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from . import cdi, config, daemon_json, fault, yamlio
from .host import Host, discover, management_library
from .log import Log
from .release import Release, named
from .runtime import NO_SPECIFICATION, reason, refuse_failed_gpus
from .selection import ALL

DAEMON_JSON = "/etc/docker/daemon.json"


class CommandError(Exception):
    """Why a command failed, in upstream's words."""


# --------------------------------------------------------------------------------- commands


def _generate(options: argparse.Namespace, release: Release, log: Log) -> None:
    try:
        log.info(f"Using {management_library(Path('/'))}")
        log.info("Auto-detected mode as 'nvml'")
        host = discover()
        refuse_failed_gpus(host, [ALL])
    except NO_SPECIFICATION as error:
        raise CommandError(
            "failed to generate CDI spec: failed to create device CDI specs: "
            f"failed to construct device spec generators: {reason(error)}"
        ) from error
    specification = specification_of(host, release, fault.switched_on())
    text = _formatted(specification, options)
    log.info(f"Generated CDI spec with version {specification['cdiVersion']}")
    if options.output:
        cdi.write(text, Path(options.output))
    else:
        sys.stdout.write(text)


def specification_of(host: Host, release: Release, active_fault: str) -> cdi.Edits:
    """The specification that this host's refresh service writes."""
    if active_fault == fault.STALE_CDI:
        host = as_before_the_last_change(host)
    return cdi.specification(host, release, active_fault)


def as_before_the_last_change(host: Host) -> Host:
    """The host before a driver update and before its last GPU was put in."""
    version = host.files.version
    branch, _, last = version.rpartition(".")
    earlier = f"{branch}.{max(int(last) - 1, 0):02d}"
    libraries = tuple(
        library._replace(path=library.path.replace(version, earlier))
        for library in host.files.libraries
    )
    firmware = tuple(path.replace(version, earlier) for path in host.files.firmware)
    files = host.files._replace(version=earlier, libraries=libraries, firmware=firmware)
    return host._replace(files=files, gpus=host.gpus[:-1])


def _formatted(specification: cdi.Edits, options: argparse.Namespace) -> str:
    if options.format == "json" or str(options.output or "").endswith(".json"):
        return json.dumps(specification, separators=(",", ":"))
    return yamlio.dump(specification)


def _list(options: argparse.Namespace, _release: Release, log: Log) -> None:
    registry = cdi.read_registry(Path(folder) for folder in options.spec_dir or cdi.SPEC_DIRS)
    if registry.errors:
        log.warning("The following registry errors were reported:")
        for path, error in registry.errors.items():
            log.warning(f"{path}: [{error}]")
    names = registry.names()
    log.info(f"Found {len(names)} CDI devices")
    sys.stdout.write("".join(f"{name}\n" for name in names))


def _configure(options: argparse.Namespace, _release: Release, log: Log) -> None:
    if options.runtime != "docker":
        raise CommandError(f"unrecognized runtime '{options.runtime}'")
    path = Path(options.config)
    runtime = daemon_json.Runtime(
        name=options.nvidia_runtime_name,
        path=options.nvidia_runtime_path,
        is_default=options.set_as_default,
        enables_cdi=options.cdi_enabled,
    )
    log.info(f"Loading config from {path}")
    try:
        text = daemon_json.configured(
            path.read_text(encoding="utf-8") if path.exists() else "{}", runtime
        )
    except daemon_json.DaemonJsonError as error:
        raise CommandError(
            f"unable to load config for runtime docker: unable to read config: {error}"
        ) from error
    if options.dry_run:
        sys.stdout.write(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)
    log.info(f"Wrote updated config to {path}")
    log.info("It is recommended that docker daemon be restarted.")


def _config(options: argparse.Namespace, _release: Release, _log: Log) -> None:
    source = Path(options.config_file)
    text = source.read_text(encoding="utf-8") if source.exists() else config.DEFAULT
    try:
        for assignment in options.set:
            text = config.with_value(text, assignment)
    except config.ConfigError as error:
        raise CommandError(f"invalid --set option {assignment}: {error}") from error
    target = options.config_file if options.in_place else options.output
    if target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


# ----------------------------------------------------------------------------- command line


def _parser(release: Release) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nvidia-ctk", allow_abbrev=False)
    parser.add_argument(
        "--version",
        "-v",
        action="version",
        version=f"NVIDIA Container Toolkit CLI version {release.version}\ncommit: lab-stand-in",
    )
    parser.add_argument("--quiet", "-q", action="store_true")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_runtime(commands.add_parser("runtime"))
    _add_cdi(commands.add_parser("cdi"))
    _add_config(commands.add_parser("config"))
    return parser


def _add_runtime(parser: argparse.ArgumentParser) -> None:
    configure = parser.add_subparsers(required=True).add_parser("configure", allow_abbrev=False)
    configure.set_defaults(serve=_configure)
    configure.add_argument("--runtime", default="docker")
    configure.add_argument("--config", default=DAEMON_JSON)
    configure.add_argument("--dry-run", action="store_true")
    configure.add_argument("--nvidia-runtime-name", default="nvidia")
    configure.add_argument(
        "--nvidia-runtime-path", "--runtime-path", default="nvidia-container-runtime"
    )
    configure.add_argument("--set-as-default", "--nvidia-set-as-default", action="store_true")
    configure.add_argument(
        "--cdi.enabled", "--cdi.enable", "--enable-cdi", dest="cdi_enabled", action="store_true"
    )


def _add_cdi(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True)
    generate = commands.add_parser("generate", allow_abbrev=False)
    generate.set_defaults(serve=_generate)
    generate.add_argument("--output", default=os.environ.get("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH"))
    generate.add_argument("--format", choices=("yaml", "json"))
    listing = commands.add_parser("list", allow_abbrev=False)
    listing.set_defaults(serve=_list)
    listing.add_argument("--spec-dir", action="append")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(serve=_config)
    parser.add_argument("--config-file", "--config", "-c", default=str(config.PATH))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--in-place", "-i", action="store_true")
    parser.add_argument("--output", "-o")


def main(version: str, argv: list[str]) -> int:
    """Serve one command line; the exit code is 1 if the command failed."""
    release = named(version)
    options = _parser(release).parse_args(argv[1:])
    log = Log(is_quiet=options.quiet)
    try:
        options.serve(options, release, log)
    except CommandError as error:
        log.failure(str(error))
        return 1
    return 0
