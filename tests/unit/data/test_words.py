import pytest

from vidret.data.words import counted, size_text


def test_one_thing_is_not_several():
    assert [counted(n, "video") for n in (0, 1, 2, 2000)] == [
        "0 videos",
        "1 video",
        "2 videos",
        "2,000 videos",
    ]
    assert counted(2, "file that is no video", "files that are no videos").endswith("no videos")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 KB"),
        (999_949, "999.9 KB"),
        (999_960, "1.0 MB"),
        (12_345_678, "12.3 MB"),
        (294_000_000_000, "294.0 GB"),
        (1_234_000_000_000_000, "1,234.0 TB"),
    ],
)
def test_a_size_is_a_number_that_people_can_read(size, text):
    assert size_text(size) == text
