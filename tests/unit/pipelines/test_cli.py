import errno
import logging
import os
import pty
import resource
import shlex
import signal
import subprocess
import sys
import tomllib

import click
import pytest
from click.testing import CliRunner

from vidret.data import errors
from vidret.data.errors import MissingError
from vidret.pipelines.cli import cli
from vidret.pipelines.commands.endings import report_error
from vidret.pipelines.commands.program import Command, Program, typed_lines
from vidret.pipelines.config.options import Session, session_options, settings
from vidret.pipelines.config.resolve import resolve
from vidret.pipelines.config.settings import CONFIGS, ExtractConfig

HEAVY = ("torch", "dask", "distributed", "rich", "numpy", "h5py", "open_clip", "av")
VARIABLES = ("DASK_CONFIG", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "NO_COLOR", "HF_HUB_OFFLINE")
SLEEPER = """
import signal, time
from vidret.pipelines import cli
from vidret.pipelines.commands.program import Command

signal.signal(signal.SIGINT, signal.default_int_handler)

@cli.cli.command(cls=Command)
def wait():
    print("ready", flush=True)
    time.sleep(60)

cli.main()
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder without settings; variables that the code sets are taken back."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for name in VARIABLES:
        monkeypatch.setenv(name, "set")
        monkeypatch.delenv(name)
    return folder


@pytest.fixture
def program():
    """A small program of the same make, with a command that fails as it is told."""

    @click.group(cls=Program)
    @session_options
    def program():
        pass

    @program.command(cls=Command)
    @settings(ExtractConfig, only=("work", "frames"))
    @session_options
    def work(config):
        click.echo(f"{config.frames} frames")

    return program


def run(*arguments, program=cli, **options):
    return CliRunner().invoke(program, arguments, prog_name="vidret", **options)


def run_process(*arguments, code="from vidret.pipelines.cli import main; main()", **options):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, **options
    )


def commands(group=cli, path=()):
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())
TABLES = {(table,): table for table in CONFIGS if not table.startswith("cache-")} | {
    ("doctor",): "extract",
    ("cache", "info"): "cache",
    ("cache", "verify"): "cache",
    ("cache", "repair"): "cache",
    ("cache", "export"): "cache-export",
    ("cache", "gc"): "cache-gc",
    ("index", "build"): "index",
    ("index", "update"): "index",
    ("index", "status"): "index",
    ("index", "check"): "index",
    ("weights", "verify"): "weights",
    ("weights", "convert"): "weights-convert",
}


def example_lines(command):
    lines = command.epilog.splitlines()
    return [line.strip() for line in lines if line.startswith("  vidret ")]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("extract", "--help"),
        ("doctor", "--help"),
        ("train-heads", "--help"),
        ("evaluate", "--help"),
        ("evaluate", "--sims", "a.npy"),
        ("extrakt",),
        ("extract", "--frame", "3"),
        ("extract", "--frames", "many"),
        ("config", "show"),
    ],
)
def test_what_needs_no_work_imports_nothing_heavy(arguments):
    code = f"""
