"""Every setting of `vidret serve`."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vidret.extract.schedule import Place
from vidret.pipelines.config.declaring import DEVICES, Config, check_device, require, setting
from vidret.pipelines.config.searching import check_also, check_one_cluster, cluster_at

PORT = 8765
SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig(Config):
    """Settings of `vidret serve`."""

    table: ClassVar[str] = "serve"

    path: Path | None = setting(
        None, help="Folder of videos; unset serves what is cached.", argument=True
    )
    heads: tuple[str, ...] = setting(
        (), help="Runs to rank with, as in A,B; unset takes the newest, and mean."
    )
    cache: Path | None = setting(None, help="Cache to serve; unset takes the first run's own.")
    scheduler: str | None = setting(
        None, help="Address of a Dask cluster whose workers answer together.", metavar="ADDR"
    )
    scheduler_file: Path | None = setting(None, help="File that names the address of a cluster.")
    also: tuple[Path, ...] = setting(
        (),
        help="Another cache for the cluster to search as one with it; may be given again.",
        metavar="CACHE",
        repeatable=True,
    )
    host: str = setting(
        "127.0.0.1", help="Address to be reached at; all but this machine's own take --token."
    )
    port: int = setting(PORT, help="Port to be reached at; 0 takes one that is free.")
    token: str | None = setting(
        None,
        help=f"What every request must bring: {SHORTEST_TOKEN} signs or more.",
    )
    read_only: bool = setting(
        default=False, help="Write nothing: make no previews of what browsers cannot play."
    )
    on_disk: bool = setting(
        default=False, help="Leave the frames on the disk, even where memory has room for them."
    )
    preview_space: int = setting(2048, help="MiB that previews may take; the oldest go first.")
    device: str = setting("auto", help="Where to rank.", metavar=DEVICES, shared=True)

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        check_device(self.device)
        check_one_cluster(self.scheduler, self.scheduler_file)
        check_also(self.also, self.place)
        require(0 <= self.port <= 65535, f"port is {self.port}: give a number from 0 to 65535")
        require(
            self.preview_space >= 1, f"preview_space is {self.preview_space}: give 1 MiB or more"
        )
        require(
            self.path is None or self.cache is None,
            f"path is {self.path} and cache is {self.cache}: serve one or the other",
        )
        require(
            len(set(self.heads)) == len(self.heads),
            f"heads is {','.join(self.heads)}: name each run once",
        )
        require(
            self.token is None or (len(self.token) >= SHORTEST_TOKEN and self.token.isascii()),
            f"token is too weak: give {SHORTEST_TOKEN} plain letters and digits or more",
        )
        require(
            self.token is not None or self.is_local,
            f"host is {self.host}, which others can reach: add --token, or leave it at 127.0.0.1",
        )

    @property
    def place(self) -> Place | None:
        """The cluster; None without one."""
        return cluster_at(self.scheduler, self.scheduler_file, self.work)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
