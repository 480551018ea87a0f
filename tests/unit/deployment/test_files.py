"""The files of `deploy/`: they name what exists, keep secrets out, and stop what they start in time."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from datalayer.cli import app
from datalayer.config import Settings
from datalayer.db.roles import roles_script
from datalayer.ingestion import IngestionSettings

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("datalayer:")]
UNIT = DEPLOY / "systemd" / "datalayer@.service"
ENVIRONMENTS = sorted((DEPLOY / "systemd").glob("*.env"))
TEXTS = [file for file in DEPLOY.rglob("*") if file.is_file() and file.parent.name != "secrets"]


def environment(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def parse(arguments: list[str]) -> None:
    """Take arguments as the command line does, and run nothing."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("datalayer", list(arguments), resilient_parsing=False)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        _, command, rest = command.resolve_command(context, rest)
        context = command.make_context(command.name, rest, parent=context)


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_every_variable_is_a_setting(file: Path) -> None:
    named = set(re.findall(r"\bDATALAYER_[A-Z_]+", file.read_text(encoding="utf-8")))
    assert named <= {f"DATALAYER_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_compose_is_a_command_with_settings_that_load(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = SERVICES[name]
    parse(service["command"])
    values = service["environment"]
    secret = values["DATALAYER_DATABASE_PASSWORD_FILE"].removeprefix("/run/secrets/")
    assert service["secrets"] == [secret]
    (tmp_path / secret).write_text("hunter2")
    for variable, value in values.items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(tmp_path)))
    assert Settings.load().require_url().host == "database"


@pytest.mark.parametrize("file", ENVIRONMENTS, ids=lambda file: file.stem)
def test_a_service_of_systemd_is_a_command_with_settings_that_load(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = environment(file)
    parse(shlex.split(values.pop("ARGUMENTS")))
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)
    url = Settings.load().require_url()
    assert url.password is None
    assert values["DATALAYER_TLS"] == "verify-full"


def test_both_ways_to_deploy_run_the_same() -> None:
    of_systemd = {file.stem for file in ENVIRONMENTS}
    assert of_systemd == set(OURS) - {"upgrade"}
    for file in ENVIRONMENTS:
        user = Settings.load(database_url=environment(file)["DATALAYER_DATABASE_URL"]).require_url().username
        address = SERVICES[file.stem]["environment"]["DATALAYER_DATABASE_URL"]
        assert Settings.load(database_url=address).require_url().username == user


def test_images_are_pinned_and_files_that_are_mounted_exist() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+(-pg\d+)?", service["image"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            there = (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            assert there, volume


def test_every_secret_is_a_file_that_the_script_makes_and_no_value(tmp_path: Path) -> None:
    script = [DEPLOY / "make-secrets.sh", tmp_path / "secrets"]
    subprocess.run(script, check=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert all(len(secret) > 30 for secret in made.values())
    assert len(set(made.values())) == len(made)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    subprocess.run(script, check=True)
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made
    for name, source in COMPOSE["secrets"].items():
        assert source == {"file": f"secrets/{name}"}
    for name, service in SERVICES.items():
        used = (
            [value for key, value in service["environment"].items() if "PASSWORD" in key]
            if "environment" in service
            else []
        )
        assert all(value.removeprefix("/run/secrets/") in service["secrets"] for value in used), name


def test_nothing_listens_beyond_the_machine_and_everything_is_watched() -> None:
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "healthcheck" in service or name in {"upgrade", "refresh"}, name
    assert "ports" not in SERVICES["database"]


def test_a_stop_waits_longer_than_the_pipeline_takes_to_close() -> None:
    takes_s = IngestionSettings().close_timeout_s + Settings.load().close_timeout_s
    assert all(int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > takes_s for name in OURS)
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert int(stop) > takes_s


def test_the_roles_are_those_of_the_command() -> None:
    assert (DEPLOY / "database" / "10-roles.sql").read_text(encoding="utf-8") == roles_script("public")


def test_the_image_is_built_from_what_is_there_by_hash_and_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Containerfile").read_text(encoding="utf-8").splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-[\w-]+", base) for base in bases)
    ignored = (DEPLOY.parent / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for line in lines:
        if line.startswith("COPY") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (DEPLOY.parent / source).exists(), source
                assert f"!{source}" in ignored
    assert any("--require-hashes --requirement requirements/service.txt" in line for line in lines)
    (user,) = [line.split()[1] for line in lines if line.startswith("USER")]
    assert int(user) > 0


def test_the_requirements_of_a_service_are_those_that_are_tested() -> None:
    folder = DEPLOY.parent / "requirements"
    service, tested = ((folder / name).read_text(encoding="utf-8") for name in ("service.txt", "dev.txt"))
    pins = re.findall(r"^[\w.-]+==\S+", service, re.MULTILINE)
    assert len(pins) > 30
    assert set(pins) <= set(re.findall(r"^[\w.-]+==\S+", tested, re.MULTILINE))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit_and_finds_it_hardened(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(
        UNIT.read_text(encoding="utf-8").replace("/opt/datalayer/bin/datalayer", "/bin/true"),
        encoding="utf-8",
    )
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", unit],
        check=True,
        capture_output=True,
    )