import atexit, sys
atexit.register(lambda: print(*[name for name in {HEAVY!r} if name in sys.modules], "end"))
from vidret.pipelines.cli import main
main()
"""
    assert run_process(*arguments, code=code).stdout.splitlines()[-1] == "end"


def test_help_is_there_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run_process("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.4


def test_the_version_names_what_a_bug_report_needs():
    result = run("--version")
    assert result.exit_code == 0
    assert [part.split()[0] for part in result.stdout.split(", ")] == ["vidret", "python", "torch"]


@pytest.mark.parametrize("arguments", [(), ("cache",), ("config",), ("weights",), ("index",)])
def test_a_group_alone_shows_its_help(arguments):
    result = run(*arguments)
    assert (result.exit_code, result.stdout.startswith("Usage: vidret")) == (0, True)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_opens_with_a_sentence_that_fits_in_a_list(path):
    text = COMMANDS[path].get_short_help_str(limit=61)
    assert text.endswith(".")
    assert not text.endswith("...")


def test_what_may_be_left_out_stands_in_brackets():
    assert "[OPTIONS] QUERY [PATH]\n" in run("search", "--help").stdout
    assert "[OPTIONS] QUERY VIDEO\n" in run("explain", "--help").stdout


@pytest.mark.parametrize("name", ["build", "update", "status", "check"])
def test_what_an_index_command_is_told_by_is_called_as_it_is(name):
    shown = run("index", name, "--help").stdout
    assert "[OPTIONS] [PATH]\n" in shown
    assert "VIDRET_INDEX_RUN" in shown
    assert "VIDRET_INDEX_UPDATE" not in shown


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_ends_in_two_examples(path):
    assert len(example_lines(COMMANDS[path])) == 2
    shown = run(*path, "--help").stdout
    assert all(line in shown for line in example_lines(COMMANDS[path]))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_can_be_run_as_they_stand(path, here):
    for line in example_lines(COMMANDS[path]):
        for words in (shlex.split(part) for part in line.split("&&")):
            assert_is_understood(words, here)


def assert_is_understood(words, here):
    """Parse a command line and settle its settings, all but run it."""
    assert words[0] == "vidret"
    command, name, rest, path = cli, "vidret", words[1:], ()
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, command, rest = command.resolve_command(click.Context(command), rest)
        path = (*path, name)
    if rest == ["--help"]:
        return
    context = command.make_context(name, list(rest))
    if path in TABLES:
        config_class = CONFIGS[TABLES[path]]
        names = set(config_class.__dataclass_fields__) & set(context.params)
        given = {name: context.params[name] for name in names}
        resolve(config_class, given, config_files=[], environ={}, cwd=here, user_file=None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["extrakt"], 'no command "extrakt": did you mean "extract"? (see vidret --help)'),
        (["cache", "inof"], 'no command "inof": did you mean "info"? (see vidret cache --help)'),
        (
            ["extract", "--frame", "3"],
            'no option "--frame": did you mean "--frames"? (see vidret extract --help)',
        ),
        (["extract", "--zzz"], 'no option "--zzz" (see vidret extract --help)'),
        (["search"], "missing argument 'QUERY' (see vidret search --help)"),
        (
            ["search", "a dog", "--backbone", "tiny"],
            "--backbone and --audio say how a folder is cached: name the folder",
        ),
        (["extract", "--frames", "many"], "--frames is 'many': expected a whole number"),
        (["extract", "--decoder", "avi"], "--decoder is 'avi': did you mean \"av\"?"),
        (["extract", "--frames", "0"], "frames is 0: a video needs 1 or more (set by --frames)"),
        (
            ["evaluate", "--v2t", "captions"],
            "--v2t is 'captions': did you mean \"caption\"?",
        ),
        (
            ["evaluate", "--sims", "a.npy"],
            "sims is a.npy, and nothing says how to score it: add a --protocol, such as "
            "msvd-multi, msrvtt-1ka or pairs (set by --sims)",
        ),
        (
            ["evaluate", "--sims", "a.npy", "--protocol", "pairs", "--run", "mine"],
            "run is mine and sims is a.npy: score a run or a matrix (set by --run)",
        ),
        (
            ["evaluate", "--sims", "a.npy", "--protocol", "pairs", "--split", "val"],
            "split is val and sims is a.npy: score a run or a matrix (set by --split)",
        ),
        (
            ["evaluate", "--owners", "b.npy"],
            "owners is b.npy, but only a matrix needs it: add --sims (set by --owners)",
        ),
        (
            ["evaluate", "--protocol", "pairs"],
            "protocol is pairs, but only a matrix needs it: add --sims (set by --protocol)",
        ),
        (["extract", "-c", "gone.toml"], "gone.toml cannot be read: no such file or directory"),
    ],
)
def test_a_usage_error_is_one_sentence_and_exit_2(arguments, sentence):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"vidret: {sentence}\n"


def vidret_errors():
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    return [one for one in classes if issubclass(one, errors.VidretError)]


@pytest.mark.parametrize("error", vidret_errors())
def test_an_error_is_one_line_and_the_exit_code_of_its_class(program, error):
    @program.command(cls=Command)
    def fail():
        raise error("the disk is full: delete something")

    result = run("fail", program=program)
    assert result.exit_code == error.exit_code
    assert result.stderr == "vidret: the disk is full: delete something\n"


def test_exit_codes_are_those_that_are_promised():
    codes = {one.__name__: one.exit_code for one in vidret_errors()}
    assert codes["ConfigError"] == 2
    assert codes["ItemsFailedError"] == 3
    assert codes["MissingError"] == 4
    assert codes["DamagedError"] == codes["MismatchError"] == 5
    assert codes["BelowThresholdError"] == 6


def test_a_bug_leaves_its_traceback_in_the_work_folder(program, here):
    @program.command(cls=Command)
    @settings(ExtractConfig, only=("work",))
    @session_options
    def fail(config):
        raise ZeroDivisionError(f"no videos in {config.dataset}")

    (here / "results").mkdir()
    result = run("fail", "--work", "results", program=program)
    (log,) = (here / "results").glob("error-*.log")
    assert result.exit_code == 1
    assert result.stderr == (
        "vidret: unexpected ZeroDivisionError: no videos in synth: "
        f"the traceback is in {log.relative_to(here)}\n"
    )
    assert log.read_text().startswith("vidret fail --work results\n")
    assert "ZeroDivisionError: no videos in synth" in log.read_text()


def test_a_bug_without_a_work_folder_shows_its_traceback(program, here):
    @program.command(cls=Command)
    @settings(ExtractConfig, only=("work",))
    @session_options
    def fail(config):
        raise ZeroDivisionError(f"no videos in {config.dataset}")

    result = run("fail", program=program)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("the traceback is above")
    assert list(here.iterdir()) == []


def test_an_interrupt_names_the_command_that_continues(program):
    @program.command(cls=Command)
    @click.argument("query")
    def stop(query):
        raise KeyboardInterrupt(query)

    result = run("stop", "a dog's bark", program=program)
    assert result.exit_code == 130
    assert result.stderr.strip() == (
        "Stopped. What is done is kept. Continue with: vidret stop 'a dog'\"'\"'s bark'"
    )


def test_ctrl_c_ends_a_process_with_130():
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER, "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, talk = process.communicate(timeout=30)
    assert process.returncode == 130
    assert talk.strip() == "Stopped. What is done is kept. Continue with: vidret wait"


def test_a_reader_that_leaves_early_is_no_error():
    with subprocess.Popen(
        [sys.executable, "-c", "from vidret.pipelines.cli import main; main()", "config", "show"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_shared_settings_may_stand_before_the_command():
    result = run("--work", "there", "--offline", "config", "show", "extract")
    shown = tomllib.loads(result.stdout)
    assert (shown["extract"]["work"], shown["extract"]["offline"]) == ("there", True)


def test_the_option_after_the_command_beats_the_one_before(here):
    (here / "a.toml").write_text("[extract]\nframes = 4")
    (here / "b.toml").write_text("[extract]\nframes = 5")
    shown = run("-c", "a.toml", "config", "show", "extract", "-c", "b.toml").stdout
    assert tomllib.loads(shown)["extract"]["frames"] == 5


def test_talk_goes_to_stderr_and_results_to_stdout(program):
    @program.command(cls=Command)
    @session_options
    def talk():
        logging.getLogger("vidret.pipelines.test").info("talk")
        logging.getLogger("vidret.pipelines.test").debug("detail")
        click.echo("result")

    result = run("talk", program=program)
    assert (result.stdout, result.stderr) == ("result\n", "talk\n")
    assert run("talk", "-q", program=program).stderr == ""
    assert run("talk", "-v", program=program).stderr == "talk\ndetail\n"
    assert run("-v", "talk", program=program).stderr == "talk\ndetail\n"


def test_logging_is_as_before_once_a_command_is_done(program):
    before = list(logging.getLogger("vidret").handlers)
    run("work", program=program)
    assert logging.getLogger("vidret").handlers == before


def test_a_variable_that_sets_nothing_is_named(program, monkeypatch):
    monkeypatch.setenv("VIDRET_EXTRACT_FRAME", "3")
    result = run("work", program=program)
    assert result.stdout == "12 frames\n"
    assert "VIDRET_EXTRACT_FRAME sets nothing: did you mean VIDRET_EXTRACT_FRAMES?" in result.stderr


def test_what_config_show_prints_sets_the_same(here):
    (here / "vidret.toml").write_text(
        'work = "a \\"b\\""\n[extract]\nframes = 3\n[ablate]\nseeds = [4]\n'
        'vary = ["epochs=1,2"]\nout = ["a.md", "/b.tex"]\n'
        '[datasets.msvd]\nroot = "/data/msvd"'
    )
    shown = run("config", "show").stdout
    (here / "vidret.toml").write_text(shown)
    assert run("config", "show").stdout == shown
    tables = tomllib.loads(shown)
    assert set(tables) == {*CONFIGS, "datasets"}
    assert (tables["extract"]["frames"], tables["ablate"]["seeds"]) == (3, [4])
    assert tables["ablate"]["out"] == ["a.md", "/b.tex"]
    assert tables["extract"]["work"] == 'a "b"'


def test_config_show_names_origins(here, monkeypatch):
    monkeypatch.setenv("VIDRET_EXTRACT_SEED", "3")
    (here / "vidret.toml").write_text('device = "cpu"')
    lines = run("--work", "x", "config", "show", "extract", "--origin").stdout.splitlines()
    assert 'work = "x"  # --work' in lines
    assert "seed = 3  # VIDRET_EXTRACT_SEED" in lines
    assert 'device = "cpu"  # vidret.toml device' in lines
    assert "frames = 12  # built-in" in lines


def test_config_check_says_which_files_are_in_order(here):
    assert run("config", "check").stdout == "ok    no file of settings: the built-in values hold\n"
    (here / "vidret.toml").write_text("[extract]\nframes = 3")
    assert run("config", "check").stdout == "ok    vidret.toml\n"
    assert run("config", "check", "vidret.toml").stdout == "ok    vidret.toml\n"


@pytest.mark.parametrize(
    "text", ["[extract]\nframe = 3", "[train-heads]\nepochs = -1", "[search]\ntop = 0", "work = 3"]
)
def test_config_check_finds_what_any_command_would_refuse(here, text):
    (here / "other.toml").write_text(text)
    assert run("config", "check").exit_code == 0
    result = run("config", "check", "other.toml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "other.toml" in result.stderr


def test_config_check_finds_variables_that_set_nothing(monkeypatch):
    monkeypatch.setenv("VIDRET_OFLINE", "1")
    result = run("config", "check")
    assert "warn  the variable VIDRET_OFLINE sets nothing: did you mean VIDRET_OFFLINE?" in (
        result.stdout
    )


def test_every_error_can_be_taken_by_a_caller_instead():
    with pytest.raises(errors.ConfigError):
        cli.main(["extract", "--frames", "many"], prog_name="vidret", standalone_mode=False)


def test_ctrl_c_while_the_program_is_still_loading_shows_no_traceback():
    code = """
import sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "vidret.pipelines.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from vidret.pipelines.program import main
main()
"""
    result = run_process(code=code)
    assert result.returncode == 130
    assert result.stderr == "Stopped before anything was begun.\n"


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_closed_streams_are_as_good_as_nowhere(here, closed):
    def close():
        for stream in closed:
            os.close(stream)

    command = [sys.executable, "-m", "vidret.pipelines.program", "config", "show"]
    finished = subprocess.run(command, cwd=here, capture_output=True, preexec_fn=close, check=False)
    assert finished.returncode == 0
    assert (finished.stdout == b"") is (1 in closed)


def test_an_input_that_is_closed_is_told_so(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(MissingError, match="no input to read lines from"):
        next(typed_lines("look for"))


def test_at_a_terminal_whose_answers_go_elsewhere_one_is_asked_all_the_same(monkeypatch, capfd):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(ours, b"a bell\n\nrings\n\x04")
        assert list(typed_lines("look for")) == [(1, "a bell"), (3, "rings")]
    os.close(ours)
    assert capfd.readouterr().err.count("look for (Ctrl-D ends): ") == 4


def test_no_room_for_what_is_printed_is_no_bug(capsys):
    full = OSError(errno.ENOSPC, "No space left on device")
    assert report_error(full, ["search", "x"], Session()) == 4
    assert "no room for what is printed" in capsys.readouterr().err
