import pytest

from vidret.data.errors import MissingError
from vidret.pipelines.searching import playing
from vidret.pipelines.searching.playing import play


@pytest.fixture
def film(tmp_path):
    (tmp_path / "a film.mp4").touch()
    return tmp_path / "a film.mp4"


@pytest.fixture
def player(tmp_path, monkeypatch):
    """Puts players of some names on the path, the only ones; they write down what they get."""

    def install(*names, code=0):
        for name in names:
            script = tmp_path / "bin" / name
            script.parent.mkdir(exist_ok=True)
            script.write_text(f'#!/bin/sh\necho "$0 $*" > "{tmp_path}/said"\nexit {code}\n')
            script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(playing, "SOON", 10)

    return install


def test_a_player_starts_at_the_moment(film, player, tmp_path):
    player("xdg-open", "mpv")
    assert play(film, 41.04) == f"mpv --start=41.0 -- '{film}'"
    assert (tmp_path / "said").read_text().endswith(f"/mpv --start=41.0 -- {film}\n")


def test_what_knows_no_moment_plays_from_the_beginning_and_it_is_said(film, player, caplog):
    caplog.set_level("INFO")
    player("xdg-open", "open")
    assert play(film, 3.0) == f"xdg-open '{film}'"
    assert "Playing from the beginning: xdg-open" in caplog.text


@pytest.mark.parametrize("screen", ["", ":0"])
def test_without_a_player_or_a_screen_the_command_is_printed(
    film, player, screen, monkeypatch, caplog, tmp_path
):
    player(*([] if screen else ["mpv"]))
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert play(film, 3.0) == f"mpv --start=3.0 -- '{film}'"
    assert f"elsewhere it would be: mpv --start=3.0 -- '{film}'" in caplog.text
    assert not (tmp_path / "said").exists()


def test_a_player_that_fails_at_once_is_told(film, player):
    player("mpv", code=3)
    with pytest.raises(MissingError, match="mpv ended at once with code 3: try it with mpv"):
        play(film, 0.0)


def test_a_player_that_plays_is_left_alone(film, player, tmp_path, monkeypatch):
    player("mpv")
    (tmp_path / "bin" / "mpv").write_text(
        "#!/bin/sh\nwhile [ ! -e stop ]; do /bin/sleep 0.02; done\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(playing, "SOON", 0.05)
    assert play(film, 0.0).startswith("mpv")
    (tmp_path / "stop").touch()


def test_a_film_that_is_gone_is_told(tmp_path):
    with pytest.raises(MissingError, match="is not there any more, so it cannot be opened"):
        play(tmp_path / "gone.mp4", 0.0)
