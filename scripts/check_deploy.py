#!/usr/bin/python3
"""Holds Dockerfile, docker-compose.yml and packaging/hewei.service to the program's defaults.

No container and no service is started here: ports, volumes, health check and what is taken away are compared with
config/hewei.toml and Cargo.toml, and systemd-analyze reads the unit where it is installed.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
failures: list[str] = []


def hold(what: str, is_so: bool) -> None:
    if not is_so:
        failures.append(what)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def check_compose(port: int) -> None:
    compose = yaml.safe_load(read("docker-compose.yml"))
    hold("docker-compose.yml: one service, hewei", list(compose["services"]) == ["hewei"])
    service = compose["services"]["hewei"]
    hold(
        f"docker-compose.yml: ports {port}/tcp and {port}/udp (http.listen, media.port)",
        sorted(service["ports"]) == [f"{port}:{port}/tcp", f"{port}:{port}/udp"],
    )
    volumes = dict(volume.split(":") for volume in service["volumes"])
    hold("docker-compose.yml: the volume of /data is named below", set(volumes) == set(compose["volumes"]))
    hold(
        "docker-compose.yml: storage.folder is on the volume",
        list(volumes.values()) == [service["environment"]["HEWEI_STORAGE_FOLDER"]],
    )
    hold(
        "docker-compose.yml: media.addresses is asked for, a container does not know it",
        service["environment"]["HEWEI_MEDIA_ADDRESSES"].startswith("${HEWEI_ADDRESS:?"),
    )
    hold("docker-compose.yml: health by hewei itself", service["healthcheck"]["test"] == ["CMD", "hewei", "health"])
    hold("docker-compose.yml: read-only", service["read_only"] is True)
    hold("docker-compose.yml: no capability", service["cap_drop"] == ["ALL"] and "cap_add" not in service)
    hold("docker-compose.yml: no new privileges", service["security_opt"] == ["no-new-privileges:true"])
    grace = re.fullmatch(r"(\d+)s", service["stop_grace_period"])
    hold("docker-compose.yml: stop_grace_period is more than the ten seconds of a stop", int(grace[1]) > 10)
    hold("docker-compose.yml: not privileged", "privileged" not in service and "network_mode" not in service)


def check_dockerfile(port: int) -> None:
    text = read("Dockerfile")
    lines = [line.strip() for line in text.splitlines()]
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    rust = tomllib.loads(read("Cargo.toml"))["workspace"]["package"]["rust-version"]
    hold(f"Dockerfile: images are node:20, rust:{rust}, debian:12-slim", images == ["node:20", f"rust:{rust}", "debian:12-slim"])
    hold("Dockerfile: the ports of the defaults", f"EXPOSE {port}/tcp {port}/udp" in lines)
    hold("Dockerfile: runs as a user of its own", "USER hewei" in lines)
    hold("Dockerfile: the volume is the storage folder", {"ENV HEWEI_STORAGE_FOLDER=/data", 'VOLUME ["/data"]'} <= set(lines))
    hold("Dockerfile: health by hewei itself", any(line.endswith('CMD ["hewei", "health"]') for line in lines))
    hold("Dockerfile: SIGTERM stops it", "STOPSIGNAL SIGTERM" in lines)
    for line in lines:
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                hold(f"Dockerfile: {source} is there", (ROOT / source).exists())


def check_unit() -> None:
    text = read("packaging/hewei.service")
    settings = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))
    for name, value in {
        "Type": "notify",
        "Restart": "always",
        "DynamicUser": "yes",
        "StateDirectory": "hewei",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "MemoryDenyWriteExecute": "yes",
        "CapabilityBoundingSet": "",
    }.items():
        hold(f"packaging/hewei.service: {name}={value}", settings.get(name) == value)
    hold("packaging/hewei.service: TimeoutStopSec is more than the ten seconds of a stop", int(settings["TimeoutStopSec"]) > 10)
    if shutil.which("systemd-analyze") is None:
        print("check_deploy: systemd-analyze is not installed, so the unit was not verified by it")
        return
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder) / "hewei.service"
        # The program need not be installed to read the rest.
        unit.write_text(text.replace("ExecStart=/usr/local/bin/hewei", "ExecStart=/bin/true"), encoding="utf-8")
        verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
        said = verified.stdout + verified.stderr
        hold(f"packaging/hewei.service: systemd-analyze verify says: {said}", verified.returncode == 0 and not said)


def main() -> int:
    defaults = tomllib.loads(read("config/hewei.toml"))
    port = defaults["media"]["port"]
    hold("config/hewei.toml: HTTPS is at the port of media", f"0.0.0.0:{port}" in defaults["http"]["listen"])
    hold("config/hewei.toml: hewei health finds plain HTTP", any("127.0.0.1" in at for at in defaults["http"]["listen"]))
    check_compose(port)
    check_dockerfile(port)
    check_unit()
    for failure in failures:
        print(f"check_deploy: does not hold: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
